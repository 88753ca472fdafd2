//! What jobs came to since the daemon began: counts that only grow, and how long each kind took.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::ResourceName;

/// Upper bounds of the histogram's buckets, seconds: from a copy that had nothing to do up to the
/// first snapshot of something huge.
pub const BUCKETS: [f64; 13] = [
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 57_600.0,
    86_400.0,
];

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobResult {
    Done,
    /// Done, but an objective or a check is not met: a failed drill, damage found.
    NotMet,
    /// Also where the daemon ended meanwhile.
    Failed,
    /// Somebody wanted it to end.
    Cancelled,
}

impl JobResult {
    pub const ALL: [JobResult; 4] =
        [JobResult::Done, JobResult::NotMet, JobResult::Failed, JobResult::Cancelled];

    /// The value of the label.
    pub fn name(self) -> &'static str {
        match self {
            JobResult::Done => "done",
            JobResult::NotMet => "not_met",
            JobResult::Failed => "failed",
            JobResult::Cancelled => "cancelled",
        }
    }
}

/// Every job that ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobCounts {
    /// By resource and kind.
    pub(super) ended: BTreeMap<(ResourceName, &'static str), Ended>,
    /// By kind.
    pub(super) took: BTreeMap<&'static str, Took>,
}

/// How the jobs of one kind on one resource ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ended {
    counts: [u64; JobResult::ALL.len()],
    /// Failed ones since one was done.
    pub(super) failures_in_a_row: u64,
}

/// How long the jobs of one kind took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Took {
    /// Up to each bound, the last beyond all of them; not cumulated.
    pub(super) counts: [u64; BUCKETS.len() + 1],
    pub(super) seconds: f64,
}

impl JobCounts {
    /// Shows a kind of job that may come, with nothing counted: a counter that begins at one would
    /// hide the first failure from whoever looks for a rise.
    pub fn expect(&mut self, resource: &ResourceName, kind: &'static str) {
        self.ended.entry((resource.clone(), kind)).or_default();
        self.took.entry(kind).or_default();
    }

    /// Counts a job that ended. `kind` is one of few words, as the scheduler names its work.
    pub fn note(
        &mut self,
        resource: &ResourceName,
        kind: &'static str,
        result: JobResult,
        took: Duration,
    ) {
        let ended = self.ended.entry((resource.clone(), kind)).or_default();
        ended.counts[result as usize] += 1;
        ended.failures_in_a_row = match result {
            JobResult::Done | JobResult::NotMet => 0,
            JobResult::Failed => ended.failures_in_a_row + 1,
            JobResult::Cancelled => ended.failures_in_a_row,
        };
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        let of_kind = self.took.entry(kind).or_default();
        of_kind.counts[bucket] += 1;
        of_kind.seconds += seconds;
    }
}

impl Ended {
    pub(super) fn count(&self, result: JobResult) -> u64 {
        self.counts[result as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_order_in_which_they_are_counted() {
        for (place, result) in JobResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, place);
        }
    }

    #[test]
    fn failures_in_a_row_end_with_the_first_that_is_done() {
        use JobResult::{Cancelled, Done, Failed, NotMet};
        let cases: [(&[JobResult], u64); 6] = [
            (&[], 0),
            (&[Failed, Failed], 2),
            (&[Failed, Cancelled, Failed], 2),
            (&[Failed, Failed, Done], 0),
            (&[Failed, NotMet], 0),
            (&[Done, Failed], 1),
        ];
        let resource: ResourceName = "registro".parse().unwrap();
        for (results, expected) in cases {
            let mut jobs = JobCounts::default();
            jobs.expect(&resource, "snapshot");
            for result in results {
                jobs.note(&resource, "snapshot", *result, Duration::ZERO);
            }
            let ended = jobs.ended[&(resource.clone(), "snapshot")];
            assert_eq!(ended.failures_in_a_row, expected, "{results:?}");
        }
    }

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let resource: ResourceName = "registro".parse().unwrap();
        let mut jobs = JobCounts::default();
        for seconds in [0, 1, 2, 86_400, 86_401] {
            jobs.note(&resource, "verify", JobResult::Done, Duration::from_secs(seconds));
        }
        let took = jobs.took["verify"];
        assert_eq!((took.counts[0], took.counts[1]), (2, 1));
        assert_eq!((took.counts[12], took.counts[13]), (1, 1));
        assert_eq!(took.counts.iter().sum::<u64>(), 5);
        assert_eq!(took.seconds, 172_804.0);
    }
}
