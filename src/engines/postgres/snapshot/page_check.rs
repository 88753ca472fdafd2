//! Checks the pages of a file whose server may be writing to it: what looks damaged is read again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::model::Lsn;

use super::damage::Checked;
use super::pages::{self, Page};

/// A page that was being written is whole again within this.
const REREADS: u32 = 4;
const REREAD_PAUSE: Duration = Duration::from_millis(20);

/// An open file that is made of pages.
pub struct PagedFile<'a> {
    pub file: &'a File,
    /// As damage is reported.
    pub path: &'a str,
    /// Number of its first page within the relation.
    pub first_block: u32,
    pub page_bytes: usize,
    /// Pages written at or after it are in the log (RULES 11).
    pub start: Lsn,
}

impl PagedFile<'_> {
    /// Checks the whole pages of `bytes`, of which the first is number `first_page` of the file.
    /// A page that proved sound when it was read again is put in the place of the torn one.
    pub fn check(
        &self,
        bytes: &mut [u8],
        first_page: u64,
        checked: &mut Checked,
    ) -> std::io::Result<()> {
        for (number, page) in (first_page..).zip(bytes.chunks_exact_mut(self.page_bytes)) {
            checked.pages += 1;
            if self.is_damaged(page, number) && !self.reread(page, number)? {
                checked.note_damaged(self.path, number);
            }
        }
        Ok(())
    }

    fn is_damaged(&self, page: &[u8], number: u64) -> bool {
        let block = self.first_block.wrapping_add(number as u32);
        pages::judge(page, block, self.start) == Page::Damaged
    }

    /// Whether the page is sound now; then `page` holds what was read last.
    fn reread(&self, page: &mut [u8], number: u64) -> std::io::Result<bool> {
        for _ in 0..REREADS {
            std::thread::sleep(REREAD_PAUSE);
            let mut again = vec![0; page.len()];
            let read = read_fully(self.file, &mut again, number * page.len() as u64)?;
            // Cut off meanwhile: the log says so.
            let cut = read < page.len();
            if cut || !self.is_damaged(&again, number) {
                page.copy_from_slice(&again);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Fills `buffer` as far as the file goes.
pub fn read_fully(file: &File, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
