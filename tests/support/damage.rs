//! Objects that are damaged for a while, in the two ways that disks and cables do it.

use fenice::ports::Store;

/// Changes the object `key` while `during` runs, and puts it back after.
pub fn damaged(
    store: &dyn Store,
    key: &str,
    damage: impl FnOnce(&mut Vec<u8>),
    during: impl FnOnce(),
) {
    let good = store.get(key).unwrap().expect("an object to damage");
    let mut bad = good.clone();
    damage(&mut bad);
    replace(store, key, &bad);
    during();
    replace(store, key, &good);
}

/// No store of ours changes an object: it is removed and made anew.
fn replace(store: &dyn Store, key: &str, bytes: &[u8]) {
    store.remove(key).unwrap();
    store.put_new(key, bytes).unwrap();
}

pub fn cut(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() / 2);
}

#[expect(clippy::ptr_arg, reason = "stands in a table beside damages that cut")]
pub fn flip(bytes: &mut Vec<u8>) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
}
