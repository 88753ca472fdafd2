//! The example, the documentation and the reference table say the same as the parser.

use std::collections::BTreeSet;
use std::path::Path;

use fenice::config::reference::{self, KEYS, Presence};

use super::{LEAST, good};

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Each key of the example, live or off: its section, its name, its value and the comment above.
fn example_keys() -> Vec<(String, String, String, String)> {
    let (mut section, mut comment, mut keys) = (String::new(), String::new(), Vec::new());
    for line in file("config/fenice.toml").lines() {
        let text = line.trim_start_matches("# ");
        let key = text.split_once(" = ").filter(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        });
        if let Some(heading) = line.strip_prefix('[') {
            let name = heading.trim_matches(['[', ']']);
            let own = |kind: &str| ["resource", "notify"].contains(&kind);
            let kind = name.split_once('.').filter(|(kind, _)| !own(kind));
            section = kind.map_or(name, |(kind, _)| kind).to_owned();
            comment.clear();
        } else if let Some((name, value)) = key {
            let said = std::mem::take(&mut comment);
            keys.push((section.clone(), name.to_owned(), value.to_owned(), said));
        } else {
            comment.push_str(text);
            comment.push('\n');
        }
    }
    keys
}

#[test]
fn the_example_parses_as_it_stands_and_with_every_key_live() {
    let text = file("config/fenice.toml");
    let config = good(&text);
    assert_eq!(config.resources.len(), 1);
    let live: Vec<String> = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(off) if off.split_once(" = ").is_some_and(|(name, _)| !name.contains(' ')) => {
                off.to_owned()
            }
            _ => line.to_owned(),
        })
        .collect();
    assert_eq!(good(&live.join("\n")).resources[0].workers, Some(4));
}

#[test]
fn the_example_shows_every_key_once_with_its_default() {
    let shown = example_keys();
    let mut seen = BTreeSet::new();
    for (section, name, value, comment) in &shown {
        let row = reference::find(section, name)
            .unwrap_or_else(|| panic!("the example has `{section}.{name}`, the table has not"));
        assert!(seen.insert((row.section, row.name)), "`{section}.{name}` stands twice");
        match row.presence {
            Presence::Default(default) => {
                assert!(comment.contains(&format!("Default: {default}\n")), "{section}.{name}");
                assert!(value == default || value == row.example, "{section}.{name} = {value}");
            }
            Presence::Required => assert!(comment.contains("Required"), "{section}.{name}"),
            Presence::Optional(_) => {}
        }
    }
    for row in KEYS {
        // The example's main repository begins with its path, without a comment.
        assert!(seen.contains(&(row.section, row.name)), "no `{}.{}`", row.section, row.name);
    }
}

#[test]
fn stating_every_default_changes_nothing() {
    let defaults = |section: &str| -> String {
        let of_section = KEYS.iter().filter(|row| row.section == section);
        of_section
            .filter_map(|row| match row.presence {
                Presence::Default(value) => Some(format!("{} = {value}\n", row.name)),
                _ => None,
            })
            .collect()
    };
    let bucket = "[repository.offsite]\nbucket = \"copies\"\nregion = \"eu-south-1\"\n";
    let resource = |inner: &str, drill: &str, check: &str| {
        format!(
            "{inner}[resource.drill]\n{drill}[[resource.check]]\nname=\"a\"\nsql=\"b\"\n{check}"
        )
    };
    let notify = |own: &str, mail: &str, webhook: &str| {
        format!(
            "[notify]\n{own}[notify.mail]\nserver=\"a\"\nfrom=\"a@b\"\nto=[\"c@d\"]\n{mail}\
             [[notify.webhook]]\nname=\"a\"\nurl=\"https://a\"\n{webhook}"
        )
    };
    let silent = format!("{bucket}[daemon]\n{LEAST}{}{}", resource("", "", ""), notify("", "", ""));
    let spoken = format!(
        "{bucket}{}[daemon]\n{}{}{}{}",
        defaults("repository"),
        defaults("daemon"),
        LEAST.replace(
            "[policy.standard]\n",
            &format!("[policy.standard]\ncopy_to = \"offsite\"\n{}", defaults("policy"))
        ),
        resource(&defaults("resource"), &defaults("resource.drill"), &defaults("resource.check")),
        notify(&defaults("notify"), &defaults("notify.mail"), &defaults("notify.webhook")),
    );
    let silent =
        silent.replace("[policy.standard]\n", "[policy.standard]\ncopy_to = \"offsite\"\n");
    assert_eq!(good(&silent), good(&spoken));
}

#[test]
fn the_documentation_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
    if std::env::var_os("FENICE_WRITE_DOCS").is_some() {
        std::fs::write(&path, reference::markdown()).unwrap();
    }
    let same = file("docs/CONFIGURATION.md") == reference::markdown();
    assert!(same, "run this test with FENICE_WRITE_DOCS=1 after changing the reference table");
}

#[test]
fn rows_are_unique_and_in_known_sections() {
    let mut seen = BTreeSet::new();
    for row in KEYS {
        assert!(seen.insert((row.section, row.name)), "{row:?}");
        assert!(reference::SECTIONS.iter().any(|kind| kind.name == row.section), "{row:?}");
        assert!(!row.meaning.is_empty() && row.meaning.ends_with('.'), "{row:?}");
    }
}
