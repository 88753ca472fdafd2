//! The only place where a result becomes an exit code (DESIGN.md section 7). `wal fetch` has its
//! own ends: see `lethal`.

use std::process::ExitCode;

use crate::error::{Kind, Result};

/// How a command ended that did what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Well,
    /// An objective or a check is not met.
    NotMet,
    /// Some of it was done, and the answer tells what failed.
    InPart,
    /// The configuration was asked about, and is wrong.
    BadConfig,
}

/// The exit code of a failure.
pub const fn code_of(kind: Kind) -> u8 {
    match kind {
        Kind::Failed => 1,
        Kind::Usage => 2,
        Kind::NotMet => 3,
        Kind::Refused => 4,
        Kind::Busy => 5,
        Kind::Config => 78,
    }
}

/// The exit code of a command.
pub fn code(ended: &Result<Done>) -> ExitCode {
    ExitCode::from(match ended {
        Ok(Done::Well) => 0,
        Ok(Done::NotMet) => code_of(Kind::NotMet),
        Ok(Done::InPart) => code_of(Kind::Failed),
        Ok(Done::BadConfig) => code_of(Kind::Config),
        Err(error) => code_of(error.kind()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn the_contract() {
        let table = [
            (Ok(Done::Well), 0),
            (Err(Error::failed("x")), 1),
            (Err(Error::usage("x")), 2),
            (Ok(Done::NotMet), 3),
            (Ok(Done::InPart), 1),
            (Err(Error::new(Kind::NotMet, "x")), 3),
            (Ok(Done::BadConfig), 78),
            (Err(Error::refused("x")), 4),
            (Err(Error::new(Kind::Busy, "x")), 5),
            (Err(Error::new(Kind::Config, "x")), 78),
            (Err(Error::failed("outer").because(Error::new(Kind::Busy, "inner"))), 5),
        ];
        for (ended, expected) in table {
            assert_eq!(code(&ended), ExitCode::from(expected), "{ended:?}");
        }
    }
}
