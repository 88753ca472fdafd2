//! The vocabulary: positions in the log, timelines, names, places, addresses, spans and sizes.
//! Pure.

pub mod bucket;
pub mod host;
pub mod inventory;
pub mod lsn;
pub mod mail;
pub mod resource;
pub mod secret;
pub mod size;
pub mod span;
pub mod timeline;
pub mod wal_format;
pub mod wal_name;
pub mod wal_record;
pub mod webhook;

pub use bucket::{BucketPlace, Checksums, LockMode, ServerSideEncryption};
pub use inventory::{Extent, OtherObject, WalInventory, WalObject};
pub use lsn::{Lsn, SegmentSize};
pub use mail::{MailAddress, MailServer, MailTls};
pub use resource::{ResourceName, SystemId};
pub use secret::SecretRef;
pub use size::ByteSize;
pub use span::Span;
pub use timeline::{Timeline, TimelineHistory};
pub use wal_name::WalName;
pub use webhook::{Wanted, WebAddress, WebhookFormat};
