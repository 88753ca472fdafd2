//! The generic JSON of a webhook, version 1, as docs/formats/webhook.md tells it. Pure.

use serde_json::{Value, json};

use super::decide::{Telling, Why};
use super::notice::{About, Facts, Notice};
use super::words;

/// Of this document; a field may be added without a new one.
const VERSION: u32 = 1;

/// The whole document, as it is sent.
pub(super) fn document(id: &str, notice: &Notice) -> Value {
    let mut document = content(notice);
    document["id"] = json!(id);
    document
}

/// All of it but the id.
pub(super) fn content(notice: &Notice) -> Value {
    let mut content = json!({
        "version": VERSION,
        "kind": kind(&notice.about),
        "at": notice.at,
        "host": notice.host,
        "text": words::subject(notice),
    });
    match &notice.about {
        About::Test => {}
        About::News(news) => {
            let (shown, omitted) = words::worst_first(news);
            content["events"] = shown.into_iter().map(event).collect();
            content["omitted"] = json!(omitted);
        }
        About::Summary(summary) => {
            let (shown, omitted) = words::red_first(&summary.resources);
            content["resources"] = shown.into_iter().map(facts).collect();
            content["omitted"] = json!(omitted);
            content["notes"] = json!(words::bounded(&summary.notes));
        }
    }
    content
}

fn kind(about: &About) -> &'static str {
    match about {
        About::News(_) => "news",
        About::Summary(_) => "summary",
        About::Test => "test",
    }
}

fn event(telling: &Telling) -> Value {
    let event = &telling.event;
    let (why, since, times) = match telling.why {
        Why::New => ("new", None, None),
        Why::Worse => ("worse", None, None),
        Why::Better => ("better", None, None),
        Why::Still { times, since } => ("still", Some(since), Some(times)),
        Why::Resolved { since } => ("resolved", Some(since), None),
        Why::Unsteady => ("unsteady", None, None),
    };
    json!({
        "key": event.key,
        "resource": event.resource,
        "severity": event.severity,
        "was": telling.was,
        "title": words::title(event),
        "details": words::bounded(&event.details),
        "at": event.at,
        "why": why,
        "since": since,
        "times": times,
        "changes": telling.changes,
    })
}

fn facts(facts: &Facts) -> Value {
    let next = facts.next.as_ref().map(|due| json!({ "what": due.what, "at": due.at }));
    json!({
        "resource": facts.resource,
        "last_snapshot_at": facts.last_snapshot_at,
        "exposure_seconds": facts.exposure.map(|span| span.as_seconds()),
        "last_proof_at": facts.last_proof_at,
        "reds": words::bounded(&facts.reds),
        "next": next,
    })
}
