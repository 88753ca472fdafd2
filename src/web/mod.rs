//! What the daemon answers over HTTP: `/metrics` for Prometheus, `/healthz`, `/readyz`. A face:
//! it shows what it is given and decides nothing.
//!
//! `measured` is what there is to show, as plain facts, and `jobs` what jobs came to; `gauges` is
//! the table of what is told of each resource, and `metrics` turns all of it into text. `routes`
//! answers requests out of a [`Watched`], which the daemon fills; `server` listens, with bounds.
//! `docs/METRICS.md` lists every metric, `config/prometheus` has the alerts; tests keep the three
//! equal. Deliberately absent: anything that changes something, and anything that waits for the
//! repository or a server.

pub mod jobs;
pub mod measured;
pub mod metrics;
pub mod routes;
pub mod server;

mod gauges;

pub use jobs::{JobCounts, JobResult};
pub use measured::{
    CopyFacts, Disk, DrillFacts, Fact, LeaseState, Measured, Promise, Replicas, RepositoryFacts,
    ResourceFacts, Room, UnderWay,
};
pub use routes::{NotReady, Watched};
pub use server::{Limits, Server};
