//! Reports: golden texts, self-contained pages.
