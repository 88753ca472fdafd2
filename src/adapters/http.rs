//! Web servers of others, by reqwest: a fresh connection for each request, no redirect followed,
//! no proxy, and an end to every wait and every body.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, retry};

use crate::adapters::driver::Driver;
use crate::adapters::tls;
use crate::error::{Attempt, Error, Result};
use crate::model::WebAddress;
use crate::ports::Http;
use crate::ports::http::Answer;

/// For a request as a whole. Services that take webhooks answer within a few seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 4 << 10;

/// Calls URLs, and trusts whom the system trusts.
pub struct HttpClient {
    client: Client,
    driver: Driver,
}

impl HttpClient {
    /// A client that gives a request `patience` at most.
    pub fn new(patience: Duration) -> Result<HttpClient> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls::client_config()?)
            .user_agent(concat!("fenice/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            // When something is tried again is decided where it is also remembered.
            .retry(retry::never())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT_PATIENCE.min(patience))
            .timeout(patience)
            .build()
            .attempt(|| "set up the HTTP client".to_owned())?;
        Ok(HttpClient { client, driver: Driver::start("the HTTP client", "http", 1)? })
    }
}

impl Http for HttpClient {
    fn post(
        &self,
        to: &WebAddress,
        headers: &[(&'static str, String)],
        body: &str,
    ) -> Result<Answer> {
        let request = self.client.post(to.url().clone()).body(body.to_owned());
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, value.as_str()));
        self.driver.run(ask(request))
    }

    fn get(&self, from: &WebAddress) -> Result<Answer> {
        self.driver.run(ask(self.client.get(from.url().clone())))
    }
}

async fn ask(request: RequestBuilder) -> Result<Answer> {
    let mut response = request.send().await.map_err(explain)?;
    let status = response.status().as_u16();
    let mut body: Vec<u8> = Vec::new();
    while body.len() < BODY_BYTES_MAX {
        // The status has told; a body that breaks off changes nothing.
        let Ok(Some(piece)) = response.chunk().await else { break };
        let room = BODY_BYTES_MAX - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    Ok(Answer { status, text: String::from_utf8_lossy(&body).into_owned() })
}

/// Without the URL, which may be a secret.
fn explain(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let what = match (error.is_timeout(), error.is_connect()) {
        (true, _) => "there is no answer in time",
        (false, true) => "cannot reach it",
        (false, false) => "the request broke off",
    };
    let untrusted = "Let this system trust who signed the server's certificate: see \
                     update-ca-certificates(8).";
    let failed = Error::failed(what).because(tls::root_cause(&error)).later();
    match tls::certificate_hint(&error, untrusted) {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
