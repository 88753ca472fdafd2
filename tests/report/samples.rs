//! Three drills: one that passed, one that failed, one whose recovery time was not achieved.

use fenice::evidence::drill_report::*;
use fenice::model::{Lsn, Span, SystemId, Timeline};
use jiff::Timestamp;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn millis(millis: u64) -> Span {
    Span(std::time::Duration::from_millis(millis))
}

fn phase(kind: PhaseKind, start: &str, end: &str, duration: u64) -> Phase {
    let outcome = PhaseOutcome::Done;
    Phase { kind, outcome, start: at(start), end: at(end), duration: millis(duration) }
}

fn check(id: &str, name: &str, expected: &str, actual: &str, duration: u64) -> Check {
    Check {
        id: id.into(),
        name: name.into(),
        mandatory: true,
        expected: Some(expected.into()),
        actual: Some(actual.into()),
        verdict: CheckVerdict::Pass,
        duration: Some(millis(duration)),
        detail: None,
    }
}

fn table(table: &str, expected: u64, actual: u64) -> TableCount {
    TableCount {
        table: table.into(),
        expected_rows_estimate: Some(expected),
        actual_rows: Some(actual),
        verdict: CheckVerdict::Pass,
    }
}

fn removal(created: &str, verified: &str) -> Removal {
    Removal {
        created: created.into(),
        removed_at: Some(at("2026-11-22T04:00:43.2Z")),
        verified_by: Some(verified.into()),
    }
}

fn identity() -> Identity {
    Identity {
        drill_id: "20261122T040000Z-registro".into(),
        resource: "registro".parse().unwrap(),
        kind: "postgres".into(),
        scenario: "loss of host".into(),
        trigger: Trigger::Schedule,
        operator: "fenice daemon".into(),
        tool_version: "0.1.0".into(),
        configuration_hash: "9f2c4e1b7a60d3588f1e2c9ab4d7706135e8c2f0d19b46a7e3527c80bd61f94a"
            .into(),
        host: "drill-01.example".into(),
    }
}

fn recovery_point() -> RecoveryPoint {
    RecoveryPoint {
        snapshot: "20261122T020003Z".into(),
        snapshot_start: at("2026-11-22T02:00:03Z"),
        snapshot_stop: at("2026-11-22T02:01:47Z"),
        age: Span::seconds(7_093),
        method: "files".into(),
        requested: "latest".into(),
        server_version: "15.18".into(),
        system_id: SystemId(7_432_190_554_871_203_881),
        timeline: Timeline(1),
        start_lsn: Lsn(0x2_A400_0028),
        stop_lsn: Lsn(0x2_A61F_3C80),
        restored: Some(Restored {
            log_end_lsn: Lsn(0x2_B0C4_51F8),
            files: 1_284,
            bytes: 5_261_334_937,
            segments: 11,
            parts: 3,
        }),
    }
}

/// All is well: 25 seconds of work after a quarter of an hour granted for noticing.
pub(super) fn passed() -> DrillReport {
    use PhaseKind::*;
    DrillReport {
        schema: SCHEMA,
        identity: identity(),
        verdict: Verdict::Failed, // judged below
        reasons: Vec::new(),
        objectives: Objectives {
            rto: Measurement {
                target: Span::seconds(4 * 3_600),
                estimate: Some(Span::seconds(15 * 60 + 52)),
                measured: Some(millis(941_300)),
                not_achieved_because: None,
                met: Some(true),
            },
            rpo: Measurement {
                target: Span::seconds(24 * 3_600),
                estimate: Some(Span::seconds(300)),
                measured: Some(Span::seconds(52)),
                not_achieved_because: None,
                met: Some(true),
            },
            detection_allowance: Span::seconds(900),
            technical: Some(millis(41_300)),
        },
        times: Times {
            t_disrupt: at("2026-11-22T04:00:00Z"),
            t_declare: at("2026-11-22T04:00:00Z"),
            t_service: Some(at("2026-11-22T04:00:41.3Z")),
            t_data: Some(at("2026-11-22T03:59:08Z")),
            t_end: at("2026-11-22T04:00:43.4Z"),
            phases: vec![
                phase(Plan, "2026-11-22T04:00:00Z", "2026-11-22T04:00:00.31Z", 310),
                phase(RestoreFiles, "2026-11-22T04:00:00.31Z", "2026-11-22T04:00:26.9Z", 26_590),
                phase(ReplayLog, "2026-11-22T04:00:26.9Z", "2026-11-22T04:00:35.1Z", 8_200),
                phase(Start, "2026-11-22T04:00:35.1Z", "2026-11-22T04:00:35.25Z", 150),
                phase(Checks, "2026-11-22T04:00:35.25Z", "2026-11-22T04:00:41.3Z", 6_050),
                phase(Teardown, "2026-11-22T04:00:41.3Z", "2026-11-22T04:00:43.4Z", 2_100),
            ],
        },
        recovery_point: Some(recovery_point()),
        heartbeats: Heartbeats {
            newest: Some(Heartbeat { sequence: 184_213, at: at("2026-11-22T03:59:08Z") }),
            counted: 4_320,
            contiguous: Some(true),
            holes: Vec::new(),
            authentic: Some(true),
        },
        checks: checks(),
        tables: vec![
            table("registro.pupils", 36_000, 36_000),
            table("registro.marks", 118_340, 118_512),
            table("registro.absences", 71_950, 72_004),
            table("registro.demo_writes", 2_110, 2_251),
        ],
        pages: Some(Pages { checkable: true, read: 642_253, damaged: 0, damaged_at: Vec::new() }),
        warnings: Vec::new(),
        findings: vec![Finding {
            severity: Severity::Low,
            text: "One role of the source has no password set; the restored copy is alike.".into(),
        }],
        steps_not_executed: vec![SkippedStep {
            step: "Switch the application's connection to the restored server".into(),
            because: "a drill is isolated from production".into(),
        }],
        teardown: vec![
            removal("server on socket /var/lib/fenice/drill-7f/socket", "its process id is gone"),
            removal("directory /var/lib/fenice/drill-7f (4.90 GiB)", "it can no longer be opened"),
            removal("pin of 1 snapshot and 14 log objects", "listing of the pins"),
        ],
    }
    .judged()
}

fn checks() -> Vec<Check> {
    vec![
        check("connect", "the server accepts connections", "yes", "yes", 12),
        check(
            "identity",
            "it is the same cluster",
            "7432190554871203881",
            "7432190554871203881",
            4,
        ),
        check("tables", "every table can be read to its end", "38 tables", "38 tables", 3_410),
        check("amcheck", "indexes agree with their tables", "no error", "no error", 2_380),
        check("probe", "a school's register can be opened", "1 class list", "1 class list", 61),
        Check {
            mandatory: false,
            verdict: CheckVerdict::TimedOut,
            detail: Some("statement timeout after 1 s; the statistics were not there yet".into()),
            actual: None,
            ..check(
                "speed",
                "the busiest query is as fast as in production",
                "under 1 s",
                "",
                1_000,
            )
        },
    ]
}

/// It all came back, but too late, with a hole in the heartbeats, damage and remains.
pub(super) fn failed() -> DrillReport {
    let mut report = passed();
    report.identity.trigger = Trigger::Manual;
    report.identity.operator = "Lucia Ferraris".into();
    report.objectives.rto.target = Span::seconds(930);
    report.objectives.rto.met = Some(false);
    report.objectives.rpo.target = Span::seconds(45);
    report.objectives.rpo.met = Some(false);
    report.heartbeats.contiguous = Some(false);
    report.heartbeats.holes = vec![Hole { first: 184_101, last: 184_107 }];
    report.tables[1].actual_rows = Some(97_003);
    report.tables[1].verdict = CheckVerdict::Fail;
    report.pages = Some(Pages {
        checkable: true,
        read: 642_253,
        damaged: 2,
        damaged_at: vec!["base/16384/16501 block 12".into(), "base/16384/16501 block 13".into()],
    });
    report.warnings = vec!["Log was fetched from the second repository for 3 segments.".into()];
    report.findings = vec![
        Finding {
            severity: Severity::High,
            text: "Two pages of registro.marks are damaged in the snapshot itself: take a full \
                   snapshot and look at the source's disk."
                .into(),
        },
        Finding { severity: Severity::Medium, text: "The estimate was 11 s too high.".into() },
    ];
    report.teardown[1].removed_at = None;
    report.teardown[1].verified_by = None;
    report.judged()
}

/// The server started, and a mandatory check failed: no figure, whatever the clock says.
pub(super) fn not_achieved() -> DrillReport {
    let mut report = passed();
    report.identity.trigger = Trigger::Incident;
    report.checks[2].verdict = CheckVerdict::Fail;
    report.checks[2].actual = Some("37 tables".into());
    report.checks[2].detail =
        Some("registro.pupils: could not read block 118 of base/16384/16422".into());
    report.checks[4].verdict = CheckVerdict::NotRun;
    report.checks[4].actual = None;
    report.checks[4].duration = None;
    report.times.phases[4].outcome = PhaseOutcome::Failed;
    report.times.t_data = None;
    report.objectives.rpo.measured = None;
    report.objectives.rpo.met = None;
    report.objectives.rpo.not_achieved_because =
        Some("the restored data holds no heartbeat".into());
    report.heartbeats = Heartbeats {
        newest: None,
        counted: 0,
        contiguous: None,
        holes: Vec::new(),
        authentic: None,
    };
    report.pages = None;
    report.judged()
}
