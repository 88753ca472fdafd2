//! Rows of an invented school register as `COPY` text: numbers, dates, prose in words of uneven
//! frequency, and documents that do not compress. The same number gives the same row.

use std::io::{Result, Write};

/// The tables, each with a key of its own; `documents` as scanned papers are stored.
pub const TABLES: &str = "
create table marks (id bigint, pupil int, teacher int, subject smallint, given date,
    mark numeric(4,2), entered timestamptz, remark text);
create table messages (id bigint, sender int, recipient int, sent timestamptz, read boolean,
    subject text, body text);
create table documents (id bigint, pupil int, name text, content bytea);
alter table documents alter content set storage external;";

pub const KEYS: [&str; 5] = [
    "alter table marks add primary key (id)",
    "create index on marks (pupil, given)",
    "alter table messages add primary key (id)",
    "create index on messages (recipient)",
    "alter table documents add primary key (id)",
];

/// Rows for a cluster of one GB, with its indexes.
pub const MARKS_PER_GB: u64 = 2_400_000;
pub const MESSAGES_PER_GB: u64 = 800_000;
pub const DOCUMENTS_PER_GB: u64 = 6_000;

const WORDS: usize = 6_000;
const SYLLABLES: [&str; 32] = [
    "ra", "to", "men", "ti", "co", "la", "re", "si", "no", "per", "in", "stra", "da", "ve", "lo",
    "ca", "ne", "mo", "gli", "sco", "fa", "di", "que", "al", "zio", "pre", "ma", "tu", "bel", "so",
    "pi", "che",
];

/// What a row of text is made from.
pub struct Rows {
    words: Vec<String>,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> u64 {
        ((self.next() >> 32) * limit) >> 32
    }
}

fn random_of(table: u64, number: u64) -> Random {
    let mut random = Random((number << 3 | table).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    random.next();
    random
}

impl Rows {
    pub fn new() -> Rows {
        let mut random = random_of(0, 1);
        let word = |_| {
            let syllables = 1 + random.below(4);
            (0..syllables).map(|_| SYLLABLES[random.below(32) as usize]).collect()
        };
        Rows { words: (0..WORDS).map(word).collect() }
    }

    /// Words of uneven frequency, as in prose.
    fn prose(&self, random: &mut Random, words: u64, into: &mut Vec<u8>) {
        for number in 0..words {
            let rank = random.below(1 << 20) as f64 / (1u64 << 20) as f64;
            if number > 0 {
                into.push(b' ');
            }
            into.extend(self.words[(rank * rank * rank * WORDS as f64) as usize].as_bytes());
        }
    }

    /// One row of `table` with its newline.
    pub fn row(&self, table: &str, id: u64, into: &mut Vec<u8>) -> Result<()> {
        match table {
            "marks" => self.mark(id, into),
            "messages" => self.message(id, into),
            _ => document(id, into),
        }
    }

    fn mark(&self, id: u64, into: &mut Vec<u8>) -> Result<()> {
        let r = &mut random_of(1, id);
        let (pupil, teacher, subject) = (r.below(900_000), r.below(60_000), r.below(14));
        let (day, quarters) = (1 + r.below(28), 8 + r.below(33));
        let (month, hour, second) = (1 + r.below(12), 8 + r.below(9), r.below(3_600));
        write!(
            into,
            "{id}\t{pupil}\t{teacher}\t{subject}\t2026-{month:02}-{day:02}\t{}.{:02}\t\
             2026-{month:02}-{day:02} {hour:02}:{:02}:{:02}+01\t",
            quarters / 4,
            quarters % 4 * 25,
            second / 60,
            second % 60
        )?;
        let words = r.below(8);
        self.prose(r, words, into);
        into.push(b'\n');
        Ok(())
    }

    fn message(&self, id: u64, into: &mut Vec<u8>) -> Result<()> {
        let r = &mut random_of(2, id);
        let (sender, recipient) = (r.below(60_000), r.below(900_000));
        let (day, month, minute) = (1 + r.below(28), 1 + r.below(12), r.below(1_440));
        write!(
            into,
            "{id}\t{sender}\t{recipient}\t2026-{month:02}-{day:02} \
             {:02}:{:02}:{:02}.{:06}+01\t{}\t",
            minute / 60,
            minute % 60,
            r.below(60),
            r.below(1_000_000),
            if r.below(3) == 0 { 'f' } else { 't' }
        )?;
        self.prose(r, 5, into);
        into.push(b'\t');
        let words = 40 + r.below(90);
        self.prose(r, words, into);
        into.push(b'\n');
        Ok(())
    }
}

/// 10 to 40 KB that look random, as what is inside a PDF does.
fn document(id: u64, into: &mut Vec<u8>) -> Result<()> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let r = &mut random_of(3, id);
    write!(into, "{id}\t{}\tpagella-{id}.pdf\t\\\\x", r.below(900_000))?;
    for _ in 0..(1_250 + r.below(3_750)) {
        let word = r.next();
        into.extend((0..16).map(|digit| DIGITS[(word >> (4 * digit)) as usize & 15]));
    }
    into.push(b'\n');
    Ok(())
}
