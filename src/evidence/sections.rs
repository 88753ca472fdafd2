//! A drill report's facts as sections of a view, each value with where it comes from.

use crate::evidence::drill_report::{
    Check, CheckVerdict, DrillReport, Heartbeats, Pages, PhaseOutcome, RecoveryPoint, Severity,
};
use crate::evidence::plain::{Cell, Column, Row, Table, Tone, clean};
use crate::evidence::view::{Body, Fact, Origin, Section, count, instant, span_or, time_of_day};
use crate::evidence::words::{Words, fill};
use crate::model::ByteSize;

/// Every section after verdict and objectives, in the order of reading.
pub(super) fn all(report: &DrillReport, words: &Words) -> Vec<Section> {
    let names = &words.sections;
    let section = |id, heading, body| Section { id, heading, body };
    vec![
        section("phases", names.phases, phases(report, words)),
        section("checks", names.checks, checks(&report.checks, words)),
        section("findings", names.findings, findings(report, words)),
        section("warnings", names.warnings, notes(&report.warnings, words)),
        section("skipped", names.steps_not_executed, skipped(report, words)),
        section("recovery-point", names.recovery_point, recovery_point(report, words)),
        section("times", names.times, times(report, words)),
        section("heartbeats", names.heartbeats, heartbeats(&report.heartbeats, words)),
        section("tables", names.tables, tables(report, words)),
        section("pages", names.pages, pages(report.pages.as_ref(), words)),
        section("teardown", names.teardown, teardown(report, words)),
        section("identity", names.identity, identity(report, words)),
    ]
}

fn fact(label: &'static str, value: impl Into<String>, origin: Origin) -> Fact {
    Fact { label, value: Cell::plain(value), origin }
}

fn toned(label: &'static str, value: impl Into<String>, tone: Tone, origin: Origin) -> Fact {
    Fact { label, value: Cell::toned(value, tone), origin }
}

fn table_or_none(columns: Vec<Column>, rows: Vec<Row>, words: &Words) -> Body {
    match rows.is_empty() {
        true => Body::Nothing(words.states.none.to_owned()),
        false => Body::Table(Table { columns, rows }),
    }
}

fn row(cells: Vec<Cell>) -> Row {
    Row { cells, detail: None }
}

fn identity(report: &DrillReport, words: &Words) -> Body {
    let (of, labels) = (&report.identity, &words.labels);
    let (claimed, seen) = (Origin::Configured, Origin::Measured);
    Body::Facts(vec![
        fact(labels.drill, clean(&of.drill_id), seen),
        fact(labels.resource, of.resource.as_str(), claimed),
        fact(labels.kind, clean(&of.kind), claimed),
        fact(labels.scenario, clean(&of.scenario), claimed),
        fact(labels.trigger, words.trigger(of.trigger), seen),
        fact(labels.operator, clean(&of.operator), claimed),
        fact(labels.host, clean(&of.host), seen),
        fact(labels.tool_version, clean(&of.tool_version), seen),
        fact(labels.configuration, clean(&of.configuration_hash), seen),
    ])
}

fn recovery_point(report: &DrillReport, words: &Words) -> Body {
    match &report.recovery_point {
        Some(point) => Body::Facts(recovery_facts(point, words)),
        None => Body::Nothing(words.states.no_recovery_point.to_owned()),
    }
}

fn recovery_facts(point: &RecoveryPoint, words: &Words) -> Vec<Fact> {
    let (labels, states) = (&words.labels, &words.states);
    let (told, seen) = (Origin::Recorded, Origin::Measured);
    let taken = [instant(point.snapshot_start), instant(point.snapshot_stop)];
    let lsns = [point.start_lsn.to_string(), point.stop_lsn.to_string()];
    let mut facts = vec![
        fact(labels.requested, clean(&point.requested), Origin::Configured),
        fact(labels.snapshot, clean(&point.snapshot), told),
        fact(labels.snapshot_taken, two(states.from_to, &taken), told),
        fact(labels.snapshot_age, point.age.to_string(), told),
        fact(labels.method, clean(&point.method), told),
        fact(labels.server_version, clean(&point.server_version), told),
        fact(labels.system_id, point.system_id.to_string(), told),
        fact(labels.timeline, point.timeline.to_string(), told),
        fact(labels.snapshot_lsns, two(states.from_to, &lsns), told),
    ];
    match &point.restored {
        Some(done) => {
            let bytes = [ByteSize(done.bytes).to_string(), count(done.files)];
            let log = [count(done.segments), count(done.parts)];
            facts.extend([
                fact(labels.log_end, done.log_end_lsn.to_string(), seen),
                fact(labels.restored, two(states.bytes_in_files, &bytes), seen),
                fact(labels.fetched, two(states.segments_and_parts, &log), seen),
            ]);
        }
        None => facts.push(toned(labels.restored, states.nothing_restored, Tone::Bad, seen)),
    }
    facts
}

fn two(template: &str, values: &[String; 2]) -> String {
    fill(template, &[&values[0], &values[1]])
}

fn times(report: &DrillReport, words: &Words) -> Body {
    let (times, labels, states) = (&report.times, &words.labels, &words.states);
    let seen = Origin::Measured;
    let absent = |label| toned(label, states.not_achieved, Tone::Bad, seen);
    let instant_or_absent = |label, at: Option<jiff::Timestamp>| match at {
        Some(at) => fact(label, instant(at), seen),
        None => absent(label),
    };
    // Without an achieved recovery time there is no proven service, whatever the record says.
    let achieved = report.objectives.rto.achieved().is_some();
    let technical = report.objectives.technical.filter(|_| achieved);
    Body::Facts(vec![
        fact(labels.t_disrupt, instant(times.t_disrupt), Origin::Configured),
        fact(
            labels.allowance,
            report.objectives.detection_allowance.to_string(),
            Origin::Configured,
        ),
        fact(labels.t_declare, instant(times.t_declare), seen),
        instant_or_absent(labels.t_service, times.t_service.filter(|_| achieved)),
        technical.map_or_else(
            || absent(labels.technical),
            |span| fact(labels.technical, span.to_string(), seen),
        ),
        instant_or_absent(labels.t_data, times.t_data),
        fact(labels.t_end, instant(times.t_end), seen),
    ])
}

fn phases(report: &DrillReport, words: &Words) -> Body {
    let heads = &words.columns;
    let columns = vec![
        Column::text(heads.phase),
        Column::word(heads.result),
        Column::number(heads.start),
        Column::number(heads.end),
        Column::number(heads.duration),
    ];
    let rows = report.times.phases.iter().map(|phase| {
        let tone = match phase.outcome {
            PhaseOutcome::Done => Tone::Good,
            PhaseOutcome::Failed => Tone::Bad,
        };
        row(vec![
            Cell::plain(words.phase(phase.kind)),
            Cell::toned(words.outcome(phase.outcome), tone),
            Cell::plain(time_of_day(phase.start)),
            Cell::plain(time_of_day(phase.end)),
            Cell::plain(phase.duration.to_string()),
        ])
    });
    table_or_none(columns, rows.collect(), words)
}

fn heartbeats(beats: &Heartbeats, words: &Words) -> Body {
    let (labels, states) = (&words.labels, &words.states);
    let answer = |label, known: Option<bool>| {
        let tone = if known == Some(true) { Tone::Good } else { Tone::Bad };
        toned(label, words.answer(known), tone, Origin::Measured)
    };
    let newest = beats.newest.map(|b| two(states.heartbeat, &[count(b.sequence), instant(b.at)]));
    let mut facts = vec![
        match newest {
            Some(text) => fact(labels.newest_heartbeat, text, Origin::Measured),
            None => toned(labels.newest_heartbeat, states.none_given, Tone::Bad, Origin::Measured),
        },
        fact(labels.heartbeats_read, count(beats.counted), Origin::Measured),
        answer(labels.contiguous, beats.contiguous),
        answer(labels.authentic, beats.authentic),
    ];
    if !beats.holes.is_empty() {
        let hole = |hole: &crate::evidence::drill_report::Hole| {
            two(states.hole, &[count(hole.first), count(hole.last)])
        };
        let text = beats.holes.iter().map(hole).collect::<Vec<_>>().join(", ");
        facts.push(toned(labels.holes, text, Tone::Bad, Origin::Measured));
    }
    Body::Facts(facts)
}

fn verdict(verdict: CheckVerdict, mandatory: bool, words: &Words) -> Cell {
    let tone = match (verdict, mandatory) {
        (CheckVerdict::Pass, _) => Tone::Good,
        (_, true) => Tone::Bad,
        (_, false) => Tone::Warn,
    };
    Cell::toned(words.check(verdict), tone)
}

fn checks(checks: &[Check], words: &Words) -> Body {
    let (heads, states) = (&words.columns, &words.states);
    let columns = vec![
        Column::word(heads.result),
        Column::text(heads.check),
        Column::text(heads.expected),
        Column::text(heads.actual),
        Column::number(heads.duration),
    ];
    let shown = |text: &Option<String>| Cell::plain(text.as_deref().map_or("–".into(), clean));
    let rows = checks.iter().map(|check| Row {
        cells: vec![
            verdict(check.verdict, check.mandatory, words),
            Cell::plain(fill(
                if check.mandatory { states.mandatory_check } else { states.optional_check },
                &[&clean(&check.id), &clean(&check.name)],
            )),
            shown(&check.expected),
            shown(&check.actual),
            Cell::plain(span_or(check.duration, "–")),
        ],
        detail: check.detail.as_deref().map(clean),
    });
    table_or_none(columns, rows.collect(), words)
}

fn tables(report: &DrillReport, words: &Words) -> Body {
    let heads = &words.columns;
    let columns = vec![
        Column::text(heads.table),
        Column::number(heads.expected_rows),
        Column::number(heads.actual_rows),
        Column::word(heads.result),
    ];
    let rows = report.tables.iter().map(|table| {
        let expected = table.expected_rows_estimate.map(count);
        let about = expected.map(|n| fill(words.states.estimated_rows, &[&n]));
        row(vec![
            Cell::plain(clean(&table.table)),
            Cell::plain(about.unwrap_or("–".into())),
            Cell::plain(table.actual_rows.map_or("–".into(), count)),
            verdict(table.verdict, true, words),
        ])
    });
    table_or_none(columns, rows.collect(), words)
}

fn pages(pages: Option<&Pages>, words: &Words) -> Body {
    let (labels, states) = (&words.labels, &words.states);
    let Some(pages) = pages else { return Body::Nothing(states.pages_not_read.to_owned()) };
    let damaged = match (pages.checkable, pages.damaged) {
        (false, _) => {
            toned(labels.pages_damaged, states.not_checkable, Tone::Warn, Origin::Measured)
        }
        (true, 0) => toned(labels.pages_damaged, states.none_given, Tone::Good, Origin::Measured),
        (true, n) => toned(labels.pages_damaged, count(n), Tone::Bad, Origin::Measured),
    };
    let mut facts = vec![fact(labels.pages_read, count(pages.read), Origin::Measured), damaged];
    if !pages.damaged_at.is_empty() {
        let places = clean(&pages.damaged_at.join(", "));
        facts.push(toned(labels.damaged_at, places, Tone::Bad, Origin::Measured));
    }
    Body::Facts(facts)
}

fn notes(notes: &[String], words: &Words) -> Body {
    match notes.is_empty() {
        true => Body::Nothing(words.states.none.to_owned()),
        false => Body::Notes(notes.iter().map(|note| clean(note)).collect()),
    }
}

fn findings(report: &DrillReport, words: &Words) -> Body {
    let columns = vec![Column::word(words.columns.severity), Column::text(words.columns.finding)];
    let rows = report.findings.iter().map(|finding| {
        let tone = match finding.severity {
            Severity::Low => Tone::Plain,
            Severity::Medium => Tone::Warn,
            Severity::High => Tone::Bad,
        };
        row(vec![
            Cell::toned(words.severity(finding.severity), tone),
            Cell::plain(clean(&finding.text)),
        ])
    });
    table_or_none(columns, rows.collect(), words)
}

fn skipped(report: &DrillReport, words: &Words) -> Body {
    let columns = vec![Column::text(words.columns.step), Column::text(words.columns.because)];
    let rows = report.steps_not_executed.iter().map(|skipped| {
        row(vec![Cell::plain(clean(&skipped.step)), Cell::plain(clean(&skipped.because))])
    });
    table_or_none(columns, rows.collect(), words)
}

fn teardown(report: &DrillReport, words: &Words) -> Body {
    let (heads, states) = (&words.columns, &words.states);
    let columns = vec![
        Column::text(heads.created),
        Column::word(heads.removed),
        Column::text(heads.verified),
    ];
    let rows = report.teardown.iter().map(|removal| {
        let removed = match removal.removed_at {
            Some(at) => Cell::toned(time_of_day(at), Tone::Good),
            None => Cell::toned(states.not_removed, Tone::Bad),
        };
        let verified = match &removal.verified_by {
            Some(how) => Cell::plain(clean(how)),
            None => Cell::toned(states.not_verified, Tone::Bad),
        };
        row(vec![Cell::plain(clean(&removal.created)), removed, verified])
    });
    table_or_none(columns, rows.collect(), words)
}
