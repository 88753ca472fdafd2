//! Runbooks: every link leads somewhere, every command of Fenice's is one.

use std::process::Command;

use super::named::{place, read};
use crate::support::run;

/// Each runbook's name with its text.
fn runbooks() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(place("runbooks")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), read(&format!("runbooks/{name}")))).collect()
}

/// The arguments of every command of ours in a text, in fences and between backticks.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        while let Some(at) = rest.find("fenice ") {
            let before = &rest[..at];
            let begins = before.trim().is_empty() || before.ends_with(['`', ' ']);
            rest = &rest[at + "fenice ".len()..];
            let end = rest.find(['`', '|', ';', '&', '#', '(']).unwrap_or(rest.len());
            let words = words(&rest[..end]);
            let is_verb = |word: &String| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            if begins && words.first().is_some_and(is_verb) {
                commands.push(words);
            }
        }
    }
    commands
}

/// Words as a shell splits them, as far as runbooks need it.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn runbooks_link_to_what_is_there() {
    for (name, text) in runbooks() {
        for (link, _) in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let target = link.split('#').next().unwrap();
            assert!(place("runbooks").join(target).exists(), "{name} links to {target}");
        }
    }
}

/// Asked for help at its end, a command is parsed up to there, and does nothing.
#[test]
fn runbooks_name_only_commands_that_there_are() {
    let mut tried = 0;
    for (name, text) in runbooks() {
        for arguments in commands(&text) {
            let mut command = Command::new(env!("CARGO_BIN_EXE_fenice"));
            let ended = run(command.args(&arguments).arg("--help"), "");
            assert!(ended.success(), "{name}: fenice {arguments:?}: {}", ended.stderr);
            tried += 1;
        }
    }
    assert!(tried > 50, "only {tried} commands were found");
}
