//! What can be shown afterwards: facts, verdicts, reports.

pub mod drill_report;

pub mod html;
pub mod json;
pub mod plain;
pub mod text;
pub mod timeline_svg;
pub mod view;
pub mod words;

mod sections; // a report's facts as sections of a view
