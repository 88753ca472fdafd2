//! A repository as a whole: made once, opened with what the configuration says of it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Attempt, Error, Kind, Result};
use crate::ports::store::{Lock, Put, Replaced, Store};
use crate::ports::{Clock, Entropy};
use crate::repository::layout;
use crate::repository::lease::Lease;
use crate::repository::seal::{Identities, Recipients};

/// The format this version writes and reads.
const VERSION: u32 = 1;

/// `fenice.json`, in clear: enough to know what this is and whose key opens it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FormatFile {
    pub fenice_format: u32,
    pub repository_id: String,
    pub created_at: Timestamp,
    /// age X25519 recipients, sorted; each of them alone opens everything.
    pub recipients: Vec<String>,
    /// Since when what is stored is being sealed anew: until that is done, some of it may still be
    /// sealed to the recipients of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resealing_since: Option<Timestamp>,
}

/// An open repository. Sealing needs only the recipients, reading needs an identity.
#[derive(Clone)]
pub struct Repository {
    pub store: Arc<dyn Store>,
    pub recipients: Recipients,
    pub id: String,
    identities: Option<Identities>,
    /// Under which this process writes; `None` for one that only reads.
    lease: Option<Arc<Lease>>,
}

impl Repository {
    /// Makes a repository in an empty store.
    ///
    /// # Errors
    /// Refused if the store holds one already: its keys must never be replaced.
    pub fn init(
        store: Arc<dyn Store>,
        recipients: Recipients,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<FormatFile> {
        let mut id = [0; 16];
        entropy.fill(&mut id);
        let file = FormatFile {
            fenice_format: VERSION,
            repository_id: hex::encode(id),
            created_at: clock.now(),
            recipients: recipients.texts(),
            resealing_since: None,
        };
        let body = serde_json::to_vec_pretty(&file).attempt(|| "write fenice.json".to_owned())?;
        match store.put_new(layout::FORMAT, &body)? {
            Put::Created => Ok(file),
            Put::Exists => {
                Err(Error::refused(format!("a repository exists already in {}", store.describe()))
                    .hint(
                        "Nothing was changed. Name another place, or use the repository as it is.",
                    ))
            }
        }
    }

    /// Opens a repository and compares it with what the configuration says.
    ///
    /// # Errors
    /// No repository, one of a newer version, or other recipients than configured: then something
    /// would be sealed to the wrong people.
    pub fn open(
        store: Arc<dyn Store>,
        recipients: Recipients,
        identities: Option<Identities>,
    ) -> Result<Repository> {
        let file = read_format(store.as_ref())?;
        let configured = recipients.texts();
        if file.recipients != configured {
            return Err(disagreement(store.as_ref(), &configured, &file.recipients));
        }
        if let Some(identities) = &identities
            && !identities.recipients().iter().any(|ours| configured.contains(ours))
        {
            return Err(Error::refused("the identity opens nothing in this repository")
                .because(format!("its recipient is {}", identities.recipients().join(", ")))
                .hint("Name the identity that belongs to one of the repository's recipients."));
        }
        Ok(Repository { store, recipients, id: file.repository_id, identities, lease: None })
    }

    /// Opens a repository as it is, with whatever recipients it has, for somebody with a key and
    /// no configuration.
    pub fn open_as_it_is(store: Arc<dyn Store>, identities: Identities) -> Result<Repository> {
        let file = read_format(store.as_ref())?;
        let recipients = Recipients::parse(&file.recipients)
            .attempt(|| format!("read the recipients of {}", store.describe()))?;
        let (id, identities) = (file.repository_id, Some(identities));
        Ok(Repository { store, recipients, id, identities, lease: None })
    }

    /// To whom to seal what is written now. Looked up each time: a process that runs on with the
    /// recipients of before would shut somebody out, or still let somebody in.
    ///
    /// # Errors
    /// `Kind::Busy` if they are not those any more that the repository was opened with: who begins
    /// anew learns from the configuration whether that was meant.
    pub fn recipients_now(&self) -> Result<&Recipients> {
        let file = read_format(self.store.as_ref())?;
        match file.recipients == self.recipients.texts() {
            true => Ok(&self.recipients),
            false => {
                let place = self.store.describe();
                let what = format!("another process changed the recipients of {place} meanwhile");
                Err(Error::new(Kind::Busy, what)
                    .because(format!("they are now {}", file.recipients.join(", ")))
                    .hint(
                        "Nothing was written. Let `recipients` of the configuration name them, and \
                         start this again.",
                    ))
            }
        }
    }

    /// The identity, for reading.
    ///
    /// # Errors
    /// Refused if the configuration names none.
    pub fn identities(&self) -> Result<&Identities> {
        self.identities.as_ref().ok_or_else(|| {
            Error::refused("reading from the repository needs an identity, and none is configured")
                .hint("Set `identity` of the repository in the configuration.")
        })
    }

    /// The same, to be written to under `lease`.
    pub fn under(self, lease: Arc<Lease>) -> Repository {
        Repository { lease: Some(lease), ..self }
    }

    /// The lease under which this process writes, if it was given one.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_deref()
    }

    /// Takes the lock `name` among the processes of this installation: the lease keeps the others
    /// out, so that nobody waits for the locks of a host that is lost.
    ///
    /// # Errors
    /// `Kind::Busy` while another process holds it.
    pub fn lock(&self, name: &str) -> Result<Box<dyn Lock>> {
        match self.lease() {
            Some(lease) => self.store.lock(&format!("{}/{name}", lease.installation())),
            None => self.store.lock(name),
        }
    }

    /// Refuses to go on once another installation took over. No request is made, and a store that
    /// cannot be reached for a while is no reason.
    pub fn must_not_be_deposed(&self) -> Result<()> {
        match self.lease() {
            Some(lease) if lease.is_deposed() => lease.check(),
            _ => Ok(()),
        }
    }

    /// The same before something is stored: whoever could not renew the lease for long, paused or
    /// cut off, asks whether it is still his.
    pub fn must_be_in_charge(&self) -> Result<()> {
        self.must_not_be_deposed()?;
        match self.lease() {
            Some(lease) if lease.check().is_err() => lease.renew(),
            _ => Ok(()),
        }
    }

    /// Whether this process can read what it writes.
    pub fn can_read(&self) -> bool {
        self.identities.is_some()
    }
}

/// Reads `fenice.json`.
pub fn read_format(store: &dyn Store) -> Result<FormatFile> {
    parse_format(&store.get(layout::FORMAT)?.ok_or_else(|| no_repository(store))?)
}

/// Replaces `fenice.json` by what `change` makes of it.
pub fn change_format(store: &dyn Store, change: impl Fn(&mut FormatFile)) -> Result<()> {
    let replaced = store.replace(layout::FORMAT, &mut |body| {
        let mut file = parse_format(body)?;
        change(&mut file);
        serde_json::to_vec_pretty(&file).attempt(|| "write fenice.json".to_owned())
    })?;
    match replaced {
        // What it was before holds nothing that it does not hold itself.
        Replaced::Done | Replaced::Kept { .. } => Ok(()),
        Replaced::Absent => Err(no_repository(store)),
    }
}

/// The refusal to use a repository whose recipients are not those configured.
pub fn disagreement(store: &dyn Store, configured: &[String], own: &[String]) -> Error {
    let place = store.describe();
    Error::refused(format!("the recipients configured for {place} are not the repository's own"))
        .because(format!(
            "configured: {}; in fenice.json: {}",
            configured.join(", "),
            own.join(", ")
        ))
        .hint(
            "Put the recipients of fenice.json into the configuration; or change the repository's \
             with `fenice keys add` and `fenice keys remove`.",
        )
}

fn no_repository(store: &dyn Store) -> Error {
    Error::failed(format!("there is no repository in {}", store.describe()))
        .hint("`fenice init` makes it. If it was there before, is the disk mounted?")
}

fn parse_format(body: &[u8]) -> Result<FormatFile> {
    let file: FormatFile =
        serde_json::from_slice(body).attempt(|| "read fenice.json".to_owned())?;
    match file.fenice_format {
        VERSION => Ok(file),
        other => Err(Error::refused(format!(
            "the repository has format {other}, this version knows format {VERSION}"
        ))
        .hint("Use the version of Fenice that wrote it, or a newer one.")),
    }
}
