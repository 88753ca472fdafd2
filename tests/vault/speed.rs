//! One large file through every stage with two threads. Nothing is asserted of time, only that
//! what was written reads back; the rates are printed, and mean something for
//! `FENICE_SPEED_MIB=1024 cargo test vault::speed -- --nocapture`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use fenice::adapters::folder::FolderStore;
use fenice::adapters::system::SystemEntropy;
use fenice::error::Result;
use fenice::ports::Store;
use fenice::repository::vault::commit::Promise;
use fenice::repository::vault::restore::{RestoreSettings, Sink};
use fenice::repository::vault::restore_plan::RestoreFile;
use fenice::repository::vault::{Node, VaultWriter, WriteSettings};
use rustix::time::{ClockId, clock_gettime};

use super::model::{self, Random};

const CHUNK_BYTES: usize = 1 << 20;
const TOTAL_MIB: usize = 48;

/// Pages as pgbench makes them: rows of a few numbers and 84 blanks, each page different.
fn pages(bytes: usize, compressible: bool) -> Vec<u8> {
    let mut random = Random(1);
    let mut data = Vec::with_capacity(bytes + 128);
    let mut row = 0u32;
    while data.len() < bytes {
        if compressible {
            row += 1;
            data.extend(row.to_le_bytes());
            data.extend((random.next() as u32 % 100).to_le_bytes());
            data.extend([24, 0, 0, 0, 0, 0, 2, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
            data.extend([b' '; 84]);
        } else {
            data.extend(random.next().to_le_bytes());
        }
    }
    data.truncate(bytes);
    data
}

/// Wall clock and processor time of this process, from some start.
struct Stopwatch(Instant, f64);

fn cpu_seconds() -> f64 {
    let reading = clock_gettime(ClockId::ProcessCPUTime);
    reading.tv_sec as f64 + reading.tv_nsec as f64 / 1e9
}

impl Stopwatch {
    fn start() -> Stopwatch {
        Stopwatch(Instant::now(), cpu_seconds())
    }

    /// `450 MB/s, 900 MB a second of processor time`.
    fn rate(&self, bytes: u64) -> String {
        let (wall, cpu) = (self.0.elapsed().as_secs_f64(), cpu_seconds() - self.1);
        let megabytes = bytes as f64 / 1e6;
        format!("{:.0} MB/s, {:.0} MB a second of one core", megabytes / wall, megabytes / cpu)
    }
}

/// Compares what comes with what it must be.
struct Comparing<'a>(AtomicU64, &'a [u8]);

impl Sink for Comparing<'_> {
    fn write_at(&self, _file: usize, offset: u64, content: &[u8]) -> Result<()> {
        assert!(self.1[offset as usize..].starts_with(content), "at {offset}");
        self.0.fetch_add(content.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn complete(&self, _file: usize) -> Result<()> {
        Ok(())
    }
}

fn measure(compressible: bool) {
    let asked = std::env::var("FENICE_SPEED_MIB").ok();
    let mebibytes = asked.map_or(TOTAL_MIB, |asked| asked.parse().unwrap());
    let data = pages(mebibytes << 20, compressible);
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(FolderStore::open(dir.path()).unwrap());
    let vault = model::init(&store);
    let watch = Stopwatch::start();
    let index = Arc::new(vault.load_index().unwrap());
    let settings = WriteSettings::default();
    let writer = VaultWriter::start(&vault, index, Arc::new(SystemEntropy), settings).unwrap();
    let chunks: Vec<_> = data.chunks(CHUNK_BYTES).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut storer = writer.storer().unwrap();
        let mut ids = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = chunks.get(number) else { break };
            ids.push((number, storer.store_chunk(chunk).unwrap().0));
        }
        storer.finish().unwrap();
        ids
    };
    let mut ids = thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    ids.sort_unstable();
    let content: Vec<_> = ids.into_iter().map(|(_, id)| id).collect();
    let bytes = data.len() as u64;
    let node = Node::file(bytes, content.clone(), 0o600, model::now());
    let promise = Promise { files: 1, bytes };
    let committed = writer.finish(vec![("1".into(), node)], promise, model::about()).unwrap();
    let rate = watch.rate(bytes);
    println!("compressible {compressible}: wrote {rate}, {:?}", committed.counts);

    let watch = Stopwatch::start();
    let index = vault.load_index().unwrap();
    let sink = Comparing(AtomicU64::new(0), &data);
    let files = [RestoreFile { path: "1".into(), size: bytes, content }];
    let restored = vault.restore(&index, &files, &sink, RestoreSettings::default()).unwrap();
    println!("restored {}, {restored:?}", watch.rate(bytes));
    assert_eq!(sink.0.into_inner(), bytes);
}

#[test]
fn a_large_file_is_written_and_restored_by_two_threads() {
    measure(true);
    measure(false);
}
