//! One table of the file while it is read: typed values by key, problems noted, defaults from the
//! reference table.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::{nearest, suggestion};
use super::problem::Report;
use super::reference::{self, Presence};
use super::value::FromToml;

/// A table such as `[policy.standard]`, read key by key.
pub(super) struct Section<'a> {
    /// Its name in the reference table: `policy`.
    kind: &'static str,
    /// How messages call it: `[policy.standard]`.
    title: String,
    table: &'a DeTable<'a>,
    header: Range<usize>,
    report: &'a Report<'a>,
    /// Keys about which a problem is already noted; nothing else is said about them.
    failed: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    /// Opens the table.
    pub(super) fn open(
        kind: &'static str,
        title: String,
        table: &'a DeTable<'a>,
        header: Range<usize>,
        report: &'a Report<'a>,
    ) -> Section<'a> {
        Section { kind, title, table, header, report, failed: RefCell::new(BTreeSet::new()) }
    }

    /// Reports the keys that this kind of section does not have.
    pub(super) fn refuse_unknown(&self) {
        let known = reference::names(self.kind);
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let hint = match reference::sections_of(name).as_slice() {
                [] => suggestion(name, &known),
                [section, ..] => format!("It belongs to {}.", reference::heading(section)),
            };
            let what = format!("{} has no key `{name}`", self.title);
            self.report.unknown(key.span(), what, hint);
        }
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where a message about `key` points: its value, or the section's header where it is absent.
    pub(super) fn place(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or(self.header.clone(), Spanned::span)
    }

    /// Where a message about an item of the list `key` points.
    pub(super) fn place_in(&self, key: &str, index: usize) -> Range<usize> {
        let list = self.table.get(key).and_then(|value| value.get_ref().as_array());
        list.and_then(|items| items.get(index)).map_or(self.place(key), Spanned::span)
    }

    /// A key with a default in the reference table. After a problem, the default stands in.
    pub(super) fn value<T: FromToml>(&self, key: &'static str) -> T {
        self.optional(key).unwrap_or_else(|| default(self.kind, key))
    }

    /// A key that may be absent; also absent after a problem.
    pub(super) fn optional<T: FromToml>(&self, key: &'static str) -> Option<T> {
        let value = T::from_toml(self.table.get(key)?, self.report);
        if value.is_none() {
            self.failed.borrow_mut().insert(key);
        }
        value
    }

    /// A key that must be there.
    pub(super) fn required<T: FromToml>(&self, key: &'static str) -> Option<T> {
        if !self.has(key) {
            self.missing(key, format!("{} lacks `{key}`", self.title));
        }
        self.optional(key)
    }

    /// Reports that `key` is absent, with its example as the hint; not where an unknown key is
    /// already told to be a slip for it.
    pub(super) fn missing(&self, key: &'static str, what: String) {
        let known = reference::names(self.kind);
        let mut unknown = self.table.keys().filter(|name| !known.contains(&&**name.get_ref()));
        if unknown.any(|name| nearest(name.get_ref(), known.iter().copied()) == Some(key)) {
            self.failed.borrow_mut().insert(key);
            return;
        }
        let example = reference::find(self.kind, key).map_or("…", |key| key.example);
        self.report.missing(self.header.clone(), what, format!("Write `{key} = {example}`."));
        self.failed.borrow_mut().insert(key);
    }

    /// Whether nothing was found wrong about any of `keys`.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| !self.failed.borrow().contains(key))
    }

    /// Demands a condition of a key that was read without a problem.
    pub(super) fn demand(
        &self,
        key: &'static str,
        holds: bool,
        what: impl FnOnce() -> String,
        hint: &str,
    ) {
        if !holds && self.sound(&[key]) {
            self.report.wrong(self.place(key), what(), hint);
            self.failed.borrow_mut().insert(key);
        }
    }

    /// Demands that the text of `key`, where it stands, is one of `known`, which are `what`s.
    pub(super) fn demand_known(&self, key: &'static str, what: &str, known: &[&str]) {
        let Some(name) = self.text(key).filter(|name| !known.contains(name)) else { return };
        let message = format!("there is no {what} `{name}`");
        self.report.missing(self.place(key), message, suggestion(name, known));
        self.failed.borrow_mut().insert(key);
    }

    /// The text of `key` if it is text; nothing is reported.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.table.get(key)?.get_ref().as_str()
    }

    /// The table `key` as a section of its own (`[resource.drill]`), empty where it is absent.
    pub(super) fn subtable(&self, key: &str, kind: &'static str) -> Option<Section<'a>> {
        let value = self.table.get(key)?;
        let title = format!("[{kind}]");
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(Section::open(kind, title, table, value.span(), self.report))
            }
            other => {
                let what = format!("`{key}` is {}, not a table", described(other));
                self.report.wrong(value.span(), what, format!("Write `{title}` on its own line."));
                None
            }
        }
    }

    /// The tables of the list `key` (`[[resource.check]]`), in the file's order.
    pub(super) fn list(&self, key: &str, kind: &'static str) -> Vec<Section<'a>> {
        self.table.get(key).map_or_else(Vec::new, |value| tables(value, key, kind, self.report))
    }
}

/// The tables of a list such as `[[resource]]`.
pub(super) fn tables<'a>(
    value: &'a Spanned<DeValue<'a>>,
    key: &str,
    kind: &'static str,
    report: &'a Report<'a>,
) -> Vec<Section<'a>> {
    let title = format!("[[{kind}]]");
    let hint = format!("Write `{title}` on its own line, once for each.");
    let DeValue::Array(items) = value.get_ref() else {
        let what = format!("`{key}` is {}, not a list of tables", described(value.get_ref()));
        report.wrong(value.span(), what, hint);
        return Vec::new();
    };
    let open = |item: &'a Spanned<DeValue<'a>>| match item.get_ref() {
        DeValue::Table(table) => {
            Some(Section::open(kind, title.clone(), table, item.span(), report))
        }
        other => {
            report.wrong(item.span(), format!("{} stands in `{title}`", described(other)), &*hint);
            None
        }
    };
    items.iter().filter_map(open).collect()
}

/// The default of the reference table.
///
/// # Panics
/// If the table has none or it does not parse; a test reads each.
pub(super) fn default<T: FromToml>(kind: &str, key: &str) -> T {
    let row = reference::find(kind, key);
    let Some(Presence::Default(text)) = row.map(|row| row.presence) else {
        panic!("`{kind}.{key}` has no default in the reference table");
    };
    let report = Report::new(text);
    let value = DeValue::parse(text).ok().and_then(|value| T::from_toml(&value, &report));
    value.unwrap_or_else(|| panic!("the default of `{kind}.{key}` does not parse: {text}"))
}

/// A value's type, for messages: "a number".
pub(super) fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
