//! Prometheus' own checker: of the text, of the alerts, of how they behave, of the dashboard.

use std::fmt::Write as _;
use std::process::Command;

use fenice::web::ResourceFacts;
use fenice::web::metrics::text;

use super::named::{RULE_TESTS, RULES, all_under, dashboard, place};
use super::sample::{name, now, promise, sample};
use crate::support::{Scratch, promtool, run};

#[track_caller]
fn accepts(arguments: &[&str], input: &str) {
    let mut command = Command::new(promtool());
    let ended = run(command.args(arguments).current_dir(place(".")), input);
    assert_eq!(ended.code, Some(0), "{arguments:?}:\n{}{}", ended.stdout, ended.stderr);
}

#[test]
fn the_metrics_pass_prometheus_own_checks() {
    let full = sample();
    let mut mixed = sample();
    mixed.resources.insert(name("new"), ResourceFacts::unmeasured(Some(promise())));
    for measured in [full, mixed] {
        accepts(&["check", "metrics"], &text(&measured, now()).unwrap());
    }
}

#[test]
fn the_alert_rules_are_well_formed() {
    accepts(&["check", "rules", RULES], "");
}

/// Each alert fires when its fault is there, and nothing fires otherwise: see the file.
#[test]
fn each_alert_fires_on_its_fault_and_on_nothing_else() {
    accepts(&["test", "rules", RULE_TESTS], "");
}

#[test]
fn the_dashboard_asks_what_prometheus_understands() {
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, expression) in all_under(&dashboard(), "expr").iter().enumerate() {
        let expression = expression.replace("$resource", ".*");
        let quoted = serde_json::to_string(&expression).unwrap();
        let _ = writeln!(rules, "      - record: dashboard:{number}\n        expr: {quoted}");
    }
    let scratch = Scratch::new();
    let path = scratch.path().join("rules.yml");
    std::fs::write(&path, rules).unwrap();
    accepts(&["check", "rules", path.to_str().unwrap()], "");
}
