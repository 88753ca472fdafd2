//! Asks a restored server whether it holds what it should. Unknown is not passed: a check that
//! could not be made says so, and counts against.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config;
use crate::engines::postgres::heartbeat::{self, HeartbeatKey, HeartbeatState};
use crate::engines::postgres::source::field;
use crate::error::{Error, Result};
use crate::evidence::drill_report::{Check, CheckVerdict, Pages, TableCount};
use crate::model::{Lsn, Span};
use crate::ports::postgres::Postgres;
use crate::ports::server::Launcher;
use crate::repository::manifest::{ClusterFacts, PageReport, TableEstimate};

/// So many rows may be missing whatever the tolerance says: statistics are samples.
const ROWS_ALWAYS_TOLERATED: f64 = 1_000.0;

/// What the checks need.
pub struct Subject<'a> {
    /// The restored server, as its bootstrap superuser.
    pub host: Arc<dyn Postgres>,
    pub socket_dir: &'a Path,
    pub port: u16,
    pub superuser: &'a str,
    pub data_dir: &'a Path,
    pub bin_dir: &'a Path,
    pub launcher: &'a dyn Launcher,
    pub cluster: &'a ClusterFacts,
    pub workers: usize,
    /// All checks together end by then.
    pub deadline: Instant,
}

/// The name of the restored cluster's bootstrap superuser, whatever `initdb` called it.
pub async fn superuser(host: &dyn Postgres) -> Result<String> {
    let mut session = host.session("fenice").await?;
    let rows = session.query("select rolname from pg_roles where oid = 10").await?;
    field(rows.first().unwrap_or(&Vec::new()), 0)
}

/// A check's fixed words, before it is made.
struct Named {
    id: &'static str,
    name: &'static str,
    expected: &'static str,
}

/// What a check found: `Ok` with what it saw if it passed.
type Seen = std::result::Result<String, String>;

async fn make(named: Named, deadline: Instant, work: impl Future<Output = Result<Seen>>) -> Check {
    let start = Instant::now();
    let (verdict, actual, detail) = match tokio::time::timeout_at(deadline, work).await {
        Ok(Ok(Ok(seen))) => (CheckVerdict::Pass, Some(seen), None),
        Ok(Ok(Err(seen))) => (CheckVerdict::Fail, Some(seen), None),
        Ok(Err(error)) => (CheckVerdict::NotRun, None, Some(error.chain())),
        Err(_) => (CheckVerdict::TimedOut, None, None),
    };
    Check {
        id: named.id.to_owned(),
        name: named.name.to_owned(),
        mandatory: true,
        expected: Some(named.expected.to_owned()),
        actual,
        verdict,
        duration: Some(Span(start.elapsed())),
        detail,
    }
}

impl Subject<'_> {
    /// It answers, reads and writes.
    pub async fn answers(&self) -> Check {
        let named = Named {
            id: "server-answers",
            name: "The server answers, reads and writes",
            expected: "open for writing",
        };
        make(named, self.deadline, async {
            let mut session = self.host.session("fenice").await?;
            let sql = "create temporary table fenice_probe as select 1 as one; \
                       select pg_is_in_recovery()::text || ' ' || sum(one) from fenice_probe";
            let rows = session.query(sql).await?;
            let seen: String = field(rows.first().unwrap_or(&Vec::new()), 0)?;
            Ok(match seen == "false 1" {
                true => Ok("open for writing".to_owned()),
                false => Err(format!("in recovery: {seen}")),
            })
        })
        .await
    }

    /// `pg_amcheck` over every database: heap and B-tree structure.
    pub async fn amcheck(&self) -> Check {
        let named = Named {
            id: "amcheck",
            name: "Heap and index structure (pg_amcheck, all databases)",
            expected: "no corruption",
        };
        make(named, self.deadline, async {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let program = self.bin_dir.join("pg_amcheck");
            let arguments = [
                "--all".to_owned(),
                "--install-missing".to_owned(),
                "--heapallindexed".to_owned(),
                "-h".to_owned(),
                self.socket_dir.display().to_string(),
                "-p".to_owned(),
                self.port.to_string(),
                "-U".to_owned(),
                self.superuser.to_owned(),
                "-j".to_owned(),
                self.workers.to_string(),
            ];
            let output =
                tokio::task::block_in_place(|| self.launcher.run_tool(&program, &arguments, left))?;
            let told = format!("{}{}", output.stdout, output.stderr);
            let first: String = told.lines().take(5).collect::<Vec<_>>().join("; ");
            Ok(match output.success {
                true => Ok("no corruption".to_owned()),
                false => Err(first),
            })
        })
        .await
    }

    /// Every page's checksum.
    pub async fn pages(&self) -> (Check, Option<Pages>) {
        let named = Named {
            id: "page-checksums",
            name: "Checksums of every page on disk",
            expected: "0 damaged",
        };
        let mut found = None;
        let check = make(named, self.deadline, async {
            let mut session = self.host.session("fenice").await?;
            let rows = session.query("checkpoint; select pg_current_wal_insert_lsn()").await?;
            let since: Lsn = field(rows.first().unwrap_or(&Vec::new()), 0)?;
            let report: PageReport = tokio::task::block_in_place(|| {
                crate::engines::postgres::verify::check_pages(
                    self.data_dir,
                    self.cluster,
                    since,
                    self.workers,
                )
            })?;
            let at = report.damaged.iter().map(|page| format!("{} page {}", page.file, page.page));
            found = Some(Pages {
                checkable: report.checkable,
                read: report.checked,
                damaged: report.damaged_count,
                damaged_at: at.collect(),
            });
            Ok(match (report.checkable, report.damaged_count) {
                (false, _) => Ok("not checkable: the cluster has no checksums".to_owned()),
                (true, 0) => Ok(format!("0 damaged of {}", report.checked)),
                (true, damaged) => Err(format!("{damaged} damaged of {}", report.checked)),
            })
        })
        .await;
        (check, found)
    }

    /// The heartbeats found, and whether their numbers have holes.
    pub async fn heartbeats(&self, key: &HeartbeatKey) -> (Check, Option<HeartbeatState>) {
        let named = Named {
            id: "heartbeats",
            name: "Heartbeats are genuine and their numbers have no hole",
            expected: "contiguous and genuine",
        };
        let mut found = None;
        let check = make(named, self.deadline, async {
            let mut session = self.host.session("fenice").await?;
            let state = heartbeat::read_state(session.as_mut(), key).await?;
            let seen = format!(
                "{} found, {} missing, {} forged",
                state.found, state.missing, state.forged
            );
            let good = state.found > 0 && state.missing == 0 && state.forged == 0;
            found = Some(state);
            Ok(if good { Ok(seen) } else { Err(seen) })
        })
        .await;
        (check, found)
    }

    /// Counts every table that the snapshot's statistics named.
    pub async fn tables(
        &self,
        estimates: &[TableEstimate],
        tolerance_percent: u32,
    ) -> (Check, Vec<TableCount>) {
        let named = Named {
            id: "row-counts",
            name: "Every table is there with about the rows it had",
            expected: "all within tolerance",
        };
        let mut counts = Vec::new();
        let check = make(named, self.deadline, async {
            let tolerance = f64::from(tolerance_percent) / 100.0;
            for estimate in estimates {
                counts.push(self.count(estimate, tolerance).await);
            }
            let bad = counts.iter().filter(|count| count.verdict != CheckVerdict::Pass).count();
            Ok(match bad {
                0 => Ok(format!("{} tables within tolerance", counts.len())),
                bad => Err(format!("{bad} of {} tables are not as expected", counts.len())),
            })
        })
        .await;
        (check, counts)
    }

    async fn count(&self, estimate: &TableEstimate, tolerance: f64) -> TableCount {
        let counted = async {
            let host = self.host.in_database(&estimate.database);
            let mut session = host.session("fenice").await?;
            // The name was quoted by the server that told it.
            let rows = session.query(&format!("select count(*) from {}", estimate.table)).await?;
            field::<u64>(rows.first().unwrap_or(&Vec::new()), 0)
        };
        let actual = counted.await.ok();
        let expected = (estimate.rows >= 0.0).then_some(estimate.rows);
        let fits = |actual: u64| {
            expected.is_none_or(|expected| {
                // Rows that came later are no loss; how many may have been deleted since is the
                // tolerance's matter.
                let allowed = (expected * tolerance).max(ROWS_ALWAYS_TOLERATED);
                let emptied = actual == 0 && expected >= ROWS_ALWAYS_TOLERATED;
                actual as f64 >= expected - allowed && !emptied
            })
        };
        TableCount {
            table: format!("{}: {}", estimate.database, estimate.table),
            expected_rows_estimate: expected.map(|rows| rows as u64),
            actual_rows: actual,
            verdict: match actual.is_some_and(fits) {
                true => CheckVerdict::Pass,
                false => CheckVerdict::Fail,
            },
        }
    }

    /// An assertion of the configuration: one statement, one value.
    pub async fn assertion(&self, wanted: &config::Check) -> Check {
        let start = Instant::now();
        let limit = Duration::min(wanted.timeout.0, self.deadline.saturating_duration_since(start));
        let asked = async {
            let host = self.host.in_database(&wanted.database);
            let mut session = host.session("fenice").await?;
            let milliseconds = limit.as_millis().max(1);
            session.query(&format!("set statement_timeout = {milliseconds}")).await?;
            let rows = session.query(&wanted.sql).await?;
            match rows.as_slice() {
                [row] if row.len() == 1 => Ok(row[0].clone().unwrap_or_else(|| "NULL".to_owned())),
                rows => {
                    Err(Error::failed(format!("{} rows came instead of one value", rows.len())))
                }
            }
        };
        let (verdict, actual, detail) = match tokio::time::timeout(limit, asked).await {
            Ok(Ok(value)) if value == wanted.expect => (CheckVerdict::Pass, Some(value), None),
            Ok(Ok(value)) => (CheckVerdict::Fail, Some(value), None),
            Ok(Err(error)) if error.chain().contains("57014") => {
                (CheckVerdict::TimedOut, None, Some(error.chain()))
            }
            Ok(Err(error)) => (CheckVerdict::Fail, None, Some(error.chain())),
            Err(_) => (CheckVerdict::TimedOut, None, None),
        };
        Check {
            id: format!("sql:{}", wanted.name),
            name: wanted.name.clone(),
            mandatory: wanted.mandatory,
            expected: Some(wanted.expect.clone()),
            actual,
            verdict,
            duration: Some(Span(start.elapsed())),
            detail: detail.or_else(|| Some(wanted.sql.clone())),
        }
    }
}
