//! Whether a repository can be read, who has its lease, and how much it holds.

use jiff::Timestamp;

use super::super::places;
use super::look::Looked;
use crate::config::Config;
use crate::error::{Attempt, Error, Result};
use crate::model::ResourceName;
use crate::repository::lease::LeaseFile;
use crate::repository::{Repository, layout};
use crate::web::{Fact, LeaseState, RepositoryFacts};

/// What came of looking at a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct RepositorySeen {
    pub facts: RepositoryFacts,
    /// Since when it cannot be read, and why not now; `None` if it can.
    pub unreachable: Option<(Timestamp, String)>,
}

/// Looks at a repository by its lease, one small object. `opened` is the one that this process
/// works with, or why there is none; `lease` is how this process stands to it, `bytes` what
/// [`bytes_of`] says, `before` what the look before came to. Blocks for as long as the repository
/// does.
pub fn look_at(
    opened: Result<&Repository, &Error>,
    lease: LeaseState,
    bytes: Fact<u64>,
    before: Option<&RepositorySeen>,
    now: Timestamp,
) -> RepositorySeen {
    let read = match opened {
        Ok(repository) => repository.store.get(layout::LEASE).map_err(|error| error.chain()),
        Err(error) => Err(error.chain()),
    };
    let (generation, unreachable) = match read {
        // A lease that cannot be understood was read all the same.
        Ok(body) => (Fact::found(generation(body.as_deref())), None),
        Err(because) => {
            let known = before.and_then(|before| before.unreachable.as_ref());
            let since = known.map_or(now, |(since, _)| *since);
            (Fact::Unknown, Some((since, because)))
        }
    };
    let reachable = unreachable.is_none();
    RepositorySeen { facts: RepositoryFacts { reachable, bytes, generation, lease }, unreachable }
}

fn generation(body: Option<&[u8]>) -> Result<Option<u64>> {
    let Some(body) = body else { return Ok(None) };
    let file: Result<LeaseFile> =
        serde_json::from_slice(body).attempt(|| format!("read {}", layout::LEASE));
    file.map(|file| Some(file.generation))
}

/// What the repository of that name holds of all resources that are stored there, each as of its
/// last look; unknown until each was looked at.
pub fn bytes_of<'l>(
    name: &str,
    config: &Config,
    looked: impl Fn(&ResourceName) -> Option<&'l Looked>,
) -> Fact<u64> {
    let mut sum: u64 = 0;
    for resource in &config.resources {
        if !places(config, resource).iter().any(|(place, _)| *place == name) {
            continue;
        }
        let of = looked(&resource.name);
        let stored = of.and_then(|of| of.stored_bytes.iter().find(|(place, _)| place == name));
        let Some((_, bytes)) = stored else { return Fact::Unknown };
        sum = sum.saturating_add(*bytes);
    }
    Fact::Known(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::web::ResourceFacts;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn it_is_told_since_when_a_repository_cannot_be_read() {
        let error = Error::failed("nobody answers");
        let lost = |before: Option<&RepositorySeen>, second| {
            look_at(Err(&error), LeaseState::Lost, Fact::Known(5), before, at(second))
        };
        let first = lost(None, 100);
        let second = lost(Some(&first), 160);
        assert_eq!(second.unreachable, Some((at(100), "nobody answers".to_owned())));
        assert_eq!((second.facts.reachable, second.facts.generation), (false, Fact::Unknown));
        let back = RepositorySeen { unreachable: None, ..second };
        assert_eq!(lost(Some(&back), 220).unreachable.unwrap().0, at(220));
    }

    #[test]
    fn what_is_stored_is_known_once_everything_was_looked_at() {
        let resource = |name: &str| {
            format!(
                "[[resource]]\nname = \"{name}\"\nkind = \"postgres\"\nrepository = \"main\"\n\
                 policy = \"standard\"\nconnection = \"host=/run/postgresql user=fenice\"\n\
                 data_dir = \"/srv/{name}\"\n"
            )
        };
        let text = format!(
            "[repository.main]\npath = \"/srv/fenice\"\n[repository.offsite]\npath = \"/srv/far\"\n\
             [policy.standard]\ncopy_to = \"offsite\"\n{}{}",
            resource("one"),
            resource("two")
        );
        let config = parse(&text, "fenice.toml").unwrap();
        let looked = |stored: &[(&str, u64)]| Looked {
            at: at(0),
            facts: ResourceFacts::unmeasured(None),
            reds: Vec::new(),
            untold: &[],
            stored_bytes: stored.iter().map(|(place, bytes)| ((*place).into(), *bytes)).collect(),
            condition: None,
        };
        let (one, two) = (looked(&[("main", 5), ("offsite", 2)]), looked(&[("main", 7)]));
        let of = |name: &ResourceName| Some(if name.as_str() == "one" { &one } else { &two });
        assert_eq!(bytes_of("main", &config, of), Fact::Known(12));
        assert_eq!(bytes_of("offsite", &config, of), Fact::Unknown);
        assert_eq!(bytes_of("main", &config, |_| None), Fact::Unknown);
    }
}
