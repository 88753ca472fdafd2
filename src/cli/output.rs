//! What commands print: answers on standard output, as text or as one JSON value; messages on
//! standard error, `error: …` and then `hint: …`.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

use serde_json::{Value, json};

use super::exit::code_of;
use super::terminal::{Surroundings, Terminal};
use crate::error::{Error, Kind, Result};
use crate::evidence::plain::{Colour, Tone};

/// Where answers go, and how.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
    /// Of standard output.
    pub terminal: Terminal,
    /// Of standard error.
    pub messages: Terminal,
}

impl Output {
    /// As this process finds its surroundings.
    pub fn find(json: bool) -> Output {
        let no_color = std::env::var("NO_COLOR").ok();
        let term = std::env::var("TERM").ok();
        let decide = |is_terminal: bool, columns: Option<usize>| {
            let (no_color, term) = (no_color.as_deref(), term.as_deref());
            Terminal::decide(Surroundings { is_terminal, columns, no_color, term })
        };
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        Output {
            json,
            terminal: decide(std::io::stdout().is_terminal(), columns),
            messages: decide(std::io::stderr().is_terminal(), None),
        }
    }

    /// The answer: `value` where JSON was asked for, else `text`.
    pub fn answer(
        &self,
        value: impl FnOnce() -> Value,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        match self.json {
            true => print(&format!("{:#}\n", value())),
            false => print(&text()),
        }
    }

    /// A failure: for people on standard error, for programs on standard output besides.
    pub fn error(&self, error: &Error) {
        self.message("error", Tone::Bad, &error.chain());
        if let Some(hint) = error.hint_text() {
            self.message("hint", Tone::Strong, hint);
        }
        if self.json {
            // The reader is gone if this fails, and the exit code says the same.
            drop(print(&format!("{:#}\n", error_value(error))));
        }
    }

    /// Something worth knowing that changes no result.
    pub fn warn(&self, what: impl Display) {
        self.message("warning", Tone::Strong, &what.to_string());
    }

    /// What goes on, for people; never part of the answer.
    pub fn note(&self, what: impl Display) {
        // Nobody may be listening, and that is no failure of the work.
        drop(writeln!(std::io::stderr(), "{what}"));
    }

    fn message(&self, word: &str, tone: Tone, text: &str) {
        let word = self.messages.colour.paint(tone, &format!("{word}:"));
        self.note(format_args!("{word} {text}"));
    }

    /// Whether messages may be redrawn in place.
    pub fn is_live(&self) -> bool {
        self.messages.colour == Colour::Ansi
    }
}

/// A failure as programs read it.
fn error_value(error: &Error) -> Value {
    let kind = match error.kind() {
        Kind::Failed => "failed",
        Kind::Usage => "usage",
        Kind::NotMet => "not_met",
        Kind::Refused => "refused",
        Kind::Busy => "busy",
        Kind::Config => "config",
    };
    json!({ "error": {
        "kind": kind,
        "exit_code": code_of(error.kind()),
        "message": error.chain(),
        "hint": error.hint_text(),
    }})
}

/// Writes to standard output. A reader that went away (`| head`) has seen what it wanted.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != ErrorKind::BrokenPipe => {
            Err(Error::failed("cannot write to standard output").because(cause))
        }
        _ => Ok(()),
    }
}
