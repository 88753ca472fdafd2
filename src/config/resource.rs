//! `[[resource]]`: one protected thing, how to reach it, how a drill judges it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::connection;
use super::policy::Policy;
use super::problem::Report;
use super::section::{Section, default};
use super::value::{FromToml, one_of};
use crate::model::{ResourceName, Span};

/// One protected thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    pub name: ResourceName,
    /// A key of [`super::Config::repositories`].
    pub repository: String,
    /// A key of [`super::Config::policies`].
    pub policy: String,
    pub source: Source,
    /// Threads that read and write files, 1 to 256; None is the number of cores.
    pub workers: Option<u32>,
    /// After this long a snapshot reads every file, changed or not.
    pub full_read_every: Span,
    pub drill: DrillLimits,
    /// In the file's order, names unique.
    pub checks: Vec<Check>,
}

/// What kind of thing it is. More kinds come: match on it.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Postgres(PostgresSource),
}

/// A PostgreSQL cluster that you run yourself.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresSource {
    /// libpq `key=value`, without a password; may list hosts.
    pub connection: String,
    /// Where heartbeats are written, if `connection` is a standby.
    pub primary_connection: Option<String>,
    pub method: Method,
    /// Of PostgreSQL's programs, for restores and drills; None: found where packages put it.
    pub bin_dir: Option<PathBuf>,
    /// The replication slot, a valid name.
    pub slot: String,
}

/// How a snapshot is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// From the files, on the database host.
    Files { data_dir: PathBuf },
    /// By `BASE_BACKUP`, from any host.
    Stream,
}

/// `[resource.drill]`: bounds of a rehearsal.
#[derive(Debug, Clone, PartialEq)]
pub struct DrillLimits {
    /// A drill that takes longer is ended and has not achieved its objective.
    pub max_duration: Span,
    /// How far row counts may differ from the last known ones, in percent.
    pub row_count_tolerance_percent: u32,
}

/// `[[resource.check]]`: a question to the restored data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    /// Gives one row with one value.
    pub sql: String,
    pub database: String,
    /// The value, in PostgreSQL's text form, that passes.
    pub expect: String,
    /// Whether failing means that the objective is not achieved.
    pub mandatory: bool,
    pub timeout: Span,
}

/// What a resource may refer to.
pub(super) struct Known<'k> {
    pub(super) repositories: &'k [&'k str],
    pub(super) policies: &'k BTreeMap<String, Policy>,
}

/// The words of `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KindWord {
    Postgres,
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MethodWord {
    Files,
    Stream,
}

/// Whether the section is of a kind this version protects. Otherwise one problem says so, and the
/// section need not be opened: its keys are another kind's.
pub(super) fn is_supported(section: &Section<'_>) -> bool {
    let kind: Option<KindWord> = section.required("kind");
    let later = kind == Some(KindWord::Later);
    section.demand(
        "kind",
        !later,
        || {
            format!(
                "the kind `{}` is not supported by this version",
                section.text("kind").unwrap_or("")
            )
        },
        "This version protects `postgres` only: remove the resource until its kind is supported.",
    );
    !later
}

/// Reads one resource.
pub(super) fn read(
    section: &Section<'_>,
    known: &Known<'_>,
    report: &Report<'_>,
) -> Option<Resource> {
    if !is_supported(section) {
        return None;
    }
    section.refuse_unknown();
    let name: Option<ResourceName> = section.required("name");
    let repository: Option<String> = section.required("repository");
    let policy: Option<String> = section.required("policy");
    section.demand_known("repository", "repository", known.repositories);
    let policies: Vec<&str> = known.policies.keys().map(String::as_str).collect();
    section.demand_known("policy", "policy", &policies);
    check_copy(section, known);
    let workers: Option<u32> = section.optional("workers");
    section.demand(
        "workers",
        workers.is_none_or(|workers| (1..=256).contains(&workers)),
        || "this is not a number of workers".to_owned(),
        "Write a number from 1 to 256, or leave it out for one a core.",
    );
    let full_read_every = section.value("full_read_every");
    positive(section, "full_read_every", full_read_every);
    let drill = read_drill(section);
    let checks = read_checks(section, report);
    let source = read_postgres(section, name.as_ref(), report).map(Source::Postgres);
    Some(Resource {
        name: name?,
        repository: repository?,
        policy: policy?,
        source: source?,
        workers,
        full_read_every,
        drill,
        checks,
    })
}

/// A copy in the same repository is no second copy.
fn check_copy(section: &Section<'_>, known: &Known<'_>) {
    let policy = section.text("policy").and_then(|name| known.policies.get(name));
    let Some((policy, copy_to)) = policy.and_then(|p| Some((p, p.copy_to.as_deref()?))) else {
        return;
    };
    section.demand(
        "repository",
        section.text("repository") != Some(copy_to),
        || format!("the policy `{}` copies to `{copy_to}`, where the original is", policy.name),
        "Let `copy_to` name a second repository, preferably in another place.",
    );
}

fn positive(section: &Section<'_>, key: &'static str, span: Span) {
    let what = || format!("`{key}` is zero");
    section.demand(key, span > Span::default(), what, "Write a length of time, at least \"1s\".");
}

fn not_empty(section: &Section<'_>, key: &'static str, text: Option<&String>) {
    let filled = text.is_none_or(|text| !text.trim().is_empty());
    section.demand(key, filled, || format!("`{key}` is empty"), "Write it, or remove the key.");
}

fn read_postgres(
    section: &Section<'_>,
    name: Option<&ResourceName>,
    report: &Report<'_>,
) -> Option<PostgresSource> {
    let connection: Option<String> = section.required("connection");
    let primary_connection: Option<String> = section.optional("primary_connection");
    connection::check(section, "connection", report);
    connection::check(section, "primary_connection", report);
    let bin_dir: Option<PathBuf> = section.optional("bin_dir");
    let slot: Option<String> = section.optional("slot");
    let allowed = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_');
    let valid = |slot: &String| (1..=63).contains(&slot.len()) && slot.bytes().all(allowed);
    section.demand(
        "slot",
        slot.as_ref().is_none_or(valid),
        || "this is not the name of a replication slot".to_owned(),
        "Use up to 63 lower-case letters, digits and `_`.",
    );
    let method = read_method(section);
    Some(PostgresSource {
        connection: connection?,
        primary_connection,
        method: method?,
        bin_dir,
        slot: slot.or_else(|| name.map(ResourceName::slot_name))?,
    })
}

fn read_method(section: &Section<'_>) -> Option<Method> {
    let word: MethodWord = section.value("method");
    if !section.sound(&["method"]) {
        return None;
    }
    if word == MethodWord::Files {
        return section.required("data_dir").map(|data_dir| Method::Files { data_dir });
    }
    section.demand(
        "data_dir",
        !section.has("data_dir"),
        || "`data_dir` is given, and the method `stream` reads no files".to_owned(),
        "Remove `data_dir`, or write `method = \"files\"`.",
    );
    Some(Method::Stream)
}

fn read_drill(section: &Section<'_>) -> DrillLimits {
    let Some(drill) = section.subtable("drill", "resource.drill") else {
        return DrillLimits {
            max_duration: default("resource.drill", "max_duration"),
            row_count_tolerance_percent: default("resource.drill", "row_count_tolerance_percent"),
        };
    };
    drill.refuse_unknown();
    let max_duration = drill.value("max_duration");
    positive(&drill, "max_duration", max_duration);
    let row_count_tolerance_percent = drill.value("row_count_tolerance_percent");
    drill.demand(
        "row_count_tolerance_percent",
        row_count_tolerance_percent <= 100,
        || format!("the tolerance is {row_count_tolerance_percent} %"),
        "Write a number from 0 to 100.",
    );
    DrillLimits { max_duration, row_count_tolerance_percent }
}

fn read_checks(section: &Section<'_>, report: &Report<'_>) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for section in section.list("check", "resource.check") {
        section.refuse_unknown();
        let name: Option<String> = section.required("name");
        not_empty(&section, "name", name.as_ref());
        let sql: Option<String> = section.required("sql");
        not_empty(&section, "sql", sql.as_ref());
        let timeout = section.value("timeout");
        positive(&section, "timeout", timeout);
        let database = section.value("database");
        let expect = section.value("expect");
        let mandatory = section.value("mandatory");
        let (Some(name), Some(sql)) = (name, sql) else { continue };
        if checks.iter().any(|check| check.name == name) {
            let what = format!("the resource has two checks `{name}`");
            report.wrong(section.place("name"), what, "Give each check its own name.");
        }
        checks.push(Check { name, sql, database, expect, mandatory, timeout });
    }
    checks
}

impl FromToml for KindWord {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<KindWord> {
        let words = [
            ("postgres", KindWord::Postgres),
            ("rds", KindWord::Later),
            ("documents", KindWord::Later),
        ];
        one_of(value, report, &words)
    }
}

impl FromToml for MethodWord {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<MethodWord> {
        one_of(value, report, &[("files", MethodWord::Files), ("stream", MethodWord::Stream)])
    }
}
