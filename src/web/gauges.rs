//! What is told of each resource: one table of names, meanings and where the values come from.

use jiff::Timestamp;

use super::measured::{CopyFacts, DrillFacts, Fact, Promise, ResourceFacts};
use crate::plan::condition::age;

/// One gauge with the label `resource`.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// A sentence; `docs/METRICS.md` says the same.
    pub(super) help: &'static str,
    /// What is called unknown in `fenice_unknown` where the value is; `None` if it always is known.
    pub(super) what: Option<&'static str>,
    /// Whether it is told of a retired resource too.
    pub(super) of_retired: bool,
    pub(super) of: Value,
}

type Value = fn(&ResourceFacts, Timestamp) -> Fact<f64>;

const fn fact(name: &'static str, what: &'static str, help: &'static str, of: Value) -> Row {
    Row { name, help, what: Some(what), of_retired: false, of }
}

/// Told of a retired resource too: its data was promised to leave.
const fn lasting(name: &'static str, what: &'static str, help: &'static str, of: Value) -> Row {
    Row { name, help, what: Some(what), of_retired: true, of }
}

const fn promised(name: &'static str, help: &'static str, of: Value) -> Row {
    Row { name, help, what: None, of_retired: false, of }
}

/// Every one, by what it is about.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    lasting("fenice_red_reasons", "status",
        "How many reasons `fenice status` has to call the resource red; 0 is green.",
        |facts, _| facts.red_reasons.map(count)),
    Row {
        name: "fenice_measured_timestamp_seconds",
        help: "When the facts of the resource were last looked for.",
        what: Some("measurement"),
        of_retired: true,
        of: |facts, _| facts.measured_at.map_or(Fact::Unknown, |at| Fact::Known(instant(at))),
    },
    promised("fenice_rpo_target_seconds",
        "How much of the newest data may be lost: `rpo` of the policy.",
        |facts, _| promise(facts, |promise| promise.rpo.as_seconds())),
    fact("fenice_rpo_exposure_seconds", "exposure",
        "What a loss of the source would cost now: the age of the newest heartbeat that is \
         provably in the repository.",
        |facts, now| facts.data_until.required().map(|at| age(at, now).as_seconds())),
    fact("fenice_rpo_exposure_without_main_seconds", "copies",
        "What a loss of the source together with the main repository would cost now.",
        |facts, now| {
            copies(facts, |copies| copies.data_until.map(|at| age(at, now).as_seconds()))
        }),
    fact("fenice_recovery_window_start_timestamp_seconds", "window",
        "The oldest instant that can be recovered.",
        |facts, _| facts.window_start.map(instant)),

    fact("fenice_last_snapshot_timestamp_seconds", "snapshot",
        "When the newest snapshot was finished; absent if there is none.",
        |facts, _| facts.last_snapshot_at.map(instant)),
    fact("fenice_last_snapshot_damaged_pages", "snapshot",
        "Pages of the newest snapshot whose checksum is wrong.",
        |facts, _| facts.damaged_pages.map(count)),
    fact("fenice_last_proof_timestamp_seconds", "proof",
        "When a drill that passed last ended; absent if none ever did.",
        |facts, _| facts.last_proof_at.map(instant)),

    fact("fenice_log_gap_bytes", "gap",
        "How much log is missing after the newest snapshot; 0 once a snapshot follows the gap.",
        |facts, _| facts.gap_bytes.map(count)),
    fact("fenice_shipping_trouble", "shipping",
        "1 while shipping the log is in trouble.",
        |facts, _| facts.shipping_in_trouble.map(flag)),
    fact("fenice_slot_lag_bytes", "slot",
        "How much log the source keeps for the slot because it is not stored yet; absent without \
         a slot.",
        |facts, _| facts.slot_lag_bytes.map(count)),
    fact("fenice_slot_lag_limit_bytes", "slot",
        "How much log the source keeps for the slot at most (`max_slot_wal_keep_size`); absent \
         where it is unlimited.",
        |facts, _| facts.slot_limit_bytes.map(count)),

    promised("fenice_verify_target_seconds",
        "How long what is stored may stay unread: `verify_within` of the policy.",
        |facts, _| promise(facts, |promise| promise.verify_within.as_seconds())),
    fact("fenice_last_verify_timestamp_seconds", "verify",
        "When the last verification ended; absent if there was none.",
        |facts, _| facts.last_verify_at.map(instant)),
    fact("fenice_verified_since_timestamp_seconds", "verify",
        "All that is stored was read back and found sound since then; absent if not all of it was.",
        |facts, _| facts.verified_since.map(instant)),
    fact("fenice_stored_damage", "verify",
        "Findings of the last verification that are not put right.",
        |facts, _| facts.stored_damage.map(count)),

    fact("fenice_last_copy_timestamp_seconds", "copies",
        "When the newest snapshot in the repository of copies was finished at the source; absent \
         if there is none, or nothing is copied.",
        |facts, _| copies(facts, |copies| copies.last_at.map(instant))),
    fact("fenice_copies_late", "copies",
        "Snapshots and objects of the log that should have been copied by now.",
        |facts, _| copies(facts, |copies| copies.late.map(count))),
    lasting("fenice_retention_overdue", "retention",
        "Snapshots, and packs of the vault, that are there beyond the date promised for their \
         removal.",
        |facts, _| facts.overdue.map(count)),

    promised("fenice_rto_target_seconds",
        "How long a recovery may take, from the disruption on: `rto` of the policy.",
        |facts, _| promise(facts, |promise| promise.rto.as_seconds())),
    fact("fenice_last_drill_timestamp_seconds", "drill",
        "When the last drill ended; absent if there was none.",
        |facts, _| facts.drill.map(|drill| instant(drill.ended_at))),
    fact("fenice_drill_passed", "drill",
        "1 if the last drill passed, else 0.",
        |facts, _| facts.drill.map(|drill| flag(drill.passed))),
    fact("fenice_drill_measured_rto_seconds", "drill",
        "The recovery time that the last drill measured; absent where it was not achieved.",
        |facts, _| drilled(facts, |drill| drill.rto.map(|rto| rto.as_seconds()))),
    fact("fenice_drill_measured_rpo_seconds", "drill",
        "The loss of data that the last drill measured; absent where it was not achieved.",
        |facts, _| drilled(facts, |drill| drill.rpo.map(|rpo| rpo.as_seconds()))),

    fact("fenice_vault_key_created_timestamp_seconds", "keys",
        "When the key of the vault in use was made.",
        |facts, _| facts.vault_key_at.map(instant)),
    fact("fenice_source_checksum_failures", "source",
        "Pages with a wrong checksum that the source met since its statistics were reset.",
        |facts, _| facts.checksum_failures.map(count)),
    fact("fenice_source_clock_offset_seconds", "source",
        "The source's clock less that of Fenice's host.",
        |facts, _| facts.clock_offset_seconds),
    fact("fenice_source_certificate_expiry_timestamp_seconds", "source",
        "When the certificate of the source ends; absent without TLS.",
        |facts, _| facts.certificate_until.map(instant)),
    fact("fenice_replicas", "replicas",
        "Standbys that stream from the source.",
        |facts, _| facts.replicas.map(|replicas| count(replicas.connected))),
    fact("fenice_replica_lag_seconds", "replicas",
        "How far the slowest standby is behind; absent if none tells.",
        |facts, _| {
            let lag = facts.replicas.and_then(|replicas| Fact::from(replicas.lag));
            lag.map(|lag| lag.as_seconds())
        }),
];

fn promise(facts: &ResourceFacts, value: fn(Promise) -> f64) -> Fact<f64> {
    Fact::from(facts.promise).map(value)
}

fn copies(facts: &ResourceFacts, value: impl FnOnce(CopyFacts) -> Fact<f64>) -> Fact<f64> {
    Fact::from(facts.copies).and_then(value)
}

fn drilled(facts: &ResourceFacts, value: fn(DrillFacts) -> Option<f64>) -> Fact<f64> {
    facts.drill.and_then(|drill| Fact::from(value(drill)))
}

/// Seconds since 1970, to the microsecond.
pub(super) fn instant(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}

pub(super) fn count(number: u64) -> f64 {
    number as f64
}

pub(super) fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}
