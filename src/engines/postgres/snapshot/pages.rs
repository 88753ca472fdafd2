//! Page checksums, as PostgreSQL computes them (`storage/checksum_impl.h`, page layout in
//! `storage/bufpage.h`). Pure.
//!
//! The algorithm is FNV-1a in 32 lanes over the page's 32-bit words, mixed with the block number.

use crate::model::Lsn;

const LANES: usize = 32;
const PRIME: u32 = 16_777_619;

/// Seeds of the lanes, one each, so that the lanes differ.
const SEEDS: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// Where `pd_checksum` and `pd_upper` stand in the page header.
const CHECKSUM_AT: usize = 8;
const UPPER_AT: usize = 14;

/// What a page's checksum says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// It fits, or the page is new and holds nothing.
    Sound,
    /// It does not fit, but the page was written after the backup began: its full image is in the
    /// log and replaces whatever was read.
    Replaced,
    /// It does not fit.
    Damaged,
}

/// Judges one page. `block` is its number within the relation, `start` the backup's start.
pub fn judge(page: &[u8], block: u32, start: Lsn) -> Page {
    if half_word(page, UPPER_AT) == 0 && page.iter().all(|byte| *byte == 0) {
        return Page::Sound;
    }
    if half_word(page, CHECKSUM_AT) == checksum(page, block) {
        return Page::Sound;
    }
    match page_lsn(page) >= start {
        true => Page::Replaced,
        false => Page::Damaged,
    }
}

/// The checksum that `page` should carry. Its length is a multiple of 128 bytes.
pub fn checksum(page: &[u8], block: u32) -> u16 {
    let mut sums = SEEDS;
    let (rows, _) = page.as_chunks::<{ LANES * 4 }>();
    for (index, row) in rows.iter().enumerate() {
        let (words, _) = row.as_chunks::<4>();
        let mut row = [0; LANES];
        for (word, bytes) in row.iter_mut().zip(words) {
            *word = u32::from_le_bytes(*bytes);
        }
        if index == 0 {
            // The checksum itself counts as zero: the low half of the third word.
            row[CHECKSUM_AT / 4] &= 0xFFFF_0000;
        }
        mix(&mut sums, &row);
    }
    mix(&mut sums, &[0; LANES]);
    mix(&mut sums, &[0; LANES]);
    let folded = sums.iter().fold(0, |all, sum| all ^ sum) ^ block;
    (folded % 65_535 + 1) as u16
}

fn mix(sums: &mut [u32; LANES], row: &[u32; LANES]) {
    for (sum, word) in sums.iter_mut().zip(row) {
        let mixed = *sum ^ word;
        *sum = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
    }
}

fn half_word(page: &[u8], at: usize) -> u16 {
    page.get(at..at + 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// `pd_lsn`: two 32-bit halves, the high one first.
fn page_lsn(page: &[u8]) -> Lsn {
    let half = |at: usize| {
        let bytes = page.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u64::from(u32::from_le_bytes(bytes.unwrap_or_default()))
    };
    Lsn(half(0) << 32 | half(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page like one PostgreSQL would write, with its checksum set.
    fn page(lsn: u64, block: u32) -> Vec<u8> {
        let mut page: Vec<u8> = (0..8_192u32).map(|i| (i * 7 % 253) as u8).collect();
        page[0..4].copy_from_slice(&((lsn >> 32) as u32).to_le_bytes());
        page[4..8].copy_from_slice(&(lsn as u32).to_le_bytes());
        let sum = checksum(&page, block).to_le_bytes();
        page[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&sum);
        page
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let good = page(0x1_0000_0000, 3);
        assert_eq!(judge(&good, 3, Lsn(2 << 32)), Page::Sound);
        assert_eq!(judge(&good, 4, Lsn(2 << 32)), Page::Damaged);
        for bit in (0..8_192 * 8).step_by(61) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(judge(&bad, 3, Lsn(u64::MAX)), Page::Sound, "bit {bit}");
        }
    }

    #[test]
    fn new_pages_and_pages_in_the_log_are_exempt() {
        assert_eq!(judge(&[0; 8_192], 9, Lsn(5)), Page::Sound);
        let mut torn = page(100, 1);
        torn[5_000] ^= 1;
        assert_eq!(judge(&torn, 1, Lsn(100)), Page::Replaced);
        assert_eq!(judge(&torn, 1, Lsn(101)), Page::Damaged);
    }
}
