//! Configuration: every problem at once, and the commented example.

mod cron; // schedules
mod example; // config/fenice.toml, docs/CONFIGURATION.md and the reference table agree
mod meaning; // what good files become
mod notify; // who is told, and each way it can be wrong
mod problems; // what broken files are told

use fenice::config::{Config, Problems, parse};

/// The least that is complete.
const LEAST: &str = r#"
[repository.main]
path = "/srv/fenice"
[policy.standard]
[[resource]]
name = "registro"
kind = "postgres"
repository = "main"
policy = "standard"
connection = "host=/run/postgresql user=fenice"
data_dir = "/var/lib/postgresql/15/main"
"#;

#[track_caller]
fn good(text: &str) -> Config {
    parse(text, "fenice.toml").unwrap_or_else(|problems| panic!("{problems}"))
}

#[track_caller]
fn bad(text: &str) -> Problems {
    match parse(text, "fenice.toml") {
        Ok(config) => panic!("nothing is reported: {config:?}"),
        Err(problems) => problems,
    }
}
