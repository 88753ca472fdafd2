//! Mail, handed to a server.

use jiff::Timestamp;

use crate::error::Result;
use crate::model::MailAddress;

/// One mail to one recipient: with several, a server may take it for some and refuse it for
/// others, and a retry would then come twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub from: MailAddress,
    pub to: MailAddress,
    /// One line.
    pub subject: String,
    /// Plain text, each line ended by `\n`.
    pub body: String,
    /// `<unique@domain>` (RFC 5322, section 3.6.4): the same whenever this mail is sent again, so
    /// that whoever gets it twice can tell.
    pub message_id: String,
    /// When it was written.
    pub date: Timestamp,
}

/// Hands mail to a server for delivery. Blocks, for a bounded time.
pub trait Mail: Send + Sync {
    /// For messages, without secrets: `mail.example.org:465`.
    fn describe(&self) -> String;

    /// Returns once the server has taken the mail, and answers for it (RFC 5321, section 4.2.5).
    ///
    /// # Errors
    /// `Retry::Later` where the cause may pass: no answer, no trusted connection, a reply of 4xx.
    /// `Retry::Never` where the server refuses for good: a reply of 5xx, a wrong password. If the
    /// answer got lost, the mail may have been taken all the same.
    fn send(&self, message: &Message) -> Result<()>;
}
