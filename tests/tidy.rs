//! The rules of the house, checked: imports, effects, first lines, sizes.
//!
//! The table of rooms is section 3 of DESIGN.md, but that `model` may import `error`: parsing a
//! word of the vocabulary can fail. An exception stands here, with its reason, or nowhere.

mod paths; // every path a file names
mod room_rules; // who may import whom, who may touch what
mod shape; // first lines, lengths, words

use std::fs;
use std::path::Path;

use room_rules::{Effect, Grant, Room};
use shape::LongFile;

/// Everything below the faces, for rooms that may import "all above".
const LOWER: &[&str] =
    &["model", "error", "config", "plan", "ports", "repository", "catalog", "engines", "jobs"];
const EVERYTHING: &[&str] = &["*"];

/// What each room of `src/` may import besides itself, `std` and crates.
const ROOMS: &[Room] = &[
    Room::pure("error", &[], "the one shape of an error, at every border"),
    Room::pure("model", &["error"], "the vocabulary depends on nothing but how it is refused"),
    Room::pure("config", &["model", "error"], "text in, a configuration or its problems out"),
    Room::pure("plan", &["model", "config", "error"], "decisions are functions of facts"),
    Room::new("ports", &["model", "error"], "what the world must do, in our words"),
    Room::new("repository", &["model", "error", "ports"], "bytes and keys, over any store"),
    Room::new("catalog", &["model", "error", "ports"], "what we know locally"),
    Room::new("engines", LOWER, "they do what plans say, through ports"),
    Room::new("jobs", &["model", "error", "plan", "catalog", "ports"], "the life of a run"),
    Room::new(
        "drill",
        &["*lower", "evidence"],
        "rehearses with the engines, never with production; fills the report",
    ),
    Room::new("tenants", &["drill", "*lower"], "restores and drills serve tenants too"),
    Room::new(
        "evidence",
        &["model", "error", "plan", "repository", "catalog"],
        "tells what was done, and cannot do anything",
    ),
    Room::new("notify", &["model", "error", "ports"], "sends words it is given"),
    Room::new("adapters", &["model", "error", "ports"], "fills ports, knows nobody else"),
    Room::new("web", EVERYTHING, "a face shows all"),
    Room::new("cli", EVERYTHING, "a face shows all, and puts a command's parts together"),
    Room::new("demo", EVERYTHING, "plays the operator, from disaster to proof"),
    Room::new("daemon", EVERYTHING, "the composition root"),
    Room::new("main", EVERYTHING, "argv to exit code"),
    Room::new("lib", EVERYTHING, "names the rooms"),
];

/// Who may touch the world outside; nobody else does.
const GRANTS: &[Grant] = &[
    Grant("adapters", Effect::ALL, "the room for it"),
    Grant("demo", Effect::ALL, "starts servers, loads data, breaks things"),
    Grant("cli", &[Effect::Files, Effect::Environment], "reads the configuration file"),
    Grant("cli", &[Effect::Processes], "an exit code, or the signal of RULES 1"),
    Grant("cli", &[Effect::Stopwatch], "the demo's own story"),
    Grant("drill", &[Effect::Stopwatch], "deadlines of checks, on tokio's clock"),
    Grant("main", &[Effect::Environment], "argv"),
    Grant("main", &[Effect::Processes], "an exit code, or the signal of RULES 1"),
    Grant("daemon", &[Effect::Environment], "systemd speaks through it"),
    Grant("daemon", &[Effect::Files], "reports beside the state, places of rehearsals"),
    Grant("daemon", &[Effect::Network, Effect::Processes], "its control socket; who speaks there"),
    Grant("daemon", &[Effect::Stopwatch], "pauses of its loops, on tokio's clock"),
    Grant("web", &[Effect::Network], "it answers where the configuration says"),
    Grant("engines/postgres", &[Effect::Files], "a data directory is files"),
    Grant("engines/postgres", &[Effect::Processes], "a restored server is a process"),
    Grant("engines/postgres", &[Effect::Stopwatch], "waits of a stream, on tokio's clock"),
    Grant("engines/postgres/restore", &[Effect::Network], "its own socket for log (RULES 7)"),
    Grant("engines/documents", &[Effect::Files], "a folder of documents is files"),
];

/// Files over the limit that stay whole, each with its reason.
const LONG_FILES: &[LongFile] = &[];

#[test]
fn rooms_import_only_what_the_table_allows() {
    report(&on_sources(&["src"], |path, text| room_rules::imports(ROOMS, LOWER, path, text)));
}

#[test]
fn only_adapters_touch_the_outside() {
    report(&on_sources(&["src"], |path, text| room_rules::effects(ROOMS, GRANTS, path, text)));
}

#[test]
fn files_functions_and_lines_keep_their_shape() {
    let mut problems = on_sources(&["src", "tests", "benches"], |path, text| {
        shape::problems(LONG_FILES, path, text)
    });
    problems.extend(on_sources(&["src", "tests", "benches"], |path, _| shape::name(path)));
    report(&problems);
}

/// What `check(path, text)` finds in every Rust file below the folders, path by path.
fn on_sources(folders: &[&str], check: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut found = Vec::new();
    let mut files = 0;
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.extend(check(&name, &fs::read_to_string(&path).unwrap()));
            files += 1;
        }
    }
    assert!(files > 20, "only {files} files found: the check looks in the wrong place");
    found.sort();
    found
}

#[track_caller]
fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}
