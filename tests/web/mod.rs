//! What the daemon answers over HTTP.

mod exposition; // facts to text
mod sample; // facts of everything there is
mod server; // over TCP, with clients that behave and clients that do not
