//! `fenice init`: makes repositories and their keys, and prints the recovery kit, once.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Context;
use super::exit::Done;
use crate::adapters::private;
use crate::config::{Config, Location, Repository as Configured};
use crate::daemon::{self, Parts};
use crate::error::{Attempt, Error, Result};
use crate::model::SecretRef;
use crate::repository::format::{FormatFile, read_format};
use crate::repository::seal::Identities;
use crate::repository::{Repository, kit, layout};

/// Make repositories and keys; prints the recovery kit, once
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this repository [default: all of the configuration]
    repository: Option<String>,
    /// Write the recovery kit to this new file (mode 0600) instead of printing it
    #[arg(long, value_name = "FILE")]
    kit: Option<PathBuf>,
}

/// What became of one repository.
struct Made {
    name: String,
    file: FormatFile,
    /// Absent where the repository was there before: its kit was printed then.
    kit: Option<String>,
    /// The identity file that was made.
    identity_file: Option<PathBuf>,
    /// What the configuration should say of recipients, if it does not.
    advice: Option<String>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Done> {
    let config = context.config()?;
    let parts = context.parts()?;
    let chosen = chosen(&config, args.repository.as_deref())?;
    check(&chosen, args)?;
    let (mut all, mut failure) = (Vec::new(), None);
    for repository in chosen {
        let made = init(repository, &parts);
        match made.attempt(|| format!("make the repository `{}`", repository.name)) {
            Ok(made) => all.push(made),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    if let (Some(file), Some(kit)) = (&args.kit, all.iter().find_map(|made| made.kit.as_ref())) {
        private::create_file(file, kit)?;
    }
    // Before any failure is told: a kit exists only here.
    if failure.is_none() || !all.is_empty() {
        let value = || Value::Array(all.iter().map(|made| value(made, args)).collect());
        let text = || all.iter().map(|made| text(made, args)).collect();
        context.output.answer(value, text)?;
    }
    failure.map_or(Ok(Done::Well), Err)
}

/// Everything that can be told before the first repository is made.
fn check(chosen: &[&Configured], args: &Args) -> Result<()> {
    let Some(kit) = &args.kit else { return Ok(()) };
    if chosen.len() > 1 {
        return Err(Error::usage("one file holds the kit of one repository")
            .hint("Name the repository: fenice init NAME --kit FILE."));
    }
    match private::exists(kit)? {
        true => Err(Error::refused(format!("{} exists already", kit.display()))
            .hint("Nothing was made. Name another file.")),
        false => Ok(()),
    }
}

/// The repository of that name, or all of them.
pub(super) fn chosen<'c>(config: &'c Config, name: Option<&str>) -> Result<Vec<&'c Configured>> {
    let Some(name) = name else { return Ok(config.repositories.values().collect()) };
    match config.repositories.get(name) {
        Some(repository) => Ok(vec![repository]),
        None => {
            let known: Vec<&str> = config.repositories.keys().map(String::as_str).collect();
            Err(Error::usage(format!("the configuration has no repository `{name}`"))
                .hint(format!("It has: {}.", known.join(", "))))
        }
    }
}

fn init(configured: &Configured, parts: &Parts) -> Result<Made> {
    let store = daemon::create_store(configured)?;
    let exists = store.get(layout::FORMAT)?.is_some();
    // A fresh identity would open nothing of a repository that is there.
    let fresh = match exists {
        true => None,
        false => make_identity(configured)?,
    };
    let identities = daemon::identities_of(configured)?;
    let recipients = daemon::effective_recipients(configured, identities.as_ref())?;
    let advice = advice(configured, identities.as_ref());
    let name = configured.name.clone();
    if exists {
        let file = read_format(store.as_ref())?;
        Repository::open(store, recipients, identities)?;
        return Ok(Made { name, file, kit: None, identity_file: None, advice });
    }
    let file = Repository::init(store, recipients, parts.clock.as_ref(), parts.entropy.as_ref())?;
    let secret = fresh.as_ref().map(|(_, secret)| secret.as_str());
    let kit = kit::text(&file, secret, &where_it_is(&configured.location));
    let identity_file = fresh.map(|(path, _)| path);
    Ok(Made { name, file, kit: Some(kit), identity_file, advice })
}

/// Makes the identity file if the configuration names one that is not there. Returns it with its
/// secret line.
fn make_identity(configured: &Configured) -> Result<Option<(PathBuf, String)>> {
    let Some(SecretRef::File(path)) = &configured.identity else { return Ok(None) };
    if private::exists(path)? {
        return Ok(None);
    }
    if let Some(parent) = path.parent() {
        private::make_directory(parent)?;
    }
    let (secret, recipient) = Identities::generate();
    private::create_file(path, &format!("# public key: {recipient}\n{secret}\n"))?;
    Ok(Some((path.clone(), secret)))
}

/// The line the configuration needs, once it lists recipients on a host without the identity.
fn advice(configured: &Configured, identities: Option<&Identities>) -> Option<String> {
    let own = identities?.recipients();
    let missing: Vec<&String> =
        own.iter().filter(|own| !configured.recipients.contains(own)).collect();
    if missing.is_empty() {
        return None;
    }
    let all = configured.recipients.iter().chain(missing);
    let all: Vec<String> = all.map(|recipient| format!("\"{recipient}\"")).collect();
    Some(format!("recipients = [{}]", all.join(", ")))
}

/// How to reach it with public tools; the kit works on a folder.
fn where_it_is(location: &Location) -> String {
    let place = match location {
        Location::Folder(path) => return format!("folder {}", path.display()),
        Location::Bucket(bucket) => &bucket.place,
    };
    let region = place.region.iter().map(|region| format!(" --region {region}"));
    let endpoint = place.endpoint.iter().map(|url| format!(" --endpoint-url {url}"));
    let options: String = region.chain(endpoint).collect();
    let path = place.path();
    format!(
        "bucket s3://{path}\n             into a folder: aws s3 sync s3://{path} $REPO{options}"
    )
}

fn text(made: &Made, args: &Args) -> String {
    let Made { name, file, kit, identity_file, advice } = made;
    let mut text = String::new();
    let mut say = |line: &str| text.extend([line, "\n"]);
    match kit {
        None => say(&format!(
            "the repository `{name}` exists already (id {}); nothing was changed",
            file.repository_id
        )),
        Some(kit) => {
            say(&format!("made the repository `{name}` (id {})", file.repository_id));
            if let Some(path) = identity_file {
                say(&format!("made the identity {}", path.display()));
            }
            match &args.kit {
                Some(path) => say(&kit_written(path)),
                None => say(&format!("print this page; it will not be shown again:\n\n{kit}")),
            }
        }
    }
    if let Some(line) = advice {
        say(&format!(
            "for hosts without the identity, put into [repository.{name}] of the configuration:\n  \
             {line}"
        ));
    }
    text
}

fn kit_written(path: &Path) -> String {
    format!("wrote the recovery kit to {}: print it, then delete the file", path.display())
}

fn value(made: &Made, args: &Args) -> Value {
    json!({
        "repository": made.name,
        "id": made.file.repository_id,
        "created": made.kit.is_some(),
        "recipients": made.file.recipients,
        "identity_file": made.identity_file,
        "configuration_line": made.advice,
        "kit_file": made.kit.as_ref().and(args.kit.as_ref()),
        "kit": made.kit.as_ref().filter(|_| args.kit.is_none()),
    })
}
