//! The HTML face of a drill report: one file that loads nothing, for a screen or for paper.

use askama::Template;

use crate::evidence::drill_report::DrillReport;
use crate::evidence::plain::{Tone, clean};
use crate::evidence::timeline_svg::{Drawings, draw};
use crate::evidence::view::{Body, Origin, View, view};
use crate::evidence::words::{Words, fill};

/// The whole page. Every foreign text is escaped by the template; only the drawings, which are
/// escaped where they are written, go in as they are.
pub fn render(report: &DrillReport, words: &Words) -> String {
    let page = Page {
        words,
        view: view(report, words),
        drawings: draw(report, words),
        footer: fill(
            words.subline,
            &[
                &clean(&report.identity.drill_id),
                &format!("{} {}", words.product, clean(&report.identity.tool_version)),
            ],
        ),
    };
    #[expect(clippy::expect_used, reason = "writing to a string, from text")]
    page.render().expect("a page can be written")
}

#[derive(Template)]
#[template(path = "drill_report.html", escape = "html")]
struct Page<'a> {
    words: &'a Words,
    view: View,
    drawings: Drawings,
    footer: String,
}

impl Page<'_> {
    /// Class of a value: its colour, and the sign before it.
    fn class(&self, tone: &Tone) -> &'static str {
        match tone {
            Tone::Plain => "plain",
            Tone::Strong => "strong",
            Tone::Good => "good",
            Tone::Bad => "bad",
            Tone::Warn => "warn",
            Tone::Muted => "muted",
        }
    }

    fn origin_class(&self, origin: &Origin) -> &'static str {
        match origin {
            Origin::Configured => "configured",
            Origin::Measured => "measured",
            Origin::Recorded => "recorded",
            Origin::Estimated => "estimated",
        }
    }
}
