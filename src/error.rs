//! The one error shape at layer borders: what was attempted, why it failed, what to do about it.
//!
//! Text is lower case without a full stop, and never repeats its cause: `Display` prints only what
//! was attempted, [`Error::chain`] prints the whole story once, at the edge. A hint is a sentence.
//! An expected outcome (an object that is absent, a log that ends) is a value, not an error.

use std::error::Error as StdError;
use std::fmt;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a failure means for the one who asked; decides the exit code (DESIGN.md section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was tried and did not work. Exit 1.
    Failed,
    /// The request itself makes no sense. Exit 2.
    Usage,
    /// It was done, but an objective or a check is not met. Exit 3.
    NotMet,
    /// It could have been done and was not, because that would be unsafe. Exit 4.
    Refused,
    /// Someone else holds the lock or the lease. Exit 5.
    Busy,
    /// The configuration is wrong. Exit 78.
    Config,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call will fail the same way.
    Never,
    /// The cause may pass: a network, a full disk, a server that restarts.
    Later,
}

/// A failure with its reason and, where we know one, its remedy.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    retry: Retry,
    attempted: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
    hint: Option<String>,
}

impl Error {
    /// An error of `kind`; `attempted` reads as a clause, such as "cannot read the object `x`" or
    /// "the segment `…05` is missing".
    pub fn new(kind: Kind, attempted: impl Into<String>) -> Error {
        let attempted = attempted.into();
        Error(Box::new(Inner { kind, retry: Retry::Never, attempted, cause: None, hint: None }))
    }

    /// Tried and failed.
    pub fn failed(attempted: impl Into<String>) -> Error {
        Error::new(Kind::Failed, attempted)
    }

    /// Not tried, because it would be unsafe.
    pub fn refused(attempted: impl Into<String>) -> Error {
        Error::new(Kind::Refused, attempted)
    }

    /// The request makes no sense.
    pub fn usage(attempted: impl Into<String>) -> Error {
        Error::new(Kind::Usage, attempted)
    }

    /// Adds the cause. If it is one of ours, its kind and retry class are taken over.
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        let cause = cause.into();
        if let Some(ours) = cause.downcast_ref::<Error>() {
            self.0.kind = ours.0.kind;
            self.0.retry = ours.0.retry;
        }
        self.0.cause = Some(cause);
        self
    }

    /// Adds what the operator should do: a sentence.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// Marks that the cause may pass.
    pub fn later(mut self) -> Error {
        self.0.retry = Retry::Later;
        self
    }

    /// Replaces the kind, where the outer layer knows better than the cause.
    pub fn with_kind(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The outermost hint of the chain.
    pub fn hint_text(&self) -> Option<&str> {
        if let Some(hint) = &self.0.hint {
            return Some(hint);
        }
        let cause = self.0.cause.as_deref()?;
        cause.downcast_ref::<Error>()?.hint_text()
    }

    /// Everything from what was attempted down to the last cause, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.0.attempted.clone();
        let mut next: Option<&(dyn StdError + 'static)> = StdError::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.attempted)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())?;
        match self.hint_text() {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

/// Says what was attempted when a foreign call, or a deeper one of ours, fails.
pub trait Attempt<T> {
    /// `what` completes "cannot …": `file.read(…).attempt(|| format!("read {path}"))`.
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Attempt<T> for Result<T, E> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error::failed(format!("cannot {}", what())).because(cause))
    }
}
