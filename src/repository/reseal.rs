//! Sealing anew: the same content, for the recipients of now, in the place of what is stored.

use jiff::Timestamp;

use crate::error::{Attempt, Error, Result};
use crate::ports::Store;
use crate::ports::store::Replaced;
use crate::repository::seal::{Identities, Recipients};

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resealed {
    Done,
    /// The same, but so many versions of before are locked by the store: whoever opened them can
    /// until then.
    Kept {
        versions: u64,
        until: Timestamp,
    },
    /// It was removed before its turn came.
    Gone,
    /// The identity does not open it, for this reason. It is as it was.
    Unreadable(String),
}

/// Seals the object `key` anew. `identities` must open what is sealed to `recipients`: nothing is
/// replaced by what was not read back. Holds the object in memory four times.
///
/// # Errors
/// It can neither be read nor replaced. An object that cannot be opened is no error.
pub fn reseal(
    store: &dyn Store,
    key: &str,
    identities: &Identities,
    recipients: &Recipients,
) -> Result<Resealed> {
    let mut unreadable = None;
    let replaced = store.replace(key, &mut |sealed| {
        // What is sealed is longer than what is in it.
        let plain = identities
            .open(sealed, sealed.len() as u64)
            .inspect_err(|error| unreadable = Some(error.chain()))?;
        let anew = recipients.seal(&plain)?;
        match identities.open(&anew, plain.len() as u64)? == plain {
            true => Ok(anew),
            false => Err(Error::failed("what was sealed anew is not what it was")),
        }
    });
    match (replaced, unreadable) {
        (_, Some(because)) => Ok(Resealed::Unreadable(because)),
        (Ok(Replaced::Done), None) => Ok(Resealed::Done),
        (Ok(Replaced::Kept { versions, until }), None) => Ok(Resealed::Kept { versions, until }),
        (Ok(Replaced::Absent), None) => Ok(Resealed::Gone),
        (Err(error), None) => Err::<Resealed, _>(error).attempt(|| format!("seal {key} anew")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::store::Put;

    fn pair() -> (Identities, Recipients) {
        let (identity, recipient) = Identities::generate();
        (Identities::parse(&identity).unwrap(), Recipients::parse(&[recipient]).unwrap())
    }

    #[test]
    fn what_is_sealed_anew_has_the_same_content_for_others() {
        let store = crate::adapters::memory::MemoryStore::new();
        let ((first, old), (second, new)) = (pair(), pair());
        let both = Recipients::parse(&[old.texts(), new.texts()].concat()).unwrap();
        let put = store.put_new("keys/x.age", &old.seal(b"content").unwrap()).unwrap();
        assert_eq!(put, Put::Created);
        let before = store.list("").unwrap()[0].stored_at;
        assert_eq!(reseal(&store, "keys/x.age", &first, &both).unwrap(), Resealed::Done);
        let sealed = store.get("keys/x.age").unwrap().unwrap();
        for identity in [&first, &second] {
            assert_eq!(identity.open(&sealed, 100).unwrap(), b"content");
        }
        assert_eq!(store.list("").unwrap()[0].stored_at, before);
        assert_eq!(reseal(&store, "keys/x.age", &second, &new).unwrap(), Resealed::Done);
        let sealed = store.get("keys/x.age").unwrap().unwrap();
        assert!(first.open(&sealed, 100).is_err());

        // Never without reading it back, and never what cannot be opened.
        assert!(reseal(&store, "keys/x.age", &second, &old).is_err());
        let unopened = reseal(&store, "keys/x.age", &first, &old).unwrap();
        assert!(matches!(unopened, Resealed::Unreadable(_)), "{unopened:?}");
        assert_eq!(store.get("keys/x.age").unwrap().unwrap(), sealed);
        assert_eq!(reseal(&store, "keys/y.age", &second, &new).unwrap(), Resealed::Gone);
    }
}
