//! Reads every page of a data directory and checks its checksum, while its server runs.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Attempt, Error, Result};
use crate::model::Lsn;
use crate::repository::manifest::{ClusterFacts, PageReport};

use super::snapshot::damage::Checked;
use super::snapshot::pages::{self, Page};
use super::snapshot::scan::{self, Item, ItemKind, vanished_is_none};

const BUFFER_BYTES: usize = 1 << 20;
const REREADS: u32 = 4;
const REREAD_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

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
    let mut number = 0;
    loop {
        let read = read_pages(&file, buffer, number * page_bytes as u64, page_bytes)?;
        if read == 0 {
            return Ok(());
        }
        for page in buffer[..read].chunks_exact_mut(page_bytes) {
            let block = first.wrapping_add(number as u32);
            checked.pages += 1;
            if pages::judge(page, block, since) == Page::Damaged
                && !is_sound_later(&file, page, number, block, since)?
            {
                checked.note_damaged(&item.path, number);
            }
            number += 1;
        }
    }
}

/// Fills `buffer` with whole pages.
fn read_pages(file: &File, buffer: &mut [u8], at: u64, page: usize) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled / page * page)
}

fn is_sound_later(
    file: &File,
    page: &mut [u8],
    number: u64,
    block: u32,
    since: Lsn,
) -> std::io::Result<bool> {
    for _ in 0..REREADS {
        std::thread::sleep(REREAD_PAUSE);
        let read = file.read_at(page, number * page.len() as u64)?;
        if read < page.len() || pages::judge(page, block, since) != Page::Damaged {
            return Ok(true);
        }
    }
    Ok(false)
}
