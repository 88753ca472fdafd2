//! The JSON face of a drill report, and the way back.

use crate::error::{Attempt, Error, Result};
use crate::evidence::drill_report::{DrillReport, SCHEMA};

/// The report as one indented JSON value with a final line end. Fields are in the record's order.
pub fn render(report: &DrillReport) -> String {
    #[expect(clippy::expect_used, reason = "no map keys other than text, no failing serializer")]
    let mut text = serde_json::to_string_pretty(report).expect("a drill report is plain data");
    text.push('\n');
    text
}

/// Reads a report back.
///
/// # Errors
/// Text that is no drill report, another schema, or a verdict that does not follow from the rest.
pub fn read(text: &str) -> Result<DrillReport> {
    let value: serde_json::Value =
        serde_json::from_str(text).attempt(|| "read the drill report".to_owned())?;
    let schema = value.get("schema").and_then(serde_json::Value::as_u64);
    if schema != Some(u64::from(SCHEMA)) {
        return Err(Error::failed(format!("the drill report is not of schema {SCHEMA}"))
            .hint("Show it with the version of fenice that wrote it."));
    }
    let report: DrillReport =
        serde_json::from_value(value).attempt(|| "read the drill report".to_owned())?;
    if report.clone().judged() != report {
        return Err(Error::failed("the verdict of the drill report does not follow from it")
            .hint("The file was changed after the drill; take it from the repository again."));
    }
    Ok(report)
}
