//! `retention` and `hold`, as operators use them.

use std::fs;

use fenice::adapters::system::SystemEntropy;
use fenice::engines::postgres::restore::facts::open_vault;
use fenice::repository::seal::{Identities, Recipients};
use fenice::repository::vault::index::{IndexFile, IndexPack};
use fenice::repository::vault::{Id, sealed};
use fenice::repository::{Repository, manifest};

use super::rig::{Place, RESOURCE};
use crate::support::Cluster;

/// A pack that was marked for deletion years ago, and that no run has deleted since.
fn leave_overdue_pack(place: &Place) {
    let identity = fs::read_to_string(place.path("identity.age")).unwrap();
    let identities = Identities::parse(&identity).unwrap();
    let recipients = Recipients::parse(&identities.recipients()).unwrap();
    let repository = Repository::open(place.home.store(), recipients, Some(identities)).unwrap();
    let resource = RESOURCE.parse().unwrap();
    let newest = manifest::snapshots(&repository, &resource).unwrap().pop().unwrap();
    let vault = open_vault(&repository, &newest).unwrap();
    let body = b"nobody needs this";
    let time = Some("2020-01-01T00:00:00Z".parse().unwrap());
    let pack = IndexPack { time, ..IndexPack::new(Id::of(body), Vec::new()) };
    vault.store().put_new(&vault.layout().pack(&pack.id), body).unwrap();
    let marks = IndexFile { packs: Vec::new(), packs_to_delete: vec![pack] };
    let (id, body) = sealed::seal(&marks, vault.cipher(), &SystemEntropy).unwrap();
    vault.store().put_new(&vault.layout().index(&id), &body).unwrap();
}

#[test]
fn the_plan_is_shown_and_holds_are_given_and_ended() {
    let cluster = Cluster::builder().version(15).segment_size_mib(1).start();
    let place = Place::for_cluster(&cluster);
    place.does(&["init"]);
    place.does(&["prepare", RESOURCE]);
    let empty = place.does(&["retention"]);
    assert!(empty.contains("no snapshots"), "{empty}");
    place.does(&["snapshot", RESOURCE]);
    let taken = place.json(0, &["snapshot", RESOURCE]);
    let id = taken["id"].as_str().unwrap();

    let plan = place.json(0, &["retention", RESOURCE]);
    let snapshots = plan[0]["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 2);
    assert!(snapshots.iter().all(|s| s["stays"] == true && s["overdue"] == false), "{plan}");
    assert!(snapshots[0]["because"].as_str().unwrap().contains("within the window"));
    let applied = place.json(0, &["retention", RESOURCE, "--apply"]);
    assert_eq!(applied[0]["applied"]["snapshots"], 0);
    assert_eq!(applied[0]["applied"]["vault"]["packs_marked"], 0);
    let strange = format!("postgres/{RESOURCE}/wal/notes.txt");
    place.home.store().put_new(&strange, b"of another program").unwrap();
    let text = place.does(&["retention", RESOURCE]);
    assert!(text.contains("stays") && text.contains(id), "{text}");
    assert!(text.contains(&format!("not understood: 1 keys, as {strange}")), "{text}");
    let plan = place.json(0, &["retention", RESOURCE]);
    assert_eq!(plan[0]["strangers"][0], strange.as_str());

    leave_overdue_pack(&place);
    assert_eq!(place.json(3, &["retention", RESOURCE])[0]["overdue_packs"], 1);
    let applied = place.json(3, &["retention", RESOURCE, "--apply"]);
    assert_eq!(applied[0]["applied"]["vault"]["packs_deleted"], 1);
    assert!(!place.does(&["retention", RESOURCE]).contains("warning:"));

    let why = ["--who", "Rossi", "--why", "tribunal"];
    let wrong = [&["hold", "add", RESOURCE, "--snapshot", "nothing"][..], &why].concat();
    assert!(place.ends(2, &wrong).stderr.contains("fenice list"));
    let past = [&["hold", "add", RESOURCE, "--until", "2020-01-01T00:00:00Z"][..], &why].concat();
    place.ends(2, &past);
    let add = [&["hold", "add", RESOURCE, "--snapshot", id][..], &why].concat();
    let given = place.json(0, &add);
    let hold = given["hold"]["id"].as_str().unwrap().to_owned();
    let listed = place.does(&["hold", "list", RESOURCE]);
    assert!(listed.contains("in force") && listed.contains("by Rossi: tribunal"), "{listed}");
    let remove = ["hold", "remove", RESOURCE, &hold, "--who", "Bianchi", "--why", "judged"];
    place.does(&remove);
    assert!(place.ends(2, &remove).stderr.contains("released before"));
    let listed = place.does(&["hold", "list", RESOURCE]);
    assert!(listed.contains("ended") && listed.contains("by Bianchi: judged"), "{listed}");
    let unknown = ["hold", "remove", RESOURCE, "nothing", "--who", "x", "--why", "y"];
    assert!(place.ends(2, &unknown).stderr.contains("has no hold nothing"));
}
