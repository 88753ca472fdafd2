//! A client for one bucket: where, as whom, how long to wait.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use secrecy::{ExposeSecret, SecretString};

use crate::error::{Error, Kind, Result};
use crate::model::{BucketPlace, Checksums};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For one attempt as a whole, with the bytes of its body: the largest is 1 GiB of log.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(900);
/// So long may nothing move in a body, either way. Bodies are whole in memory on both sides, so
/// that only the network can hold them up, never our own work.
const STALL_PATIENCE: Duration = Duration::from_secs(60);
/// Requests are signed for a region, also to a store that does not ask for one.
const ANY_REGION: &str = "us-east-1";

/// A fixed key.
#[derive(Debug, Clone)]
pub struct Credentials {
    access_key_id: String,
    secret_access_key: SecretString,
    session_token: Option<SecretString>,
}

impl Credentials {
    /// Reads the lines of AWS's shared credentials file: `aws_access_key_id = …`,
    /// `aws_secret_access_key = …`, perhaps `aws_session_token = …`. Section titles, comments and
    /// other settings are passed over.
    ///
    /// # Errors
    /// Of kind `Config` if one is missing. The text itself is never repeated.
    pub fn parse(text: &SecretString) -> Result<Credentials> {
        let named = |wanted: &str| {
            let lines = text.expose_secret().lines().filter_map(|line| line.split_once('='));
            let mut found = lines.filter(|(name, _)| name.trim() == wanted);
            found.next().map(|(_, value)| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        match (named("aws_access_key_id"), named("aws_secret_access_key")) {
            (Some(access_key_id), Some(secret)) => Ok(Credentials {
                access_key_id,
                secret_access_key: secret.into(),
                session_token: named("aws_session_token").map(Into::into),
            }),
            _ => Err(Error::new(Kind::Config, "the credentials lack a key").hint(
                "Write two lines: aws_access_key_id = … and aws_secret_access_key = …, as in \
                 ~/.aws/credentials.",
            )),
        }
    }
}

/// Makes the client; nothing is asked of the store yet.
/// Without `credentials`: as the SDK finds them (environment, profile, instance or container role).
pub(super) async fn client(place: BucketPlace, credentials: Option<Credentials>) -> Result<Client> {
    let region = place.region.unwrap_or_else(|| ANY_REGION.to_owned());
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region))
        .retry_config(RetryConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .build(),
        )
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled().grace_period(STALL_PATIENCE).build(),
        );
    if let Some(endpoint) = place.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(fixed) = credentials {
        loader = loader.credentials_provider(aws_sdk_s3::config::Credentials::new(
            fixed.access_key_id,
            fixed.secret_access_key.expose_secret(),
            fixed.session_token.map(|token| token.expose_secret().to_owned()),
            None,
            "fenice",
        ));
    }
    let (request, response) = match place.checksums {
        Checksums::WhenSupported => {
            (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported)
        }
        Checksums::WhenRequired => {
            (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired)
        }
    };
    let config = aws_sdk_s3::config::Builder::from(&loader.load().await)
        .force_path_style(place.path_style)
        .request_checksum_calculation(request)
        .response_checksum_validation(response)
        .build();
    Ok(Client::from_conf(config))
}
