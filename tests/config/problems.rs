//! What broken files are told: the whole text, word for word.
//!
//! `broken/NAME.toml` is a file with mistakes, `broken/NAME.txt` what is said about it. After a
//! change of wording run with `FENICE_WRITE_GOLDEN=1` and read the difference.

use std::collections::BTreeSet;
use std::path::Path;

use fenice::config::parse;
use fenice::config::reference::KEYS;
use fenice::error::{Error, Kind};
use proptest::prelude::*;

use super::{LEAST, bad, good};

#[track_caller]
fn told(text: &str, expected: &str) {
    let problems = bad(text);
    let shown = format!("{problems}\n");
    assert_eq!(shown, expected, "\n{shown}");
    for hidden in ["hunter2", "HUNTER2", "AGE-SECRET-KEY-1"] {
        assert!(!shown.contains(hidden) && !format!("{problems:?}").contains(hidden));
    }
}

fn broken() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/broken")
}

#[test]
fn broken_files_are_told_everything_word_for_word() {
    let names: BTreeSet<_> = std::fs::read_dir(broken())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(names.len() >= 16, "{names:?}");
    for path in names {
        let text = std::fs::read_to_string(&path).unwrap();
        let golden = path.with_extension("txt");
        if std::env::var_os("FENICE_WRITE_GOLDEN").is_some() {
            std::fs::write(&golden, format!("{}\n", bad(&text))).unwrap();
        }
        println!("{}", path.display());
        told(&text, &std::fs::read_to_string(&golden).unwrap());
    }
}

#[test]
fn twelve_mistakes_are_all_reported_in_order() {
    let path = broken().join("twelve_mistakes.toml");
    let problems = bad(&std::fs::read_to_string(path).unwrap()).problems;
    let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 3, 7, 8, 11, 12, 13, 14, 15, 22, 23, 27]);
}

#[test]
fn an_empty_file_has_no_repository() {
    told(
        "",
        "fenice.toml:1:1: no repository is configured\n 1 | \n   | ^\nhint: Add \
         `[repository.main]` with `path` or `bucket`.\n",
    );
}

#[test]
fn columns_count_characters_after_tabs_and_accents() {
    let text = "[repository.main]\r\n\tpath = \"è\"\r\n[policy.p]\r\n\
                snapshot = \"però 2 * * *\" # più\r\n";
    let expected = "fenice.toml:2:9: `è` is not an absolute path\n \
                    2 | \tpath = \"è\"\n   | \t       ^^^\n\
                    hint: Write the whole path, from `/`.\n\n\
                    fenice.toml:4:12: `però` does not fit the field `minute`\n \
                    4 | snapshot = \"però 2 * * *\" # più\n   |            ^^^^^^^^^^^^^^\n\
                    hint: It goes from 0 to 59.\n";
    told(text, expected);
}

#[test]
fn the_error_carries_the_whole_list_and_its_exit_code() {
    let error = Error::from(bad("[repository.main]\npath = 5\n"));
    assert_eq!(error.kind(), Kind::Config);
    let expected = "the configuration has 1 problem\n\nfenice.toml:2:8: expected text, found a \
                    number\n 2 | path = 5\n   |        ^\nhint: Put it in double quotes, with its \
                    unit where it has one: \"5m\", \"64MiB\".";
    assert_eq!(error.chain(), expected);
}

#[test]
fn noise_is_bounded() {
    let noise = "x = \n".repeat(5_000);
    let problems = bad(&noise);
    assert_eq!(problems.problems.len(), 200);
    assert!(problems.to_string().ends_with(&format!("and {} more", problems.omitted)));
    let long = bad(&format!("[policy.p]\ncolour = \"{}\"\n", "x".repeat(5_000)));
    assert!(long.to_string().lines().all(|line| line.len() < 300));
    assert_eq!(bad(&"#".repeat((1 << 20) + 1)).problems.len(), 1);
}

#[test]
fn debug_of_a_configuration_shows_references_only() {
    let identity = "path = \"/srv/fenice\"\nidentity = { env = \"FENICE_IDENTITY\" }";
    let config = good(&LEAST.replace("path = \"/srv/fenice\"", identity));
    let shown = format!("{config:?}");
    assert!(shown.contains("Env(\"FENICE_IDENTITY\")"), "{shown}");
    for word in ["password", "AGE-SECRET-KEY"] {
        assert!(!shown.contains(word), "{shown}");
    }
}

/// Pieces of which files are made, right and wrong ones.
fn piece() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "[repository.main]",
        "[policy.p]",
        "[[resource]]",
        "[[resource.check]]",
        "[resource.drill]",
        "[[service]]",
        "[daemon]",
        "[repository]",
        "path",
        "bucket",
        "identity",
        "daily",
        "snapshot",
        "copy_to",
        "recipients",
        "connection",
        "kind",
        "name",
        "drill",
        "check",
        "resources",
        " = ",
        "=",
        "\"35d\"",
        "\"main\"",
        "\"postgres\"",
        "\"host=a password='\\\\\"",
        "\"0 0 30 2 *\"",
        "35d",
        "-1",
        "99999999999999999999",
        "0x1F",
        "1e400",
        "true",
        "1979-05-27",
        "\"\u{e8}\u{1f426}\"",
        "{ file = \"/x\" }",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"\"\"",
        "'",
        "\n",
        "\r\n",
        "\t",
        "#",
        "\u{feff}",
        "\u{0}",
        "\u{e8}",
    ]);
    prop_oneof![4 => words.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_input_panics(pieces in prop::collection::vec(piece(), 0..60)) {
        if let Err(problems) = parse(&pieces.concat(), "fenice.toml") {
            prop_assert!(!problems.problems.is_empty());
            prop_assert!(!problems.to_string().is_empty());
        }
    }

    #[test]
    fn no_value_panics(row in prop::sample::select(KEYS), value in piece()) {
        let line = format!("{} = {value}\n", row.name);
        let text = LEAST.replace("[policy.standard]\n", &format!("[policy.standard]\n{line}"));
        for text in [text, format!("{LEAST}{line}")] {
            if let Err(problems) = parse(&text, "fenice.toml") {
                prop_assert!(problems.to_string().contains("hint: "));
            }
        }
    }

    #[test]
    fn no_schedule_panics(text in "[-*/0-9a-z, ]{0,24}") {
        if let Ok(cron) = text.parse::<fenice::config::Cron>() {
            prop_assert!(cron.times().count() > 0);
        }
    }
}
