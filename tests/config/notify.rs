//! `[notify]`: what good files become, and each thing that is refused.

use std::path::PathBuf;

use fenice::config::{MailLogin, SecretRef, UrlRef};
use fenice::model::{MailTls, Span, Wanted, WebhookFormat};

use super::{LEAST, bad, good};

const MAIL: &str = r#"
[notify.mail]
server = "mail.example.org"
from = "fenice@example.org"
to = ["ops@example.org"]
"#;

const WEBHOOK: &str = r#"
[[notify.webhook]]
name = "chat"
url = "https://hooks.example.org/x"
"#;

#[test]
fn without_a_word_nobody_is_told() {
    let notify = good(LEAST).notify;
    assert_eq!(notify.repeat_every, Span::seconds(86_400));
    assert!(notify.summary.is_none() && notify.heartbeat_url.is_none());
    assert!(notify.mail.is_none() && notify.webhooks.is_empty());
}

#[test]
fn the_least_that_can_be_said_gets_defaults() {
    let notify = good(&format!("{LEAST}{MAIL}{WEBHOOK}")).notify;
    let mail = notify.mail.unwrap();
    assert_eq!((mail.server.tls, mail.server.port), (MailTls::Implicit, 465));
    assert_eq!((mail.server.ca_file, mail.login), (None, None));
    assert_eq!(mail.to[0].as_str(), "ops@example.org");
    let [webhook] = &notify.webhooks[..] else { panic!("{:?}", notify.webhooks) };
    assert_eq!((webhook.format, webhook.events), (WebhookFormat::Json, Wanted::Red));
    assert_eq!(webhook.secret, None);
    for (tls, port) in [("starttls", 587), ("none", 25)] {
        let mail = MAIL.replace("mail.example.org", "localhost");
        let mail = good(&format!("{LEAST}{mail}tls = \"{tls}\"\n")).notify.mail.unwrap();
        assert_eq!(mail.server.port, port, "{tls}");
    }
}

#[test]
fn everything_that_can_be_said_is_kept() {
    let text = format!(
        r#"{LEAST}
[notify]
repeat_every = "6h"
summary = "0 7 * * 1-5"
heartbeat_url = {{ credential = "watch" }}
{MAIL}
port = 2465
user = "fenice"
password = {{ file = "/etc/fenice/mail.password" }}
ca_file = "/etc/fenice/ca.pem"
{WEBHOOK}
format = "slack"
secret = {{ env = "SIGN" }}
events = "all"
[[notify.webhook]]
name = "own"
url = "http://127.0.0.1:8080/in"
"#
    );
    let notify = good(&text).notify;
    assert_eq!(notify.repeat_every, Span::seconds(6 * 3_600));
    assert_eq!(notify.summary.unwrap().as_str(), "0 7 * * 1-5");
    let watch = SecretRef::Credential("watch".to_owned());
    assert_eq!(notify.heartbeat_url, Some(UrlRef::Kept(watch)));
    let mail = notify.mail.unwrap();
    let password = SecretRef::File(PathBuf::from("/etc/fenice/mail.password"));
    assert_eq!(mail.login, Some(MailLogin { user: "fenice".to_owned(), password }));
    assert_eq!(mail.server.ca_file, Some(PathBuf::from("/etc/fenice/ca.pem")));
    assert_eq!(mail.server.port, 2465);
    let chat = &notify.webhooks[0];
    assert_eq!((chat.format, chat.events), (WebhookFormat::Slack, Wanted::All));
    assert_eq!(chat.secret, Some(SecretRef::Env("SIGN".to_owned())));
    let UrlRef::Given(own) = &notify.webhooks[1].url else { panic!() };
    assert_eq!(own.url().as_str(), "http://127.0.0.1:8080/in");
}

#[test]
fn what_cannot_be_right_is_refused() {
    let whole = format!("{LEAST}[notify]\n{MAIL}{WEBHOOK}");
    let cases = [
        ("[notify]\n", "[notify]\nrepeat_every = \"14m\"\n", "`repeat_every` is 14m"),
        ("[notify]\n", "[notify]\nrepeat_every = \"31d\"\n", "`repeat_every` is 31d"),
        ("[notify]\n", "[notify]\nsummary = \"daily\"\n", "instead of five"),
        ("[notify]\n", "[notify]\nheartbeat_url = \"x\"\n", "this is not a URL"),
        ("[notify]\n", "[notify]\nheartbeat_url = 5\n", "expected text, found a number"),
        ("server = \"mail.example.org\"\n", "", "[notify.mail] lacks `server`"),
        ("from = \"fenice@example.org\"\n", "", "[notify.mail] lacks `from`"),
        ("to = [\"ops@example.org\"]\n", "", "[notify.mail] lacks `to`"),
        ("\"mail.example.org\"", "\"mail.example.org:25\"", "not the name of a host"),
        ("from = \"", "port = 0\nfrom = \"", "there is no port 0"),
        ("from = \"", "port = 70000\nfrom = \"", "70000 is out of range"),
        ("from = \"", "tls = \"tls\"\nfrom = \"", "`tls` is not one of the words"),
        ("from = \"", "tls = \"none\"\nfrom = \"", "leave this machine in clear"),
        ("from = \"", "user = \"x\"\nfrom = \"", "`user` is given, and `password` is not"),
        ("from = \"", "password = { env = \"X\" }\nfrom = \"", "and `user` is not"),
        ("from = \"", "password = \"x\"\nuser = \"x\"\nfrom = \"", "a reference to a secret"),
        ("from = \"", "user = \" \"\npassword = { env = \"X\" }\nfrom = \"", "`user` is empty"),
        ("from = \"", "ca_file = \"ca.pem\"\nfrom = \"", "not an absolute path"),
        (
            "server = \"mail.example.org\"",
            "server = \"::1\"\ntls = \"none\"\nca_file = \"/ca.pem\"",
            "nothing is encrypted",
        ),
        ("fenice@example.org", "fenice", "`fenice` is not an e-mail address"),
        ("[\"ops@example.org\"]", "[]", "`to` names 0 recipients"),
        ("[\"ops@example.org\"]", "\"ops@example.org\"", "expected a list"),
        ("[\"ops@example.org\"]", "[\"a@b\", \"c@d\", \"a@b\"]", "stands twice"),
        ("name = \"chat\"\n", "", "[[notify.webhook]] lacks `name`"),
        ("name = \"chat\"", "name = \"The chat\"", "is not a resource name"),
        ("url = \"https://hooks.example.org/x\"\n", "", "[[notify.webhook]] lacks `url`"),
        ("https://hooks.example.org/x", "http://hooks.example.org/x", "without TLS"),
        ("https://hooks.example.org/x", "https://me:too@hooks.example.org", "a user name"),
        ("name = \"chat\"", "name = \"chat\"\nformat = \"xml\"", "`xml` is not one of"),
        ("name = \"chat\"", "name = \"chat\"\nevents = \"none\"", "`none` is not one of"),
        ("name = \"chat\"", "name = \"chat\"\nsecret = \"x\"", "a reference to a secret"),
        ("name = \"chat\"", "name = \"chat\"\ncolour = \"x\"", "has no key `colour`"),
        ("[[notify.webhook]]", "[notify.webhook]", "is a table, not a list of tables"),
        ("[notify]\n", "[notify]\ncolour = \"x\"\n", "[notify] has no key `colour`"),
    ];
    for (right, wrong, expected) in cases {
        assert_eq!(whole.matches(right).count(), 1, "{right}");
        let problems = bad(&whole.replace(right, wrong));
        assert_eq!(problems.problems.len(), 1, "{wrong}: {problems}");
        let problem = &problems.problems[0];
        assert!(problem.what.contains(expected), "{wrong}: {problems}");
        assert!(!problem.hint.is_empty(), "{wrong}: {problems}");
    }
}

#[test]
fn two_webhooks_need_two_names() {
    let problems = bad(&format!("{LEAST}{WEBHOOK}{WEBHOOK}"));
    assert!(problems.to_string().contains("the name `chat` is used twice"), "{problems}");
}

#[test]
fn a_url_is_never_shown_beyond_its_host() {
    let hidden = WEBHOOK.replace("/x", "/T0/hunter2");
    let config = good(&format!("{LEAST}{hidden}"));
    assert!(format!("{config:?}").contains("https://hooks.example.org/…"));
    assert!(!format!("{config:?}").contains("hunter2"));
    let broken = bad(&format!("{LEAST}{}", hidden.replace("https", "http")));
    assert!(!broken.to_string().contains("hunter2"), "{broken}");
    let unreadable = bad(&format!("{LEAST}{}", hidden.replace("hunter2\"", "hunter2")));
    assert!(!unreadable.to_string().contains("hunter2"), "{unreadable}");
}
