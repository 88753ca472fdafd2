//! Who is told what, and when: decisions and words. It sends what it is given through ports; the
//! loop that asks is the daemon's.
//!
//! In the order of the way: an [`event`] is how one matter stands; [`decide`] tells which of them
//! are news; a [`notice`] is what goes out at one time, in [`words`] or as JSON (`wire`); a
//! [`channel`] writes it as a letter for one way and sends that, as a mail or as a [`webhook`];
//! the [`outbox`] keeps letters until they are accepted or given up.

pub mod channel;
pub mod decide;
pub mod event;
pub mod notice;
pub mod outbox;
pub mod webhook;
pub mod words;

mod wire;

pub use channel::Channel;
pub use event::{Event, Key, Severity};
pub use notice::Notice;
pub use outbox::{Letter, Outbox, Way};
