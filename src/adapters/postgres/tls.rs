//! TLS to a server: from `sslmode`, `sslrootcert`, `sslcert` and `sslkey` to an encrypted stream.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, Error as TlsError, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::adapters::postgres::certificate::{Trust, Verifier};
use crate::adapters::postgres::conninfo::{Conninfo, SslMode, SslRoot};
use crate::adapters::tls::{read_certificates, system_roots};
use crate::error::{Attempt, Error, Kind, Result};

/// What a connection needs for TLS. Files are read for each connection, so that renewed
/// certificates are used without a restart.
pub(super) fn configure(conninfo: &Conninfo) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier { trust: trust(conninfo)?, provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .attempt(|| "set up TLS".to_owned())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match &conninfo.ssl_client {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let (chain, key) = (read_certificates(cert)?, read_key(key)?);
            builder
                .with_client_auth_cert(chain, key)
                .attempt(|| format!("use the certificate {} with its key", cert.display()))?
        }
    };
    Ok(Arc::new(config))
}

fn trust(conninfo: &Conninfo) -> Result<Trust> {
    let check_name = conninfo.ssl_mode == SslMode::VerifyFull;
    let verifies = check_name || conninfo.ssl_mode == SslMode::VerifyCa;
    match &conninfo.ssl_root {
        SslRoot::File(path) => {
            let pinned = read_certificates(path)?;
            let mut roots = RootCertStore::empty();
            for certificate in &pinned {
                roots
                    .add(certificate.clone())
                    .attempt(|| format!("use the root certificates in {}", path.display()))?;
            }
            Ok(Trust::Roots { roots, pinned, check_name })
        }
        SslRoot::System | SslRoot::Unset if verifies => {
            let roots = system_roots();
            if roots.is_empty() {
                return Err(Error::new(Kind::Config, "the system has no root certificates")
                    .hint("Install `ca-certificates`, or give `sslrootcert`."));
            }
            Ok(Trust::Roots { roots, pinned: Vec::new(), check_name })
        }
        SslRoot::System | SslRoot::Unset => Ok(Trust::Anybody),
    }
}

/// The key must be private, as libpq demands: 0600, or 0640 where it belongs to root.
fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let what = || format!("read the key {}", path.display());
    let facts = fs::metadata(path).attempt(what)?;
    let allowed = if facts.uid() == 0 { 0o740 } else { 0o700 };
    if facts.mode() & 0o777 & !allowed != 0 {
        return Err(Error::refused(format!("the key {} can be read by others", path.display()))
            .hint("Set its mode to 0600 (0640 if it belongs to root)."));
    }
    PrivateKeyDer::from_pem_file(path).attempt(what)
}

/// Shakes hands over `stream`, whose server has agreed to TLS.
pub(super) async fn shake_hands(
    config: Arc<ClientConfig>,
    name: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>> {
    let server = ServerName::try_from(name.to_owned())
        .attempt(|| format!("use `{name}` as the name of a TLS server"))?;
    TlsConnector::from(config).connect(server, stream).await.map_err(explain)
}

/// A certificate that is refused stays refused; anything else may pass.
fn explain(cause: io::Error) -> Error {
    let what = "the TLS handshake failed";
    let refused = match cause.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(TlsError::InvalidCertificate(reason)) => reason.clone(),
        _ => return Error::failed(what).because(cause).later(),
    };
    let hint = match refused {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "Name the host as its certificate does (subjectAltName), or use sslmode=verify-ca."
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "Renew the server's certificate."
        }
        _ => "Give the certificate that signed the server's as sslrootcert.",
    };
    Error::failed(what).because(cause).hint(hint)
}
