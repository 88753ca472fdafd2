//! `fenice document`: manual pages and shell completions of every command, made of the words that
//! `--help` says; for those who package Fenice.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args as _, Command, CommandFactory as _};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use serde_json::json;

use super::args::Common;
use super::exit::Done;
use super::{Cli, Context, well};
use crate::error::{Attempt, Result};

const NAME: &str = "fenice";

/// What a manual tells of a program besides its commands, for the page of the program.
const BESIDES: [(&str, &[(&str, &str)]); 3] = [
    (
        "EXIT STATUS",
        &[
            ("0", "Done."),
            ("1", "Failed."),
            ("2", "Wrong usage."),
            ("3", "Done, but an objective or a check is not met: red status, failed drill."),
            ("4", "Refused for safety."),
            ("5", "Busy: another process holds the lock, or another installation the lease."),
            ("78", "The configuration is wrong."),
            (
                "SIGKILL",
                "How fenice-wal-fetch(1) ends unless it delivered the file (0) or the file \
                 provably does not exist (1): PostgreSQL takes any other code for the end of the \
                 log.",
            ),
        ],
    ),
    (
        "FILES",
        &[
            ("/etc/fenice/fenice.toml", "The configuration."),
            ("/var/lib/fenice", "What this host knows; all of it can be rebuilt."),
            ("/usr/share/doc/fenice", "README, runbooks, every key of the configuration."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("FENICE_CONFIG", "The configuration, where --config does not name one."),
            ("FENICE_LOG", "Which messages are shown, such as fenice=debug,warn."),
            ("NO_COLOR", "If it is not empty, nothing is coloured."),
        ],
    ),
];

/// Write manual pages and shell completions, for a package
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where they are written: man1, bash, zsh and fish below it are made if they are missing
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// A file below the folder that was named.
struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Done> {
    let mut command = shown();
    command.build();
    let mut files = Vec::new();
    pages(&command, &mut files)?;
    let pages = files.len();
    files.extend(completions(&mut command));
    for file in &files {
        write(&args.dir.join(&file.path), &file.bytes)?;
    }
    let completions = files.len() - pages;
    let value = || json!({ "pages": pages, "completions": completions });
    let dir = args.dir.display();
    let text = || format!("{pages} manual pages and {completions} completions in {dir}\n");
    well(context.output.answer(value, text))
}

/// The command line without what is hidden: completions would offer it.
fn shown() -> Command {
    let all = Cli::command();
    let verbs = all.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    Common::augment_args(Command::new(NAME))
        .version(env!("CARGO_PKG_VERSION"))
        .about(all.get_about().cloned().unwrap_or_default())
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(verbs)
}

/// The page of a command that was built, and of each below it.
fn pages(command: &Command, files: &mut Vec<File>) -> Result<()> {
    let page = Man::new(command.clone())
        .source(concat!("Fenice ", env!("CARGO_PKG_VERSION")))
        .manual("Fenice");
    let name = page.get_filename();
    let mut bytes: Vec<u8> = Vec::new();
    page.render(&mut bytes).attempt(|| format!("make the manual page {name}"))?;
    if command.get_name() == NAME {
        bytes.extend(besides().to_roff().into_bytes());
    }
    files.push(File { path: Path::new("man1").join(name), bytes });
    command.get_subcommands().try_for_each(|below| pages(below, files))
}

fn besides() -> Roff {
    let mut roff = Roff::new();
    for (heading, entries) in BESIDES {
        roff.control("SH", [heading]);
        for (term, meaning) in entries {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*meaning)]);
        }
    }
    roff
}

/// One file for each shell, named as the shell looks for it.
fn completions(command: &mut Command) -> Vec<File> {
    let shells = [
        (Shell::Bash, "bash/fenice"),
        (Shell::Zsh, "zsh/_fenice"),
        (Shell::Fish, "fish/fenice.fish"),
    ];
    let complete = |(shell, path): (Shell, &str)| {
        let mut bytes: Vec<u8> = Vec::new();
        generate(shell, command, NAME, &mut bytes);
        File { path: PathBuf::from(path), bytes }
    };
    shells.into_iter().map(complete).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let what = || format!("write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).attempt(what)?;
    }
    fs::write(path, bytes).attempt(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command_that_is_shown_and_for_no_other() {
        let mut command = shown();
        command.build();
        let mut files = Vec::new();
        pages(&command, &mut files).unwrap();
        let names: Vec<&str> =
            files.iter().filter_map(|file| file.path.file_name()?.to_str()).collect();
        for expected in ["fenice.1", "fenice-status.1", "fenice-keys-add.1"] {
            assert!(names.contains(&expected), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("document")), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
        let first = String::from_utf8(files[0].bytes.clone()).unwrap();
        assert!(first.contains(".SH \"EXIT STATUS\"\n"), "{first}");
    }

    #[test]
    fn completions_offer_the_commands_and_not_what_is_hidden() {
        let mut command = shown();
        command.build();
        for file in completions(&mut command) {
            let text = String::from_utf8(file.bytes).unwrap();
            assert!(text.contains("check-config"), "{}", file.path.display());
            assert!(!text.contains("document"), "{}", file.path.display());
        }
    }
}
