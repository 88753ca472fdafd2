//! Log that is gone from the source for ever: recorded, so that nobody takes it for stored, and
//! passed over.

use crate::engines::blocking::blocking;
use crate::error::{Error, Result};
use crate::model::Lsn;
use crate::ports::postgres::Postgres;
use crate::repository::{layout, manifest};

use super::super::source::{Gap, field};
use super::history::Histories;
use super::shipper::Shipper;

impl Shipper {
    /// The log wanted is gone from the server: records what is missing, so that the next
    /// connection starts after it. The record is durable before anything after it is stored.
    pub(super) async fn leap_over_gap(&self, host: &dyn Postgres, lost: &Error) -> Result<()> {
        let size = self.archive.segment_size;
        let mut server = host.walsender(&self.source.name()).await?;
        let identity = server.identify().await?;
        let histories = Histories::read(server.as_mut(), identity.timeline).await?;
        let start = self.find_start(&histories.own, identity.flushed).await?;
        let from = size.start_of(start.segment).plus(start.stored);
        // Its last checkpoint needs all log from `redo` on, so that is there; a backup of a
        // standby may begin as early.
        let redo = size.start_of(size.number_of(redo(host, &self.source.name()).await?));
        let flushed = size.start_of(size.number_of(identity.flushed));
        let to = if redo > from { redo } else { flushed };
        if start.first || to <= from {
            return Err(Error::failed("the server has none of the log that is wanted").later());
        }
        histories.store(&self.archive).await?;
        self.record_gap(Gap { timeline: identity.timeline, from, to }, lost.chain()).await
    }

    async fn record_gap(&self, gap: Gap, reason: String) -> Result<()> {
        let recorded_at = self.clock.now();
        let record = manifest::GapManifest {
            version: 1,
            recorded_at,
            system_id: self.archive.system_id,
            timeline: gap.timeline,
            from: gap.from,
            to: gap.to,
            reason,
        };
        let (from, to) = (gap.from, gap.to);
        tracing::error!(%from, %to, reason = %record.reason, "log is missing for ever");
        let key = layout::gap(&self.source.resource, &layout::instant(recorded_at));
        let repository = self.archive.repository.clone();
        blocking(move || manifest::create(&repository, &key, &record).map(drop)).await?;
        self.state.send_modify(|state| state.gaps.push(gap));
        Ok(())
    }
}

/// Where the server's last checkpoint (a standby's last restartpoint) begins.
pub(super) async fn redo(host: &dyn Postgres, name: &str) -> Result<Lsn> {
    let mut session = host.session(name).await?;
    let rows = session.query("select redo_lsn from pg_control_checkpoint()").await?;
    field(rows.first().unwrap_or(&Vec::new()), 0)
}
