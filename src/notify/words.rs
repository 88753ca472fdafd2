//! What messages say, in plain English: a subject of one line, and a text of short lines. Pure.
//!
//! Everything is bounded, and what came from elsewhere stands on one line without control
//! characters: a server's error must not become a header, an escape sequence, or a book.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::decide::{Telling, Why};
use super::event::{Event, Severity};
use super::notice::{About, Facts, Notice, Summary};
use crate::model::Span;

const SUBJECT_CHARS_MAX: usize = 150;
const TITLE_CHARS_MAX: usize = 300;
const LINE_CHARS_MAX: usize = 500;
const LINES_MAX: usize = 20;
/// What one message tells singly; the others are counted.
const EVENTS_MAX: usize = 50;
const RESOURCES_MAX: usize = 200;

/// One line that says the most of it.
pub fn subject(notice: &Notice) -> String {
    let what = match &notice.about {
        About::Test => "a test".to_owned(),
        About::Summary(summary) => overall(summary),
        About::News(news) => match news.as_slice() {
            [one] => format!("{}: {}", label(one), headline(&one.event)),
            many => counted(many),
        },
    };
    one_line(&format!("[fenice {}] {what}", notice.host), SUBJECT_CHARS_MAX)
}

/// All of it, with instants in `zone`.
pub fn text(notice: &Notice, zone: &TimeZone) -> String {
    let host = one_line(&notice.host, SUBJECT_CHARS_MAX);
    let at = local(notice.at, zone);
    match &notice.about {
        About::Test => format!(
            "This is a test of `fenice notify test` on {host}, at {at}.\nNothing has happened.\n"
        ),
        About::News(news) => {
            let (shown, omitted) = worst_first(news);
            let mut text: String =
                shown.into_iter().map(|one| paragraph(one, notice.at, zone)).collect();
            if omitted > 0 {
                text.push_str(&format!("And {omitted} more.\n\n"));
            }
            format!("{text}fenice on {host}, {at}; `fenice status` tells how things stand now.\n")
        }
        About::Summary(summary) => {
            let (shown, omitted) = red_first(&summary.resources);
            let mut text = format!("{}\n\n", overall(summary));
            text.extend(bounded(&summary.notes).iter().map(|note| format!("{note}\n")));
            if !summary.notes.is_empty() {
                text.push('\n');
            }
            text.extend(shown.into_iter().map(|facts| resource(facts, notice.at, zone)));
            if omitted > 0 {
                text.push_str(&format!("And {omitted} more resources.\n\n"));
            }
            format!("{text}fenice on {host}, {at}.\n")
        }
    }
}

fn paragraph(telling: &Telling, now: Timestamp, zone: &TimeZone) -> String {
    let event = &telling.event;
    let mut lines = vec![
        format!("{}: {}", label(telling), headline(event)),
        format!("  seen {}", local(event.at, zone)),
    ];
    match telling.why {
        Why::Still { times, since } => {
            lines.push(format!("  so since {}, told {times} times", local(since, zone)));
        }
        Why::Resolved { since } => lines.push(format!("  it lasted {}", between(since, event.at))),
        Why::New | Why::Worse | Why::Better | Why::Unsteady => {}
    }
    if telling.changes > 1 {
        lines.push(format!("  it changed {} times since it was last told", telling.changes));
    }
    if between(event.at, now) > Span::seconds(60) {
        lines.push(format!("  that was {} ago", between(event.at, now)));
    }
    lines.extend(bounded(&event.details).iter().map(|detail| format!("  {detail}")));
    format!("{}\n\n", lines.join("\n"))
}

fn resource(facts: &Facts, now: Timestamp, zone: &TimeZone) -> String {
    let state = if facts.reds.is_empty() { "as promised" } else { "RED" };
    let mut lines = vec![format!("{}: {state}", facts.resource)];
    lines.extend(bounded(&facts.reds).iter().map(|red| format!("  - {red}")));
    let dated = |at: Option<Timestamp>| match at {
        Some(at) => format!("{} ({} ago)", local(at, zone), between(at, now)),
        None => "never".to_owned(),
    };
    let exposure = facts.exposure.map_or("CANNOT BE TOLD".to_owned(), |span| span.to_string());
    let next = facts.next.as_ref().map_or("nothing".to_owned(), |due| {
        format!("{}, {}", one_line(&due.what, TITLE_CHARS_MAX), local(due.at, zone))
    });
    lines.push(format!("  last snapshot  {}", dated(facts.last_snapshot_at)));
    lines.push(format!("  exposure       {exposure}"));
    lines.push(format!("  last proof     {}", dated(facts.last_proof_at)));
    lines.push(format!("  next due       {next}"));
    format!("{}\n\n", lines.join("\n"))
}

/// What is told singly, the worst first, and how many more there are.
pub(super) fn worst_first(news: &[Telling]) -> (Vec<&Telling>, usize) {
    let mut shown: Vec<&Telling> = news.iter().collect();
    shown.sort_by_key(|one| Reverse(one.event.severity));
    shown.truncate(EVENTS_MAX);
    (shown, news.len().saturating_sub(EVENTS_MAX))
}

/// What is told singly, the red ones first, and how many more there are.
pub(super) fn red_first(resources: &[Facts]) -> (Vec<&Facts>, usize) {
    let mut shown: Vec<&Facts> = resources.iter().collect();
    shown.sort_by_key(|facts| facts.reds.is_empty());
    shown.truncate(RESOURCES_MAX);
    (shown, resources.len().saturating_sub(RESOURCES_MAX))
}

/// As many lines as are shown, each as long as is shown.
pub(super) fn bounded(lines: &[String]) -> Vec<String> {
    let mut shown: Vec<String> =
        lines.iter().take(LINES_MAX).map(|line| one_line(line, LINE_CHARS_MAX)).collect();
    if lines.len() > LINES_MAX {
        shown.push(format!("and {} more", lines.len() - LINES_MAX));
    }
    shown
}

pub(super) fn title(event: &Event) -> String {
    one_line(&event.title, TITLE_CHARS_MAX)
}

fn headline(event: &Event) -> String {
    match &event.resource {
        Some(resource) => format!("{resource}: {}", title(event)),
        None => title(event),
    }
}

fn label(telling: &Telling) -> &'static str {
    match (telling.why, telling.event.severity) {
        (Why::Unsteady, Severity::Red) => "unsteady, RED now",
        (Why::Unsteady, Severity::Warning) => "unsteady, a warning now",
        (Why::Unsteady, Severity::Good) => "unsteady, good now",
        (Why::Still { .. }, Severity::Red) => "still RED",
        (Why::Still { .. }, Severity::Warning) => "still a warning",
        (Why::Better, _) => "no longer RED, a warning",
        (_, Severity::Red) => "RED",
        (_, Severity::Warning) => "warning",
        (_, Severity::Good) => "resolved",
    }
}

/// How many there are of each kind: "2 RED, 1 resolved".
fn counted(news: &[Telling]) -> String {
    let kinds =
        [(Severity::Red, "RED"), (Severity::Warning, "warning"), (Severity::Good, "resolved")];
    let count = |severity: Severity| {
        news.iter().filter(|telling| telling.event.severity == severity).count()
    };
    let told = kinds.map(|(severity, word)| (count(severity), word));
    let told = told.iter().filter(|(count, _)| *count > 0);
    told.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

fn overall(summary: &Summary) -> String {
    let all = summary.resources.len();
    let red = summary.resources.iter().filter(|facts| !facts.reds.is_empty()).count();
    match (all, red) {
        (0, _) => "no resource is configured".to_owned(),
        (1, 0) => "the one resource is as promised".to_owned(),
        (_, 0) => format!("all {all} resources are as promised"),
        _ => format!("{red} of {all} RED"),
    }
}

/// In the zone, to the second, with its offset.
fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

/// From the one to the other; nothing, where a clock was set back.
fn between(from: Timestamp, to: Timestamp) -> Span {
    Span(Duration::try_from(to.duration_since(from)).unwrap_or_default())
}

/// Foreign text on one line, of so many characters at most: control and direction characters,
/// which could steer a terminal or hide text, become `U+FFFD`; line ends and tabs become spaces.
pub(super) fn one_line(text: &str, chars_max: usize) -> String {
    let safe = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    let mut line: String = text.trim().chars().map(safe).take(chars_max).collect();
    if text.trim().chars().nth(chars_max).is_some() {
        line.pop();
        line.push('…');
    }
    line
}
