//! What every face shows of a drill report, in order, in words: the faces differ only in form.

use jiff::Timestamp;

use crate::evidence::drill_report::{DrillReport, Measurement, Verdict};
use crate::evidence::plain::{Cell, Column, Row, Table, Tone, clean};
use crate::evidence::sections;
use crate::evidence::words::{Words, fill};
use crate::model::Span;

/// Where a value comes from: what is claimed is not what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The configuration's or the operator's claim.
    Configured,
    /// Observed by this drill.
    Measured,
    /// Stated by the repository's manifest.
    Recorded,
    /// Computed before the drill.
    Estimated,
}

/// A labelled value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub label: &'static str,
    pub value: Cell,
    pub origin: Origin,
}

/// A titled part of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// For links and test; never shown.
    pub id: &'static str,
    pub heading: &'static str,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Facts(Vec<Fact>),
    Table(Table),
    Notes(Vec<String>),
    /// Nothing to show, and why.
    Nothing(String),
}

/// One objective: target, estimate, measured apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objective {
    pub name: &'static str,
    pub target: String,
    pub estimate: String,
    pub measured: Cell,
    pub result: Cell,
    /// Why there is no measured figure.
    pub because: Option<String>,
}

/// The whole report, ready to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub passed: bool,
    pub verdict: &'static str,
    pub headline: String,
    pub subline: String,
    pub sentence: &'static str,
    pub reasons: Vec<String>,
    pub objectives: Vec<Objective>,
    pub sections: Vec<Section>,
}

/// `report` in the language of `words`. Foreign text comes out [`clean`], but not yet escaped for
/// any markup.
pub fn view(report: &DrillReport, words: &Words) -> View {
    let identity = &report.identity;
    let passed = report.verdict == Verdict::Passed;
    let headline = [identity.resource.as_str(), &clean(&identity.scenario)];
    let subline = [&clean(&identity.drill_id), &instant(report.times.t_declare)];
    View {
        passed,
        verdict: words.verdict(report.verdict),
        headline: fill(words.headline, &headline),
        subline: fill(words.subline, &subline.map(String::as_str)),
        sentence: if passed { words.passed_sentence } else { words.failed_sentence },
        reasons: report.reasons.iter().map(|reason| clean(&words.reason(reason))).collect(),
        objectives: vec![
            objective(words.states.rto, &report.objectives.rto, words),
            objective(words.states.rpo, &report.objectives.rpo, words),
        ],
        sections: sections::all(report, words),
    }
}

fn objective(name: &'static str, of: &Measurement, words: &Words) -> Objective {
    let states = &words.states;
    let (measured, result) = match (of.achieved(), of.met) {
        (None, _) => (
            Cell::toned(states.not_achieved, Tone::Bad),
            Cell::toned(states.not_achieved, Tone::Bad),
        ),
        (Some(span), Some(true)) => {
            (Cell::toned(span.to_string(), Tone::Strong), Cell::toned(states.met, Tone::Good))
        }
        (Some(span), _) => {
            (Cell::toned(span.to_string(), Tone::Strong), Cell::toned(states.missed, Tone::Bad))
        }
    };
    let reason = of.not_achieved_because.as_deref().map_or(states.reason_unknown.into(), clean);
    let because =
        of.achieved().is_none().then(|| fill(states.not_achieved_because, &[name, &reason]));
    let estimate = of.estimate.map_or(states.none_given.to_owned(), |span| span.to_string());
    Objective { name, target: of.target.to_string(), estimate, measured, result, because }
}

/// The objectives as a table, for faces that have nothing better.
pub fn objectives_table(view: &View, words: &Words) -> Table {
    let heads = &words.columns;
    let columns = vec![
        Column::text(heads.objective),
        Column::number(heads.target),
        Column::number(heads.estimate),
        Column::number(heads.measured),
        Column::word(heads.result),
    ];
    let row = |objective: &Objective| Row {
        cells: vec![
            Cell::plain(objective.name),
            Cell::plain(&objective.target),
            Cell::plain(&objective.estimate),
            objective.measured.clone(),
            objective.result.clone(),
        ],
        detail: objective.because.clone(),
    };
    Table { columns, rows: view.objectives.iter().map(row).collect() }
}

/// An instant as `2026-11-22 15:19:15 UTC`; fractions of a second are cut.
pub fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A time of day as `15:19:15`, where the date stands nearby.
pub fn time_of_day(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// A count with thousands apart: `301 224`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A length of time, or the words for none.
pub fn span_or(span: Option<Span>, otherwise: &str) -> String {
    span.map_or(otherwise.to_owned(), |span| span.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_from_the_right() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1 000"), (1_234_567, "1 234 567")];
        for (number, text) in cases {
            assert_eq!(count(number), text);
        }
    }
}
