//! Whom to trust in TLS, and why a connection failed where a library wraps the reason.

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, Error as TlsError, RootCertStore};

use crate::error::{Attempt, Error, Result};

/// The certificates this system trusts: `$SSL_CERT_FILE` and `$SSL_CERT_DIR`, or where its packages
/// put them. Empty if there are none.
pub(super) fn system_roots() -> RootCertStore {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    roots
}

/// All certificates of a PEM file; at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let what = || format!("read the certificates in {}", path.display());
    let all: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).attempt(what)?.collect();
    let all = all.attempt(what)?;
    match all.is_empty() {
        false => Ok(all),
        true => Err(Error::failed(format!("{} holds no certificate in PEM", path.display()))),
    }
}

/// A client that trusts what this system trusts.
pub(super) fn client_config() -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .attempt(|| "set up TLS".to_owned())?;
    Ok(builder.with_root_certificates(system_roots()).with_no_client_auth())
}

/// What the failure comes down to, in the words of whoever noticed it.
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    match beneath(error) {
        Some(cause) => root_cause(cause),
        None => error.to_string().replace(char::is_control, " "),
    }
}

/// What to do if the server's certificate was refused: `untrusted`, if nobody trusted vouches for
/// it. `None` if the failure was another.
pub(super) fn certificate_hint(
    error: &(dyn StdError + 'static),
    untrusted: &'static str,
) -> Option<&'static str> {
    if let Some(TlsError::InvalidCertificate(refused)) = error.downcast_ref() {
        return Some(match refused {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "Name the host as its certificate does (subjectAltName)."
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "Renew the server's certificate."
            }
            _ => untrusted,
        });
    }
    certificate_hint(beneath(error)?, untrusted)
}

/// The next cause. An `io::Error` passes over the error it holds when it is asked for its source.
fn beneath<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held as &(dyn StdError + 'static)),
        None => error.source(),
    }
}
