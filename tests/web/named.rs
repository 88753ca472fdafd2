//! What the program exports, and what alerts, dashboard and documents name, read from their texts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fenice::web::metrics::text;
use serde_json::Value;

use super::sample::{now, sample};

pub(super) const RULES: &str = "config/prometheus/fenice.rules.yml";
pub(super) const RULE_TESTS: &str = "config/prometheus/fenice.rules.test.yml";
pub(super) const DASHBOARD: &str = "config/grafana/fenice.json";
pub(super) const DOCUMENT: &str = "docs/METRICS.md";

/// A file of the source tree.
pub(super) fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(super) fn read(name: &str) -> String {
    let path = place(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One family of metrics as it is exported.
#[derive(Debug, Default)]
pub(super) struct Family {
    pub(super) kind: String,
    pub(super) help: String,
    /// But for `le`, which every histogram has.
    pub(super) labels: Vec<String>,
}

/// Everything the sample exports, by name.
pub(super) fn exported() -> BTreeMap<String, Family> {
    let text = text(&sample(), now()).unwrap();
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            let (name, help) = told.split_once(' ').unwrap();
            current = name.to_owned();
            let before = families.insert(current.clone(), Family::default());
            assert!(before.is_none(), "{name} is exported twice");
            families.get_mut(name).unwrap().help = help.to_owned();
        } else if let Some(told) = line.strip_prefix("# TYPE ") {
            families.get_mut(&current).unwrap().kind = told.split_once(' ').unwrap().1.to_owned();
        } else {
            families.get_mut(&current).unwrap().labels = label_names(line);
        }
    }
    families
}

fn label_names(sample: &str) -> Vec<String> {
    let Some((_, rest)) = sample.split_once('{') else { return Vec::new() };
    let pairs = rest.split_once('}').unwrap().0.split(',');
    let names = pairs.map(|pair| pair.split_once('=').unwrap().0.to_owned());
    names.filter(|name| name != "le").collect()
}

/// An alert, or what is recorded under a name of its own.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) is_alert: bool,
    lines: Vec<String>,
}

/// The rules in their order. Their file is YAML as it is written by hand: two spaces deeper at
/// each level, one key a line.
pub(super) fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in read(RULES).lines() {
        let begun = line.trim_start().strip_prefix("- ").and_then(|key| key.split_once(": "));
        match begun {
            Some((kind @ ("alert" | "record"), name)) => rules.push(Rule {
                name: name.to_owned(),
                is_alert: kind == "alert",
                lines: Vec::new(),
            }),
            _ => {
                if let Some(rule) = rules.last_mut() {
                    rule.lines.push(line.to_owned());
                }
            }
        }
    }
    assert!(rules.len() > 20, "only {} rules were understood", rules.len());
    rules
}

impl Rule {
    /// The value of a key of the rule, at whatever level; text over several lines in one.
    pub(super) fn value(&self, key: &str) -> Option<String> {
        let depth = |line: &str| line.len() - line.trim_start().len();
        let is_it = |line: &&String| line.trim_start().strip_prefix(key).is_some_and(is_value);
        let line = self.lines.iter().find(is_it)?;
        let at = self.lines.iter().position(|other| other == line)?;
        let first = line.trim_start()[key.len() + 1..].trim();
        let first = if matches!(first, "|" | ">-") { "" } else { first };
        let more = self.lines[at + 1..].iter().take_while(|more| depth(more) > depth(line));
        let words: Vec<&str> = [first].into_iter().chain(more.map(|more| more.trim())).collect();
        Some(words.join(" ").trim().trim_matches('"').to_owned())
    }

    /// The names of metrics in its expression.
    pub(super) fn names(&self) -> BTreeSet<String> {
        metrics_in(&self.value("expr").unwrap_or_else(|| panic!("{} has no expr", self.name)))
    }

    /// The runbook it names.
    pub(super) fn runbook(&self) -> Option<String> {
        let url = self.value("runbook_url")?;
        Some(url.rsplit_once("/runbooks/")?.1.to_owned())
    }
}

fn is_value(rest: &str) -> bool {
    rest == ":" || rest.starts_with(": ")
}

/// The metrics of ours that an expression names, as they are exported or recorded: without what a
/// histogram adds to its name, and without texts in quotes.
pub(super) fn metrics_in(expression: &str) -> BTreeSet<String> {
    let bare: String = expression.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let words = bare.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let ours = words.filter(|word| word.contains("fenice_"));
    let base = |word: &str| {
        let histogram = ["_bucket", "_sum", "_count"].into_iter();
        let mut cut = histogram.filter_map(|end| word.strip_suffix(end));
        cut.next().unwrap_or(word).to_owned()
    };
    ours.map(base).collect()
}

/// Everything below `value` that stands under `key`.
pub(super) fn all_under<'v>(value: &'v Value, key: &str) -> Vec<&'v str> {
    let mut waiting = vec![value];
    let mut found = Vec::new();
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get(key).and_then(Value::as_str));
                waiting.extend(fields.values());
            }
            Value::Array(items) => waiting.extend(items),
            _ => {}
        }
    }
    found
}

pub(super) fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).unwrap()
}
