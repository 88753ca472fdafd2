//! Files that are damaged for a while, in the two ways that disks and cables do it.

use std::fs;
use std::path::Path;

/// Changes the file at `path` while `during` runs, and puts it back after.
pub fn damaged(path: &Path, damage: impl FnOnce(&mut Vec<u8>), during: impl FnOnce()) {
    let good = fs::read(path).expect("a file to damage");
    let mut bad = good.clone();
    damage(&mut bad);
    // Objects are read-only.
    fs::remove_file(path).expect("remove the good file");
    fs::write(path, &bad).expect("write the bad file");
    during();
    fs::write(path, &good).expect("put the good file back");
}

pub fn cut(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() / 2);
}

#[expect(clippy::ptr_arg, reason = "stands in a table beside damages that cut")]
pub fn flip(bytes: &mut Vec<u8>) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
}
