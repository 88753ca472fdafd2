//! Which pages were damaged, gathered from the threads that read.

use crate::repository::manifest::{DamagedPage, PageReport};

/// What checking pages found.
#[derive(Debug, Default)]
pub struct Checked {
    pub pages: u64,
    pub damaged: Vec<DamagedPage>,
    pub damaged_count: u64,
}

impl Checked {
    /// Notes a damaged page of the file at `path` in the vault.
    pub fn note_damaged(&mut self, path: &str, page: u64) {
        self.damaged_count += 1;
        if self.damaged.len() < PageReport::LISTED {
            let file = path.strip_prefix("pgdata/").unwrap_or(path).to_owned();
            self.damaged.push(DamagedPage { file, page });
        }
    }

    pub fn merge(&mut self, other: Checked) {
        self.pages += other.pages;
        self.damaged_count += other.damaged_count;
        self.damaged.extend(other.damaged);
    }
}

impl PageReport {
    /// Takes over what the threads found.
    pub fn note(&mut self, mut checked: Checked) {
        checked.damaged.sort();
        self.checked += checked.pages;
        self.damaged_count += checked.damaged_count;
        self.damaged.extend(checked.damaged);
        self.damaged.truncate(PageReport::LISTED);
    }
}
