//! What good files become.

use std::path::PathBuf;

use fenice::config::{
    Checksums, Location, Method, ObjectLock, Replicate, SecretRef, ServerSideEncryption, Source,
};
use fenice::model::{ByteSize, Span};
use jiff::civil::Weekday;

use super::{LEAST, good};

#[test]
fn the_least_file_gets_the_promised_defaults() {
    let config = good(LEAST);
    assert_eq!(config.daemon.state_dir, PathBuf::from("/var/lib/fenice"));
    assert_eq!(config.daemon.timezone.iana_name(), Some("Europe/Rome"));
    assert_eq!(config.daemon.listen, "127.0.0.1:9797".parse().unwrap());
    assert_eq!(config.daemon.jobs, 4);
    let resource = config.resource("registro").unwrap();
    let policy = config.policy_of(resource);
    assert_eq!(policy.snapshot.as_str(), "0 2 * * *");
    let crons = [&policy.copy, &policy.retention, &policy.verify].map(|cron| cron.as_str());
    assert_eq!(crons, ["15 * * * *", "30 4,16 * * *", "0 6 * * *"]);
    assert_eq!(policy.drill.as_ref().map(|cron| cron.as_str()), Some("0 4 1 * *"));
    assert_eq!((policy.window, policy.jitter), (None, Span::seconds(300)));
    assert_eq!(policy.ship_every, Span::seconds(300));
    assert_eq!(policy.daily, Span::seconds(35 * 86_400));
    assert_eq!(
        (policy.weekly_day, policy.weekly_extra.to_config().as_str()),
        (Weekday::Sunday, "25d")
    );
    assert_eq!((policy.replicate, policy.keep_min), (Replicate::Weekly, 2));
    assert_eq!((policy.rto, policy.rpo), (Span::seconds(14_400), Span::seconds(86_400)));
    assert_eq!((policy.chunk, policy.pack), (ByteSize(1 << 20), ByteSize(16 << 20)));
    assert_eq!(policy.compression_level, 3);
    assert_eq!(config.copy_repository_of(resource), None);
    let repository = config.repository_of(resource);
    assert_eq!(repository.location, Location::Folder("/srv/fenice".into()));
    assert_eq!(resource.workers, None);
    assert_eq!(resource.full_read_every, Span::seconds(7 * 86_400));
    assert_eq!(resource.drill.max_duration, Span::seconds(14_400));
    assert_eq!(resource.drill.row_count_tolerance_percent, 50);
    let Source::Postgres(source) = &resource.source;
    assert_eq!(source.slot, "fenice_registro");
    let data_dir = PathBuf::from("/var/lib/postgresql/15/main");
    assert_eq!(source.method, Method::Files { data_dir });
}

#[test]
fn everything_that_can_be_said_is_kept() {
    let text = r#"
[repository.main]
bucket = "fenice-main"
prefix = "/a/b/"
endpoint = "https://s3.example.org"
path_style = true
sse = "aws:kms"
object_lock = "compliance"
checksums = "when_required"
identity = { credential = "identity" }
recipients = ["age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"]
[repository.copies]
path = "/mnt/copies"
identity = { env = "FENICE_IDENTITY" }
[policy.p]
copy_to = "copies"
replicate = "all"
weekly_extra = "0d"
[[resource]]
name = "db-1"
kind = "postgres"
repository = "main"
policy = "p"
connection = "host=a,b port=5432 user=fenice options='-c search_path=x\\ y' passfile=/etc/pass"
primary_connection = "host=a"
method = "stream"
workers = 8
slot = "mine"
[resource.drill]
max_duration = "30m"
[[resource.check]]
name = "one"
sql = "SELECT 1"
expect = "1"
mandatory = false
[[resource.check]]
name = "two"
sql = "SELECT true"
[[service]]
name = "school"
resources = ["db-1"]
"#;
    let config = good(text);
    let Location::Bucket(bucket) = &config.repositories["main"].location else { panic!() };
    let place = &bucket.place;
    assert_eq!((place.prefix.as_str(), place.path_style, &place.region), ("a/b", true, &None));
    assert_eq!(place.sse, Some(ServerSideEncryption::Kms));
    assert_eq!(bucket.object_lock, ObjectLock::Compliance);
    assert_eq!(place.checksums, Checksums::WhenRequired);
    assert_eq!(
        config.repositories["main"].identity,
        Some(SecretRef::Credential("identity".to_owned()))
    );
    let resource = &config.resources[0];
    assert_eq!(config.copy_repository_of(resource).unwrap().name, "copies");
    let Source::Postgres(source) = &resource.source;
    assert_eq!((&source.method, source.slot.as_str()), (&Method::Stream, "mine"));
    let checks: Vec<(&str, bool, &str)> = resource
        .checks
        .iter()
        .map(|check| (check.name.as_str(), check.mandatory, check.expect.as_str()))
        .collect();
    assert_eq!(checks, [("one", false, "1"), ("two", true, "t")]);
    assert_eq!(config.service("school").unwrap().resources[0].as_str(), "db-1");
}

#[test]
fn a_policy_may_never_drill_and_keep_to_the_night() {
    let lines = "drill = \"never\"\nwindow = \"20:00-06:00\"\njitter = \"0s\"";
    let text = LEAST.replace("[policy.standard]", &format!("[policy.standard]\n{lines}"));
    let config = good(&text);
    let policy = &config.policies["standard"];
    assert_eq!((&policy.drill, policy.jitter), (&None, Span::default()));
    assert_eq!(policy.window.unwrap().to_string(), "20:00-06:00");
}

#[test]
fn a_name_with_dashes_gets_a_valid_slot() {
    let config = good(&LEAST.replace("\"registro\"", "\"db-a\""));
    let Source::Postgres(source) = &config.resources[0].source;
    assert_eq!(source.slot, "fenice_db_a");
}

#[test]
fn a_repository_alone_is_enough_to_restore_from() {
    assert!(good("[repository.main]\npath = \"/srv/fenice\"\n").resources.is_empty());
}
