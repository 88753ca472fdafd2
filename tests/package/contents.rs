//! What the package installs, and what its documents lead to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{fenice, make, package};
use crate::support::{Scratch, run};

/// Every file of the package by its name, with type and mode as `ls` writes them.
fn listed() -> BTreeMap<String, String> {
    let mut command = Command::new("dpkg-deb");
    let text = run(command.arg("--contents").arg(&package().deb), "").expect_success("list");
    let file = |line: &str| {
        let mut words = line.split_whitespace();
        let (mode, owner) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(owner, "root/root", "{line}");
        (words.nth(3).unwrap().trim_start_matches("./").to_owned(), mode.to_owned())
    };
    text.lines().map(file).collect()
}

#[test]
fn it_installs_program_units_documents_and_what_shells_and_watchers_need() {
    let listed = listed();
    let expected = [
        ("usr/bin/fenice", "-rwxr-xr-x"),
        ("etc/fenice/fenice.toml", "-rw-r-----"),
        ("lib/systemd/system/fenice.service", "-rw-r--r--"),
        ("lib/systemd/system/fenice@.service", "-rw-r--r--"),
        ("usr/lib/sysusers.d/fenice.conf", "-rw-r--r--"),
        ("usr/lib/tmpfiles.d/fenice.conf", "-rw-r--r--"),
        ("usr/share/fenice/systemd/own-user.conf", "-rw-r--r--"),
        ("usr/share/fenice/prometheus/fenice.rules.yml", "-rw-r--r--"),
        ("usr/share/fenice/grafana/fenice.json", "-rw-r--r--"),
        ("usr/share/doc/fenice/README.md", "-rw-r--r--"),
        ("usr/share/doc/fenice/copyright", "-rw-r--r--"),
        ("usr/share/doc/fenice/third-party.gz", "-rw-r--r--"),
        ("usr/share/doc/fenice/runbooks/daemon-gone.md", "-rw-r--r--"),
        ("usr/share/doc/fenice/docs/CONFIGURATION.md", "-rw-r--r--"),
        ("usr/share/man/man1/fenice.1.gz", "-rw-r--r--"),
        ("usr/share/man/man1/fenice-drill-run.1.gz", "-rw-r--r--"),
        ("usr/share/bash-completion/completions/fenice", "-rw-r--r--"),
        ("usr/share/zsh/vendor-completions/_fenice", "-rw-r--r--"),
        ("usr/share/fish/vendor_completions.d/fenice.fish", "-rw-r--r--"),
    ];
    for (name, mode) in expected {
        assert_eq!(listed.get(name).map(String::as_str), Some(mode), "{name}: {listed:#?}");
    }
}

#[test]
fn the_same_program_makes_the_same_package_byte_for_byte() {
    let scratch = Scratch::new();
    let again = make(scratch.path());
    assert_eq!(again.file_name(), package().deb.file_name());
    assert!(fs::read(&again).unwrap() == fs::read(&package().deb).unwrap(), "they differ");
}

#[test]
fn its_configuration_protects_nothing_until_somebody_says_what() {
    let path = package().root().join("etc/fenice/fenice.toml");
    let refused = fenice(&["check-config", "--config", path.to_str().unwrap()]);
    assert_eq!(refused.code, Some(78), "{}", refused.stderr);
    assert!(refused.stderr.contains("no repository is configured"), "{}", refused.stderr);
    let is_toml = |line: &&str| {
        let key = line.split_once(" = ").map(|(key, _)| key);
        let is_key = |key: &str| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        line.starts_with('[') || key.is_some_and(is_key)
    };
    let text = package().read("etc/fenice/fenice.toml");
    let off = text.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_toml);
    let scratch = Scratch::new();
    let live = scratch.path().join("fenice.toml");
    fs::write(&live, off.collect::<Vec<_>>().join("\n")).unwrap();
    fenice(&["check-config", "--config", live.to_str().unwrap()]).expect_success("the example");
}

/// Files below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(below(&path)),
            false => files.push(path),
        }
    }
    files
}

#[test]
fn its_documents_lead_to_what_is_there() {
    let documents = package().root().join("usr/share/doc/fenice");
    let mut tried = 0;
    let mut files = below(&documents);
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (link, _) in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let target = link.split('#').next().unwrap();
            let is_there = target.contains("://") || file.with_file_name(target).exists();
            assert!(is_there || target.is_empty(), "{} links to {target}", file.display());
            tried += 1;
        }
    }
    assert!(tried > 50, "only {tried} links were found");
}

#[test]
fn its_manual_pages_can_be_read() {
    let pages = below(&package().root().join("usr/share/man/man1"));
    assert!(pages.len() > 20, "{pages:?}");
    let mut command = Command::new("man");
    command.args(["--warnings", "--encoding=UTF-8", "--local-file"]).args(&pages);
    let read = run(command.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8"), "");
    assert_eq!((read.code, read.stderr.as_str()), (Some(0), ""));
    for part in ["fenice-keys-add - ", "EXIT STATUS", "--config"] {
        assert!(read.stdout.contains(part), "no `{part}` in the manual");
    }
}

#[test]
fn its_completions_are_good_shell() {
    let bash = package().root().join("usr/share/bash-completion/completions/fenice");
    run(Command::new("bash").arg("-n").arg(bash), "").expect_success("the completions of bash");
}

/// Only where it is installed: it is large, and needed for nothing else.
#[test]
fn lintian_finds_no_error() {
    if !Path::new("/usr/bin/lintian").exists() {
        println!("not checked: lintian is not installed");
        return;
    }
    let mut command = Command::new("/usr/bin/lintian");
    // That this package is not compressed is the test's own doing.
    let ours = "uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball";
    command.args(["--fail-on", "error", "--suppress-tags", ours]);
    let found = run(command.arg(&package().deb), "");
    assert_eq!(found.code, Some(0), "{}{}", found.stdout, found.stderr);
}
