//! Where a secret stands; never the secret itself.

use std::path::PathBuf;

/// A pointer to a secret, as the configuration writes it: `{ credential = "…" }`,
/// `{ file = "…" }` or `{ env = "…" }`. Safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// A systemd credential (`LoadCredential=`, systemd.exec(5)): a file name below
    /// `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A file that only its owner can read.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}
