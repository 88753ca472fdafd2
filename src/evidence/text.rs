//! The text face of a drill report: 80 columns, for a terminal, a mail, a printer.

use crate::evidence::drill_report::DrillReport;
use crate::evidence::plain::{Colour, Tone, wrap};
use crate::evidence::view::{Body, Fact, Section, View, objectives_table, view};
use crate::evidence::words::Words;

const WIDTH: usize = 80;
const INDENT: &str = "  ";
/// Width of a fact's label.
const LABEL: usize = 29;

/// The report as lines of at most 80 characters, each ended.
pub fn render(report: &DrillReport, words: &Words, colour: Colour) -> String {
    let view = view(report, words);
    let mut page = Page { lines: Vec::new(), colour };
    page.head(&view, words);
    page.heading(words.sections.objectives);
    let objectives = objectives_table(&view, words).lines(WIDTH - 2, colour);
    page.lines.extend(objectives.into_iter().map(|line| format!("{INDENT}{line}")));
    if !view.reasons.is_empty() {
        page.heading(words.sections.reasons);
        page.notes(view.reasons.iter().map(String::as_str));
    }
    for section in &view.sections {
        page.section(section, words);
    }
    page.heading(words.sections.how_to_read);
    page.notes(words.how_to_read.iter().copied().chain([words.origin_legend]));
    page.lines.push(String::new());
    page.lines.join("\n")
}

struct Page {
    lines: Vec<String>,
    colour: Colour,
}

impl Page {
    fn head(&mut self, view: &View, words: &Words) {
        let title = format!("{}  {}", words.product.to_uppercase(), words.title);
        self.lines.push(self.colour.paint(Tone::Strong, &title));
        self.lines.push("=".repeat(WIDTH));
        let tone = if view.passed { Tone::Good } else { Tone::Bad };
        let verdict = self.colour.paint(tone, &view.verdict.to_uppercase());
        let space = view.verdict.chars().count() + 2;
        for (i, line) in wrap(&view.headline, WIDTH - space).iter().enumerate() {
            self.lines.push(match i {
                0 => format!("{verdict}  {line}"),
                _ => format!("{}{line}", " ".repeat(space)),
            });
        }
        for text in [view.subline.as_str(), view.sentence] {
            let lines = wrap(text, WIDTH - space);
            self.lines.extend(lines.iter().map(|line| format!("{}{line}", " ".repeat(space))));
        }
    }

    fn heading(&mut self, text: &str) {
        self.lines.push(String::new());
        self.lines.push(self.colour.paint(Tone::Strong, text));
        self.lines.push("-".repeat(text.chars().count()));
    }

    fn section(&mut self, section: &Section, words: &Words) {
        self.heading(section.heading);
        match &section.body {
            Body::Facts(facts) => facts.iter().for_each(|fact| self.fact(fact, words)),
            Body::Table(table) => {
                let lines = table.lines(WIDTH - 2, self.colour);
                self.lines.extend(lines.into_iter().map(|line| format!("{INDENT}{line}")));
            }
            Body::Notes(notes) => self.notes(notes.iter().map(String::as_str)),
            Body::Nothing(text) => self.lines.push(format!("{INDENT}{text}")),
        }
    }

    /// Label, value, and where the value comes from, at the right edge of its first line.
    fn fact(&mut self, fact: &Fact, words: &Words) {
        let origin = words.origin(fact.origin);
        let origins = words.origins.iter().map(|word| word.chars().count());
        let room = WIDTH - 2 - LABEL - 2 - origins.max().unwrap_or(0);
        for (i, line) in wrap(&fact.value.text, room).iter().enumerate() {
            let value = self.colour.paint(fact.value.tone, line);
            let (label, origin) = if i == 0 { (fact.label, origin) } else { ("", "") };
            let blank = " ".repeat(room.saturating_sub(line.chars().count()));
            let origin = self.colour.paint(Tone::Muted, origin);
            let text = format!("{INDENT}{label:<LABEL$}{value}{blank}  {origin}");
            self.lines.push(text.trim_end().to_owned());
        }
    }

    fn notes<'a>(&mut self, notes: impl Iterator<Item = &'a str>) {
        for note in notes {
            for (i, line) in wrap(note, WIDTH - 4).iter().enumerate() {
                self.lines.push(format!("{}{line}", if i == 0 { "  * " } else { "    " }));
            }
        }
    }
}
