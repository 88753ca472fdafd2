//! Who may import whom, and who may touch the world outside.

use super::paths::{Named, named};

/// A room of `src/`: a folder, or a file of that name.
#[derive(Debug)]
pub(super) struct Room {
    name: &'static str,
    may_import: &'static [&'static str],
    pure: bool,
    because: &'static str,
}

impl Room {
    pub(super) const fn new(
        name: &'static str,
        may_import: &'static [&'static str],
        because: &'static str,
    ) -> Room {
        Room { name, may_import, pure: false, because }
    }

    /// A room without I/O, clock, randomness, environment or async.
    pub(super) const fn pure(
        name: &'static str,
        may_import: &'static [&'static str],
        because: &'static str,
    ) -> Room {
        Room { name, may_import, pure: true, because }
    }

    /// `*` stands for every room, `*lower` for the list of that name.
    fn allows(&self, lower: &[&str], other: &str) -> bool {
        other == self.name
            || self.may_import.iter().any(|may| match *may {
                "*" => true,
                "*lower" => lower.contains(&other),
                name => name == other,
            })
    }
}

/// A way to touch the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Files,
    Network,
    Processes,
    Environment,
    /// What day it is.
    Calendar,
    /// How long something took.
    Stopwatch,
    Randomness,
    Threads,
}

impl Effect {
    pub(super) const ALL: &'static [Effect] = &[
        Effect::Files,
        Effect::Network,
        Effect::Processes,
        Effect::Environment,
        Effect::Calendar,
        Effect::Stopwatch,
        Effect::Randomness,
        Effect::Threads,
    ];

    /// Paths that begin so, or, where marked `…`, end so.
    fn signs(self) -> &'static [&'static str] {
        match self {
            Effect::Files => {
                &["std::fs", "std::os::unix::fs", "tokio::fs", "rustix::fs", "tempfile"]
            }
            Effect::Network => &["std::net", "std::os::unix::net", "tokio::net", "rustix::net"],
            Effect::Processes => &["std::process", "tokio::process", "rustix::process"],
            Effect::Environment => &["std::env"],
            Effect::Calendar => &["…SystemTime::now", "…Timestamp::now", "…Zoned::now"],
            Effect::Stopwatch => &["…Instant::now"],
            Effect::Randomness => &["rand", "getrandom", "aws_lc_rs::rand"],
            Effect::Threads => &["std::thread", "tokio"],
        }
    }
}

/// An address is a value; reaching it is the effect.
const ADDRESSES: &[&str] =
    &["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6"];

/// Permits the effects to files below a path of `src/`, for a reason.
#[derive(Debug)]
pub(super) struct Grant(
    pub(super) &'static str,
    pub(super) &'static [Effect],
    pub(super) &'static str,
);

/// Imports of the file that the table does not allow.
pub(super) fn imports(rooms: &[Room], lower: &[&str], path: &str, text: &str) -> Vec<String> {
    let Some(place) = place(path) else { return Vec::new() };
    let Some(room) = rooms.iter().find(|room| room.name == place[0]) else {
        return vec![format!("{path}: no room `{}` in the table of tests/tidy.rs", place[0])];
    };
    let mut problems = Vec::new();
    for named in named(text) {
        let Some(other) = room_of(&named, &place) else { continue };
        // At the root: a macro or an item of lib.rs, or everything at once.
        let known = other == "*" || rooms.iter().any(|room| room.name == other);
        if known && !room.allows(lower, &other) {
            problems.push(format!(
                "{path}:{}: `{}` must not import `{other}` ({})",
                named.line, room.name, room.because
            ));
        }
    }
    problems
}

/// Effects of the file that nobody granted.
pub(super) fn effects(rooms: &[Room], grants: &[Grant], path: &str, text: &str) -> Vec<String> {
    let Some(place) = place(path) else { return Vec::new() };
    let pure = rooms.iter().any(|room| room.pure && room.name == place[0]);
    let below = format!("{}/", place.join("/"));
    let here: Vec<&Grant> =
        grants.iter().filter(|grant| below.starts_with(&format!("{}/", grant.0))).collect();
    let granted = |effect: Effect| here.iter().any(|grant| grant.1.contains(&effect));
    let mut problems = Vec::new();
    for named in named(text) {
        for effect in Effect::ALL {
            // Outside the pure rooms, threads are a way to compute.
            let watched = pure || *effect != Effect::Threads;
            if watched && touches(&named.segments, *effect) && !granted(*effect) {
                let may: Vec<&str> = here.iter().map(|grant| grant.2).collect();
                problems.push(format!(
                    "{path}:{}: `{}` touches the world ({effect:?}); granted here: [{}]",
                    named.line,
                    named.segments.join("::"),
                    may.join("; "),
                ));
            }
        }
        if pure && named.segments == ["async"] {
            problems.push(format!("{path}:{}: `{}` is pure, not async", named.line, place[0]));
        }
    }
    problems
}

fn touches(segments: &[String], effect: Effect) -> bool {
    if segments.len() >= 3 && segments[1] == "net" && ADDRESSES.contains(&segments[2].as_str()) {
        return false;
    }
    effect.signs().iter().any(|sign| match sign.strip_prefix('…') {
        Some(end) => segments.join("::").ends_with(end),
        None => {
            let sign: Vec<&str> = sign.split("::").collect();
            // `tokio` alone may be a variable; as a path it has more.
            segments.len() > 1 && segments.len() >= sign.len() && segments[..sign.len()] == sign
        }
    })
}

/// The module path of a file of `src/`; `None` for test modules in files of their own.
fn place(path: &str) -> Option<Vec<String>> {
    let inner = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut place: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if place.last().is_some_and(|name| name == "mod") {
        place.pop();
    }
    if place.iter().any(|name| name == "tests") { None } else { Some(place) }
}

/// The room a path leads to, seen from `place`; `None` if it stays, or leaves the crate.
fn room_of(named: &Named, place: &[String]) -> Option<String> {
    let first = named.segments.first()?;
    if first == "crate" {
        return named.segments.get(1).cloned();
    }
    let ups = named.segments.iter().take_while(|segment| *segment == "super").count();
    // Inline modules are left first; then each `super` leaves one of our own.
    let levels = place.len() + named.depth;
    if ups == 0 || ups < levels { None } else { named.segments.get(ups).cloned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMS: &[Room] = &[
        Room::pure("model", &[], "bottom"),
        Room::pure("plan", &["model"], "pure"),
        Room::new("engines", &["*lower"], "through ports"),
        Room::new("adapters", &["model"], "outside"),
        Room::new("cli", &["*"], "face"),
    ];
    const LOWER: &[&str] = &["model", "plan"];
    const GRANTS: &[Grant] = &[
        Grant("adapters", Effect::ALL, "outside"),
        Grant("engines/postgres", &[Effect::Files], "files"),
    ];

    #[test]
    fn bad_imports_are_found_and_good_ones_pass() {
        for (path, text, problems) in [
            ("src/plan/mod.rs", "use crate::model::Lsn;", 0),
            ("src/plan/mod.rs", "use crate::plan::chain;", 0),
            ("src/plan/mod.rs", "use crate::adapters;", 1),
            ("src/plan/mod.rs", "use crate::{model, cli, adapters};", 2),
            ("src/plan/mod.rs", "use crate::*;", 1),
            ("src/plan/mod.rs", "fn f() { crate::adapters::now() }", 1),
            ("src/plan/mod.rs", "fn f() { format!(\"{}\", crate::adapters::now()); }", 1),
            ("src/plan/mod.rs", "use super::adapters;", 1),
            ("src/plan/a.rs", "use super::adapters;", 0),
            ("src/plan/a.rs", "use super::super::adapters;", 1),
            ("src/plan/a.rs", "mod b { use super::super::adapters; }", 0),
            ("src/plan/a.rs", "mod b { use super::super::super::adapters; }", 1),
            ("src/plan/a.rs", "#[cfg(test)] mod tests { use crate::adapters; }", 0),
            ("src/plan/tests.rs", "use crate::adapters;", 0),
            ("src/plan.rs", "use crate::cli;", 1),
            ("src/engines/postgres/ship.rs", "use crate::adapters::Folder;", 1),
            ("src/engines/postgres/ship.rs", "use crate::plan::chain;", 0),
            ("src/cli/mod.rs", "use crate::{adapters, engines};", 0),
            ("src/attic/mod.rs", "", 1),
        ] {
            let found = imports(ROOMS, LOWER, path, text);
            assert_eq!(found.len(), problems, "{path} {text}: {found:?}");
        }
    }

    #[test]
    fn bad_effects_are_found_and_granted_ones_pass() {
        for (path, text, problems) in [
            ("src/plan/mod.rs", "use std::fs;", 1),
            ("src/plan/mod.rs", "use std::{collections::BTreeMap, env, fs::File};", 2),
            ("src/plan/mod.rs", "use std::net::{IpAddr, SocketAddr, TcpStream};", 1),
            ("src/plan/mod.rs", "fn f() { jiff::Timestamp::now(); }", 1),
            ("src/plan/mod.rs", "use std::time::Instant; fn f() { Instant::now(); }", 1),
            ("src/plan/mod.rs", "fn f(now: Timestamp) { now.next(); }", 0),
            ("src/plan/mod.rs", "async fn f() {}", 1),
            ("src/plan/mod.rs", "fn f() { let g = async { 1 }; }", 1),
            ("src/plan/mod.rs", "// async fn, std::fs\nfn f() -> &'static str { \"std::fs\" }", 0),
            ("src/plan/mod.rs", "use std::thread;", 1),
            ("src/engines/mod.rs", "use std::thread;", 0),
            ("src/engines/mod.rs", "async fn f() { tokio::time::sleep(D).await }", 0),
            ("src/engines/mod.rs", "use std::fs;", 1),
            ("src/engines/postgres/scan.rs", "use std::fs;", 0),
            ("src/engines/postgres/scan.rs", "use std::process::Command;", 1),
            ("src/engines/postgres_old.rs", "use std::fs;", 1),
            ("src/adapters/system.rs", "fn f() { Timestamp::now(); std::env::vars(); }", 0),
            ("src/cli/mod.rs", "fn f() { std::env::args(); }", 1),
        ] {
            let found = effects(ROOMS, GRANTS, path, text);
            assert_eq!(found.len(), problems, "{path} {text}: {found:?}");
        }
    }
}
