//! What a failed request means: whether to try again, whether it may have been done all the same,
//! and what the operator can do.

use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;

use crate::adapters::system::SystemEntropy;
use crate::error::{Error, Result};
use crate::ports::Entropy;

/// Attempts of one request, with pauses of up to 0.2, 0.4, 0.8, 1.6, 3.2 s: what takes longer is
/// for the caller, who knows whether there is time.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// A failed request.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Error,
    /// It may go well another time; and it may have been done this time, because no clear answer
    /// came.
    pub again: bool,
    /// Of the answer, if there was one.
    pub status: Option<u16>,
    pub code: Option<String>,
}

impl Failure {
    /// Something wrong with what came although the request went well.
    pub fn of_answer(what: String) -> Failure {
        let error = Error::failed(what).later();
        Failure { error, again: true, status: None, code: None }
    }

    /// Something wrong that stays wrong.
    pub fn for_good(what: String) -> Failure {
        Failure { error: Error::failed(what), again: false, status: None, code: None }
    }

    /// A condition that turns out not to hold although the request went well.
    pub fn of_condition(what: String) -> Failure {
        Failure { error: Error::failed(what), again: false, status: Some(412), code: None }
    }

    /// `what` completes "cannot …".
    pub fn of<E>(what: &str, failed: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let attempted = format!("cannot {what}");
        let SdkError::ServiceError(answer) = failed else {
            let why = chain(failed);
            let hint = why.contains("credentials").then_some(NO_CREDENTIALS);
            let error = hinted(Error::failed(attempted).because(why).later(), hint);
            let again = !matches!(failed, SdkError::ConstructionFailure(_));
            return Failure { error, again, status: None, code: None };
        };
        let status = answer.raw().status().as_u16();
        let code = answer.err().code().unwrap_or_default();
        let message = answer.err().message().unwrap_or_default();
        let request = answer.raw().request_id().unwrap_or("unknown");
        let told = format!("HTTP {status} {code} {message} (request {request})");
        let passing = status >= 500
            || matches!(
                code,
                "RequestTimeout"
                    | "SlowDown"
                    | "Throttling"
                    | "ThrottlingException"
                    | "TooManyRequests"
                    | "OperationAborted"
                    | "ConditionalRequestConflict"
                    | "InternalError"
                    | "ServiceUnavailable"
            )
            || status == 429
            // A success that cannot be read, where an error can still follow the first byte.
            || status < 300 && code.is_empty();
        let mut error = Error::failed(attempted).because(told);
        if passing {
            error = error.later();
        }
        let error = hinted(error, hint_for(code));
        let (status, code) = (Some(status), Some(code.to_owned()));
        Failure { error, again: passing, status, code }
    }

    /// The condition of a conditional request did not hold.
    pub fn is_condition(&self) -> bool {
        self.status == Some(412) || self.code.as_deref() == Some("PreconditionFailed")
    }

    /// No byte of the object is in the range that was asked for.
    pub fn is_beyond(&self) -> bool {
        self.status == Some(416)
    }

    /// It says for certain that it was not done, and why.
    pub fn is_refusal(&self) -> bool {
        self.status.is_some() && !self.again
    }

    /// There is no such object: said of the key, not of the bucket.
    pub fn is_absent(&self) -> bool {
        matches!(self.code.as_deref(), Some("NoSuchKey" | "NoSuchVersion"))
    }
}

/// Runs `attempt` until it succeeds, fails for good, or [`ATTEMPTS`] are over.
pub(super) async fn retried<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut turn = 0;
    loop {
        match attempt().await {
            Err(failure) if failure.again && turn + 1 < ATTEMPTS => {
                tracing::debug!(error = %failure.error.chain(), turn, "a request is tried again");
                tokio::time::sleep(pause(turn)).await;
                turn += 1;
            }
            ended => return ended,
        }
    }
}

/// Between half and the whole of a time that doubles: many clients do not come back at once.
fn pause(turn: u32) -> Duration {
    let longest = FIRST_PAUSE * 2u32.saturating_pow(turn);
    let mut byte = [0];
    SystemEntropy.fill(&mut byte);
    longest / 2 + longest / 2 * u32::from(byte[0]) / 255
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

const NO_CREDENTIALS: &str =
    "Name `credentials` for the repository, or give them where AWS's tools look.";

fn hint_for(code: &str) -> Option<&'static str> {
    Some(match code {
        "NoSuchBucket" => "Create the bucket, in the region of your promise; Fenice makes none.",
        "AccessDenied" => "Compare the permissions of this key with those the README lists.",
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" => "Check the credentials.",
        "RequestTimeTooSkewed" => "Set the clock of this machine.",
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => {
            "The bucket lies in another region: set `region`."
        }
        "SlowDown" => "The store asks for patience; fewer workers ask less of it.",
        _ => return None,
    })
}

fn hinted(error: Error, hint: Option<&str>) -> Error {
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
