//! `fenice check-config`: every problem of the file at once.

use serde_json::{Value, json};

use super::exit::Done;
use super::{Context, well};
use crate::config::{self, Config, Problems};
use crate::error::{Error, Kind, Result};
use crate::evidence::plain::Cell;

/// Check the configuration: every problem at once, with its place
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> Result<Done> {
    let file = context.config_file.display().to_string();
    match config::parse(&context.config_text()?, &file) {
        Ok(config) => well(
            context
                .output
                .answer(|| summary_value(&config, &file), || summary(context, &config, &file)),
        ),
        Err(problems) if context.output.json => {
            context.output.answer(|| problems_value(&problems), String::new)?;
            context.output.note(&problems);
            Ok(Done::BadConfig)
        }
        Err(problems) => Err(Error::from(problems).with_kind(Kind::Config)),
    }
}

fn summary(context: &Context, config: &Config, file: &str) -> String {
    let count = |number: usize, one: &str, many: &str| match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    };
    let repositories: Vec<&str> = config.repositories.keys().map(String::as_str).collect();
    let resources: Vec<&str> = config.resources.iter().map(|r| r.name.as_str()).collect();
    let services: Vec<&str> = config.services.iter().map(|s| s.name.as_str()).collect();
    let lines = [
        (count(repositories.len(), "repository", "repositories"), repositories),
        (count(resources.len(), "resource", "resources"), resources),
        (count(services.len(), "service", "services"), services),
    ];
    let facts: Vec<(&str, Cell)> = lines
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(label, names)| (label.as_str(), Cell::plain(names.join(", "))))
        .collect();
    format!("{file} is fine\n{}", context.output.terminal.facts(&facts))
}

fn summary_value(config: &Config, file: &str) -> Value {
    json!({
        "file": file,
        "problems": [],
        "repositories": config.repositories.keys().collect::<Vec<_>>(),
        "resources": config.resources.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
        "services": config.services.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
    })
}

fn problems_value(problems: &Problems) -> Value {
    let one = |problem: &config::Problem| {
        json!({
            "line": problem.line,
            "column": problem.column,
            "what": problem.what,
            "hint": problem.hint,
        })
    };
    json!({
        "file": problems.file,
        "problems": problems.problems.iter().map(one).collect::<Vec<_>>(),
        "omitted": problems.omitted,
    })
}
