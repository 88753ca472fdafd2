//! Passwords, TLS, certificates, channel binding, sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fenice::adapters::postgres::hosts;
use fenice::error::{Kind, Retry};
use fenice::ports::postgres::Postgres;

use super::{code, host};
use crate::support::{Cluster, Scratch, available_versions, has_tls, run};

const WITH_TLS: [u32; 2] = [15, 17];

fn tls_versions() -> impl Iterator<Item = u32> {
    available_versions().into_iter().filter(|version| WITH_TLS.contains(version))
}

/// What the session says of itself: whether it is encrypted, and who it is.
async fn me(conninfo: &str) -> fenice::error::Result<(String, String)> {
    let mut session = host(conninfo).session("fenice_test").await?;
    let sql = "select ssl, current_user from pg_stat_ssl where pid = pg_backend_pid()";
    let rows = session.query(sql).await?;
    let text = |at: usize| rows[0][at].clone().unwrap();
    Ok((text(0), text(1)))
}

fn tcp(cluster: &Cluster, rest: &str) -> String {
    format!("host=127.0.0.1 port={} dbname=postgres {rest}", cluster.port())
}

/// Replaces who may log in how.
fn allow(cluster: &Cluster, rules: &str) {
    let rules = format!("local all,replication all trust\n{rules}\n");
    fs::write(cluster.data_dir().join("pg_hba.conf"), rules).unwrap();
    cluster.psql("postgres", "select pg_reload_conf()");
    let sql = "select count(*) from pg_hba_file_rules where error is not null";
    assert_eq!(cluster.psql("postgres", sql), "0");
}

fn openssl(dir: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    run(command.args(arguments.split_whitespace()).current_dir(dir), "").expect_success("openssl");
}

#[tokio::test]
async fn passwords_without_tls() {
    for version in available_versions() {
        let cluster = Cluster::builder().version(version).start();
        cluster.psql("postgres", "create role ops login replication password 'sécret'");
        let conninfo = tcp(&cluster, "user=ops password=sécret");
        assert_eq!(me(&conninfo).await.unwrap(), ("f".into(), "ops".into()));
        assert!(host(&conninfo).walsender("x").await.unwrap().identify().await.is_ok());

        let error = me(&tcp(&cluster, "user=ops password=wrong")).await.unwrap_err();
        assert_eq!((code(&error), error.retry()), ("28P01", Retry::Never));
        assert!(!error.chain().contains("wrong"), "{error:?}");
        let error = me(&tcp(&cluster, "user=ops")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{error:?}");
        let bound = tcp(&cluster, "user=ops password=sécret channel_binding=require");
        assert!(me(&bound).await.is_err(), "there is no channel to bind to");

        cluster.psql(
            "postgres",
            "set password_encryption = md5; create role old login \
             replication password 'x'",
        );
        allow(&cluster, "host all,replication all 127.0.0.1/32 md5");
        let old = me(&tcp(&cluster, "user=old password=x")).await.unwrap();
        assert_eq!(old.1, "old");
        assert!(me(&tcp(&cluster, "user=old password=y")).await.is_err());

        allow(&cluster, "host all all 127.0.0.1/32 password");
        let error = me(&tcp(&cluster, "user=old password=x")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{error:?}");
        // Without an entry for it there is no replication.
        let error = host(&tcp(&cluster, "user=ops")).walsender("x").await.err().unwrap();
        assert_eq!(code(&error), "28000");
    }
}

#[tokio::test]
async fn password_files_and_sockets() {
    let cluster = Cluster::builder().start();
    cluster.psql("postgres", "create role ops login replication password 'pw'");
    assert_eq!(me(&cluster.conninfo()).await.unwrap().1, "postgres");
    let dir = Scratch::new();
    let file = dir.path().join(".pgpass");
    let port = cluster.port();
    fs::write(&file, format!("127.0.0.1:{port}:postgres:ops:pw\n*:*:replication:ops:pw")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let conninfo = tcp(&cluster, "user=ops");
    let from_home = hosts(&conninfo, Some(dir.path())).unwrap().remove(0);
    assert!(from_home.session("x").await.is_ok());
    assert!(from_home.walsender("x").await.is_ok());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = from_home.session("x").await.err().unwrap();
    assert!(error.chain().contains("can be read by others"), "{error:?}");
    let given = from_home.with_password("pw".to_owned().into());
    assert!(given.session("x").await.is_ok());

    let nowhere = format!("host={} user=ops", dir.path().display());
    let error = me(&nowhere).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Later);
    assert!(error.chain().contains(".s.PGSQL.5432"), "{error:?}");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let start = Instant::now();
    let error = me(&format!("host=127.0.0.1 port={port} user=u connect_timeout=1")).await;
    assert_eq!(error.unwrap_err().retry(), Retry::Later);
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn tls_modes() {
    for version in tls_versions() {
        assert!(has_tls(version));
        let cluster = Cluster::builder().version(version).tls(true).start();
        cluster.psql("postgres", "create role ops login replication password 'pw'");
        let ca = cluster.ca_file().unwrap().display();
        let login = "user=ops password=pw";
        // Mode, what else, whether it connects and whether that is encrypted.
        let table = [
            ("disable", "", Some("f")),
            ("allow", "", Some("f")),
            ("prefer", "", Some("t")),
            ("require", "", Some("t")),
            ("require", "channel_binding=require", Some("t")),
            ("prefer", "channel_binding=require", Some("t")),
            ("require", "channel_binding=disable", Some("t")),
            ("disable", "channel_binding=require", None),
            ("verify-ca", "", None),
            ("verify-full", "", None),
        ];
        for (mode, rest, expected) in table {
            let came = me(&tcp(&cluster, &format!("{login} sslmode={mode} {rest}"))).await;
            let encrypted = came.as_ref().ok().map(|(ssl, _)| ssl.as_str());
            assert_eq!(encrypted, expected, "{mode} {rest}: {came:?}");
        }
        for mode in ["require", "verify-ca", "verify-full"] {
            let conninfo = format!("{login} sslmode={mode} sslrootcert={ca}");
            assert_eq!(me(&tcp(&cluster, &conninfo)).await.unwrap().0, "t", "{mode}");
        }
        let by_name = format!(
            "host=localhost hostaddr=127.0.0.1 port={} dbname=postgres {login} \
             sslmode=verify-full sslrootcert={ca}",
            cluster.port()
        );
        assert_eq!(me(&by_name).await.unwrap().0, "t");
        let mut walsender = host(&by_name).walsender("x").await.unwrap();
        assert!(walsender.identify().await.is_ok());
        let other_name = by_name.replace("localhost", "db.example.org");
        let error = me(&other_name).await.unwrap_err();
        assert!(error.hint_text().unwrap().contains("subjectAltName"), "{error:?}");
        assert!(me(&other_name.replace("verify-full", "verify-ca")).await.is_ok());

        // What pg_hba.conf allows decides which way is taken.
        allow(&cluster, "hostssl all all 127.0.0.1/32 scram-sha-256");
        assert_eq!(me(&tcp(&cluster, &format!("{login} sslmode=allow"))).await.unwrap().0, "t");
        assert!(me(&tcp(&cluster, &format!("{login} sslmode=disable"))).await.is_err());
        allow(&cluster, "hostnossl all all 127.0.0.1/32 scram-sha-256");
        assert_eq!(me(&tcp(&cluster, &format!("{login} sslmode=prefer"))).await.unwrap().0, "f");
        let error = me(&tcp(&cluster, &format!("{login} sslmode=require"))).await.unwrap_err();
        assert_eq!(code(&error), "28000");
        allow(&cluster, "hostssl all all 127.0.0.1/32 password");
        assert!(me(&tcp(&cluster, &format!("{login} sslmode=require"))).await.is_ok());
        allow(&cluster, "hostssl all all 127.0.0.1/32 trust");
        let unbound = format!("{login} sslmode=require channel_binding=require");
        assert_eq!(me(&tcp(&cluster, &unbound)).await.unwrap_err().kind(), Kind::Refused);
    }
    let plain = Cluster::builder().start();
    let error = me(&tcp(&plain, "user=postgres sslmode=require")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error:?}");
}

#[tokio::test]
async fn self_signed_certificates_of_every_kind() {
    for version in tls_versions() {
        let cluster = Cluster::builder().version(version).tls(true).start();
        cluster.psql("postgres", "create role ops login password 'pw'");
        let tls = cluster.ca_file().unwrap().parent().unwrap().to_owned();
        let scratch = Scratch::new();
        // Key, its signature, and whether a login can be bound to the certificate.
        let kinds = [
            ("rsa:2048 -sha256", true),
            ("rsa:2048 -sha512", true),
            ("rsa:2048 -sha384 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest", true),
            ("ec -pkeyopt ec_paramgen_curve:secp384r1 -sha384", true),
            ("ed25519", false),
        ];
        for (kind, can_bind) in kinds {
            openssl(
                scratch.path(),
                &format!(
                    "req -x509 -days 2 -subj /CN=localhost -nodes -newkey {kind} \
                     -keyout server.key -out server.crt -addext subjectAltName=IP:127.0.0.1"
                ),
            );
            for name in ["server.key", "server.crt"] {
                // Into the file that is there: the server's user owns it.
                fs::write(tls.join(name), fs::read(scratch.path().join(name)).unwrap()).unwrap();
            }
            cluster.psql("postgres", "select pg_reload_conf()");
            let root = scratch.path().join("server.crt");
            let with = |rest: &str| tcp(&cluster, &format!("user=ops password=pw {rest}"));
            let full = format!("sslmode=verify-full sslrootcert={}", root.display());
            // The postmaster reloads in its own time.
            let mut came = me(&with(&full)).await;
            for _ in 0..200 {
                if came.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                came = me(&with(&full)).await;
            }
            assert_eq!(came.unwrap().0, "t", "{kind}");
            let bound = me(&with(&format!("{full} channel_binding=require"))).await;
            assert_eq!(bound.is_ok(), can_bind, "{kind}: {bound:?}");
            let error = me(&with("sslmode=verify-full")).await.unwrap_err();
            assert!(error.hint_text().unwrap().contains("sslrootcert"), "{error:?}");
            assert_eq!(error.retry(), Retry::Never);
            assert!(me(&with("sslmode=require")).await.is_ok());
        }
    }
}

#[tokio::test]
async fn client_certificates() {
    for version in tls_versions() {
        let cluster = Cluster::builder().version(version).tls(true).start();
        cluster.psql("postgres", "create role ops login");
        let ca = cluster.ca_file().unwrap().to_owned();
        cluster.psql("postgres", &format!("alter system set ssl_ca_file = '{}'", ca.display()));
        allow(&cluster, "hostssl all all 127.0.0.1/32 cert");
        let scratch = Scratch::new();
        let tls = ca.parent().unwrap().display();
        openssl(
            scratch.path(),
            &format!(
                "req -x509 -days 2 -subj /CN=ops -nodes -newkey rsa:2048 -keyout c.key -out c.crt \
             -CA {tls}/ca.crt -CAkey {tls}/ca.key -addext basicConstraints=critical,CA:FALSE"
            ),
        );
        let path = |name: &str| -> PathBuf { scratch.path().join(name) };
        fs::set_permissions(path("c.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let root = format!("user=ops sslmode=verify-full sslrootcert={}", ca.display());
        let client =
            format!("sslcert={} sslkey={}", path("c.crt").display(), path("c.key").display());
        assert!(me(&tcp(&cluster, &root)).await.is_err(), "without a certificate");
        let mut came = me(&tcp(&cluster, &format!("{root} {client}"))).await;
        for _ in 0..200 {
            if came.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            came = me(&tcp(&cluster, &format!("{root} {client}"))).await;
        }
        assert_eq!(came.unwrap(), ("t".into(), "ops".into()));
        fs::set_permissions(path("c.key"), fs::Permissions::from_mode(0o644)).unwrap();
        let error = me(&tcp(&cluster, &format!("{root} {client}"))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{error:?}");
    }
}
