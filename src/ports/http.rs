//! Requests to web servers of others: webhooks, and a URL that is called while all is well.

use crate::error::Result;
use crate::model::WebAddress;

/// What a server answered, whatever it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// RFC 9110, section 15.
    pub status: u16,
    /// How the body begins, for messages: 4 KiB at most. Foreign text.
    pub text: String,
}

/// Calls URLs. Blocks, for a bounded time; follows no redirect, and goes through no proxy.
pub trait Http: Send + Sync {
    /// `POST`, with these headers and this body.
    ///
    /// # Errors
    /// `Retry::Later`: there was no answer, or no trusted connection. The request may have been
    /// seen all the same.
    fn post(
        &self,
        to: &WebAddress,
        headers: &[(&'static str, String)],
        body: &str,
    ) -> Result<Answer>;

    /// `GET`.
    ///
    /// # Errors
    /// As of `post`.
    fn get(&self, from: &WebAddress) -> Result<Answer>;
}
