//! Every key of the configuration: the one table that feeds the parser's defaults and
//! suggestions, `docs/CONFIGURATION.md`, and the check of `config/fenice.toml`.

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// `policy`, `resource.check`, …; see [`SECTIONS`].
    pub section: &'static str,
    pub name: &'static str,
    pub presence: Presence,
    /// A value as TOML.
    pub example: &'static str,
    /// Sentences.
    pub meaning: &'static str,
}

/// What holds where a key is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It must be given.
    Required,
    /// What its absence means: a clause.
    Optional(&'static str),
    /// The value it then has, as TOML.
    Default(&'static str),
}

/// One kind of section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionKind {
    pub name: &'static str,
    /// As it is written in the file.
    pub heading: &'static str,
    pub meaning: &'static str,
}

const fn section(name: &'static str, heading: &'static str, meaning: &'static str) -> SectionKind {
    SectionKind { name, heading, meaning }
}

const fn key(
    section: &'static str,
    name: &'static str,
    presence: Presence,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key { section, name, presence, example, meaning }
}

/// A key with a default, which is also its example.
const fn given(
    section: &'static str,
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    key(section, name, Presence::Default(default), default, meaning)
}

const REQUIRED: Presence = Presence::Required;

/// The sections in the order of the documentation.
#[rustfmt::skip]
pub const SECTIONS: [SectionKind; 10] = [
    section("daemon", "[daemon]", "The daemon itself."),
    section("repository", "[repository.NAME]",
        "A place where bytes live: a folder (`path`) or an S3 bucket (`bucket`)."),
    section("policy", "[policy.NAME]",
        "When copies are taken, how long they stay, and what is promised."),
    section("resource", "[[resource]]", "One protected thing."),
    section("resource.drill", "[resource.drill]", "Bounds of a rehearsed recovery."),
    section("resource.check", "[[resource.check]]",
        "A question to the restored data, asked in every drill."),
    section("service", "[[service]]",
        "Resources that only make sense together, recovered to one point."),
    section("notify", "[notify]",
        "Who is told what is not as promised. `fenice notify test` tries every way."),
    section("notify.mail", "[notify.mail]",
        "Mail, one to each recipient, of everything: news and the daily summary."),
    section("notify.webhook", "[[notify.webhook]]",
        "A URL that is given news, as docs/formats/webhook.md tells."),
];

/// Every key, in the order of the documentation.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    given("daemon", "state_dir", "\"/var/lib/fenice\"",
        "Catalog and control socket. All of it can be rebuilt from the repository."),
    given("daemon", "timezone", "\"Europe/Rome\"",
        "The zone in which schedules and civil deadlines are meant."),
    given("daemon", "listen", "\"127.0.0.1:9797\"",
        "Numeric address and port of the metrics and the console."),
    given("daemon", "jobs", "4",
        "How many jobs may run at once on this host, 1 to 64. Shipping and emergency restores do \
         not count."),

    key("repository", "path", Presence::Optional("it is a bucket"), "\"/srv/fenice\"",
        "The folder. Not together with `bucket`."),
    key("repository", "bucket", Presence::Optional("it is a folder"), "\"fenice-copies\"",
        "The S3 bucket. Not together with `path`."),
    given("repository", "prefix", "\"\"", "A place within the bucket."),
    key("repository", "region", Presence::Optional("the endpoint decides"), "\"eu-south-1\"",
        "The bucket's region. Required without `endpoint`."),
    key("repository", "endpoint", Presence::Optional("AWS"), "\"https://s3.example.org\"",
        "The base URL of an S3 store that is not AWS."),
    given("repository", "path_style", "false",
        "Whether the bucket's name stands in the path instead of the host name."),
    key("repository", "sse", Presence::Optional("as the bucket is set"), "\"aws:kms\"",
        "Encryption by the store, besides ours: `AES256` or `aws:kms`."),
    given("repository", "object_lock", "\"none\"",
        "S3 Object Lock: `none`, `governance` or `compliance`. What is stored cannot be removed \
         before it is promised to leave. The bucket must have it enabled, without a default \
         retention."),
    given("repository", "checksums", "\"when_supported\"",
        "When upload checksums are sent: `when_supported`, or `when_required` for stores that \
         refuse them."),
    key("repository", "credentials", Presence::Optional("where AWS's tools look"),
        "{ credential = \"fenice-copies\" }",
        "Where the bucket's key is, as lines `aws_access_key_id = …` and \
         `aws_secret_access_key = …`: `credential`, `file` or `env`."),
    key("repository", "recipients", Presence::Default("[]"),
        "[\"age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj\"]",
        "age recipients that can open what is stored; have several, one of them offline. \
         `fenice init` adds that of `identity`."),
    key("repository", "identity", Presence::Optional("the repository is written, never read"),
        "{ file = \"/etc/fenice/identity.age\" }",
        "Where the age identity is that opens what is stored: `credential`, `file` or `env`."),
    key("repository", "allowed_regions", Presence::Default("[]"), "[\"eu-south-1\"]",
        "Regions in which data may lie; anything else is refused, by the bucket's own word where \
         it lies. Of a store with an `endpoint` that does not say, `region` counts. Empty: no \
         restriction."),

    given("policy", "snapshot", "\"0 2 * * *\"",
        "When a snapshot is due: minute, hour, day of month, month, day of week."),
    given("policy", "ship_every", "\"5m\"",
        "How often the log leaves the source, from 1s to 1h."),
    given("policy", "daily", "\"35d\"",
        "How far back every instant can be recovered; at least a day."),
    given("policy", "weekly_day", "\"sunday\"",
        "The day, in `timezone`, whose snapshot is the weekly one."),
    given("policy", "weekly_extra", "\"25d\"",
        "How much longer than `daily` the weekly snapshot stays: at least 7d, or 0d."),
    key("policy", "copy_to", Presence::Optional("there is no second copy"), "\"offsite\"",
        "The repository of copies; another than the resource's."),
    given("policy", "replicate", "\"weekly\"",
        "What is copied: `weekly` snapshots, `daily` for every snapshot, `all` for the log too. \
         It decides what a loss of the main repository costs."),
    given("policy", "copy", "\"15 * * * *\"",
        "When what the repository of copies lacks is copied. Not without `copy_to`."),
    given("policy", "keep_min", "2", "The last so many snapshots are never removed; at least 1."),
    given("policy", "retention", "\"30 4,16 * * *\"",
        "When what has no place left is removed: every day, and never more than 16h apart, so \
         that it is gone within 48h."),
    given("policy", "verify", "\"0 6 * * *\"", "When stored data is read again."),
    given("policy", "verify_within", "\"30d\"",
        "How long what is stored may stay unread; `verify` reads a share of it each time."),
    given("policy", "drill", "\"0 4 1 * *\"",
        "When a recovery is rehearsed, or `never`."),
    key("policy", "window", Presence::Optional("at any hour"), "\"20:00-06:00\"",
        "The hours in which snapshots, verifications and drills may begin. What is due outside \
         them waits."),
    given("policy", "jitter", "\"5m\"",
        "Beginnings are spread over this long, so that not everything begins at once; at most 1h."),
    given("policy", "heartbeat_every", "\"1m\"",
        "How often a row is written to the source, by which restored data is dated; 1s to 1h."),
    given("policy", "detection_allowance", "\"15m\"",
        "How long a disruption may go unnoticed; part of every measured RTO."),
    given("policy", "rto", "\"4h\"", "Target: from the disruption to the recovered service."),
    given("policy", "rpo", "\"24h\"",
        "Target: how much of the newest data may be lost. Not less than `ship_every`."),
    given("policy", "compression_level", "3", "zstd level, 1 to 19."),
    given("policy", "chunk", "\"1MiB\"",
        "Pieces of relation files: 64KiB to 8MiB, a multiple of 8KiB."),
    given("policy", "pack", "\"16MiB\"",
        "Size at which a file of the vault is closed: 4MiB to 128MiB."),

    key("resource", "name", REQUIRED, "\"registro\"",
        "Up to 55 of a-z, 0-9, `_`, `-`; it names keys, the slot and metrics."),
    key("resource", "kind", REQUIRED, "\"postgres\"", "`postgres`; more kinds come."),
    key("resource", "repository", REQUIRED, "\"main\"", "Where it is kept."),
    key("resource", "policy", REQUIRED, "\"standard\"", "What it is promised."),
    key("resource", "connection", REQUIRED,
        "\"host=/run/postgresql port=5432 user=fenice dbname=postgres\"",
        "How to reach it, as libpq key=value; may list hosts. Never a password: use passfile=."),
    key("resource", "primary_connection", Presence::Optional("`connection` is the primary"),
        "\"host=db1 user=fenice dbname=postgres\"",
        "Where heartbeats are written, if `connection` is a standby."),
    given("resource", "method", "\"files\"",
        "`files` reads the data directory on the database host; `stream` uses the replication \
         protocol from anywhere."),
    key("resource", "data_dir", Presence::Optional("the method is `stream`"),
        "\"/var/lib/postgresql/15/main\"",
        "The data directory. Required with `files`, refused with `stream`."),
    key("resource", "bin_dir", Presence::Optional("found where packages put it"),
        "\"/usr/lib/postgresql/15/bin\"", "PostgreSQL's programs, for restores and drills."),
    key("resource", "workers", Presence::Optional("the number of cores"), "4",
        "Threads that read and write files, 1 to 256; a restore takes three times as many, which \
         mostly wait."),
    given("resource", "full_read_every", "\"7d\"",
        "After this long a snapshot reads every file, whether it seems changed or not."),
    key("resource", "slot", Presence::Optional("`fenice_` and the name"), "\"fenice_registro\"",
        "The physical replication slot."),

    given("resource.drill", "max_duration", "\"4h\"",
        "A drill that takes longer is ended, and its objective not achieved."),
    given("resource.drill", "row_count_tolerance_percent", "50",
        "How far row counts may differ from the last known ones, 0 to 100."),

    key("resource.check", "name", REQUIRED, "\"pupils\"", "For reports; unique in the resource."),
    key("resource.check", "sql", REQUIRED, "\"SELECT count(*) > 0 FROM pupils\"",
        "Gives one row with one value."),
    given("resource.check", "database", "\"postgres\"", "Where it is asked."),
    given("resource.check", "expect", "\"t\"", "The value that passes, as PostgreSQL prints it."),
    given("resource.check", "mandatory", "true",
        "Whether failing means that the objective is not achieved."),
    given("resource.check", "timeout", "\"5m\"", "No answer within this long is a failure."),

    key("service", "name", REQUIRED, "\"scuola\"", "Not the name of a resource."),
    key("service", "resources", REQUIRED, "[\"registro\"]", "Their names; at least one."),

    given("notify", "repeat_every", "\"24h\"",
        "When what is still not as promised is told again, from 15m to 30d."),
    key("notify", "summary", Presence::Optional("there is no daily summary"), "\"0 7 * * *\"",
        "When a summary of all resources is sent: minute, hour, day of month, month, day of week."),
    key("notify", "heartbeat_url", Presence::Optional("nobody is called"),
        "\"https://watch.example.org/ping/fenice\"",
        "Called while all is well and never otherwise, so that whoever watches it notices the end \
         of Fenice too. Where it is a secret: `credential`, `file` or `env`."),

    key("notify.mail", "server", REQUIRED, "\"mail.example.org\"",
        "The server that takes mail for delivery: a host name or an IP address."),
    key("notify.mail", "port", Presence::Optional("465, with `starttls` 587, with `none` 25"),
        "465", "Its port."),
    given("notify.mail", "tls", "\"implicit\"",
        "`implicit` encrypts from the first byte on, `starttls` after the server's word, without \
         which nothing is sent; `none` is for a server on this machine."),
    key("notify.mail", "user", Presence::Optional("there is no login"), "\"fenice\"",
        "The login at the server (SMTP AUTH). Together with `password`."),
    key("notify.mail", "password", Presence::Optional("there is no login"),
        "{ credential = \"mail-password\" }",
        "Where its password is: `credential`, `file` or `env`."),
    key("notify.mail", "from", REQUIRED, "\"fenice@example.org\"", "The sender's address."),
    key("notify.mail", "to", REQUIRED, "[\"ops@example.org\"]",
        "The recipients' addresses, from one to 50."),
    key("notify.mail", "ca_file", Presence::Optional("those of the system"),
        "\"/etc/fenice/mail-ca.pem\"",
        "Certificates in PEM that are trusted for the server besides those of the system."),

    key("notify.webhook", "name", REQUIRED, "\"chat\"",
        "For messages; as the name of a resource, and unique among webhooks."),
    key("notify.webhook", "url", REQUIRED, "\"https://hooks.example.org/fenice\"",
        "Where it is posted to: https, or http on this machine. Where whoever knows it may post, \
         as with Slack's: `credential`, `file` or `env`."),
    given("notify.webhook", "format", "\"json\"",
        "`json`, or `slack` for `{\"text\": …}`, which many others take too."),
    key("notify.webhook", "secret", Presence::Optional("it is not signed"),
        "{ credential = \"webhook-secret\" }",
        "Where the secret is with which each request is signed: `credential`, `file` or `env`."),
    given("notify.webhook", "events", "\"red\"",
        "`red` for what is red, and its end; `all` for warnings and the summary too."),
];

/// The row of a key.
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// What may stand in a section: its keys, then its inner sections.
pub fn names(section: &str) -> Vec<&'static str> {
    let keys = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    let inner = SECTIONS.iter().filter_map(|kind| kind.name.split_once('.'));
    let inner = inner.filter(|(outer, _)| *outer == section).map(|(_, inner)| inner);
    keys.chain(inner).collect()
}

/// The sections that have a key of that name.
pub fn sections_of(name: &str) -> Vec<&'static str> {
    KEYS.iter().filter(|key| key.name == name).map(|key| key.section).collect()
}

/// How a section is written: `[policy.NAME]`.
pub fn heading(section: &str) -> &'static str {
    SECTIONS.iter().find(|kind| kind.name == section).map_or("the file's top", |kind| kind.heading)
}

/// The whole of `docs/CONFIGURATION.md`.
pub fn markdown() -> String {
    let mut text = String::from(PREAMBLE);
    for kind in SECTIONS {
        text.push_str(&format!("\n## `{}`\n\n{}\n", kind.heading, kind.meaning));
        text.push_str("\n| key | default | example | meaning |\n|---|---|---|---|\n");
        for key in KEYS.iter().filter(|key| key.section == kind.name) {
            let default = match key.presence {
                Presence::Required => "**required**".to_owned(),
                Presence::Optional(absent) => format!("({absent})"),
                Presence::Default(value) => format!("`{value}`"),
            };
            let Key { name, example, meaning, .. } = key;
            text.push_str(&format!("| `{name}` | {default} | `{example}` | {meaning} |\n"));
        }
    }
    text
}

const PREAMBLE: &str = "\
# Configuration

One TOML file, `/etc/fenice/fenice.toml` unless `--config` or `$FENICE_CONFIG` names another.
`fenice check-config` reports everything that is wrong in it at once, each with its place.
This page is made from the table in `src/config/reference.rs`; a test keeps them equal.

- Lengths of time: a whole number and `s`, `m`, `h` or `d` (24 hours): `\"5m\"`, `\"35d\"`.
- Sizes: a whole number and `B`, `KiB`, `MiB`, `GiB` or `TiB`: `\"64MiB\"`.
- Schedules: five cron fields with the standard meaning, in the configured zone. Months and days of
  the week may be named in English (`jan`, `mon`); 0 and 7 are Sunday. If day of month and day of
  week are both given, either is enough.
- Paths are absolute.
- Secrets are never in the file. Where one is needed stands a reference:
  `{ credential = \"name\" }` (systemd `LoadCredential=`), `{ file = \"/path\" }` (readable only by
  its owner) or `{ env = \"NAME\" }`.
- Unknown keys are refused.
";
