//! Reads every page of a data directory and checks its checksum, while its server runs.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Attempt, Error, Result};
use crate::model::Lsn;
use crate::repository::manifest::{ClusterFacts, PageReport};

use super::snapshot::damage::Checked;
use super::snapshot::page_check::{PagedFile, read_fully};
use super::snapshot::scan::{self, Item, ItemKind, vanished_is_none};

const BUFFER_BYTES: usize = 1 << 20;

/// Checks every page with several threads. Pages written at or after `since` are in the server's
/// hands and exempt.
pub fn check_pages(
    data_dir: &Path,
    cluster: &ClusterFacts,
    since: Lsn,
    workers: usize,
) -> Result<PageReport> {
    let mut report = PageReport { checkable: cluster.data_checksums, ..PageReport::default() };
    if !cluster.data_checksums {
        return Ok(report);
    }
    let items = scan::scan(data_dir, cluster.blocks_per_segment)?.items;
    let next = AtomicUsize::new(0);
    let work = || -> Result<Checked> {
        let mut checked = Checked::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            check_file(item, cluster, since, &mut buffer, &mut checked)
                .attempt(|| format!("read the pages of {}", item.path))?;
        }
        Ok(checked)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers.max(1)).map(|_| scope.spawn(work)).collect();
        let mut all = Checked::default();
        for thread in threads {
            let done =
                thread.join().map_err(|_| Error::failed("a thread that read pages panicked"));
            all.merge(done??);
        }
        report.note(all);
        Ok(report)
    })
}

fn check_file(
    item: &Item,
    cluster: &ClusterFacts,
    since: Lsn,
    buffer: &mut [u8],
    checked: &mut Checked,
) -> std::io::Result<()> {
    let ItemKind::File(source) = &item.kind else { return Ok(()) };
    let Some(first) = source.first_block else { return Ok(()) };
    // Dropped meanwhile: the server is alive.
    let Some(file) = vanished_is_none(File::open(&source.from))? else { return Ok(()) };
    let page_bytes = cluster.block_size as usize;
    let paged =
        PagedFile { file: &file, path: &item.path, first_block: first, page_bytes, start: since };
    let mut at = 0;
    loop {
        let read = read_fully(&file, buffer, at)? / page_bytes * page_bytes;
        if read == 0 {
            return Ok(());
        }
        paged.check(&mut buffer[..read], at / page_bytes as u64, checked)?;
        at += read as u64;
    }
}
