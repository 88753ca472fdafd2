//! The drawings of a drill report: both objectives against their targets, and the drill in time.
//!
//! Positions are computed here, the template only writes them. Text never overlaps: names and
//! durations have columns of their own, and marks are flags stacked by [`stack`].

use askama::Template;

use crate::evidence::drill_report::{DrillReport, Measurement, Phase, PhaseKind, PhaseOutcome};
use crate::evidence::words::{Words, fill};
use crate::model::Span;

/// Width of every drawing in user units; the page scales it.
const WIDTH: f64 = 760.0;
/// Room to the right of the last mark for its flag, and for the column of durations.
const RIGHT: f64 = 140.0;
/// Column of the phases' names.
const NAMES: f64 = 110.0;
/// A character's width at 12 units, on the generous side of common sans-serif faces.
const CHARACTER: f64 = 6.8;
const FLAG_HEIGHT: f64 = 17.0;
const ROW: f64 = 24.0;
const BAR: f64 = 14.0;

/// Inline SVG elements, one a drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawings {
    pub rto: String,
    pub rpo: String,
    pub timeline: String,
}

/// All three drawings of `report`.
pub fn draw(report: &DrillReport, words: &Words) -> Drawings {
    let objectives = &report.objectives;
    let chart = &words.chart;
    let allowance = objectives.detection_allowance;
    let rto = bullet("rto", chart.rto_title, &objectives.rto, Some(allowance), words);
    let rpo = bullet("rpo", chart.rpo_title, &objectives.rpo, None, words);
    Drawings { rto: rto.write(), rpo: rpo.write(), timeline: timeline(report, words).write() }
}

#[derive(Template)]
#[template(path = "drawing.svg", escape = "html")]
struct Drawing {
    id: &'static str,
    title: String,
    text: String,
    width: f64,
    height: f64,
    bars: Vec<Bar>,
    lines: Vec<Line>,
    labels: Vec<Label>,
}

struct Bar {
    class: &'static str,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

struct Line {
    class: &'static str,
    points: Vec<(f64, f64)>,
}

struct Label {
    class: &'static str,
    x: f64,
    y: f64,
    text: String,
}

/// A mark on an axis and the words of its flag.
struct Mark {
    class: &'static str,
    x: f64,
    text: String,
}

/// The level of each flag, 0 lowest. A flag's words stand to the right of its pole; where they
/// would reach the next pole, the flag flies above that one. So no words meet other words or a
/// pole, however close the marks are.
fn stack(marks: &[(f64, usize)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..marks.len()).collect();
    order.sort_by(|a, b| marks[*b].0.total_cmp(&marks[*a].0).then(b.cmp(a)));
    let mut levels = vec![0; marks.len()];
    for (nth, i) in order.iter().enumerate() {
        let (x, characters) = marks[*i];
        let reach = x + CHARACTER * (characters as f64 + 2.0);
        let beside = order[..nth].iter().filter(|j| marks[**j].0 < reach);
        levels[*i] = beside.map(|j| levels[*j] + 1).max().unwrap_or(0);
    }
    levels
}

impl Drawing {
    fn new(id: &'static str, title: &str, text: &str) -> Drawing {
        Drawing {
            id,
            title: title.to_owned(),
            text: text.to_owned(),
            width: WIDTH,
            height: 0.0,
            bars: Vec::new(),
            lines: Vec::new(),
            labels: Vec::new(),
        }
    }

    fn write(&self) -> String {
        #[expect(clippy::expect_used, reason = "writing to a string, from numbers and text")]
        self.render().expect("a drawing can be written")
    }

    fn label(&mut self, class: &'static str, x: f64, y: f64, text: impl Into<String>) {
        self.labels.push(Label { class, x, y, text: text.into() });
    }

    /// A bar; never thinner than can be seen.
    fn bar(&mut self, class: &'static str, from: f64, to: f64, y: f64) {
        let width = (to - from).max(2.0);
        self.bars.push(Bar { class, x: from, y, width, height: BAR });
    }

    /// Flags above `top + height of the flags`; returns that. Poles reach down to `height` below.
    fn flags(&mut self, marks: Vec<Mark>, pole: f64) -> f64 {
        let measured: Vec<_> = marks.iter().map(|m| (m.x, m.text.chars().count())).collect();
        let levels = stack(&measured);
        let base = FLAG_HEIGHT * (levels.iter().max().map_or(0, |level| level + 1)) as f64 + 2.0;
        for (mark, level) in marks.into_iter().zip(levels) {
            let top = base - FLAG_HEIGHT * (level + 1) as f64;
            self.lines.push(Line {
                class: mark.class,
                points: vec![(mark.x, top + 2.0), (mark.x, base + pole)],
            });
            self.label("flag", mark.x + 5.0, top + 12.0, mark.text);
        }
        base
    }
}

/// One objective: the measured length, and where target and estimate lie on the same scale.
fn bullet(
    id: &'static str,
    title: &str,
    of: &Measurement,
    allowance: Option<Span>,
    words: &Words,
) -> Drawing {
    let chart = &words.chart;
    let achieved = of.achieved();
    let spans = [Some(of.target), of.estimate, achieved];
    let longest = spans.into_iter().flatten().map(Span::as_seconds).fold(1e-3, f64::max);
    let x = |span: Span| span.as_seconds() / longest * (WIDTH - RIGHT);
    let mark = |class, template: &str, span: Span| Mark {
        class,
        x: x(span),
        text: fill(template, &[&span.to_string()]),
    };
    let mut marks = vec![mark("target", chart.target, of.target)];
    marks.extend(of.estimate.map(|span| mark("estimate", chart.estimate, span)));
    marks.extend(achieved.map(|span| mark("measured", chart.measured, span)));
    let described: Vec<&str> = marks.iter().map(|mark| mark.text.as_str()).collect();
    let missing = if achieved.is_none() { chart.not_achieved } else { "" };
    let text = format!("{} {missing}", described.join(", "));
    let mut drawing = Drawing::new(id, title, text.trim_end());
    let y = drawing.flags(marks, BAR + 6.0) + 3.0;
    drawing.bars.push(Bar { class: "track", x: 0.0, y, width: WIDTH - RIGHT, height: BAR });
    drawing.height = y + BAR + 6.0;
    let Some(span) = achieved else {
        drawing.label("missing", 8.0, y + 11.0, chart.not_achieved);
        return drawing;
    };
    let class = if of.met == Some(true) { "good" } else { "bad" };
    let split = allowance.map_or(0.0, |allowance| x(allowance).min(x(span)));
    drawing.bar(class, split, x(span), y);
    if split > 0.0 {
        drawing.bar("allowance", 0.0, split, y);
    }
    if allowance.is_some() {
        drawing.legend(class, words);
    }
    drawing
}

impl Drawing {
    fn legend(&mut self, measured: &'static str, words: &Words) {
        let chart = &words.chart;
        let y = self.height + 8.0;
        let mut x = 0.0;
        for (class, text) in
            [("allowance", chart.legend_allowance), (measured, chart.legend_technical)]
        {
            self.bars.push(Bar { class, x, y, width: 18.0, height: 10.0 });
            self.label("small", x + 24.0, y + 9.0, text);
            x += 24.0 + CHARACTER * (text.chars().count() as f64 + 2.0);
        }
        self.height = y + 14.0;
    }
}

/// Where seconds after the order to recover lie, with the allowance to the left of them.
struct Scale {
    disrupt: f64,
    declare: f64,
    units_per_second: f64,
    end_seconds: f64,
    /// The allowance is drawn shorter than it is.
    broken: bool,
}

impl Scale {
    /// The allowance takes its true share of the width up to a fifth, then it is cut short:
    /// else a drill of seconds would vanish beside a quarter of an hour.
    fn new(allowance_seconds: f64, end_seconds: f64) -> Scale {
        let room = WIDTH - RIGHT - NAMES;
        let end_seconds = end_seconds.max(1e-3);
        let share = allowance_seconds / (allowance_seconds + end_seconds);
        let broken = share > 0.2;
        let declare = NAMES + room * share.min(0.2);
        let units_per_second = (WIDTH - RIGHT - declare) / end_seconds;
        Scale { disrupt: NAMES, declare, units_per_second, end_seconds, broken }
    }

    fn at(&self, seconds: f64) -> f64 {
        self.declare + seconds.clamp(0.0, self.end_seconds) * self.units_per_second
    }
}

/// One row a phase, marks above, seconds below.
fn timeline(report: &DrillReport, words: &Words) -> Drawing {
    let (times, chart) = (&report.times, &words.chart);
    let after = |at: jiff::Timestamp| at.duration_since(times.t_declare).as_secs_f64().max(0.0);
    let ends = times.phases.iter().map(|p| after(p.start) + p.duration.as_seconds());
    let end_seconds = ends.fold(after(times.t_end), f64::max);
    let allowance = report.objectives.detection_allowance;
    let scale = Scale::new(allowance.as_seconds(), end_seconds);

    let mut drawing = Drawing::new("timeline", chart.timeline_title, chart.timeline_text);
    let rows = times.phases.len() + 1;
    let top = drawing.flags(marks(report, &scale, words), ROW * rows as f64 + 8.0) + 8.0;
    drawing.row(top, chart.allowance, allowance.to_string());
    if scale.declare > scale.disrupt {
        drawing.bar("allowance", scale.disrupt, scale.declare, top + 5.0);
    }
    for (i, phase) in times.phases.iter().enumerate() {
        let y = top + ROW * (i + 1) as f64;
        let start = after(phase.start);
        let duration = match phase.outcome {
            PhaseOutcome::Done => phase.duration.to_string(),
            PhaseOutcome::Failed => fill(chart.failed_phase, &[&phase.duration.to_string()]),
        };
        drawing.row(y, words.phase(phase.kind), duration);
        let end = scale.at(start + phase.duration.as_seconds());
        drawing.bar(bar_class(phase), scale.at(start), end, y + 5.0);
    }
    let axis = top + ROW * rows as f64;
    drawing.axis(&scale, axis, top);
    drawing.height = axis + 24.0;
    if scale.broken {
        drawing.cut(&scale, top, axis);
        let note = fill(chart.not_to_scale, &[chart.allowance]);
        drawing.label("small", 0.0, axis + 40.0, note);
        drawing.height = axis + 46.0;
    }
    drawing
}

fn bar_class(phase: &Phase) -> &'static str {
    match (phase.outcome, phase.kind) {
        (PhaseOutcome::Failed, _) => "bad",
        (_, PhaseKind::Teardown) => "after",
        _ => "phase",
    }
}

fn marks(report: &DrillReport, scale: &Scale, words: &Words) -> Vec<Mark> {
    let (times, chart, objectives) = (&report.times, &words.chart, &report.objectives);
    let after = |at: jiff::Timestamp| at.duration_since(times.t_declare).as_secs_f64();
    let mark = |class, x, text: &str| Mark { class, x, text: text.to_owned() };
    let mut marks = vec![
        mark("event", scale.disrupt, chart.disruption),
        mark("event", scale.declare, chart.ordered),
        mark("event", scale.at(after(times.t_end)), chart.end),
    ];
    // Without an achieved recovery time there is no proven service to mark.
    let service = times.t_service.filter(|_| objectives.rto.achieved().is_some());
    marks.extend(service.map(|at| mark("service", scale.at(after(at)), chart.service)));
    let limit = objectives.rto.target.as_seconds() - objectives.detection_allowance.as_seconds();
    if (0.0..=scale.end_seconds).contains(&limit) {
        let text = fill(chart.target, &[&objectives.rto.target.to_string()]);
        marks.push(Mark { class: "target", x: scale.at(limit), text });
    }
    marks
}

impl Drawing {
    fn row(&mut self, y: f64, name: &str, duration: String) {
        self.label("name", 0.0, y + 16.0, name);
        self.label("duration", WIDTH, y + 16.0, duration);
        let y = y + ROW;
        self.lines.push(Line { class: "rule", points: vec![(0.0, y), (WIDTH, y)] });
    }

    fn axis(&mut self, scale: &Scale, y: f64, top: f64) {
        let step = step_seconds(scale.end_seconds);
        let mut n = 0.0;
        while n * step <= scale.end_seconds && n <= 8.0 {
            let x = scale.at(n * step);
            self.lines.push(Line { class: "grid", points: vec![(x, top), (x, y + 4.0)] });
            self.label("tick", x, y + 17.0, tick(n * step));
            n += 1.0;
        }
    }

    /// Two strokes through the allowance: the axis is cut here.
    fn cut(&mut self, scale: &Scale, top: f64, axis: f64) {
        let middle = (scale.disrupt + scale.declare) / 2.0;
        for (y, half) in [(top + 12.0, 11.0), (axis, 6.0)] {
            for x in [middle - 4.0, middle + 4.0] {
                let points = vec![(x - 3.0, y + half), (x + 3.0, y - half)];
                self.lines.push(Line { class: "cut", points });
            }
        }
    }
}

/// A round step that makes four to eight of the axis.
fn step_seconds(end_seconds: f64) -> f64 {
    const STEPS: [f64; 22] = [
        0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0,
        600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 86_400.0,
    ];
    let fitting = STEPS.into_iter().find(|step| end_seconds / step <= 6.0);
    fitting.unwrap_or(end_seconds / 5.0)
}

fn tick(seconds: f64) -> String {
    let shown = |n: f64, unit: &str| {
        let text = format!("{n:.3}");
        format!("{} {unit}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match seconds {
        n if n < 60.0 => shown(n, "s"),
        n if n < 3_600.0 => shown(n / 60.0, "min"),
        n => shown(n / 3_600.0, "h"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn flags_never_meet(marks in prop::collection::vec((0.0..600.0_f64, 1_usize..24), 0..7)) {
            let levels = stack(&marks);
            for (i, (x, characters)) in marks.iter().enumerate() {
                let words = *x..x + CHARACTER * *characters as f64 + 5.0;
                for (j, (pole, _)) in marks.iter().enumerate().filter(|(j, _)| *j != i) {
                    let on_level = levels[i] == levels[j];
                    prop_assert!(!(on_level && words.contains(pole)), "words meet words");
                    let crosses = levels[j] > levels[i] && words.contains(pole) && pole > x;
                    prop_assert!(!crosses, "a pole crosses words");
                }
            }
        }
    }

    #[test]
    fn ticks_are_few_and_round() {
        for (end, step, text) in
            [(41.0, 10.0, "10 s"), (2.5, 0.5, "0.5 s"), (9_000.0, 1_800.0, "30 min")]
        {
            assert_eq!(step_seconds(end), step);
            assert_eq!(tick(step), text);
        }
    }
}
