//! `[repository.NAME]`: a folder or a bucket, and who can open what lies in it.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::Report;
use super::section::Section;
use super::value::{FromToml, one_of};
use crate::model::{BucketPlace, Checksums, SecretRef, ServerSideEncryption};

/// Where bytes live.
#[derive(Debug, Clone, PartialEq)]
pub struct Repository {
    pub name: String,
    pub location: Location,
    /// age X25519 recipients, each valid. May be empty: then `fenice init` adds the identity's.
    pub recipients: Vec<String>,
    /// The identity that opens what is stored; without it Fenice writes but cannot restore.
    pub identity: Option<SecretRef>,
    /// Regions in which data may lie; empty is no restriction.
    pub allowed_regions: Vec<String>,
}

/// The two kinds of places.
#[derive(Debug, Clone, PartialEq)]
pub enum Location {
    /// An absolute path.
    Folder(PathBuf),
    Bucket(Bucket),
}

/// A bucket, and what is configured besides where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    pub place: BucketPlace,
    pub object_lock: ObjectLock,
    /// Lines of AWS's shared credentials file; None lets the SDK look where AWS's tools look.
    pub credentials: Option<SecretRef>,
}

/// S3 Object Lock for what is stored, for as long as it is promised to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectLock {
    None,
    /// Whoever has the permission can lift it.
    Governance,
    /// Nobody can lift it before its date.
    Compliance,
}

/// A recipient whose checksum is right (age specification, section "X25519 recipient").
struct Recipient(String);

/// Reads one repository.
pub(super) fn read(section: &Section<'_>, name: &str, report: &Report<'_>) -> Option<Repository> {
    section.refuse_unknown();
    let recipients: Vec<Recipient> = section.value("recipients");
    let recipients: Vec<String> = recipients.into_iter().map(|Recipient(text)| text).collect();
    let repeated = recipients.iter().enumerate().any(|(at, one)| recipients[..at].contains(one));
    let twice = || "a recipient stands twice in the list".to_owned();
    section.demand("recipients", !repeated, twice, "Keep one of them.");
    let identity = section.optional("identity");
    let allowed_regions: Vec<String> = section.value("allowed_regions");
    let location = location(section, &allowed_regions, report);
    let name = name.to_owned();
    Some(Repository { name, location: location?, recipients, identity, allowed_regions })
}

const BUCKET_KEYS: [&str; 8] = [
    "prefix",
    "region",
    "endpoint",
    "path_style",
    "sse",
    "object_lock",
    "checksums",
    "credentials",
];

fn location(
    section: &Section<'_>,
    allowed_regions: &[String],
    report: &Report<'_>,
) -> Option<Location> {
    match (section.has("path"), section.has("bucket")) {
        (false, false) => {
            section.missing("path", format!("{} has neither `path` nor `bucket`", section.title()));
            None
        }
        (true, true) => {
            let what = format!("{} has both `path` and `bucket`", section.title());
            report.wrong(section.place("bucket"), what, "Keep one of them.");
            None
        }
        (true, false) => {
            for key in BUCKET_KEYS.into_iter().filter(|key| section.has(key)) {
                let what = format!("`{key}` belongs to a bucket, and this repository is a folder");
                report.wrong(section.place(key), what, "Remove it.");
            }
            section.optional("path").map(Location::Folder)
        }
        (false, true) => bucket(section, allowed_regions).map(Location::Bucket),
    }
}

fn bucket(section: &Section<'_>, allowed_regions: &[String]) -> Option<Bucket> {
    let bucket: Option<String> = section.required("bucket");
    let named = |name: &String| {
        let plain = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
        (3..=63).contains(&name.len()) && name.bytes().all(plain)
    };
    section.demand(
        "bucket",
        bucket.as_ref().is_none_or(named),
        || "this is not the name of a bucket".to_owned(),
        "Use 3 to 63 lower-case letters, digits, `.` and `-`; no `s3://`.",
    );
    let endpoint: Option<String> = section.optional("endpoint");
    let is_url = |url: &String| url.starts_with("https://") || url.starts_with("http://");
    section.demand(
        "endpoint",
        endpoint.as_ref().is_none_or(is_url),
        || "the endpoint is not a URL".to_owned(),
        "Write it from the scheme: \"https://s3.example.org\".",
    );
    let region: Option<String> = section.optional("region");
    if !section.has("region") && (endpoint.is_none() || !allowed_regions.is_empty()) {
        section.missing("region", format!("{} lacks `region`", section.title()));
    }
    section.demand(
        "region",
        allowed_regions.is_empty() || region.as_ref().is_none_or(|r| allowed_regions.contains(r)),
        || "the region is not one of `allowed_regions`".to_owned(),
        "Data must stay in the allowed regions: change the bucket, or the promise.",
    );
    let prefix: String = section.value("prefix");
    let place = BucketPlace {
        bucket: bucket?,
        prefix: prefix.trim_matches('/').to_owned(),
        region,
        endpoint,
        path_style: section.value("path_style"),
        sse: section.optional("sse"),
        checksums: section.value("checksums"),
        allowed_regions: allowed_regions.to_vec(),
    };
    let object_lock = section.value("object_lock");
    Some(Bucket { place, object_lock, credentials: section.optional("credentials") })
}

impl FromToml for Recipient {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<Recipient> {
        let text = String::from_toml(value, report)?;
        if text.parse::<age::x25519::Recipient>().is_ok() {
            return Some(Recipient(text));
        }
        let hint = "A recipient is the line after `public key:` of age-keygen, from `age1` on, \
                    copied whole.";
        match text.get(..14).is_some_and(|start| start.eq_ignore_ascii_case("age-secret-key")) {
            true => {
                let what = "this is an identity, a secret, where a recipient is needed".to_owned();
                report.secret(value.span(), what, hint);
            }
            false => report.secret(value.span(), "this is not an age recipient".to_owned(), hint),
        }
        None
    }
}

impl FromToml for ServerSideEncryption {
    fn from_toml(
        value: &Spanned<DeValue<'_>>,
        report: &Report<'_>,
    ) -> Option<ServerSideEncryption> {
        let words =
            [("AES256", ServerSideEncryption::Aes256), ("aws:kms", ServerSideEncryption::Kms)];
        one_of(value, report, &words)
    }
}

impl FromToml for ObjectLock {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<ObjectLock> {
        let words = [
            ("none", ObjectLock::None),
            ("governance", ObjectLock::Governance),
            ("compliance", ObjectLock::Compliance),
        ];
        one_of(value, report, &words)
    }
}

impl FromToml for Checksums {
    fn from_toml(value: &Spanned<DeValue<'_>>, report: &Report<'_>) -> Option<Checksums> {
        let words = [
            ("when_supported", Checksums::WhenSupported),
            ("when_required", Checksums::WhenRequired),
        ];
        one_of(value, report, &words)
    }
}
