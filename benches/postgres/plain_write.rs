//! What any restore must do at least: write as many bytes into as many files, durably, with two
//! threads. Nothing is read, decrypted, decompressed or checked.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::measure::Taken;

const THREADS: usize = 2;
const PIECE_BYTES: usize = 1 << 20;

/// Writes files of these sizes below `to`, each flushed, then the file system.
pub fn run(sizes: &[u64], to: &Path) -> Taken {
    fs::create_dir_all(to).expect("make a directory");
    let piece: Vec<u8> = (0..PIECE_BYTES as u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let write = || {
        while let Some(size) = sizes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = next.fetch_add(0, Ordering::Relaxed);
            let thread = format!("{:?}", thread::current().id()).replace(['(', ')'], "");
            let path: PathBuf = to.join(format!("{name}-{thread}"));
            let mut file = File::create(path).expect("create a file");
            let mut left = *size as usize;
            while left > 0 {
                let bytes = left.min(PIECE_BYTES);
                file.write_all(&piece[..bytes]).expect("write a file");
                left -= bytes;
            }
            file.sync_all().expect("flush a file");
        }
    };
    thread::scope(|scope| {
        (0..THREADS).for_each(|_| drop(scope.spawn(write)));
    });
    rustix::fs::syncfs(File::open(to).expect("open a directory")).expect("flush the file system");
    Taken { seconds: begun.elapsed().as_secs_f64(), ..Taken::default() }
}

/// Sizes of the files below `dir`.
pub fn sizes_below(dir: &Path, into: &mut Vec<u64>) {
    for entry in fs::read_dir(dir).expect("list a directory").flatten() {
        let facts = entry.metadata().expect("look at a file");
        match facts.is_dir() {
            true => sizes_below(&entry.path(), into),
            false => into.push(facts.len()),
        }
    }
}
