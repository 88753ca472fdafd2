//! Making and opening vaults: passwords, existing vaults, damaged files, interrupted `init`.

use std::sync::Arc;

use fenice::adapters::memory::MemoryStore;
use fenice::adapters::system::SystemEntropy;
use fenice::error::Kind;
use fenice::ports::Store;
use fenice::repository::vault::Vault;
use secrecy::SecretString;

use super::faults::{Fault, FaultyStore};
use super::model::{self, PREFIX};

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

#[test]
fn a_vault_opens_with_its_password_only() {
    let store = store();
    let made = model::init(&store);
    assert_eq!(model::open(&store).config(), made.config());
    let wrong = Vault::open(Arc::clone(&store), PREFIX, &SecretString::from("guess"));
    let error = wrong.unwrap_err();
    assert_eq!(error.kind(), Kind::Failed);
    assert!(error.chain().contains("password"), "{error:?}");
    assert!(error.hint_text().is_some());
}

#[test]
fn where_there_is_no_vault_open_says_so_and_init_does_not_overwrite_one() {
    let store = store();
    let error = Vault::open(Arc::clone(&store), PREFIX, &model::password()).unwrap_err();
    assert!(error.chain().contains("no vault"), "{error:?}");
    assert!(!Vault::exists(store.as_ref(), PREFIX).unwrap());
    model::init(&store);
    assert!(Vault::exists(store.as_ref(), PREFIX).unwrap());
    let before = store.list("").unwrap();
    for password in ["another", model::PASSWORD] {
        let password = SecretString::from(password);
        let again =
            Vault::init(Arc::clone(&store), PREFIX, &password, model::now(), &SystemEntropy);
        assert_eq!(again.unwrap_err().kind(), Kind::Refused);
    }
    assert_eq!(store.list("").unwrap(), before);
    let elsewhere = Vault::open(store, "without/slash", &model::password());
    assert_eq!(elsewhere.unwrap_err().kind(), Kind::Usage);
}

#[test]
fn an_interrupted_init_can_be_run_again() {
    for fault in [Fault::Once, Fault::ForEver, Fault::DoneButFailed, Fault::Panic] {
        for at in 1.. {
            let inner = store();
            let faulty = Arc::new(FaultyStore::new(&inner, fault, at));
            let through: Arc<dyn Store> = faulty.clone();
            let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                Vault::init(through, PREFIX, &model::password(), model::now(), &SystemEntropy)
            }));
            let failed = !matches!(made, Ok(Ok(_)));
            assert_eq!(failed, faulty.was_hit(), "{fault:?} at {at}");
            if !failed {
                assert!(at > 3);
                break;
            }
            // Either it was done all the same, or doing it again does it.
            if !Vault::exists(inner.as_ref(), PREFIX).unwrap() {
                model::init(&inner);
            }
            model::open(&inner);
            assert_eq!(inner.list(&format!("{PREFIX}keys/")).unwrap().len(), 1);
        }
    }
}

#[test]
fn damaged_config_and_key_files_are_errors() {
    let store = store();
    model::init(&store);
    let key = store.list(&format!("{PREFIX}keys/")).unwrap().remove(0).key;
    for (key, bytes) in [(format!("{PREFIX}config"), 40), (key, 100)] {
        let body = store.get(&key).unwrap().unwrap();
        let mut flipped = body.clone();
        flipped[bytes] ^= 1;
        for damaged in [&flipped[..], &body[..bytes], b""] {
            store.remove(&key).unwrap();
            store.put_new(&key, damaged).unwrap();
            Vault::open(Arc::clone(&store), PREFIX, &model::password()).unwrap_err();
        }
        store.remove(&key).unwrap();
        store.put_new(&key, &body).unwrap();
        model::open(&store);
    }
}
