//! Facts to the text that Prometheus reads. Names are stable; `docs/METRICS.md` lists them.
//!
//! What cannot be told has no value, and is 1 in `fenice_unknown`; what does not exist has neither.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair};
use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::gauges::{ROWS, Row, count, flag, instant};
use super::jobs::{BUCKETS, JobResult, Took};
use super::measured::{Disk, Fact, LeaseState, Measured, RepositoryFacts, Room};
use crate::error::{Attempt, Result};

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Everything as Prometheus reads it, with ages as of `now`.
pub fn text(measured: &Measured, now: Timestamp) -> Result<String> {
    let families = families(measured, now);
    let text = TextEncoder::new().encode_to_string(&families);
    text.attempt(|| "write the metrics".to_owned())
}

/// Families that have a value, each of them once.
fn families(measured: &Measured, now: Timestamp) -> Vec<MetricFamily> {
    let mut families = of_daemon(measured);
    families.extend(of_resources(measured, now));
    families.extend(of_repositories(&measured.repositories));
    families.extend(of_disks(&measured.disks));
    families.extend(of_counts(measured));
    families.extend(of_running(measured));
    families.retain(|family| !family.get_metric().is_empty());
    families
}

fn of_daemon(measured: &Measured) -> Vec<MetricFamily> {
    let build = [gauge(&[("version", measured.version)], 1.0)];
    let started = [gauge(&[], instant(measured.started_at))];
    let turned = [gauge(&[], instant(measured.last_turn_at))];
    vec![
        gauges("fenice_build_info", "1; the label names the version of Fenice.", build),
        gauges("fenice_started_timestamp_seconds", "When the daemon began.", started),
        gauges(
            "fenice_scheduler_last_turn_timestamp_seconds",
            "When the loop that begins all work last turned.",
            turned,
        ),
    ]
}

fn of_resources(measured: &Measured, now: Timestamp) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    let mut unknown: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    let retired = measured.resources.iter().map(|(resource, facts)| {
        gauge(&[("resource", resource.as_str())], flag(facts.promise.is_none()))
    });
    let meaning = "1 if the resource is retired: nothing new is stored of it.";
    families.push(gauges("fenice_resource_retired", meaning, retired));
    for Row { name, help, what, of_retired, of } in ROWS {
        let mut values = Vec::new();
        for (resource, facts) in &measured.resources {
            if facts.promise.is_none() && !of_retired {
                continue;
            }
            let value = of(facts, now);
            if let Some(what) = what {
                let is_unknown = unknown.entry((resource.as_str(), *what)).or_default();
                *is_unknown |= matches!(value, Fact::Unknown);
            }
            if let Fact::Known(value) = value {
                values.push(gauge(&[("resource", resource.as_str())], value));
            }
        }
        families.push(gauges(name, help, values));
    }
    let unknown = unknown.into_iter().map(|((resource, what), is_so)| {
        gauge(&[("resource", resource), ("what", what)], flag(is_so))
    });
    let meaning = "1 if that fact of the resource cannot be told, which is red; its values are \
                   absent then.";
    families.push(gauges("fenice_unknown", meaning, unknown));
    families
}

/// One gauge of a repository.
type OfRepository = (&'static str, &'static str, fn(&RepositoryFacts) -> Fact<f64>);

#[rustfmt::skip]
const OF_REPOSITORIES: [OfRepository; 5] = [
    ("fenice_repository_reachable",
        "1 if the last attempt to read from the repository succeeded, else 0.",
        |facts| Fact::Known(flag(facts.reachable))),
    ("fenice_repository_bytes",
        "All that is stored in the repository.",
        |facts| facts.bytes.map(count)),
    ("fenice_lease_held",
        "1 while this installation may write to the repository, else 0.",
        |facts| Fact::Known(flag(facts.lease == LeaseState::Held))),
    ("fenice_lease_standing_by",
        "1 while another installation writes and this one waits, as it was told to.",
        |facts| Fact::Known(flag(facts.lease == LeaseState::StandingBy))),
    ("fenice_lease_generation",
        "How often the lease of the repository was taken over, from 1.",
        |facts| facts.generation.map(count)),
];

fn of_repositories(repositories: &BTreeMap<String, RepositoryFacts>) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    for (name, help, of) in OF_REPOSITORIES {
        let values = repositories.iter().filter_map(|(repository, facts)| match of(facts) {
            Fact::Known(value) => Some(gauge(&[("repository", repository.as_str())], value)),
            Fact::Absent | Fact::Unknown => None,
        });
        families.push(gauges(name, help, values));
    }
    families
}

fn of_disks(disks: &BTreeMap<Disk, Room>) -> Vec<MetricFamily> {
    let (mut free, mut size) = (Vec::new(), Vec::new());
    for (disk, room) in disks {
        let name = match disk {
            Disk::State => "state".to_owned(),
            Disk::Repository(repository) => format!("repository:{repository}"),
            Disk::Source(resource) => format!("source:{resource}"),
        };
        free.push(gauge(&[("disk", name.as_str())], count(room.free_bytes)));
        size.push(gauge(&[("disk", name.as_str())], count(room.size_bytes)));
    }
    let meaning = "What Fenice may still use of the file system: of its state directory, of a \
                   repository that is a folder, of a source's data directory.";
    vec![
        gauges("fenice_disk_free_bytes", meaning, free),
        gauges("fenice_disk_size_bytes", "The size of the same file system.", size),
    ]
}

fn of_counts(measured: &Measured) -> Vec<MetricFamily> {
    let (mut ended, mut failures) = (Vec::new(), Vec::new());
    for ((resource, kind), of_kind) in &measured.jobs.ended {
        let labels = [("resource", resource.as_str()), ("kind", *kind)];
        for result in JobResult::ALL {
            let labels = [labels[0], labels[1], ("result", result.name())];
            ended.push(counter(&labels, count(of_kind.count(result))));
        }
        // A counter stays what it was; this is a state, and ends with the resource.
        if measured.resources.contains_key(resource) {
            failures.push(gauge(&labels, count(of_kind.failures_in_a_row)));
        }
    }
    let took = measured.jobs.took.iter().map(|(kind, took)| histogram(&[("kind", *kind)], took));
    let results = "Jobs that ended: `done`, `not_met` (done, but a check or an objective is not \
                   met), `failed`, `cancelled`.";
    vec![
        family("fenice_jobs_total", results, MetricType::COUNTER, ended),
        gauges(
            "fenice_job_consecutive_failures",
            "How many jobs of the kind failed on the resource since one was done.",
            failures,
        ),
        family(
            "fenice_job_duration_seconds",
            "How long jobs took that ended, however they ended.",
            MetricType::HISTOGRAM,
            took,
        ),
    ]
}

fn of_running(measured: &Measured) -> Vec<MetricFamily> {
    let (running, waiting) = (&measured.under_way, &measured.waiting);
    let mut kinds: BTreeSet<&str> = measured.jobs.took.keys().copied().collect();
    kinds.extend(running.iter().map(|job| job.kind));
    kinds.extend(waiting.iter().map(|(_, kind)| *kind));
    let (mut runs, mut waits) = (Vec::new(), Vec::new());
    for kind in kinds {
        let jobs = running.iter().filter(|job| job.kind == kind).count();
        runs.push(gauge(&[("kind", kind)], count(jobs as u64)));
        let jobs = waiting.iter().filter(|(_, of)| *of == kind).count();
        waits.push(gauge(&[("kind", kind)], count(jobs as u64)));
    }
    let (mut done, mut expected) = (Vec::new(), Vec::new());
    for job in running {
        let labels = [("resource", job.resource.as_str()), ("kind", job.kind)];
        done.push(gauge(&labels, count(job.done_bytes)));
        expected.extend(job.expected_bytes.map(|bytes| gauge(&labels, count(bytes))));
    }
    vec![
        gauges("fenice_jobs_running", "Jobs under way.", runs),
        gauges("fenice_jobs_waiting", "Jobs that are due and have not begun.", waits),
        gauges("fenice_job_processed_bytes", "How far a job under way has come.", done),
        gauges(
            "fenice_job_expected_bytes",
            "How far a job under way has to come; absent where that cannot be foreseen.",
            expected,
        ),
    ]
}

fn gauges(name: &str, help: &str, values: impl IntoIterator<Item = Metric>) -> MetricFamily {
    family(name, help, MetricType::GAUGE, values)
}

fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    values: impl IntoIterator<Item = Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(values.into_iter().collect());
    family
}

fn labelled(labels: &[(&str, &str)]) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}

fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    let (mut metric, mut gauge) = (labelled(labels), Gauge::default());
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

fn counter(labels: &[(&str, &str)], value: f64) -> Metric {
    let (mut metric, mut counter) = (labelled(labels), Counter::default());
    counter.set_value(value);
    metric.set_counter(counter);
    metric
}

fn histogram(labels: &[(&str, &str)], took: &Took) -> Metric {
    let (mut metric, mut histogram) = (labelled(labels), Histogram::default());
    let mut cumulated = 0;
    let buckets = BUCKETS.iter().zip(took.counts).map(|(bound, inside)| {
        cumulated += inside;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(cumulated);
        bucket
    });
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(took.counts.iter().sum());
    histogram.set_sample_sum(took.seconds);
    metric.set_histogram(histogram);
    metric
}
