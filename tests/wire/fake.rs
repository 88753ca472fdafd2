//! Servers that break the protocol: each is an error that comes soon, never a panic.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use fenice::error::Result;
use fenice::model::{Lsn, Timeline};
use fenice::ports::postgres::{BackupRequest, Postgres, Streamed};
use proptest::prelude::*;

use super::host;

/// One message: type, length, body.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// `AuthenticationOk` and `ReadyForQuery`.
fn welcome() -> Vec<u8> {
    [message(b'R', &[0, 0, 0, 0]), ready()].concat()
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// Answers each message of the one client with the next of `answers`, then closes.
fn serve(answers: Vec<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let Ok((mut client, _)) = listener.accept() else { return };
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut heard = [0; 4096];
        for answer in answers {
            if !matches!(client.read(&mut heard), Ok(1..)) || client.write_all(&answer).is_err() {
                return;
            }
        }
    });
    port
}

fn conninfo(port: u16, rest: &str) -> String {
    format!("host=127.0.0.1 port={port} user=u password=p sslmode=disable connect_timeout=5 {rest}")
}

async fn connect(answers: Vec<Vec<u8>>, rest: &str) -> Result<()> {
    host(&conninfo(serve(answers), rest)).session("x").await.map(drop)
}

#[tokio::test]
async fn a_broken_welcome_is_an_error() {
    let scram = |body: &[u8]| message(b'R', &[&[0, 0, 0, 10], body].concat());
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("closes", Vec::new()),
        ("speaks HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("huge", [&b"R"[..], &[0x7f, 0xff, 0xff, 0xff], &[0; 64]].concat()),
        ("long error before login", [&b"E"[..], &[0, 1, 0, 0]].concat()),
        ("length below four", [&b"R"[..], &[0, 0, 0, 3]].concat()),
        ("half a message", vec![b'R', 0, 0]),
        ("empty login", message(b'R', &[])),
        ("unknown login", message(b'R', &[0, 0, 0, 7])),
        ("clear text asked", message(b'R', &[0, 0, 0, 3])),
        ("short salt", message(b'R', &[0, 0, 0, 5, 1])),
        ("endless mechanisms", scram(b"SCRAM-SHA-256")),
        ("no mechanism", scram(b"\0")),
        ("unknown mechanism", scram(b"OAUTHBEARER\0\0")),
        ("out of turn", message(b'D', &[0, 0])),
        ("old protocol", message(b'v', &[0; 8])),
        ("broken error", message(b'E', b"Mno end")),
        ("error", message(b'E', b"SFATAL\0VFATAL\0C57P03\0Mstarting\0\0")),
        ("not ready", message(b'R', &[0, 0, 0, 0])),
        ("row at start", [message(b'R', &[0, 0, 0, 0]), message(b'D', &[])].concat()),
    ];
    for (what, answer) in table {
        assert!(connect(vec![answer], "").await.is_err(), "{what}");
    }
    assert!(connect(vec![welcome()], "").await.is_ok());
    assert!(connect(vec![b"X".to_vec()], "sslmode=require").await.is_err());
    let injected = [&b"S"[..], &welcome()].concat();
    assert!(connect(vec![injected], "sslmode=require").await.is_err(), "bytes before TLS");
}

#[tokio::test]
async fn a_server_that_does_not_know_the_password_is_refused() {
    let offer = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    // Lets us in without the exchange it began.
    let error = connect(vec![offer.clone(), welcome()], "").await.unwrap_err();
    assert!(error.chain().contains("came where it cannot"), "{error:?}");
    let foreign = message(b'R', b"\0\0\0\x0br=other,s=AAAA,i=4096");
    assert!(connect(vec![offer.clone(), foreign], "").await.is_err());
    let endless = message(b'R', b"\0\0\0\x0br=x,s=AAAA,i=4000000000");
    assert!(connect(vec![offer, endless], "").await.is_err());
}

#[tokio::test]
async fn broken_results_are_errors() {
    let columns = message(b'T', &[0, 0]);
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("row without columns", message(b'D', &[0, 0])),
        ("row shorter than it says", [columns.clone(), message(b'D', &[0, 9])].concat()),
        ("value too long", [columns.clone(), message(b'D', &[0, 1, 0x7f, 0, 0, 0, 1])].concat()),
        ("not UTF-8", [columns, message(b'D', &[0, 1, 0, 0, 0, 1, 0xff]), ready()].concat()),
        ("huge row", vec![b'D', 0x7f, 0xff, 0xff, 0xff]),
        ("long ready", vec![b'Z', 0, 1, 0, 0]),
        ("unknown", message(b'?', &[])),
        ("copy both", message(b'W', &[0, 0, 0])),
        ("closes", Vec::new()),
    ];
    for (what, answer) in table {
        let port = serve(vec![welcome(), answer]);
        let mut session = host(&conninfo(port, "")).session("x").await.unwrap();
        assert!(session.query("select 1").await.is_err(), "{what}");
    }
}

#[tokio::test]
async fn broken_streams_and_backups_are_errors() {
    let copy = message(b'W', &[0, 0, 0]);
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("empty data", message(b'd', &[])),
        ("short data", message(b'd', b"w\0\0\0")),
        ("short keepalive", message(b'd', &[b'k'; 17])),
        ("impossible time", message(b'd', &[b"w".as_slice(), &[0x7f; 24]].concat())),
        ("unknown data", message(b'd', b"z")),
        ("out of turn", message(b'T', &[0, 0])),
        ("closes", Vec::new()),
    ];
    for (what, answer) in table {
        let port = serve(vec![welcome(), [copy.clone(), answer].concat()]);
        let mut walsender = host(&conninfo(port, "")).walsender("x").await.unwrap();
        walsender.start(None, Lsn(0), Timeline(1)).await.unwrap();
        assert!(walsender.next(Duration::from_secs(20)).await.is_err(), "{what}");
    }
    let empty_set = message(b'T', &[0, 0]);
    let row = message(b'D', b"\0\x02\0\0\0\x030/1\0\0\0\x011");
    let start = [empty_set.clone(), row.clone(), empty_set.clone(), message(b'H', &[0, 0, 0])];
    let piece = |bytes: &[u8]| message(b'd', bytes);
    let end = [message(b'c', &[]), empty_set, row, message(b'C', b"X\0"), ready()].concat();
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("no archive at all", end.clone()),
        ("unknown archive", [piece(b"nx.zip\0\0"), end.clone()].concat()),
        ("foreign tablespace", [piece(b"n7.tar\0\0"), end.clone()].concat()),
        ("twice", [piece(b"nbase.tar\0\0"), piece(b"nbase.tar\0\0"), end].concat()),
        ("no end", [piece(b"nbase.tar\0\0"), message(b'c', &[]), ready()].concat()),
        ("closes", piece(b"nbase.tar\0\0")),
    ];
    for (what, rest) in table {
        let port = serve(vec![welcome(), [start.concat(), rest].concat()]);
        let mut walsender = host(&conninfo(port, "")).walsender("x").await.unwrap();
        let request = BackupRequest { label: "l".to_owned(), fast_checkpoint: true };
        walsender.start_backup(&request).await.unwrap();
        let ended = loop {
            match walsender.next_of_backup().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert!(ended.is_err(), "{what}: {ended:?}");
    }
}

#[tokio::test]
async fn a_message_in_pieces_survives_every_wait() {
    let body = [b"w".as_slice(), &[0; 24], &[7; 100_000]].concat();
    let bytes = [message(b'W', &[0, 0, 0]), message(b'd', &body)].concat();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut heard = [0; 4096];
        let _ = client.read(&mut heard).unwrap();
        client.write_all(&welcome()).unwrap();
        let _ = client.read(&mut heard).unwrap();
        for piece in bytes.chunks(5_000) {
            client.write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(3));
        }
        let _ = client.read(&mut heard);
    });
    let mut walsender = host(&conninfo(port, "")).walsender("x").await.unwrap();
    walsender.start(None, Lsn(0), Timeline(1)).await.unwrap();
    let mut waits = 0;
    let came = loop {
        match walsender.next(Duration::from_millis(1)).await.unwrap() {
            Streamed::Quiet => waits += 1,
            other => break other,
        }
    };
    let Streamed::Data { bytes, .. } = came else { panic!("{came:?}") };
    assert!(waits > 0 && bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == 7));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_answer_makes_it_panic(
        tags in proptest::collection::vec(
            (prop::sample::select(b"TDCEZWHGdcNSIR?".to_vec()),
             proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
    ) {
        let answer: Vec<u8> = tags.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let port = serve(vec![welcome(), answer.clone()]);
            let mut session = host(&conninfo(port, "")).session("x").await.unwrap();
            let _ = session.query("select 1").await;
            let port = serve(vec![welcome(), answer]);
            let mut walsender = host(&conninfo(port, "")).walsender("x").await.unwrap();
            if walsender.start(None, Lsn(0), Timeline(1)).await.is_ok() {
                for _ in 0..10 {
                    let _ = walsender.next(Duration::from_millis(5)).await;
                }
            }
        });
    }
}
