//! Names of protected things, and the identity PostgreSQL gives a cluster.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A resource's name: 1 to 55 of `a-z`, `0-9`, `_`, `-`, starting with a letter or digit, so that
/// it can stand in object keys, file names and metric labels as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct ResourceName(String);

impl ResourceName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the replication slot and of the connection: `fenice_<name>`, `-` as `_`
    /// (PostgreSQL allows only `a-z0-9_` in slot names).
    pub fn slot_name(&self) -> String {
        format!("fenice_{}", self.0.replace('-', "_"))
    }
}

impl FromStr for ResourceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<ResourceName, Error> {
        let first_ok = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let rest_ok = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        match first_ok && rest_ok && text.len() <= 55 {
            true => Ok(ResourceName(text.to_owned())),
            false => Err(Error::usage(format!("`{text}` is not a resource name")).hint(
                "Use up to 55 lower-case letters, digits, `_` and `-`, starting with a \
                     letter or digit.",
            )),
        }
    }
}

impl<'de> serde::Deserialize<'de> for ResourceName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<ResourceName, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The system identifier `initdb` gave the cluster; log of another cluster never fits.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct SystemId(pub u64);

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for SystemId {
    type Err = Error;

    fn from_str(text: &str) -> Result<SystemId, Error> {
        let id = text.parse().ok().map(SystemId);
        id.ok_or_else(|| Error::failed(format!("`{text}` is not a system identifier")))
    }
}

impl TryFrom<String> for SystemId {
    type Error = Error;

    fn try_from(text: String) -> Result<SystemId, Error> {
        text.parse()
    }
}

impl From<SystemId> for String {
    /// As text in JSON: the number exceeds what JSON readers keep exact.
    fn from(id: SystemId) -> String {
        id.to_string()
    }
}
