//! Reports, and the demo's data: golden texts, self-contained pages, drawings that are well-formed, words never a lie.
//!
//! `FENICE_BLESS=1` rewrites the golden texts; `FENICE_PAGES=DIR` leaves the pages to look at.

mod samples;
mod school_data;

use std::path::Path;

use fenice::evidence::drill_report::{DrillReport, Reason, Verdict};
use fenice::evidence::plain::Colour;
use fenice::evidence::words::ENGLISH;
use fenice::evidence::{html, json, text, timeline_svg};

fn all() -> [(&'static str, DrillReport); 3] {
    [
        ("passed", samples::passed()),
        ("failed", samples::failed()),
        ("not_achieved", samples::not_achieved()),
    ]
}

fn plain(report: &DrillReport) -> String {
    text::render(report, &ENGLISH, Colour::None)
}

#[test]
fn text_is_as_agreed_and_fits_80_columns() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report/golden");
    let bless = std::env::var_os("FENICE_BLESS").is_some();
    for (name, report) in all() {
        let text = plain(&report);
        let path = folder.join(format!("{name}.txt"));
        if bless {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        assert!(text == golden, "{name} differs from {}:\n{text}", path.display());
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "too wide in {name}: {line}");
            assert_eq!(line.trim_end(), line, "trailing space in {name}");
        }
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    for (name, report) in all() {
        let coloured = text::render(&report, &ENGLISH, Colour::Ansi);
        let mut bare = String::new();
        for (i, piece) in coloured.split("\u{1b}[").enumerate() {
            bare.push_str(if i == 0 { piece } else { piece.split_once('m').unwrap().1 });
        }
        assert_eq!(bare, plain(&report), "{name}");
    }
}

#[test]
fn verdicts_follow_from_the_facts() {
    assert_eq!(samples::passed().verdict, Verdict::Passed);
    assert_eq!(samples::passed().verdict.exit_code(), 0);
    assert_eq!(samples::failed().verdict.exit_code(), 3);
    let reasons = samples::failed().reasons;
    let expected = [
        Reason::RtoMissed,
        Reason::RpoMissed,
        Reason::TableNotPassed { table: "registro.marks".into() },
        Reason::HeartbeatsNotContiguous,
        Reason::PagesDamaged,
        Reason::LeftBehind { what: samples::failed().teardown[1].created.clone() },
    ];
    assert_eq!(reasons, expected);
    let mut late = samples::passed();
    late.heartbeats.newest.as_mut().unwrap().at = "2026-11-22T04:00:01Z".parse().unwrap();
    assert_eq!(late.judged().reasons, [Reason::HeartbeatAfterDisruption]);
    let mut unknown = samples::passed();
    unknown.heartbeats.authentic = None;
    assert_eq!(unknown.judged().reasons, [Reason::HeartbeatsNotAuthentic]);
}

#[test]
fn not_achieved_shows_no_figure() {
    let report = samples::not_achieved();
    assert_eq!(report.objectives.rto.measured, None);
    assert_eq!(report.objectives.technical, None);
    let (total, technical) = ("15 min 41 s", "41.3 s");
    let page = html::render(&report, &ENGLISH);
    for face in [plain(&report), page, json::render(&report)] {
        assert!(!face.contains(total) && !face.contains(technical), "{face}");
    }
    let passed = plain(&samples::passed());
    assert!(
        passed.contains(total) && passed.contains(technical),
        "the test looks for the wrong figure"
    );
    let words = plain(&report).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("not achieved, because the mandatory check tables did not pass."));
    // A record that holds both a figure and a reason shows the reason only.
    let mut both = samples::passed();
    both.objectives.rto.not_achieved_because = Some("the probe did not answer".into());
    for face in [plain(&both), html::render(&both, &ENGLISH)] {
        assert!(!face.contains(total) && !face.contains(technical), "{face}");
        assert!(!face.contains(">service proven<"), "no proven service may be drawn");
    }
}

#[test]
fn json_comes_back_as_it_was() {
    for (name, report) in all() {
        assert_eq!(json::read(&json::render(&report)).unwrap(), report, "{name}");
    }
}

#[test]
fn json_that_contradicts_itself_is_refused() {
    let good = json::render(&samples::failed());
    let cases = [
        (r#""verdict": "failed""#, r#""verdict": "passed""#, "does not follow"),
        (r#""schema": 1"#, r#""schema": 2"#, "not of schema 1"),
        (r#""kind": "postgres","#, r#""kind": "postgres", "surprise": 1,"#, "cannot read"),
    ];
    for (from, to, expected) in cases {
        assert!(good.contains(from), "{from}");
        let error = json::read(&good.replacen(from, to, 1)).unwrap_err().chain();
        assert!(error.contains(expected), "{error}");
    }
}

/// Every text a stranger could have chosen, made hostile.
fn hostile() -> DrillReport {
    let bad = "</td><script>alert('x')</script>\u{1b}[2J\"&".to_owned();
    let mut report = samples::failed();
    let identity = &mut report.identity;
    for field in [
        &mut identity.drill_id,
        &mut identity.kind,
        &mut identity.scenario,
        &mut identity.operator,
        &mut identity.tool_version,
        &mut identity.configuration_hash,
        &mut identity.host,
    ] {
        field.clone_from(&bad);
    }
    let point = report.recovery_point.as_mut().unwrap();
    for field in
        [&mut point.snapshot, &mut point.method, &mut point.requested, &mut point.server_version]
    {
        field.clone_from(&bad);
    }
    for check in &mut report.checks {
        (check.id, check.name) = (bad.clone(), bad.clone());
        (check.expected, check.actual) = (Some(bad.clone()), Some(bad.clone()));
        check.detail = Some(bad.clone());
    }
    report.tables.iter_mut().for_each(|table| table.table.clone_from(&bad));
    report.pages.as_mut().unwrap().damaged_at = vec![bad.clone()];
    report.warnings = vec![bad.clone()];
    report.findings.iter_mut().for_each(|finding| finding.text.clone_from(&bad));
    let skipped = &mut report.steps_not_executed[0];
    (skipped.step, skipped.because) = (bad.clone(), bad.clone());
    let removal = &mut report.teardown[0];
    (removal.created, removal.verified_by) = (bad.clone(), Some(bad.clone()));
    report.objectives.rto.not_achieved_because = Some(bad.clone());
    report.objectives.rpo.not_achieved_because = Some(bad);
    report.judged()
}

#[test]
fn hostile_text_stays_text() {
    let report = hostile();
    let page = html::render(&report, &ENGLISH);
    assert!(!page.to_lowercase().contains("<script"), "{page}");
    assert!(page.contains("&#60;script&#62;"), "the text itself must still be there");
    well_formed(page.strip_prefix("<!doctype html>").unwrap(), &["meta"]).unwrap();
    for face in [page, plain(&report), json::render(&report)] {
        assert!(!face.contains('\u{1b}'), "an escape sequence went through");
    }
}

#[test]
fn pages_load_nothing_and_are_well_formed() {
    for (name, report) in all() {
        let page = html::render(&report, &ENGLISH);
        for load in ["http://", "https://", "<link", "<script", "<img", "@import", "src="] {
            assert!(!page.contains(load), "{name} holds {load}");
        }
        assert!(page.contains("<html lang=\"en\">") && page.contains("<main>"));
        let tags = well_formed(page.strip_prefix("<!doctype html>").unwrap(), &["meta"]).unwrap();
        let count = |tag: &str| tags.iter().filter(|t| *t == tag).count();
        assert_eq!((count("h1"), count("main"), count("svg")), (1, 1, 4), "{name}");
        assert_eq!(page.matches("<th ").count(), page.matches("<th scope=").count(), "{name}");
        leave_page(name, &page);
    }
}

#[test]
fn drawings_are_well_formed_and_stay_inside() {
    for (name, report) in all() {
        let drawings = timeline_svg::draw(&report, &ENGLISH);
        for svg in [&drawings.rto, &drawings.rpo, &drawings.timeline] {
            let tags = well_formed(svg, &[]).unwrap();
            assert_eq!(tags[..3], ["svg", "title", "desc"], "{name}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}: {svg}");
        }
        assert_eq!(drawings.timeline.matches("class=\"name\"").count(), 7, "{name}");
    }
}

#[test]
fn drawings_bear_drills_without_any_length() {
    let mut report = samples::passed();
    report.times.phases.clear();
    report.times.t_end = report.times.t_declare;
    report.objectives.detection_allowance = fenice::model::Span::seconds(0);
    let drawings = timeline_svg::draw(&report, &ENGLISH);
    assert!(!drawings.timeline.contains("NaN") && !drawings.timeline.contains("inf"));
    well_formed(&drawings.timeline, &[]).unwrap();
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    let report = samples::failed();
    assert_eq!(html::render(&report, &ENGLISH), html::render(&report.clone(), &ENGLISH));
    assert_eq!(json::render(&report), json::render(&report.clone()));
}

/// Checks that tags nest and that `<`, `&` and quotes appear only as markup; the tags, in order.
fn well_formed(text: &str, void: &[&str]) -> Result<Vec<String>, String> {
    let (mut open, mut seen): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut rest = text;
    while let Some(from) = rest.find('<') {
        entities(&rest[..from])?;
        let to = from + rest[from..].find('>').ok_or("a tag does not end")?;
        let tag = &rest[from + 1..to];
        rest = &rest[to + 1..];
        if tag.contains('<') || tag.matches('"').count() % 2 != 0 {
            return Err(format!("bad tag <{tag}>"));
        }
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if tag.starts_with('/') {
            let last = open.pop().ok_or(format!("<{tag}> closes nothing"))?;
            if last != name {
                return Err(format!("<{tag}> closes <{last}>"));
            }
            continue;
        }
        seen.push(name.to_owned());
        if name == "style" {
            rest = &rest[rest.find("</style>").ok_or("style does not end")?..];
        }
        if !tag.ends_with('/') && !void.contains(&name) {
            open.push(name.to_owned());
        }
    }
    if open.is_empty() { Ok(seen) } else { Err(format!("left open: {open:?}")) }
}

fn entities(text: &str) -> Result<(), String> {
    for piece in text.split('&').skip(1) {
        let name = piece.split(';').next().unwrap_or_default();
        if name.len() > 6 || !name.starts_with('#') {
            return Err(format!("a bare & before {piece:?}"));
        }
    }
    Ok(())
}

/// For the eye: the pages of a blessing run, where `FENICE_PAGES` says.
fn leave_page(name: &str, page: &str) {
    if let Some(folder) = std::env::var_os("FENICE_PAGES") {
        std::fs::write(Path::new(&folder).join(format!("{name}.html")), page).unwrap();
    }
}

#[test]
fn the_format_page_names_every_field() {
    fn fields(value: &serde_json::Value, into: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(name, value)| {
                into.insert(name.clone());
                fields(value, into);
            }),
            serde_json::Value::Array(items) => items.iter().for_each(|item| fields(item, into)),
            _ => {}
        }
    }
    let page = include_str!("../../docs/formats/drill-report.md");
    let mut names = std::collections::BTreeSet::new();
    for (_, report) in all() {
        fields(&serde_json::from_str(&json::render(&report)).unwrap(), &mut names);
    }
    assert!(names.len() > 60, "only {} fields", names.len());
    for name in names {
        let named = page.contains(&format!("`{name}`")) || page.contains(&format!("\"{name}\""));
        assert!(named, "{name} is not explained");
    }
}
