//! One list of metrics: what is exported is explained, what is named is exported, and every alert
//! says what to do.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::named::{
    DOCUMENT, Family, RULE_TESTS, all_under, dashboard, exported, metrics_in, read, rules,
};

/// The rows of the document's tables whose first cell begins so, cell by cell.
fn rows(begin: &str) -> Vec<Vec<String>> {
    let text = read(DOCUMENT);
    let lines = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    let ours = lines.filter(|line| line.starts_with(begin));
    ours.map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn unit(name: &str) -> &'static str {
    let units = [("_timestamp_seconds", "Unix time"), ("_seconds", "seconds"), ("_bytes", "bytes")];
    units.iter().find(|(end, _)| name.ends_with(end)).map_or("", |(_, unit)| *unit)
}

/// The row that a family should have.
fn row(name: &str, family: &Family) -> Vec<String> {
    let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    let watching = rules().into_iter().filter(|rule| rule.is_alert && rule.names().contains(name));
    let watching: Vec<String> = watching.map(|rule| rule.name).collect();
    vec![
        format!("`{name}`"),
        family.kind.clone(),
        unit(name).to_owned(),
        labels.join(", "),
        family.help.clone(),
        watching.join(", "),
    ]
}

#[test]
fn every_metric_is_documented_as_it_is_exported_and_watched() {
    let documented = rows("`fenice_");
    let exported = exported();
    let expected: Vec<_> = exported.iter().map(|(name, family)| row(name, family)).collect();
    let wrong: Vec<String> = expected
        .iter()
        .filter(|row| !documented.contains(row))
        .map(|row| format!("| {} |", row.join(" | ")))
        .collect();
    assert!(wrong.is_empty(), "{DOCUMENT} should have these rows:\n{}", wrong.join("\n"));
    let names: BTreeSet<&String> = documented.iter().map(|row| &row[0]).collect();
    assert_eq!(names.len(), documented.len(), "a metric is documented twice");
    assert_eq!(documented.len(), expected.len(), "more is documented than is exported");
}

#[test]
fn every_alert_is_documented_with_its_runbook() {
    let expected: Vec<Vec<String>> = rules()
        .iter()
        .filter(|rule| rule.is_alert)
        .map(|rule| {
            let runbook = rule.runbook().unwrap_or_else(|| panic!("{} has no runbook", rule.name));
            let link = format!("[{runbook}](../runbooks/{runbook})");
            let [severity, after] = ["severity", "for"].map(|key| rule.value(key).unwrap());
            vec![rule.name.clone(), severity, after, link]
        })
        .collect();
    assert_eq!(rows("Fenice"), expected);
}

#[test]
fn what_is_recorded_is_documented() {
    let recorded = rules().into_iter().filter(|rule| !rule.is_alert);
    let expected: Vec<String> = recorded.map(|rule| format!("`{}`", rule.name)).collect();
    let documented: Vec<String> =
        rows("`resource:").into_iter().map(|mut row| row.remove(0)).collect();
    assert_eq!(documented, expected);
}

#[test]
fn rules_and_dashboard_name_only_what_is_exported_or_recorded() {
    let exported = exported();
    let recorded: BTreeSet<String> =
        rules().into_iter().filter(|rule| !rule.is_alert).map(|rule| rule.name).collect();
    let is_known = |name: &String| exported.contains_key(name) || recorded.contains(name);
    for rule in rules() {
        let strange: Vec<_> = rule.names().into_iter().filter(|name| !is_known(name)).collect();
        assert!(strange.is_empty(), "{} names {strange:?}", rule.name);
    }
    let dashboard = dashboard();
    let mut shown = BTreeSet::new();
    for key in ["expr", "query"] {
        shown.extend(all_under(&dashboard, key).into_iter().flat_map(metrics_in));
    }
    let strange: Vec<_> = shown.iter().filter(|name| !is_known(name)).collect();
    assert!(strange.is_empty(), "the dashboard names {strange:?}");
    for needed in ["resource:fenice_green:bool", "fenice_rpo_exposure_seconds", "fenice_unknown"] {
        assert!(shown.contains(needed), "the dashboard does not show {needed}");
    }
}

#[test]
fn every_alert_says_how_grave_it_is_what_it_means_and_what_to_do() {
    for rule in rules().iter().filter(|rule| rule.is_alert) {
        let name = &rule.name;
        let value = |key: &str| rule.value(key).unwrap_or_else(|| panic!("{name} has no {key}"));
        assert!(["critical", "warning", "info"].contains(&value("severity").as_str()), "{name}");
        assert!(value("for").ends_with(['m', 'h', 'd']), "{name}");
        assert!(!value("summary").ends_with('.'), "{name}: the summary is no sentence");
        assert!(value("description").ends_with('.'), "{name}: the description is one");
        let runbook = rule.runbook().unwrap_or_else(|| panic!("{name} names no runbook"));
        let text = read(&format!("runbooks/{runbook}"));
        assert!(text.starts_with("# "), "{runbook} has no heading");
        assert!(text.contains("**When:**") && text.contains("**Done when**"), "{runbook}");
        assert!(text.contains(name.as_str()), "{runbook} does not name {name}");
    }
}

#[test]
fn every_alert_is_shown_to_fire() {
    let tests = read(RULE_TESTS);
    for rule in rules().iter().filter(|rule| rule.is_alert) {
        let fires = format!("ALERTS{{alertname=\"{}\", alertstate=\"firing\"", rule.name);
        assert!(tests.contains(&fires), "no test shows {} firing", rule.name);
    }
}

#[test]
fn the_dashboard_holds_together() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 38, "Grafana 10");
    let list = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<&str> = list.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(variables, ["datasource", "resource"]);
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels share an id");
    let mut titles: BTreeMap<&str, u32> = BTreeMap::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        *titles.entry(title).or_default() += 1;
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "`{title}` asks nothing");
        let asked = [panel].into_iter().chain(targets);
        for asked in asked.map(|asked| &asked["datasource"]["uid"]) {
            assert_eq!(asked, &Value::from("${datasource}"), "`{title}`");
        }
    }
    assert!(titles.values().all(|count| *count == 1), "{titles:?}");
}
