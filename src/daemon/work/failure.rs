//! An error that is told to another process: what it says stays, what caused it does not.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Retry};

/// What is told of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: Word,
    /// Trying again may help.
    pub later: bool,
    /// All of it, in one line.
    pub message: String,
    pub hint: Option<String>,
}

/// The kind of an error, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    Failed,
    Usage,
    NotMet,
    Refused,
    Busy,
    Config,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Failure {
        Failure {
            kind: match error.kind() {
                Kind::Failed => Word::Failed,
                Kind::Usage => Word::Usage,
                Kind::NotMet => Word::NotMet,
                Kind::Refused => Word::Refused,
                Kind::Busy => Word::Busy,
                Kind::Config => Word::Config,
            },
            later: error.retry() == Retry::Later,
            message: error.chain(),
            hint: error.hint_text().map(str::to_owned),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let kind = match failure.kind {
            Word::Failed => Kind::Failed,
            Word::Usage => Kind::Usage,
            Word::NotMet => Kind::NotMet,
            Word::Refused => Kind::Refused,
            Word::Busy => Kind::Busy,
            Word::Config => Kind::Config,
        };
        let error = Error::new(kind, failure.message);
        let error = if failure.later { error.later() } else { error };
        match failure.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_the_same_on_the_other_side() {
        let kinds =
            [Kind::Failed, Kind::Usage, Kind::NotMet, Kind::Refused, Kind::Busy, Kind::Config];
        for kind in kinds {
            let error = Error::new(kind, "cannot do it").hint("Do something else.").later();
            let line = serde_json::to_string(&Failure::from(&error)).unwrap();
            let there = Error::from(serde_json::from_str::<Failure>(&line).unwrap());
            assert_eq!((there.kind(), there.retry()), (kind, Retry::Later));
            assert_eq!((there.chain(), there.hint_text()), (error.chain(), error.hint_text()));
        }
    }
}
