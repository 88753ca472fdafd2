//! Connection strings and password files: tables and properties.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fenice::adapters::postgres::conninfo::{
    ChannelBinding, Conninfo, Host, Place, SslMode, SslRoot, Target,
};
use fenice::adapters::postgres::hosts;
use fenice::adapters::postgres::pairs::parse_pairs;
use fenice::adapters::postgres::passfile::{self, Wanted, find};
use fenice::error::Kind;
use fenice::ports::postgres::Postgres;
use proptest::prelude::*;
use secrecy::ExposeSecret;

fn parse(text: &str) -> Conninfo {
    Conninfo::parse(text, None).unwrap()
}

fn refusal(text: &str) -> String {
    let error = Conninfo::parse(text, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    error.chain()
}

#[test]
fn pairs_are_split_as_libpq_splits_them() {
    let table: [(&str, &[(&str, &str)]); 9] = [
        ("", &[]),
        ("  a=b  ", &[("a", "b")]),
        ("a = b c\t=\nd", &[("a", "b"), ("c", "d")]),
        ("a='' b=", &[("a", ""), ("b", "")]),
        (r"a='it\'s b=\\' c=d", &[("a", r"it's b=\"), ("c", "d")]),
        (r"a=x\ y b=\'q", &[("a", "x y"), ("b", "'q")]),
        ("a='x'b='y'", &[("a", "x"), ("b", "y")]),
        ("a=x'y z=é€", &[("a", "x'y"), ("z", "é€")]),
        ("a=1 a=2", &[("a", "1"), ("a", "2")]),
    ];
    for (text, expected) in table {
        let pairs = parse_pairs(text).unwrap();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(pairs, expected, "{text}");
    }
    for bad in ["a", "a b=c", "=c", "a='x", "a='x\\'", "postgres://x/y", "a=\0"] {
        assert!(parse_pairs(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn every_key_means_what_libpq_means() {
    let all = parse(
        "host=db port=5433 user=u dbname=d password='s e' passfile=/p sslmode=verify-ca \
         sslrootcert=/r sslcert=/c sslkey=/k connect_timeout=3 application_name=n \
         options='-c work_mem=1MB' target_session_attrs=standby channel_binding=require",
    );
    let place = Place::Tcp { name: "db".into(), address: None };
    assert_eq!(all.hosts, [Host { place, port: 5433 }]);
    assert_eq!((all.user.as_str(), all.dbname.as_str()), ("u", "d"));
    assert_eq!(all.password.as_ref().unwrap().expose_secret(), "s e");
    assert_eq!(all.passfile, Some(PathBuf::from("/p")));
    assert_eq!((all.ssl_mode, all.ssl_root), (SslMode::VerifyCa, SslRoot::File("/r".into())));
    assert_eq!(all.ssl_client, Some(("/c".into(), "/k".into())));
    assert_eq!(all.connect_timeout, Duration::from_secs(3));
    assert_eq!(all.application_name.as_deref(), Some("n"));
    assert_eq!(all.options.as_deref(), Some("-c work_mem=1MB"));
    assert_eq!((all.target, all.channel_binding), (Target::Standby, ChannelBinding::Require));

    let least = Conninfo::parse("user=u", Some(Path::new("/home/u"))).unwrap();
    assert_eq!(least.hosts, [Host { place: Place::DefaultSocket, port: 5432 }]);
    assert_eq!((least.dbname.as_str(), least.ssl_mode), ("u", SslMode::Prefer));
    assert_eq!(least.passfile, Some(PathBuf::from("/home/u/.pgpass")));
    assert_eq!(least.connect_timeout, Duration::from_secs(10));
    assert_eq!(parse("user=u sslrootcert=system").ssl_mode, SslMode::VerifyFull);
}

#[test]
fn lists_of_hosts_are_paired() {
    let shown = |text: &str| -> Vec<String> {
        hosts(text, None).unwrap().iter().map(|host| host.describe()).collect()
    };
    assert_eq!(
        shown("host=a,/run/x, port=1,2,3 user=u dbname=d"),
        ["host=a port=1 dbname=d", "host=/run/x port=2 dbname=d", "port=3 dbname=d"]
    );
    assert_eq!(
        shown("host=a,b hostaddr=127.0.0.1,::1 port=7 user=u"),
        ["host=a port=7 dbname=u", "host=b port=7 dbname=u"]
    );
    assert_eq!(shown("hostaddr=127.0.0.1 user=u"), ["host=127.0.0.1 port=5432 dbname=u"]);
}

#[test]
fn every_problem_is_told_and_no_secret() {
    let told = refusal("hots=x password=hush sslmode=strict port=0 connect_timeout=0");
    for part in ["`hots`", "`sslmode`", "`port` 0", "`connect_timeout`", "`user`"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert!(!told.contains("hush"), "{told}");
    let table = [
        ("user=u host=a,b port=1,2,3", "`port`"),
        ("user=u host=a,b hostaddr=127.0.0.1", "`hostaddr`"),
        ("user=u hostaddr=db.example.org", "not an address"),
        ("user=u host=@abstract", "abstract"),
        ("user=u sslcert=/c", "together"),
        ("user=u sslrootcert=system sslmode=require", "verify-full"),
        ("user=u service=x", "`service`"),
        ("user=u password='hush", "`password` does not end"),
    ];
    for (text, part) in table {
        let told = refusal(text);
        assert!(told.contains(part), "{told}");
        assert!(!told.contains("hush"), "{told}");
    }
    let conninfo = parse("user=u password=hush");
    let host = hosts("user=u password=hush", None).unwrap().remove(0);
    assert!(!format!("{conninfo:?}{host:?}").contains("hush"));
}

#[test]
fn password_files_are_read_as_libpq_reads_them() {
    let at = |place: Place, port| Host { place, port };
    let tcp = at(Place::Tcp { name: "db:1".into(), address: None }, 5432);
    let socket = at(Place::Socket("/run/postgresql".into()), 5432);
    let other = at(Place::Socket("/x".into()), 5433);
    let text = "# comment\n\nshort:line\ndb\\:1:5432:app:ops:first\n*:5432:*:ops:se\\:c\\\\r:et\n\
                localhost:*:replication:ship:local\n/x:5433:*:*:dir\n*:*:*:none:\n";
    let table = [
        (&tcp, "app", "ops", Some("first")),
        (&tcp, "other", "ops", Some("se:c\\r:et")),
        (&socket, "replication", "ship", Some("local")),
        (&socket, "app", "ship", None),
        (&other, "any", "any", Some("dir")),
        (&tcp, "app", "none", None),
    ];
    for (host, dbname, user, expected) in table {
        assert_eq!(find(text, Wanted { host, dbname, user }).as_deref(), expected, "{user}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pass");
    let read = || passfile::read(&path, Wanted { host: &tcp, dbname: "d", user: "u" });
    assert!(read().unwrap_err().contains("cannot be read"));
    fs::write(&path, "*:*:*:u:secret").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(read().unwrap_err().contains("read by others"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(read().unwrap().expose_secret(), "secret");
}

/// As the manual says: quoted, backslash before `'` and `\`.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

proptest! {
    #[test]
    fn quoted_pairs_come_back(
        pairs in proptest::collection::vec(("[a-z_]{1,8}", "[^\0]{0,20}"), 0..6),
        blank in "[ \t\n]{1,3}",
    ) {
        let written = |(key, value): &(String, String)| {
            format!("{key}{blank}={blank}{}", quoted(value))
        };
        let text: Vec<String> = pairs.iter().map(written).collect();
        prop_assert_eq!(parse_pairs(&text.join(&blank)).unwrap(), pairs);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}", tail in "[=' \\\\a,@/:0-9]{0,30}") {
        let _ = Conninfo::parse(&format!("{text}{tail}"), None);
        let _ = Conninfo::parse(&format!("user=u host={tail} port={text}"), None);
        let host = Host { place: Place::DefaultSocket, port: 1 };
        let _ = find(&format!("{tail}\n{text}"), Wanted { host: &host, dbname: "d", user: "u" });
    }
}
