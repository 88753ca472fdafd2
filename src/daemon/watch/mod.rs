//! What the daemon finds out about everything it watches, each at its own pace, and what of it
//! somebody should hear.
//!
//! - [`look::look`] reads the repositories of a resource: every hour, after each of its jobs, and
//!   where a glance asks for it. Blocks.
//! - [`glance::Follower`] tells each minute what has changed since, from the catalog and from what
//!   the shipper says: no listing, nothing is opened. Blocks for a moment.
//! - [`source::SourceWatch`] asks the servers each minute, within ten seconds, what [`said`] reads.
//! - [`disks::rooms`] and [`repositories::look_at`] do the same for what they are named after. Both
//!   block.
//! - [`events`] are made of all that, each minute, with the thresholds of [`findings`]. Pure.
//!
//! What comes of it is `web::Measured`, but for jobs, and `notify::Event`s, but for those of jobs.
//! For one resource and one minute:
//!
//! ```text
//! let glanced = follower.glance(shipping, &job_reds, &catalog, now);
//! let mut facts = glanced.facts.clone();
//! source.fill(&mut facts);                        // SourceFacts, of SourceWatch::ask
//! all.push((name.clone(), glanced.exposure));     // Catalog::note_exposures, unless retired
//! events.extend(events::of_resource(&state, now));
//! ```
//!
//! Deliberately absent: the loop, and anything that is kept from one run of the daemon to the next.

pub mod disks;
pub mod events;
pub mod findings;
pub mod glance;
pub mod look;
pub mod repositories;
pub mod said;
pub mod source;

pub use disks::{Rooms, rooms};
pub use events::ResourceState;
pub use glance::{Follower, Glanced};
pub use look::{Looked, look};
pub use repositories::{RepositorySeen, bytes_of, look_at};
pub use said::{Said, Slot};
pub use source::{SourceFacts, SourceWatch, Unheard};
