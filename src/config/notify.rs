//! `[notify]`: who is told, by mail and by webhooks, and how often.

use toml::Spanned;
use toml::de::DeValue;

use super::cron::Cron;
use super::problem::Report;
use super::section::{Section, default};
use super::value::{FromToml, one_of};
use crate::error::Error;
use crate::model::host::{is_host, is_loopback};
use crate::model::{
    MailAddress, MailServer, MailTls, ResourceName, SecretRef, Span, Wanted, WebAddress,
    WebhookFormat,
};

/// Who is told what. With nothing configured, nobody.
#[derive(Debug, Clone, PartialEq)]
pub struct Notify {
    /// After so long, what is still not good is told again; 15 min to 30 d.
    pub repeat_every: Span,
    /// When a summary is sent to whoever wants everything.
    pub summary: Option<Cron>,
    /// Called while all is well, and only then.
    pub heartbeat_url: Option<UrlRef>,
    pub mail: Option<Mailing>,
    /// In the file's order, names unique.
    pub webhooks: Vec<Webhook>,
}

/// Mail: to whom, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Mailing {
    pub server: MailServer,
    pub login: Option<MailLogin>,
    pub from: MailAddress,
    /// At least one, each once.
    pub to: Vec<MailAddress>,
}

/// SMTP AUTH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailLogin {
    pub user: String,
    pub password: SecretRef,
}

/// A URL that is given news.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    pub name: String,
    pub url: UrlRef,
    pub format: WebhookFormat,
    /// Signs what is sent; `None`: it is not signed.
    pub secret: Option<SecretRef>,
    pub events: Wanted,
}

/// A URL, or where it is kept if whoever knows it may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlRef {
    Given(WebAddress),
    Kept(SecretRef),
}

/// Shorter would be told less often anyway: so often is a key told at most.
const REPEAT_MIN: Span = Span::seconds(15 * 60);
const REPEAT_MAX: Span = Span::seconds(30 * 86_400);
/// More recipients belong into a list that the mail server keeps.
const RECIPIENTS_MAX: usize = 50;

/// Reads `[notify]`, which may be absent, and the `webhooks` in it.
pub(super) fn read(section: Option<&Section<'_>>, webhooks: &[Section<'_>]) -> Notify {
    let Some(section) = section else {
        return Notify {
            repeat_every: default("notify", "repeat_every"),
            summary: None,
            heartbeat_url: None,
            mail: None,
            webhooks: Vec::new(),
        };
    };
    section.refuse_unknown();
    let repeat_every: Span = section.value("repeat_every");
    section.demand(
        "repeat_every",
        (REPEAT_MIN..=REPEAT_MAX).contains(&repeat_every),
        || format!("`repeat_every` is {}", repeat_every.to_config()),
        "Write from \"15m\" to \"30d\".",
    );
    Notify {
        repeat_every,
        summary: section.optional("summary"),
        heartbeat_url: section.optional("heartbeat_url"),
        mail: section.subtable("mail", "notify.mail").and_then(|mail| read_mail(&mail)),
        webhooks: webhooks.iter().filter_map(read_webhook).collect(),
    }
}

fn read_mail(section: &Section<'_>) -> Option<Mailing> {
    section.refuse_unknown();
    let server = read_server(section);
    let login = read_login(section);
    let from: Option<MailAddress> = section.required("from");
    let to: Option<Vec<MailAddress>> = section.required("to");
    let several = to.as_ref().map_or(1, Vec::len);
    section.demand(
        "to",
        (1..=RECIPIENTS_MAX).contains(&several),
        || format!("`to` names {several} recipients"),
        "Name at least one; more than 50 belong into a list that the mail server keeps.",
    );
    let all = to.as_deref().unwrap_or_default();
    let repeated = all.iter().enumerate().any(|(at, one)| all[..at].contains(one));
    let twice = || "a recipient stands twice in the list".to_owned();
    section.demand("to", !repeated, twice, "Keep one of them.");
    Some(Mailing { server: server?, login, from: from?, to: to? })
}

fn read_server(section: &Section<'_>) -> Option<MailServer> {
    let host: Option<String> = section.required("server");
    section.demand(
        "server",
        host.as_deref().is_none_or(is_host),
        || "this is not the name of a host".to_owned(),
        "Write a name or an address, without scheme and port: \"mail.example.org\".",
    );
    let tls: MailTls = section.value("tls");
    let here = host.as_deref().is_none_or(is_loopback) || !section.sound(&["server"]);
    section.demand(
        "tls",
        tls != MailTls::None || here,
        || "mail and login would leave this machine in clear".to_owned(),
        "Write \"implicit\" or \"starttls\": `none` is for a server on this machine.",
    );
    let port: Option<u16> = section.optional("port");
    let zero = || "there is no port 0".to_owned();
    let usual = "Write the server's port, or leave it out for the usual one.";
    section.demand("port", port != Some(0), zero, usual);
    let unused = tls == MailTls::None && section.sound(&["tls"]);
    section.demand(
        "ca_file",
        !(unused && section.has("ca_file")),
        || "`ca_file` is given, and nothing is encrypted".to_owned(),
        "Remove it, or write `tls = \"starttls\"`.",
    );
    let ca_file = section.optional("ca_file");
    Some(MailServer { host: host?, port: port.unwrap_or(tls.usual_port()), tls, ca_file })
}

fn read_login(section: &Section<'_>) -> Option<MailLogin> {
    let user: Option<String> = section.optional("user");
    let password: Option<SecretRef> = section.optional("password");
    let filled = user.as_ref().is_none_or(|user| !user.trim().is_empty());
    let empty = || "`user` is empty".to_owned();
    section.demand("user", filled, empty, "Write the login's name, or remove the key.");
    for (one, other) in [("user", "password"), ("password", "user")] {
        section.demand(
            one,
            !section.has(one) || section.has(other),
            || format!("`{one}` is given, and `{other}` is not"),
            "Write both for a server that wants a login, or neither.",
        );
    }
    Some(MailLogin { user: user?, password: password? })
}

fn read_webhook(section: &Section<'_>) -> Option<Webhook> {
    section.refuse_unknown();
    let name: Option<ResourceName> = section.required("name");
    let url: Option<UrlRef> = section.required("url");
    let format = section.value("format");
    let events = section.value("events");
    let secret = section.optional("secret");
    Some(Webhook { name: name?.to_string(), url: url?, format, secret, events })
}

impl FromToml for UrlRef {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<UrlRef> {
        if value.get_ref().is_table() {
            return SecretRef::from_toml(value, report).map(UrlRef::Kept);
        }
        let text = String::from_toml(value, report)?;
        let address = text.parse::<WebAddress>();
        // The URL is not shown: whoever knows it may be able to use it.
        let note = |error: Error| {
            let hint = error.hint_text().unwrap_or("See docs/CONFIGURATION.md.").to_owned();
            report.secret(value.span(), error.to_string(), hint);
        };
        address.map(UrlRef::Given).map_err(note).ok()
    }
}

impl FromToml for MailTls {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<MailTls> {
        let words = [
            ("implicit", MailTls::Implicit),
            ("starttls", MailTls::StartTls),
            ("none", MailTls::None),
        ];
        one_of(value, report, &words)
    }
}

impl FromToml for WebhookFormat {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<WebhookFormat> {
        one_of(value, report, &[("json", WebhookFormat::Json), ("slack", WebhookFormat::Slack)])
    }
}

impl FromToml for Wanted {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<Wanted> {
        one_of(value, report, &[("red", Wanted::Red), ("all", Wanted::All)])
    }
}
