//! `wal fetch` either delivers, proves absence, or kills itself (RULES 1): PostgreSQL takes any
//! plain failure of its `restore_command` for the end of the log, and would open truncated data.

use std::ffi::OsString;

use rustix::process::{Signal, getpid, kill_process};

/// Whether `argv`, which begins with the program's name, asks for `wal fetch`, or for something of
/// `wal` that a slip of the pen may have made of it.
pub fn names_fetch(argv: &[OsString]) -> bool {
    let words = words(argv);
    match words.as_slice() {
        [first, second, ..] if first == "wal" => !matches!(second.as_str(), "push" | "serve"),
        [_, second, ..] => second == "fetch",
        _ => false,
    }
}

/// Whether `argv` asks for help and for nothing else: no `restore_command` looks so, because it
/// names a file and a place for it.
pub fn asks_for_help(argv: &[OsString]) -> bool {
    words(argv).len() <= 2
}

/// The arguments that are no options, without the values of options that take one. An unknown
/// option with a value only adds a word.
fn words(argv: &[OsString]) -> Vec<String> {
    let mut words = Vec::new();
    let mut arguments = argv.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = arguments.next() {
        match word.as_ref() {
            "--config" | "--socket" | "--resource" | "--timeline" => drop(arguments.next()),
            option if option.starts_with('-') => {}
            word => words.push(word.to_owned()),
        }
    }
    words
}

/// From here on a panic anywhere ends `wal fetch` by SIGKILL, after its message.
pub fn arm(argv: &[OsString]) {
    if names_fetch(argv) {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            report(info);
            kill_self();
        }));
    }
}

/// Ends this process as nothing can mistake for an answer.
pub fn kill_self() -> ! {
    // Only where the kernel forbids it more follows; an abort is fatal to the server, too.
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn whatever_may_be_meant_as_fetch_is_lethal() {
        for line in [
            "fenice wal fetch",
            "fenice wal fetch 000000010000000000000003 pg_wal/RECOVERYXLOG",
            "fenice --config fetch wal fetch a b",
            "fenice -v wal --json fetch",
            "fenice wal fecth a b",
            "fenice wla fetch a b",
            "fenice wal --config x a b",
        ] {
            assert!(names_fetch(&of(line)), "{line}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for line in [
            "fenice",
            "fenice wal",
            "fenice wal --help",
            "fenice wal push fetch",
            "fenice wal serve",
            "fenice ship wal",
            "fenice snapshot registro --config fetch",
            "fenice list",
        ] {
            assert!(!names_fetch(&of(line)), "{line}");
        }
        assert!(asks_for_help(&of("fenice wal fetch --help")));
        assert!(!asks_for_help(&of("fenice wal fetch --help a b")));
    }
}
