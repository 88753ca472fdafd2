//! The whole file: its sections in the order in which they can be judged, and what only shows
//! between them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::suggestion;
use super::policy::Policy;
use super::problem::Report;
use super::repository::{Location, Repository};
use super::resource::{Known, Method, Resource, Source};
use super::section::{Section, described, tables};
use super::{Config, daemon, notify, policy, repository, resource, service};
use crate::model::ResourceName;

/// Far more than any real file; a bound for the parser.
const FILE_BYTES_MAX: usize = 1 << 20;

const TOP: [&str; 6] = ["daemon", "repository", "policy", "resource", "service", "notify"];

const SYNTAX_HINT: &str =
    "Write `key = value`, one a line, text in double quotes (https://toml.io).";

/// Reads everything, noting every problem. Nothing is returned only after a problem is noted.
pub(super) fn read(text: &str, report: &Report<'_>) -> Option<Config> {
    if text.len() > FILE_BYTES_MAX {
        let hint = "A configuration has at most 1 MiB: is this the right file?";
        report.wrong(0..0, format!("the file has {} bytes", text.len()), hint);
        return None;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        report.syntax(span, error.message().to_owned(), SYNTAX_HINT);
    }
    Document { table: document.get_ref(), report }.read()
}

struct Document<'a> {
    table: &'a DeTable<'a>,
    report: &'a Report<'a>,
}

impl<'a> Document<'a> {
    fn read(&self) -> Option<Config> {
        self.report_unknown();
        let daemon = daemon::read(self.single("daemon").as_ref());

        let repository_sections = self.named("repository");
        if !self.table.contains_key("repository") {
            let hint = "Add `[repository.main]` with `path` or `bucket`.";
            self.report.missing(0..0, "no repository is configured".to_owned(), hint);
        }
        let repository_names: Vec<&str> =
            repository_sections.iter().map(|(name, _)| *name).collect();
        let repositories = self.repositories(&repository_sections);

        let policies: BTreeMap<String, Policy> = self
            .named("policy")
            .iter()
            .map(|(name, section)| {
                ((*name).to_owned(), policy::read(section, name, &repository_names))
            })
            .collect();

        let sections = self.list("resource");
        self.report_repeated_names(&sections);
        let known = Known { repositories: &repository_names, policies: &policies };
        let resources: Vec<Resource> = sections
            .iter()
            .filter_map(|section| resource::read(section, &known, self.report))
            .inspect(|resource| self.check_folders(resource, &repositories, &repository_sections))
            .collect();

        let names: Vec<&str> = sections.iter().filter_map(|section| section.text("name")).collect();
        let sections = self.list("service");
        self.report_repeated_names(&sections);
        let services = sections
            .iter()
            .inspect(|section| self.report_ambiguous(section, &names))
            .filter_map(|section| service::read(section, &names, self.report))
            .collect();

        let section = self.single("notify");
        let webhooks = section
            .as_ref()
            .map_or_else(Vec::new, |section| section.list("webhook", "notify.webhook"));
        self.report_repeated_names(&webhooks);
        let notify = notify::read(section.as_ref(), &webhooks);
        Some(Config { daemon, repositories, policies, resources, services, notify })
    }

    fn report_unknown(&self) {
        for (key, value) in self.table {
            let name: &str = key.get_ref();
            if TOP.contains(&name) {
                continue;
            }
            let what = match value.get_ref() {
                DeValue::Table(_) | DeValue::Array(_) => format!("there is no section `{name}`"),
                _ => format!("`{name}` stands outside every section"),
            };
            let hint = match super::reference::sections_of(name).as_slice() {
                [section, ..] => format!("It belongs to {}.", super::reference::heading(section)),
                [] => suggestion(name, &TOP),
            };
            self.report.unknown(key.span(), what, hint);
        }
    }

    /// `[daemon]`.
    fn single(&self, kind: &'static str) -> Option<Section<'a>> {
        let (key, value) = self.table.get_key_value(kind)?;
        self.open(kind, format!("[{kind}]"), key.span(), value)
    }

    /// `[repository.NAME]`, by name.
    fn named(&self, kind: &'static str) -> Vec<(&'a str, Section<'a>)> {
        let Some(value) = self.table.get(kind) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            let what = format!("`{kind}` is {}, not a table", described(value.get_ref()));
            self.report.wrong(value.span(), what, format!("Write `[{kind}.NAME]`."));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            if !value.get_ref().is_table() {
                let what = format!("`{name}` stands in `[{kind}]`, which needs a name");
                let hint = format!("Write `[{kind}.NAME]`, and refer to it by that name.");
                self.report.unknown(key.span(), what, hint);
                continue;
            }
            if name.parse::<ResourceName>().is_err() {
                let hint = "Use up to 55 lower-case letters, digits, `_` and `-`.";
                self.report.wrong(key.span(), format!("`{name}` is not a name"), hint);
            }
            let title = format!("[{kind}.{name}]");
            sections.extend(self.open(kind, title, key.span(), value).map(|opened| (name, opened)));
        }
        sections
    }

    /// `[[resource]]`, in the file's order.
    fn list(&self, kind: &'static str) -> Vec<Section<'a>> {
        let value = self.table.get(kind);
        value.map_or_else(Vec::new, |value| tables(value, kind, kind, self.report))
    }

    fn open(
        &self,
        kind: &'static str,
        title: String,
        header: Range<usize>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<Section<'a>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(Section::open(kind, title, table, header, self.report));
        }
        let what = format!("`{kind}` is {}, not a table", described(value.get_ref()));
        self.report.wrong(value.span(), what, format!("Write `{title}` on its own line."));
        None
    }

    /// Two names for one place would make a copy in itself.
    fn repositories(&self, sections: &[(&str, Section<'a>)]) -> BTreeMap<String, Repository> {
        let mut read: BTreeMap<String, Repository> = BTreeMap::new();
        for (name, section) in sections {
            let Some(repository) = repository::read(section, name, self.report) else { continue };
            if let Some(same) = read.values().find(|other| same_place(other, &repository)) {
                let key = if section.has("path") { "path" } else { "bucket" };
                let what = format!("`{name}` is the same place as `{}`", same.name);
                let hint = "Give each repository its own place.";
                self.report.wrong(section.place(key), what, hint);
            }
            read.insert((*name).to_owned(), repository);
        }
        read
    }

    fn report_repeated_names(&self, sections: &[Section<'a>]) {
        for (at, section) in sections.iter().enumerate() {
            let Some(name) = section.text("name") else { continue };
            if sections[..at].iter().any(|earlier| earlier.text("name") == Some(name)) {
                let what = format!("the name `{name}` is used twice");
                self.report.wrong(section.place("name"), what, "Give each its own name.");
            }
        }
    }

    /// `fenice drill run NAME` takes either.
    fn report_ambiguous(&self, section: &Section<'a>, resources: &[&str]) {
        if let Some(name) = section.text("name").filter(|name| resources.contains(name)) {
            let what = format!("the service `{name}` has the name of a resource");
            let hint = "Commands take either by name: choose another for the service.";
            self.report.wrong(section.place("name"), what, hint);
        }
    }

    /// A repository within the data directory would be lost with it, and back itself up.
    fn check_folders(
        &self,
        resource: &Resource,
        repositories: &BTreeMap<String, Repository>,
        sections: &[(&str, Section<'a>)],
    ) {
        let Source::Postgres(source) = &resource.source;
        let Method::Files { data_dir } = &source.method else { return };
        for (name, section) in sections {
            let repository = repositories.get(*name);
            let Some(Location::Folder(folder)) = repository.map(|found| &found.location) else {
                continue;
            };
            if folder.starts_with(data_dir) || data_dir.starts_with(folder) {
                let what = format!(
                    "the repository `{name}` and the data directory of `{}` contain each other",
                    resource.name
                );
                let hint = "Keep the repository apart from what it protects.";
                self.report.wrong(section.place("path"), what, hint);
            }
        }
    }
}

fn same_place(one: &Repository, other: &Repository) -> bool {
    let folder = |path: &PathBuf| Path::new(path).components().collect::<PathBuf>();
    match (&one.location, &other.location) {
        (Location::Folder(one), Location::Folder(other)) => folder(one) == folder(other),
        (Location::Bucket(one), Location::Bucket(other)) => {
            (one.place.path(), &one.place.endpoint) == (other.place.path(), &other.place.endpoint)
        }
        _ => false,
    }
}
