//! Plain text for people: wrapped lines, aligned tables, optional colour, foreign text made safe.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Whether escape sequences for colour may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    None,
    Ansi,
}

/// What a piece of text means; colour only repeats what its words say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    #[default]
    Plain,
    Strong,
    Good,
    Bad,
    Warn,
    Muted,
}

impl Colour {
    /// `text` in the colour of `tone`.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => "",
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Bad => "1;31",
            Tone::Warn => "33",
            Tone::Muted => "2",
        };
        match self {
            Colour::Ansi if !code.is_empty() && !text.is_empty() => {
                format!("\u{1b}[{code}m{text}\u{1b}[0m")
            }
            _ => text.to_owned(),
        }
    }
}

/// Foreign text on one line: control and direction characters, which could steer a terminal or
/// hide text, become `U+FFFD`; line ends and tabs become spaces.
pub fn clean(text: &str) -> String {
    let safe = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '\u{fffd}',
        '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.trim().chars().map(safe).collect()
}

/// An instant in the zone, to the second, with its offset.
pub fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

/// `text` in lines of at most `width` characters, broken at spaces; a longer word is cut.
/// Never empty.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + rest.len() > width {
            lines.push(String::new());
            used = 0;
        }
        while rest.len() > width {
            let head: String = rest.drain(..width).collect();
            push(&mut lines, &head, false);
            lines.push(String::new());
            used = 0;
        }
        let word: String = rest.iter().collect();
        push(&mut lines, &word, used > 0);
        used += rest.len() + usize::from(used > 0);
    }
    lines
}

fn push(lines: &mut [String], word: &str, spaced: bool) {
    if let Some(line) = lines.last_mut() {
        if spaced {
            line.push(' ');
        }
        line.push_str(word);
    }
}

/// A column of a [`Table`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub head: &'static str,
    /// Numbers and durations stand right-aligned.
    pub right: bool,
    /// May be narrowed and wrapped when the table is too wide.
    pub wraps: bool,
}

impl Column {
    pub const fn text(head: &'static str) -> Column {
        Column { head, right: false, wraps: true }
    }

    pub const fn word(head: &'static str) -> Column {
        Column { head, right: false, wraps: false }
    }

    pub const fn number(head: &'static str) -> Column {
        Column { head, right: true, wraps: false }
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell {
    pub text: String,
    pub tone: Tone,
}

impl Cell {
    pub fn plain(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), tone: Tone::Plain }
    }

    pub fn toned(text: impl Into<String>, tone: Tone) -> Cell {
        Cell { text: text.into(), tone }
    }
}

/// One row, with a line of its own for what does not fit into columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    pub cells: Vec<Cell>,
    pub detail: Option<String>,
}

/// Aligned columns of text; every row has as many cells as there are columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

const GAP: usize = 2;
const NARROWEST: usize = 6;

impl Table {
    /// Lines of at most `width` characters (colour not counted), heads first.
    pub fn lines(&self, width: usize, colour: Colour) -> Vec<String> {
        let widths = self.widths(width);
        let heads = self.columns.iter().map(|c| Cell::toned(c.head, Tone::Muted)).collect();
        let mut lines = self.row_lines(&Row { cells: heads, detail: None }, &widths, colour);
        for row in &self.rows {
            lines.extend(self.row_lines(row, &widths, colour));
            let detail = row.detail.iter().flat_map(|text| wrap(text, width.saturating_sub(4)));
            lines.extend(detail.map(|line| format!("    {}", colour.paint(Tone::Muted, &line))));
        }
        lines
    }

    /// Each column as wide as its widest cell; then wrapping ones shrink, the widest first, until
    /// the table fits. As a last resort the others shrink too.
    fn widths(&self, width: usize) -> Vec<usize> {
        let length = |text: &str| text.chars().count();
        let natural = |(i, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(i));
            cells.map(|cell| length(&cell.text)).fold(length(column.head), usize::max)
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(natural).collect();
        let gaps = GAP * self.columns.len().saturating_sub(1);
        let available = width.saturating_sub(gaps);
        while widths.iter().sum::<usize>() > available {
            let widest = |wrapping: bool| {
                let open = widths
                    .iter()
                    .enumerate()
                    .filter(|(i, w)| **w > NARROWEST && (!wrapping || self.columns[*i].wraps));
                open.max_by_key(|(_, w)| **w).map(|(i, _)| i)
            };
            let Some(i) = widest(true).or_else(|| widest(false)) else { break };
            widths[i] -= 1;
        }
        widths
    }

    fn row_lines(&self, row: &Row, widths: &[usize], colour: Colour) -> Vec<String> {
        let wrapped: Vec<Vec<String>> =
            row.cells.iter().zip(widths).map(|(cell, width)| wrap(&cell.text, *width)).collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
        (0..height).map(|line| self.line(row, &wrapped, widths, line, colour)).collect()
    }

    fn line(
        &self,
        row: &Row,
        wrapped: &[Vec<String>],
        widths: &[usize],
        line: usize,
        colour: Colour,
    ) -> String {
        let mut text = String::new();
        let mut owed = 0; // spaces before the next visible character; none at the line's end
        for (i, cell) in row.cells.iter().enumerate() {
            let piece = wrapped[i].get(line).map_or("", String::as_str);
            let blank = widths[i].saturating_sub(piece.chars().count());
            let (before, after) = if self.columns[i].right { (blank, 0) } else { (0, blank) };
            owed += before;
            if !piece.is_empty() {
                text.push_str(&" ".repeat(owed));
                text.push_str(&colour.paint(cell.tone, piece));
                owed = 0;
            }
            owed += after + GAP;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_table_aligns_wraps_and_leaves_no_trailing_space() {
        let table = Table {
            columns: vec![Column::word("id"), Column::text("what"), Column::number("rows")],
            rows: vec![Row {
                cells: vec![
                    Cell::plain("a"),
                    Cell::plain("something rather long"),
                    Cell::plain("12"),
                ],
                detail: Some("more".to_owned()),
            }],
        };
        let expected = ["id  what        rows", "a   something     12", "    rather", "    long"];
        let lines = table.lines(20, Colour::None);
        assert_eq!(lines[..4], expected);
        assert_eq!(lines[4], "    more");
    }

    #[test]
    fn escape_sequences_do_not_reach_a_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\nc\u{202e}d"), "a\u{fffd}[31mb c\u{fffd}d");
    }

    proptest! {
        #[test]
        fn wrapped_lines_fit_and_lose_nothing(text in "[a-zàé ]{0,120}", width in 1_usize..40) {
            let lines = wrap(&text, width);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width));
            let squeeze = |t: &str| t.split_whitespace().collect::<String>();
            prop_assert_eq!(squeeze(&lines.concat()), squeeze(&text));
        }
    }
}
