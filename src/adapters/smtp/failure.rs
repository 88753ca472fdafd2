//! Why a mail was not taken: at which step, in the server's words, and what to do about it.

use std::time::Duration;

use lettre::transport::smtp::Error as SmtpError;

use crate::adapters::tls;
use crate::error::Error;

/// The steps of the dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    StartTls,
    Login,
    Sender,
    Recipient,
    Content,
}

impl Step {
    /// A reply of 5xx, and what lettre finds out by itself, stays as it is; anything else may pass.
    pub(super) fn explain(self, error: &SmtpError) -> Error {
        let said = tls::root_cause(error);
        let (said, passes) = match error.status() {
            Some(code) => (format!("{code} {said}"), error.is_transient()),
            None => (said, !error.is_client()),
        };
        let untrusted = "Name a file with the certificate of whoever signed the server's as \
                         `ca_file` of [notify.mail].";
        let failed = self.failed(said);
        let failed = match tls::certificate_hint(error, untrusted) {
            Some(hint) => failed.hint(hint),
            None => failed,
        };
        if passes { failed.later() } else { failed }
    }

    pub(super) fn failed(self, said: String) -> Error {
        let (what, hint) = match self {
            Step::Connect => (
                "cannot connect",
                "Are `server`, `port` and `tls` of [notify.mail] right, and is the server up?",
            ),
            Step::StartTls => (
                "cannot encrypt the connection",
                "Does the server offer STARTTLS at this port? `tls = \"implicit\"` has another, \
                 usually 465.",
            ),
            Step::Login => (
                "the login is refused",
                "Are `user` and the secret of `password` of [notify.mail] right?",
            ),
            Step::Sender => (
                "the sender is refused",
                "May this `user` send as `from`? Without one, the server may want a login.",
            ),
            Step::Recipient => {
                ("the recipient is refused", "Does the address exist, and may it be sent to?")
            }
            Step::Content => ("the mail is refused", "The server's words and its log tell why."),
        };
        Error::failed(what).because(said).hint(hint)
    }
}

pub(super) fn too_slow(patience: Duration) -> Error {
    let what = format!("there is no answer within {} s", patience.as_secs());
    Error::failed(what).later().hint("Is the server up, and not too busy?")
}
