//! `fenice keys`: who opens a repository: list, add and remove recipients, try a recovery kit, give
//! a resource's vault a new key.

mod rotate;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::exit::Done;
use super::init::chosen;
use super::progress::Shown;
use super::{Context, block_on};
use crate::adapters::{secrets, typed};
use crate::config::Repository as Configured;
use crate::daemon;
use crate::engines::blocking::blocking;
use crate::engines::keys::{Change, Changed, Finding, KeyChange, KitCheck, check_kit};
use crate::engines::progress::Progress;
use crate::error::{Attempt, Error, Kind, Result};
use crate::evidence::plain::{Cell, Column, Row, Table, Tone, clean};
use crate::model::{ByteSize, SecretRef};
use crate::repository::Repository;
use crate::repository::format::{FormatFile, disagreement, read_format};
use crate::repository::seal::{Identities, Recipients};

/// Who opens a repository: list, add, remove recipients; try a recovery kit; rotate a vault's key
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// To whom each repository is sealed, and whether the configuration says the same
    List {
        /// Only this repository [default: all of the configuration]
        repository: Option<String>,
    },
    /// Let another key open the repository: seals everything in it anew
    Add(Recipient),
    /// Shut a key out: seals everything in the repository anew, without it
    Remove(Recipient),
    /// Prove that a recovery kit works, with nothing but the identity it holds
    Check(Check),
    /// Give a resource's vault a new key: the next snapshot is stored whole, in a new vault
    ///
    /// For when somebody may know the password of the vault. What lies in it stays readable to
    /// whoever has that password and the repository's files, until the last of its snapshots has
    /// left by retention; nothing that is stored from now on is. It costs one whole snapshot, and
    /// the room for both vaults meanwhile. A key of the repository that may be known as well is
    /// shut out first (`fenice keys remove`): it would open the new password too.
    Rotate(rotate::Args),
}

#[derive(Debug, clap::Args)]
struct Recipient {
    /// The repository, as the configuration names it
    repository: String,
    /// The key's public half, from `age1` on
    recipient: String,
}

#[derive(Debug, clap::Args)]
struct Check {
    /// The repository, as the configuration names it
    repository: String,
    /// The file with the kit's identity; `-` reads it from standard input, as typed from paper
    #[arg(long, value_name = "FILE", default_value = "-")]
    identity: PathBuf,
    /// The repository's id as the kit tells it, to be compared
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Done> {
    match args.verb {
        Verb::List { repository } => list(repository.as_deref(), context),
        Verb::Add(args) => change(&args, Change::Add(plain(&args.recipient)?), context),
        Verb::Remove(args) => change(&args, Change::Remove(plain(&args.recipient)?), context),
        Verb::Check(args) => check(&args, context),
        Verb::Rotate(args) => rotate::run(&args, context),
    }
}

/// A recipient as `fenice.json` writes it.
fn plain(text: &str) -> Result<String> {
    let parsed = Recipients::parse(&[text.to_owned()]);
    let parsed = parsed.map_err(|error| error.with_kind(Kind::Usage))?;
    Ok(parsed.texts().concat())
}

/// A repository and what the configuration says of its keys.
struct Keys<'c> {
    configured: &'c Configured,
    file: FormatFile,
    /// Of the identity of this host.
    own: Vec<String>,
    /// To whom this host seals.
    effective: Vec<String>,
}

impl Keys<'_> {
    fn agree(&self) -> bool {
        self.effective == self.file.recipients
    }

    fn is_good(&self) -> bool {
        self.agree() && self.file.resealing_since.is_none()
    }
}

fn list(name: Option<&str>, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let mut all = Vec::new();
    for configured in chosen(&config, name)? {
        let keys = keys_of(configured);
        all.push(keys.attempt(|| format!("list the keys of `{}`", configured.name))?);
    }
    context.output.answer(
        || Value::Array(all.iter().map(list_value).collect()),
        || all.iter().map(|keys| list_text(keys, context)).collect::<Vec<_>>().join("\n"),
    )?;
    Ok(if all.iter().all(Keys::is_good) { Done::Well } else { Done::NotMet })
}

fn keys_of(configured: &Configured) -> Result<Keys<'_>> {
    let identities = daemon::identities_of(configured)?;
    let effective = daemon::effective_recipients(configured, identities.as_ref())?.texts();
    let own = identities.as_ref().map(Identities::recipients).unwrap_or_default();
    let file = read_format(daemon::open_store(configured)?.as_ref())?;
    Ok(Keys { configured, file, own, effective })
}

fn list_text(keys: &Keys<'_>, context: &Context) -> String {
    let Keys { configured, file, own, effective } = keys;
    let heading = format!("{} ({})", configured.name, file.repository_id);
    let mut text = context.output.terminal.heading(&heading);
    let only_configured = effective.iter().filter(|who| !file.recipients.contains(who));
    for who in file.recipients.iter().chain(only_configured) {
        let opened = own.contains(who).then_some("this host has its identity");
        let sealed =
            (!file.recipients.contains(who)).then_some("NOT a recipient of the repository");
        let configured = (!effective.contains(who)).then_some("NOT in the configuration");
        let told: Vec<&str> = [opened, sealed, configured].into_iter().flatten().collect();
        text.push_str(&format!("{who}\n"));
        if !told.is_empty() {
            text.push_str(&format!("    {}\n", told.join("; ")));
        }
    }
    if !keys.agree() {
        text.push_str("the configuration says otherwise: nothing is written until they agree\n");
    }
    if let Some(since) = file.resealing_since {
        text.push_str(&format!(
            "NOT ALL of it is sealed to them, since {since}: run the last `fenice keys add` or \
             `fenice keys remove` again\n"
        ));
    }
    text
}

fn list_value(keys: &Keys<'_>) -> Value {
    json!({
        "repository": keys.configured.name,
        "id": keys.file.repository_id,
        "recipients": keys.file.recipients,
        "configured": keys.effective,
        "opened_here": keys.own,
        "agree": keys.agree(),
        "resealing_since": keys.file.resealing_since,
    })
}

fn change(args: &Recipient, change: Change, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    // The one of that name, or an error.
    let Some(configured) = chosen(&config, Some(&args.repository))?.pop() else {
        return Err(Error::usage(format!("there is no repository `{}`", args.repository)));
    };
    let store = daemon::open_store(configured)?;
    let identities = daemon::identities_of(configured)?.ok_or_else(|| {
        Error::refused("sealing anew needs an identity that opens what is there")
            .hint("Set `identity` of the repository in the configuration.")
    })?;
    let effective = daemon::effective_recipients(configured, Some(&identities))?.texts();
    let present = read_format(store.as_ref())?.recipients;
    let after = change.of(&present, &identities.recipients())?;
    // The configuration may say what was before the change or what is after it, and nothing else.
    let others = |of: &[String]| -> Vec<String> {
        of.iter().filter(|who| *who != change.who()).cloned().collect()
    };
    if others(&effective) != others(&after) {
        return Err(disagreement(store.as_ref(), &effective, &present));
    }
    let progress = Arc::new(Progress::default());
    let repository = Repository::open_as_it_is(store.clone(), identities.clone())?;
    let lease = Some(parts.lease_of(&config, &args.repository, &repository)?);
    let job = KeyChange {
        store,
        lease,
        identities,
        change,
        clock: parts.clock.clone(),
        progress: Arc::clone(&progress),
    };
    let changed = block_on(async {
        let shown = Shown::start(progress, context.output);
        let changed = blocking(move || job.run()).await;
        drop(shown);
        changed
    });
    let changed = changed.attempt(|| format!("change the keys of `{}`", args.repository))?;
    let line = (effective != changed.recipients).then(|| configuration_line(&changed.recipients));
    context.output.answer(
        || change_value(&args.repository, &changed, line.as_deref()),
        || change_text(&args.repository, &changed, line.as_deref()),
    )?;
    Ok(if changed.unreadable == 0 { Done::Well } else { Done::NotMet })
}

fn configuration_line(recipients: &[String]) -> String {
    let quoted: Vec<String> = recipients.iter().map(|who| format!("\"{who}\"")).collect();
    format!("recipients = [{}]", quoted.join(", "))
}

fn change_text(name: &str, changed: &Changed, line: Option<&str>) -> String {
    let (objects, bytes) = (changed.objects, ByteSize(changed.bytes));
    let mut text = match changed.changed {
        true => format!("`{name}` has other recipients now\n"),
        false => format!("`{name}` had these recipients before\n"),
    };
    text.push_str(&format!("sealed anew: {objects} objects ({bytes})\n"));
    if let Some(until) = changed.kept_until {
        text.push_str(&format!(
            "LOCKED by the bucket, and open to whoever could open them before: {} old versions, \
             the last until {until}; retention removes them with what is in their place\n",
            changed.versions_kept
        ));
    }
    if changed.unreadable > 0 {
        text.push_str(&format!(
            "NOT OPENED by this host's identity, and left as they were: {} objects\n",
            changed.unreadable
        ));
    }
    for one in &changed.named {
        text.push_str(&format!("  {}: {}\n", clean(&one.key), clean(&one.because)));
    }
    if let Some(line) = line {
        text.push_str(&format!(
            "put into [repository.{name}] of the configuration of every host that writes, then \
             start what runs there again:\n  {line}\n"
        ));
    }
    text
}

fn change_value(name: &str, changed: &Changed, line: Option<&str>) -> Value {
    json!({
        "repository": name,
        "recipients": changed.recipients,
        "changed": changed.changed,
        "objects": changed.objects,
        "bytes": changed.bytes,
        "versions_kept": changed.versions_kept,
        "kept_until": changed.kept_until,
        "unreadable": changed.unreadable,
        "named": changed.named,
        "configuration_line": line,
    })
}

fn check(args: &Check, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let Some(configured) = chosen(&config, Some(&args.repository))?.pop() else {
        return Err(Error::usage(format!("there is no repository `{}`", args.repository)));
    };
    let store = daemon::open_store(configured)?;
    let text = kit_identity(&args.identity)?;
    let identities = Identities::parse(text.expose_secret())
        .attempt(|| "read the identity of the kit".to_owned())?;
    let checked = check_kit(store, identities, args.id.as_deref())
        .attempt(|| format!("try the kit on `{}`", args.repository))?;
    context.output.answer(
        || check_value(&args.repository, &checked),
        || check_text(&args.repository, &checked, context),
    )?;
    Ok(if checked.is_good() { Done::Well } else { Done::NotMet })
}

fn kit_identity(from: &Path) -> Result<SecretString> {
    match from == Path::new("-") {
        true => typed::read_secret("the kit's identity (it is not shown): "),
        false => secrets::read_secret(&SecretRef::File(from.to_owned()))
            .map_err(|error| error.with_kind(Kind::Failed)),
    }
}

fn check_text(name: &str, checked: &KitCheck, context: &Context) -> String {
    let terminal = context.output.terminal;
    let mut text = terminal.heading(&format!("{name} ({})", checked.repository_id));
    for who in &checked.recipients {
        text.push_str(&format!("the identity is that of {who}\n"));
    }
    let row = |finding: &Finding| Row {
        cells: vec![
            Cell::plain(finding.resource.as_ref().map_or("", |resource| resource.as_str())),
            Cell::plain(finding.what),
            match finding.failed_because {
                None => Cell::toned("opened", Tone::Good),
                Some(_) => Cell::toned("NOT OPENED", Tone::Bad),
            },
        ],
        detail: finding.failed_because.as_deref().map(clean),
    };
    text.push_str(&terminal.table(&Table {
        columns: vec![Column::word("RESOURCE"), Column::text("WHAT"), Column::word("STATE")],
        rows: checked.findings.iter().map(row).collect(),
    }));
    text.push_str(match checked.is_good() {
        true => "the kit works, if it tells the same id\n",
        false => "THE KIT DOES NOT BRING EVERYTHING BACK\n",
    });
    text
}

fn check_value(name: &str, checked: &KitCheck) -> Value {
    json!({
        "repository": name,
        "id": checked.repository_id,
        "recipients": checked.recipients,
        "good": checked.is_good(),
        "findings": checked.findings,
    })
}
