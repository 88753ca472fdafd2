//! The histories of a server's timeline and of its ancestors: read first, stored once the server is
//! known to have a place in the archive.

use crate::engines::blocking::blocking;
use crate::error::{Attempt, Result};
use crate::model::{Timeline, TimelineHistory, WalName};
use crate::ports::postgres::Walsender;
use crate::repository::wal::WalArchive;

/// What a server tells of the way to its timeline.
pub(super) struct Histories {
    pub own: TimelineHistory,
    texts: Vec<(Timeline, Vec<u8>)>,
}

impl Histories {
    /// Reads the history of `timeline` and those of its ancestors.
    pub async fn read(server: &mut dyn Walsender, timeline: Timeline) -> Result<Histories> {
        if timeline == Timeline(1) {
            return Ok(Histories { own: TimelineHistory::root(timeline), texts: Vec::new() });
        }
        let text = server.timeline_history(timeline).await?;
        let own = TimelineHistory::parse(timeline, &String::from_utf8_lossy(&text))
            .attempt(|| format!("read the history of timeline {timeline}"))?;
        let mut texts = Vec::new();
        for ancestor in own.ancestors.iter().filter(|a| a.timeline > Timeline(1)) {
            // A server keeps its ancestors' histories; one that lost them has told the essential
            // in its own, which repeats them.
            if let Ok(text) = server.timeline_history(ancestor.timeline).await {
                texts.push((ancestor.timeline, text));
            }
        }
        texts.push((timeline, text));
        Ok(Histories { own, texts })
    }

    /// Stores them, the oldest first.
    pub async fn store(&self, archive: &WalArchive) -> Result<()> {
        let (archive, texts) = (archive.clone(), self.texts.clone());
        blocking(move || {
            for (timeline, text) in &texts {
                archive.put_file(&WalName::History(*timeline), text)?;
            }
            Ok(())
        })
        .await
    }
}
