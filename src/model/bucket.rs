//! A place in an S3 store: which bucket, how it is reached, what it is asked to do with what comes.

/// An S3 bucket, or a place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPlace {
    pub bucket: String,
    /// Without slashes at its ends; empty is the whole bucket.
    pub prefix: String,
    /// Present unless `endpoint` is.
    pub region: Option<String>,
    /// The base URL of a store that is not AWS.
    pub endpoint: Option<String>,
    /// The bucket's name in the path instead of in the host name.
    pub path_style: bool,
    /// None leaves it to the bucket's own setting.
    pub sse: Option<ServerSideEncryption>,
    pub checksums: Checksums,
    /// Regions in which the bucket may lie; empty is no restriction.
    pub allowed_regions: Vec<String>,
}

/// Encryption by the store, besides ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerSideEncryption {
    /// `AES256`: the store's keys.
    Aes256,
    /// `aws:kms`: the bucket's KMS key.
    Kms,
}

/// How firmly an object is locked (S3 Object Lock, retention modes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever has the permission can lift it.
    Governance,
    /// Nobody can lift it before its date.
    Compliance,
}

/// When checksums are sent with uploads (AWS SDK setting `request_checksum_calculation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    WhenSupported,
    /// For stores that refuse the newer checksum headers.
    WhenRequired,
}

impl BucketPlace {
    /// Bucket and prefix, as after `s3://`.
    pub fn path(&self) -> String {
        match self.prefix.as_str() {
            "" => self.bucket.clone(),
            prefix => format!("{}/{prefix}", self.bucket),
        }
    }

    /// Whether what is uploaded carries a checksum that nobody can change on the way, so that its
    /// content need not be hashed for the signature as well: over TLS, or to this machine itself.
    pub fn sends_checksums_safely(&self) -> bool {
        let is_safe = |endpoint: &String| {
            let Some(plain) = endpoint.strip_prefix("http://") else { return true };
            let host = plain.split(['/', ':']).next().unwrap_or_default();
            host == "localhost" || host.starts_with("127.")
        };
        self.checksums == Checksums::WhenSupported && self.endpoint.iter().all(is_safe)
    }
}
