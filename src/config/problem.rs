//! What is wrong in a configuration file, where, and what to do: like a compiler's messages.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use crate::error::{Error, Kind};

/// More than anyone reads at once; a file of noise must not become a book of noise.
const PROBLEMS_SHOWN_MAX: usize = 200;
/// Longer lines are cut in messages.
const LINE_SHOWN_MAX: usize = 160;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// A clause: lower case, no full stop.
    pub what: String,
    /// What to do: a sentence.
    pub hint: String,
    /// The line, without anything that may be a secret.
    excerpt: String,
    /// Spaces and carets below it.
    marker: String,
}

/// Everything that is wrong in one file, in its order; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    pub file: String,
    pub problems: Vec<Problem>,
    /// How many more there are than are listed.
    pub omitted: usize,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let Problem { line, column, what, hint, excerpt, marker } = problem;
            let (margin, gap) = (line.to_string(), if index == 0 { "" } else { "\n\n" });
            let blank = " ".repeat(margin.len());
            write!(f, "{gap}{}:{line}:{column}: {what}", self.file)?;
            write!(f, "\n {margin} | {excerpt}\n {blank} | {marker}\nhint: {hint}")?;
        }
        match self.omitted {
            0 => Ok(()),
            more => write!(f, "\n\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    /// The text is the whole list: each problem brings its own hint.
    fn from(problems: Problems) -> Error {
        let count = problems.problems.len() + problems.omitted;
        let plural = if count == 1 { "" } else { "s" };
        Error::new(
            Kind::Config,
            format!("the configuration has {count} problem{plural}\n\n{problems}"),
        )
    }
}

/// How much of the line a message may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    Line,
    /// The place itself holds a secret.
    Masked,
    /// What follows the place may be anything, such as the value of an unknown key.
    UpToValue,
    /// The line cannot be read; if its key may hold a secret, only that is shown.
    Unread,
}

/// What led to a problem; decides what survives a syntax error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    Syntax,
    /// Something stands in the file that is wrong by itself.
    Found,
    /// Something does not stand in the file, or not where we could see it.
    Absence,
}

struct Draft {
    span: Range<usize>,
    ground: Ground,
    show: Show,
    what: String,
    hint: String,
}

/// Collects problems while readers go on. Shared, so that several sections can be open at once.
pub(super) struct Report<'t> {
    text: &'t str,
    drafts: RefCell<Vec<Draft>>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Report<'t> {
        Report { text, drafts: RefCell::new(Vec::new()) }
    }

    /// The value, key or header at `span` is wrong.
    pub(super) fn wrong(&self, span: Range<usize>, what: String, hint: impl Into<String>) {
        self.add(span, Ground::Found, Show::Line, what, hint.into());
    }

    /// As [`Report::wrong`], where the value itself must not be shown.
    pub(super) fn secret(&self, span: Range<usize>, what: String, hint: impl Into<String>) {
        self.add(span, Ground::Found, Show::Masked, what, hint.into());
    }

    /// A key nobody knows.
    pub(super) fn unknown(&self, span: Range<usize>, what: String, hint: String) {
        self.add(span, Ground::Found, Show::UpToValue, what, hint);
    }

    /// Something that should be there, or that `span` refers to, is not.
    pub(super) fn missing(&self, span: Range<usize>, what: String, hint: impl Into<String>) {
        self.add(span, Ground::Absence, Show::Line, what, hint.into());
    }

    /// Not TOML.
    pub(super) fn syntax(&self, span: Range<usize>, what: String, hint: impl Into<String>) {
        self.add(span, Ground::Syntax, Show::Unread, what, hint.into());
    }

    fn add(&self, span: Range<usize>, ground: Ground, show: Show, what: String, hint: String) {
        // Text out of the file may carry terminal control sequences.
        let what = what.replace(|c: char| c.is_control(), "\u{fffd}");
        let hint = hint.replace(|c: char| c.is_control(), "\u{fffd}");
        self.drafts.borrow_mut().push(Draft { span, ground, show, what, hint });
    }

    /// All problems in the order of the file, or none.
    ///
    /// Where the syntax is broken, what seems missing may stand in the broken part, and what
    /// stands on a broken line is misread: neither is reported.
    pub(super) fn finish(self, file: &str) -> Option<Problems> {
        let mut drafts = self.drafts.into_inner();
        let lines = Lines::new(self.text);
        let broken: Vec<usize> = drafts
            .iter()
            .filter(|draft| draft.ground == Ground::Syntax)
            .map(|draft| lines.index(draft.span.start))
            .collect();
        drafts.retain(|draft| match draft.ground {
            Ground::Syntax => true,
            Ground::Absence => broken.is_empty(),
            Ground::Found => !broken.contains(&lines.index(draft.span.start)),
        });
        drafts.sort_by_key(|draft| draft.span.start); // stable: same place, order of discovery
        let omitted = drafts.len().saturating_sub(PROBLEMS_SHOWN_MAX);
        drafts.truncate(PROBLEMS_SHOWN_MAX);
        let problems: Vec<Problem> = drafts.into_iter().map(|draft| lines.place(draft)).collect();
        (!problems.is_empty()).then(|| Problems { file: file.to_owned(), problems, omitted })
    }
}

/// The text with the starts of its lines, to turn offsets into places.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Lines<'t> {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines { text, starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    /// The line of an offset, from 0.
    fn index(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset) - 1
    }

    fn place(&self, draft: Draft) -> Problem {
        let offset = self.text.floor_char_boundary(draft.span.start);
        let index = self.index(offset);
        let start = self.starts[index];
        let line = self.text[start..].lines().next().unwrap_or_default();
        let from = (offset - start).min(line.len());
        let end = self.text.floor_char_boundary(draft.span.end).saturating_sub(start);
        let to = end.clamp(from, line.len());
        let (before, place, after) = (&line[..from], &line[from..to], &line[to..]);
        let column = before.chars().count() + 1;
        let (place, after) = match draft.show {
            Show::Line | Show::Unread => (place, after.to_owned()),
            Show::Masked => ("\"…\"", String::new()),
            Show::UpToValue => (place, up_to_value(after)),
        };
        if draft.show == Show::Unread && may_hold_secret(line) {
            let excerpt = up_to_value(line);
            let (marker, what, hint) = (
                "^".repeat(excerpt.trim_end_matches("= …").trim_end().len()),
                draft.what,
                draft.hint,
            );
            return Problem { line: index + 1, column, what, hint, excerpt, marker };
        }
        let pad: String = before.chars().map(|c| if c == '\t' { c } else { ' ' }).collect();
        let carets = "^".repeat(place.chars().count().max(1));
        Problem {
            line: index + 1,
            column,
            what: draft.what,
            hint: draft.hint,
            excerpt: presentable(&format!("{before}{place}{after}")),
            marker: format!("{pad}{carets}").chars().take(LINE_SHOWN_MAX).collect(),
        }
    }
}

/// Whether the line gives a key under which people write secrets.
fn may_hold_secret(line: &str) -> bool {
    let key = line.split_once('=').map_or(line, |(key, _)| key);
    ["identity", "connection", "password", "secret", "url"].iter().any(|word| key.contains(word))
}

/// The rest of a line after a key, without its value.
fn up_to_value(after: &str) -> String {
    match after.split_once('=') {
        Some((before, _)) => format!("{before}= …"),
        None => after.to_owned(),
    }
}

/// A line as messages may show it: short, no control characters, and nothing from where a
/// password or an age identity begins, whatever the message is about.
fn presentable(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let secret = ["password", "passwd", "age-secret-key", "secret_access_key"]
        .iter()
        .filter_map(|word| Some(lower.find(word)? + word.len()))
        .min();
    let (shown, cut) = match secret {
        Some(end) if end < line.len() => (&line[..end], true),
        _ => (line, false),
    };
    let clean = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let mut text: String = shown.chars().take(LINE_SHOWN_MAX).map(clean).collect();
    if cut || shown.chars().nth(LINE_SHOWN_MAX).is_some() {
        text.push('…');
    }
    text
}
