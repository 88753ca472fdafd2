//! The signature of webhooks, against OpenSSL, and what a receiver must refuse.

use std::process::Command;
use std::time::Duration;

use fenice::notify::webhook::{sign, verify};
use proptest::prelude::*;
use secrecy::SecretString;

use super::at;
use crate::support::run;

const SECRET: &str = "a secret of some length";
const FIVE_MINUTES: Duration = Duration::from_secs(300);

fn secret() -> SecretString {
    SecretString::from(SECRET)
}

#[test]
fn openssl_computes_the_same() {
    for body in ["", "{}", "{\"text\":\"perch\u{e9}\"}", "line\nline\r\n"] {
        let header = sign(&secret(), body, at(0));
        let (t, v1) = header.split_once(',').unwrap();
        let seconds = t.strip_prefix("t=").unwrap();
        assert_eq!(seconds, at(0).as_second().to_string());
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-hmac", SECRET]);
        let told = run(&mut openssl, &format!("{seconds}.{body}")).expect_success("openssl");
        let expected = told.split_whitespace().last().unwrap();
        assert_eq!(v1, format!("v1={expected}"), "{told}");
    }
}

#[test]
fn what_was_changed_or_is_old_is_refused() {
    let header = sign(&secret(), "body", at(0));
    let other = SecretString::from("another secret");
    let check = |secret: &SecretString, header: &str, body: &str, minute: i64| {
        verify(secret, header, body, at(minute), FIVE_MINUTES)
    };
    for minute in [0, 5, -5] {
        check(&secret(), &header, "body", minute).unwrap();
    }
    for (because, refused) in [
        ("another time", check(&secret(), &header, "body", 6)),
        ("another time", check(&secret(), &header, "body", -6)),
        ("not of this body", check(&secret(), &header, "bodY", 0)),
        ("not of this body", check(&other, &header, "body", 0)),
        ("not of this body", check(&secret(), &header.replace("t=1", "t=2"), "body", 0)),
        ("not a signature", check(&secret(), "", "body", 0)),
        ("not a signature", check(&secret(), "t=1", "body", 0)),
        ("not a signature", check(&secret(), "t=x,v1=00", "body", 0)),
        ("not a signature", check(&secret(), "t=1,v1=zz", "body", 0)),
        ("not of this body", check(&secret(), "t=1790000000,v1=00", "body", 0)),
    ] {
        let error = refused.unwrap_err();
        assert!(error.to_string().contains(because), "{because}: {error:?}");
        assert!(!format!("{error:?}").contains(SECRET));
    }
}

proptest! {
    #[test]
    fn no_header_panics(header in "[tv10=, a-f]{0,40}", body in ".{0,40}") {
        prop_assert!(verify(&secret(), &header, &body, at(0), FIVE_MINUTES).is_err());
    }

    #[test]
    fn every_body_is_signed_as_it_is(body in ".{0,200}", other in ".{0,200}") {
        let header = sign(&secret(), &body, at(0));
        prop_assert!(verify(&secret(), &header, &body, at(1), FIVE_MINUTES).is_ok());
        let accepted = verify(&secret(), &header, &other, at(1), FIVE_MINUTES).is_ok();
        prop_assert_eq!(accepted, body == other);
    }
}
