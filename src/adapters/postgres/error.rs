//! Errors of the server as ours.

use crate::error::Error;
use crate::ports::postgres::ServerError;

/// Carries over SQLSTATE, detail and hint, and whether trying again can help.
pub(super) fn from_server(cause: ServerError) -> Error {
    let hint = cause.hint.clone();
    let passes = may_pass(&cause.code);
    let mut error = Error::failed("the server refused").because(cause);
    if passes {
        error = error.later();
    }
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Conditions that end by themselves (PostgreSQL manual, "PostgreSQL Error Codes"): lost
/// connections (08), no resources (53), transactions to repeat (40), shutdown, crash recovery
/// and start (57P01 to 57P03), and a slot whose former user is not gone yet (55006).
fn may_pass(code: &str) -> bool {
    matches!(code.get(..2), Some("08" | "53" | "40"))
        || matches!(code, "57P01" | "57P02" | "57P03" | "55006")
}
