//! Sessions for SQL: values, several statements, errors, what they may not do.

use std::time::Duration;

use fenice::error::{Kind, Retry};
use fenice::ports::postgres::{Postgres, ServerError};

use super::{code, host, session};
use crate::support::{Cluster, available_versions};

#[tokio::test]
async fn values_come_as_text() {
    for version in available_versions() {
        let cluster = Cluster::builder().version(version).start();
        let mut session = session(&cluster).await;
        let rows = session
            .query(
                "select 1, null, '', 'perché €🐦'::text, true, '\\x00ff'::bytea, \
                 timestamptz '2026-03-28 02:30+01'",
            )
            .await
            .unwrap();
        let expected = ["1", "-", "", "perché €🐦", "t", "\\x00ff", "2026-03-28 01:30:00+00"];
        let values: Vec<&str> =
            rows[0].iter().map(|value| value.as_deref().unwrap_or("-")).collect();
        assert_eq!((rows.len(), values), (1, expected.to_vec()), "version {version}");

        let several = "select 1; create table t (a int); select a from t; insert into t values (7)";
        let rows = session.query(several).await.unwrap();
        assert_eq!(rows, [vec![Some("1".to_owned())]], "the last that returned any");
        let rows = session.query("select a from t; select 2 where false;").await.unwrap();
        assert_eq!(rows, [vec![Some("7".to_owned())]]);
        assert!(session.query("").await.unwrap().is_empty());
        let many = session.query("select g, repeat('x', 1000) from generate_series(1, 20000) g");
        assert_eq!(many.await.unwrap().len(), 20_000);
        let big = session.query("select repeat('y', 20000000)").await.unwrap();
        assert_eq!(big[0][0].as_ref().unwrap().len(), 20_000_000);

        let named = session.query("select current_setting('application_name')").await.unwrap();
        assert_eq!(named[0][0].as_deref(), Some("fenice_test"));
    }
}

#[tokio::test]
async fn errors_carry_what_the_server_said() {
    let cluster = Cluster::builder().start();
    let mut session = session(&cluster).await;
    let error = session.query("select * from absent").await.unwrap_err();
    assert_eq!((code(&error), error.retry(), error.kind()), ("42P01", Retry::Never, Kind::Failed));
    assert!(error.chain().contains("`select * from absent`"), "{error:?}");

    session.query("create table t (a int primary key)").await.unwrap();
    let twice = "insert into t values (1); insert into t values (1)";
    let error = session.query(twice).await.unwrap_err();
    let said = ServerError::of(&error).unwrap();
    assert_eq!((said.code(), said.severity.as_str()), ("23505", "ERROR"));
    assert_eq!(said.detail.as_deref(), Some("Key (a)=(1) already exists."));
    let error = session.query("select lenght('x')").await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("No function matches"), "{error:?}");

    let error = session.query("alter role postgres password 'hush' nonsense").await.unwrap_err();
    assert!(!error.to_string().contains("hush"), "{error}");

    // Several statements are one transaction; the session goes on after each error.
    let rows = session.query("select count(*) from t").await.unwrap();
    assert_eq!(rows[0][0].as_deref(), Some("0"));
    let error = session.query("copy t from stdin").await.unwrap_err();
    assert_eq!(code(&error), "57014");
    assert!(session.query("select 1").await.is_ok());
    assert!(session.query("select '\0'").await.is_err());
    assert!(session.query("copy t to stdout").await.is_err());
    let error = session.query("select 1").await.unwrap_err();
    assert!(error.hint_text().unwrap().contains("new session"), "{error:?}");
}

#[tokio::test]
async fn an_abandoned_or_ended_session_says_so() {
    let cluster = Cluster::builder().start();
    let mut abandoned = session(&cluster).await;
    let wait = Duration::from_millis(50);
    let slow = tokio::time::timeout(wait, abandoned.query("select pg_sleep(1)")).await;
    assert!(slow.is_err());
    assert!(abandoned.query("select 1").await.is_err(), "its answer would be the other's");

    let mut ended = session(&cluster).await;
    let error = ended.query("select pg_terminate_backend(pg_backend_pid())").await.unwrap_err();
    assert_eq!((code(&error), error.retry()), ("57P01", Retry::Later));
    assert!(ended.query("select 1").await.is_err());
}

#[tokio::test]
async fn the_role_of_the_server_is_checked() {
    let primary = Cluster::builder().start();
    let standby = Cluster::standby_of(&primary);
    let table = [("any", true, true), ("primary", true, false), ("standby", false, true)];
    let more = [("read-write", true, false), ("read-only", false, true)];
    for (target, on_primary, on_standby) in table.into_iter().chain(more) {
        for (cluster, expected) in [(&primary, on_primary), (&standby, on_standby)] {
            let conninfo = format!("{} target_session_attrs={target}", cluster.conninfo());
            for walsender in [false, true] {
                let outcome = match walsender {
                    false => host(&conninfo).session("x").await.map(drop),
                    true => host(&conninfo).walsender("x").await.map(drop),
                };
                assert_eq!(outcome.is_ok(), expected, "{target}: {outcome:?}");
            }
        }
    }
    let conninfo = format!("{} options='-c work_mem=77kB'", primary.conninfo());
    let mut session = host(&conninfo).session("x").await.unwrap();
    assert_eq!(session.query("show work_mem").await.unwrap()[0][0].as_deref(), Some("77kB"));
}
