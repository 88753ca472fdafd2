//! The routes: who asks what, out of what the daemon tells of itself.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use serde_json::json;

use super::measured::Measured;
use super::metrics;
use crate::engines::blocking::blocking;
use crate::model::Span;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const ELSEWHERE: &str = "nothing is here: ask for /metrics, /healthz or /readyz\n";

/// What the daemon tells of itself. Every answer comes from memory: nobody waits for a repository
/// or a server to learn how things stand.
pub trait Watched: Send + Sync {
    /// What was measured so far, of the configuration now in force.
    fn measured(&self) -> Arc<Measured>;

    /// The present instant, from which ages are counted.
    fn now(&self) -> Timestamp;

    /// For how long the scheduler's loop has not turned, by a clock that never steps; before its
    /// first turn, since the daemon began.
    fn idle_for(&self) -> Duration;

    /// The repositories that this daemon neither is in charge of nor stands by for as it was told
    /// to, and whatever else it waits for before it is of use. Empty once it is ready.
    fn not_ready(&self) -> Vec<NotReady>;
}

/// One reason why a daemon is of no use yet.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NotReady {
    /// A repository's name, or another thing that is waited for.
    pub what: String,
    pub because: String,
}

/// What the routes share.
#[derive(Clone)]
struct Shared {
    watched: Arc<dyn Watched>,
    turn_within: Duration,
}

/// The routes. The scheduler's loop is called stuck once it has not turned for `turn_within`.
pub(super) fn router(watched: Arc<dyn Watched>, turn_within: Duration) -> Router {
    Router::new()
        .route("/metrics", get(all_metrics))
        .route("/healthz", get(|State(shared): State<Shared>| ready(health(&shared))))
        .route("/readyz", get(|State(shared): State<Shared>| ready(readiness(&shared))))
        .fallback((StatusCode::NOT_FOUND, ELSEWHERE))
        .with_state(Shared { watched, turn_within })
}

/// Thousands of lines are put together away from the threads that serve everything else.
async fn all_metrics(State(shared): State<Shared>) -> Response {
    let watched = shared.watched;
    let text = blocking(move || metrics::text(&watched.measured(), watched.now())).await;
    match text {
        Ok(text) => answer(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.chain() + "\n"),
    }
}

fn health(shared: &Shared) -> Response {
    let idle = shared.watched.idle_for();
    if idle <= shared.turn_within {
        return answer(StatusCode::OK, TEXT, "ok\n".to_owned());
    }
    let (idle, within) = (Span(idle), Span(shared.turn_within));
    let told = format!("the scheduler has not turned for {idle}, at most {within} is usual\n");
    answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, told)
}

fn readiness(shared: &Shared) -> Response {
    let reasons = shared.watched.not_ready();
    let status = match reasons.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let value = json!({ "ready": reasons.is_empty(), "reasons": reasons });
    answer(status, JSON, format!("{value:#}\n"))
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response {
    (status, [(CONTENT_TYPE, content_type)], body).into_response()
}
