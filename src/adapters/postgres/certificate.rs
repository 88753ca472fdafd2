//! Which certificates of a server are trusted, and what of them a login is bound to.

use std::sync::Arc;

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Reader, SliceReader, Tag, TagNumber};

use crate::error::{self, Attempt};

/// Whom to trust.
#[derive(Debug)]
pub(super) enum Trust {
    /// Anybody who holds the key of the certificate shown: keeps out listeners, not impostors.
    Anybody,
    /// A certificate that these vouch for; `name` too must fit if `check_name`.
    Roots { roots: RootCertStore, pinned: Vec<CertificateDer<'static>>, check_name: bool },
}

/// The verifier for one connection.
#[derive(Debug)]
pub(super) struct Verifier {
    pub trust: Trust,
    pub provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Trust::Roots { roots, pinned, check_name } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = ParsedCertificate::try_from(shown)?;
        // A self-signed server certificate that is itself the root: OpenSSL takes it, webpki
        // refuses a CA in a server's place.
        if pinned.iter().any(|root| root.as_ref() == shown.as_ref()) {
            within_validity(shown, now)?;
        } else {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        if *check_name {
            verify_server_name(&certificate, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn within_validity(shown: &CertificateDer<'_>, now: UnixTime) -> Result<(), TlsError> {
    let parsed = Certificate::from_der(shown).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.tbs_certificate.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// The last second in which the certificate is valid.
pub(super) fn ends_at(certificate: &CertificateDer<'_>) -> error::Result<Timestamp> {
    let what = || "read the certificate of the server".to_owned();
    let parsed = Certificate::from_der(certificate).attempt(what)?;
    let not_after = parsed.tbs_certificate.validity.not_after.to_unix_duration();
    let seconds = i64::try_from(not_after.as_secs()).attempt(what)?;
    Timestamp::from_second(seconds).attempt(what)
}

/// Channel binding data `tls-server-end-point` (RFC 5929 section 4.1): the certificate hashed with
/// the hash of its own signature, MD5 and SHA-1 replaced by SHA-256. `None` where the signature
/// has no hash of its own (Ed25519) or one that is not known.
pub(super) fn server_end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    let algorithm = &parsed.signature_algorithm;
    let oid = if algorithm.oid.to_string() == RSASSA_PSS {
        let parameters = algorithm.parameters.as_ref()?;
        pss_hash(parameters.value())?
    } else {
        algorithm.oid
    };
    let hash = hash_of(&oid.to_string())?;
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

const RSASSA_PSS: &str = "1.2.840.113549.1.1.10";

/// Signature and hash algorithms (RFC 3279, 4055, 5758) and the hash they stand for here.
fn hash_of(oid: &str) -> Option<&'static digest::Algorithm> {
    Some(match oid {
        // MD5 and SHA-1 with RSA, SHA-1 with ECDSA, plain SHA-1
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" | "1.3.14.3.2.26" => {
            &digest::SHA256
        }
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" | "2.16.840.1.101.3.4.2.1" => {
            &digest::SHA256
        }
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" | "2.16.840.1.101.3.4.2.2" => {
            &digest::SHA384
        }
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" | "2.16.840.1.101.3.4.2.3" => {
            &digest::SHA512
        }
        _ => return None,
    })
}

/// The hash in the parameters of RSASSA-PSS: `[0] { SEQUENCE { OID, … } }`, SHA-1 if left out.
fn pss_hash(parameters: &[u8]) -> Option<ObjectIdentifier> {
    let mut reader = SliceReader::new(parameters).ok()?;
    let hash = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
    if reader.peek_header().ok()?.tag != hash {
        return ObjectIdentifier::new("1.3.14.3.2.26").ok();
    }
    let _ = reader.decode::<x509_cert::der::Header>().ok()?;
    let _ = reader.decode::<x509_cert::der::Header>().ok()?;
    reader.decode().ok()
}
