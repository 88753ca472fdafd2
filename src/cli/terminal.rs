//! How wide and how colourful answers on a terminal are; tables and facts set accordingly.
//!
//! What the process is attached to is told by the caller: nothing here looks at the environment.

use crate::evidence::plain::{Cell, Colour, Table, Tone, wrap};

const DEFAULT_WIDTH: usize = 80;
/// Longer lines are hard to follow with the eye.
const WIDEST: usize = 160;
const NARROWEST: usize = 40;

/// Where text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    pub width: usize,
    pub colour: Colour,
}

/// What is known of standard output and the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Surroundings<'a> {
    pub is_terminal: bool,
    /// Of the terminal itself, where it tells.
    pub columns: Option<usize>,
    /// `NO_COLOR`: any value that is not empty means no colour (no-color.org).
    pub no_color: Option<&'a str>,
    /// `TERM`; `dumb` knows no escape sequences.
    pub term: Option<&'a str>,
}

impl Terminal {
    /// Colour only on a terminal that can and may; a pipe or a file gets 80 columns.
    pub fn decide(around: Surroundings<'_>) -> Terminal {
        let forbidden = around.no_color.is_some_and(|value| !value.is_empty());
        let able = around.is_terminal && around.term != Some("dumb");
        let columns = around.columns.filter(|_| around.is_terminal).unwrap_or(DEFAULT_WIDTH);
        Terminal {
            width: columns.clamp(NARROWEST, WIDEST),
            colour: if able && !forbidden { Colour::Ansi } else { Colour::None },
        }
    }

    /// The table as lines, each ended.
    pub fn table(&self, table: &Table) -> String {
        ended(table.lines(self.width, self.colour))
    }

    /// Labels in one column, values in the next, wrapped where they are long.
    pub fn facts(&self, facts: &[(&str, Cell)]) -> String {
        let label_width = facts.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let room = self.width.saturating_sub(label_width + 2).max(1);
        let mut lines = Vec::new();
        for (label, value) in facts {
            for (i, line) in wrap(&value.text, room).iter().enumerate() {
                let label = if i == 0 { *label } else { "" };
                let value = self.colour.paint(value.tone, line);
                lines.push(format!("{label:<label_width$}  {value}").trim_end().to_owned());
            }
        }
        ended(lines)
    }

    /// A title over what follows.
    pub fn heading(&self, text: &str) -> String {
        ended(vec![self.colour.paint(Tone::Strong, text)])
    }
}

fn ended(lines: Vec<String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_needs_a_terminal_that_can_and_may() {
        let terminal = Surroundings { is_terminal: true, columns: Some(100), ..Default::default() };
        let cases = [
            (terminal, Colour::Ansi, 100),
            (Surroundings { no_color: Some(""), ..terminal }, Colour::Ansi, 100),
            (Surroundings { no_color: Some("1"), ..terminal }, Colour::None, 100),
            (Surroundings { term: Some("dumb"), ..terminal }, Colour::None, 100),
            (Surroundings { is_terminal: false, ..terminal }, Colour::None, 80),
            (Surroundings { columns: Some(7), ..terminal }, Colour::Ansi, 40),
            (Surroundings { columns: Some(500), ..terminal }, Colour::Ansi, 160),
        ];
        for (around, colour, width) in cases {
            assert_eq!(Terminal::decide(around), Terminal { width, colour }, "{around:?}");
        }
    }

    #[test]
    fn facts_line_up() {
        let terminal = Terminal::decide(Surroundings::default());
        let facts = [("Name", Cell::plain("registro")), ("Last proof", Cell::plain("2 d ago"))];
        assert_eq!(terminal.facts(&facts), "Name        registro\nLast proof  2 d ago\n");
    }
}
