//! `[policy.NAME]`: when copies are taken, how long they stay, what is promised.

use jiff::civil::Weekday;
use toml::Spanned;
use toml::de::DeValue;

use super::cron::Cron;
use super::problem::Report;
use super::section::Section;
use super::value::{FromToml, one_of};
use super::window::Window;
use crate::model::{ByteSize, Span};

/// What a resource is promised.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub name: String,
    /// When a snapshot is due, in the daemon's time zone.
    pub snapshot: Cron,
    /// From 1 s to 1 h.
    pub ship_every: Span,
    /// Every instant of this long is reachable; at least a day.
    pub daily: Span,
    /// The civil day whose snapshot is the weekly one.
    pub weekly_day: Weekday,
    /// How much longer than `daily` the weekly one stays; zero, or at least a week.
    pub weekly_extra: Span,
    /// The repository of copies, another than the resource's own.
    pub copy_to: Option<String>,
    /// What is copied there.
    pub replicate: Replicate,
    /// When what is missing there is copied, in the daemon's time zone; nothing without `copy_to`.
    pub copy: Cron,
    /// The last so many snapshots are never removed; at least 1.
    pub keep_min: u32,
    /// When what has no place left is removed; every day, never more than 16 h apart.
    pub retention: Cron,
    /// When stored data is read again.
    pub verify: Cron,
    /// Everything stored is read again at least this often; at least a day.
    pub verify_within: Span,
    /// When a recovery is rehearsed; `None` for never.
    pub drill: Option<Cron>,
    /// The hours in which snapshots, verifications and drills may begin; `None` for all.
    pub window: Option<Window>,
    /// How far beginnings are spread, at most 1 h.
    pub jitter: Span,
    /// At least 1 s.
    pub heartbeat_every: Span,
    /// How long a disruption may go unnoticed; part of every measured RTO.
    pub detection_allowance: Span,
    /// Target, longer than `detection_allowance`.
    pub rto: Span,
    /// Target, not shorter than `ship_every` and `heartbeat_every`.
    pub rpo: Span,
    /// zstd, 1 to 19.
    pub compression_level: u32,
    /// Relation files are cut into pieces of this size: 64 KiB to 8 MiB, whole pages.
    pub chunk: ByteSize,
    /// A pack is closed at this size: 4 MiB to 128 MiB.
    pub pack: ByteSize,
}

/// What a loss of the main repository may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicate {
    /// The weekly snapshot is copied.
    Weekly,
    /// Every snapshot is copied.
    Daily,
    /// Every snapshot and all of the log.
    All,
}

const SECOND: Span = Span::seconds(1);
const HOUR: Span = Span::seconds(3_600);
const DAY: Span = Span::seconds(86_400);
const WEEK: Span = Span::seconds(7 * 86_400);

/// The longest pause between two runs of retention. Just after one has begun something expires:
/// it is marked within a pause, kept for 12 h, deleted within another pause. That is 44 h of the
/// 48 h in which it must be gone (RULES 18); the rest is for a change of the clocks, jitter, and
/// the run itself.
const RETENTION_PAUSE_MOST: Span = Span::seconds(16 * 3_600);

/// PostgreSQL's page, 8 KiB in every packaged build.
const PAGE_BYTES: u64 = 8_192;

/// Reads one policy; after a problem defaults stand in, and the problem is noted.
pub(super) fn read(section: &Section<'_>, name: &str, repositories: &[&str]) -> Policy {
    section.refuse_unknown();
    let policy = Policy {
        name: name.to_owned(),
        snapshot: section.value("snapshot"),
        ship_every: section.value("ship_every"),
        daily: section.value("daily"),
        weekly_day: section.value("weekly_day"),
        weekly_extra: section.value("weekly_extra"),
        copy_to: section.optional("copy_to"),
        replicate: section.value("replicate"),
        copy: section.value("copy"),
        keep_min: section.value("keep_min"),
        retention: section.value("retention"),
        verify: section.value("verify"),
        verify_within: section.value("verify_within"),
        drill: section.value("drill"),
        window: section.optional("window"),
        jitter: section.value("jitter"),
        heartbeat_every: section.value("heartbeat_every"),
        detection_allowance: section.value("detection_allowance"),
        rto: section.value("rto"),
        rpo: section.value("rpo"),
        compression_level: section.value("compression_level"),
        chunk: section.value("chunk"),
        pack: section.value("pack"),
    };
    section.demand_known("copy_to", "repository", repositories);
    check_retention(section, &policy);
    check_copies(section, &policy);
    check_rhythm(section, &policy);
    check_objectives(section, &policy);
    check_bytes(section, &policy);
    policy
}

fn check_retention(section: &Section<'_>, policy: &Policy) {
    section.demand(
        "daily",
        policy.daily >= DAY,
        || format!("`daily` is {}, less than a day", policy.daily.to_config()),
        "Write how far back every instant must be reachable, such as \"35d\".",
    );
    section.demand(
        "weekly_extra",
        policy.weekly_extra == Span::default() || policy.weekly_extra >= WEEK,
        || format!("`weekly_extra` is {}, less than a week", policy.weekly_extra.to_config()),
        "Write at least \"7d\": less leaves days without a weekly one. \"0d\" is for none.",
    );
    if section.sound(&["weekly_extra", "weekly_day"]) && policy.weekly_extra >= WEEK {
        let day = format!("{:?}", policy.weekly_day).to_lowercase();
        section.demand(
            "snapshot",
            policy.snapshot.can_run_on(policy.weekly_day),
            || format!("`snapshot` is never due on {day}, whose snapshot `weekly_extra` keeps"),
            "Choose a `weekly_day` on which a snapshot is due, or `weekly_extra = \"0d\"`.",
        );
    }
    section.demand(
        "keep_min",
        (1..=1_000).contains(&policy.keep_min),
        || format!("`keep_min` is {}", policy.keep_min),
        "The last snapshot always stays: write a number from 1 to 1000.",
    );
    let pause = policy.retention.longest_pause();
    section.demand(
        "retention",
        pause.is_some_and(|pause| pause <= RETENTION_PAUSE_MOST),
        || match pause {
            Some(pause) => format!("`retention` pauses for {pause}"),
            None => "`retention` does not run every day".to_owned(),
        },
        "What expires is gone within 48h: one run marks it, another at least 12h later deletes \
         it. Let it run every day, never more than 16h apart, such as \"30 4,16 * * *\".",
    );
}

fn check_copies(section: &Section<'_>, policy: &Policy) {
    for key in ["replicate", "copy"] {
        section.demand(
            key,
            policy.copy_to.is_some() || !section.has(key) || section.has("copy_to"),
            || format!("`{key}` is given, and `copy_to` names no repository"),
            &format!(
                "Add `copy_to = \"offsite\"` with the repository of the copies, or remove `{key}`."
            ),
        );
    }
}

fn check_rhythm(section: &Section<'_>, policy: &Policy) {
    section.demand(
        "verify_within",
        policy.verify_within >= DAY,
        || format!("`verify_within` is {}, less than a day", policy.verify_within.to_config()),
        "Write how long stored data may stay unread, such as \"30d\".",
    );
    section.demand(
        "ship_every",
        (SECOND..=HOUR).contains(&policy.ship_every),
        || format!("`ship_every` is {}", policy.ship_every.to_config()),
        "Write from \"1s\" to \"1h\".",
    );
    section.demand(
        "heartbeat_every",
        (SECOND..=HOUR).contains(&policy.heartbeat_every),
        || format!("`heartbeat_every` is {}", policy.heartbeat_every.to_config()),
        "Write from \"1s\" to \"1h\".",
    );
    section.demand(
        "jitter",
        policy.jitter <= HOUR,
        || format!("`jitter` is {}", policy.jitter.to_config()),
        "Write at most \"1h\"; \"0s\" is for none.",
    );
}

fn check_objectives(section: &Section<'_>, policy: &Policy) {
    for (key, every) in
        [("ship_every", policy.ship_every), ("heartbeat_every", policy.heartbeat_every)]
    {
        if section.sound(&["rpo", key]) {
            section.demand(
                "rpo",
                policy.rpo >= every,
                || {
                    let (rpo, every) = (policy.rpo.to_config(), every.to_config());
                    format!("`rpo` is {rpo}, shorter than `{key}`, which is {every}")
                },
                "What has not left the source is lost with it: do it more often, or promise less.",
            );
        }
    }
    if section.sound(&["rto", "detection_allowance"]) {
        section.demand(
            "rto",
            policy.rto > policy.detection_allowance,
            || {
                let allowance = policy.detection_allowance.to_config();
                format!(
                    "`rto` is {}, and `detection_allowance` alone is {allowance}",
                    policy.rto.to_config()
                )
            },
            "The measured RTO includes the allowance: promise more time, or notice sooner.",
        );
    }
}

fn check_bytes(section: &Section<'_>, policy: &Policy) {
    section.demand(
        "compression_level",
        (1..=19).contains(&policy.compression_level),
        || format!("`compression_level` is {}", policy.compression_level),
        "Write a zstd level from 1 to 19.",
    );
    let chunk = policy.chunk.0;
    section.demand(
        "chunk",
        (64 << 10..=8 << 20).contains(&chunk) && chunk.is_multiple_of(PAGE_BYTES),
        || format!("`chunk` is {}", policy.chunk),
        "Write from \"64KiB\" to \"8MiB\", a multiple of 8KiB, which is PostgreSQL's page.",
    );
    section.demand(
        "pack",
        (4 << 20..=128 << 20).contains(&policy.pack.0),
        || format!("`pack` is {}", policy.pack),
        "Write from \"4MiB\" to \"128MiB\".",
    );
}

impl FromToml for Replicate {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<Replicate> {
        let words =
            [("weekly", Replicate::Weekly), ("daily", Replicate::Daily), ("all", Replicate::All)];
        one_of(value, report, &words)
    }
}
