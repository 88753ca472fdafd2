//! Key files: the vault's master key, sealed with a key derived from a password (restic design
//! document, "Keys, Encryption and MAC"). Several passwords may open one vault; the master key
//! never changes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::crypto::Cipher;
use crate::error::{Attempt, Error, Result};
use crate::ports::Entropy;

/// scrypt's cost N as a power of two: 4 MiB and a few milliseconds at each opening. It slows down
/// who guesses passwords, and those of vaults are 256 random bits; readers take N from the file.
const LOG_N: u8 = 12;
const BLOCK_R: u32 = 8;
const PARALLEL_P: u32 = 1;
const SALT_BYTES: usize = 64;
/// A key file asking for more memory than this is damaged or hostile.
const MAX_SCRYPT_BYTES: u64 = 1 << 30;

/// The key everything in the vault is sealed with.
#[derive(Clone)]
pub struct MasterKey {
    bytes: [u8; 64],
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(secret)")
    }
}

impl MasterKey {
    pub fn generate(entropy: &dyn Entropy) -> MasterKey {
        let mut bytes = [0; 64];
        entropy.fill(&mut bytes);
        MasterKey { bytes }
    }

    pub fn cipher(&self) -> Cipher {
        Cipher::new(&self.bytes)
    }
}

/// The master key as JSON inside a key file.
#[derive(Serialize, Deserialize)]
struct MasterJson {
    mac: MacJson,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct MacJson {
    k: String,
    r: String,
}

/// A key file: plain JSON, named by its SHA-256.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<Timestamp>,
    #[serde(default)]
    username: String,
    #[serde(default)]
    hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

/// What an attempt to open one key file told.
pub enum Unlocked {
    With(MasterKey),
    /// This key file belongs to another password.
    WrongPassword,
}

/// A new key file that opens with `password`.
pub fn lock(
    master: &MasterKey,
    password: &SecretString,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>> {
    let mut salt = [0; SALT_BYTES];
    entropy.fill(&mut salt);
    let derived = derive(password, &salt, LOG_N, BLOCK_R, PARALLEL_P)?;
    let json = MasterJson {
        mac: MacJson {
            k: BASE64.encode(&master.bytes[32..48]),
            r: BASE64.encode(&master.bytes[48..]),
        },
        encrypt: BASE64.encode(&master.bytes[..32]),
    };
    let text = serde_json::to_vec(&json).attempt(|| "write a master key".into())?;
    let file = KeyFile {
        created: Some(now),
        username: "fenice".into(),
        hostname: String::new(),
        kdf: "scrypt".into(),
        n: 1 << LOG_N,
        r: BLOCK_R,
        p: PARALLEL_P,
        salt: BASE64.encode(salt),
        data: BASE64.encode(derived.seal(&text, entropy)?),
    };
    serde_json::to_vec(&file).attempt(|| "write a key file".into())
}

/// Tries `password` on the key file `body`.
///
/// # Errors
/// The file is not a key file that we understand.
pub fn unlock(body: &[u8], password: &SecretString) -> Result<Unlocked> {
    let file: KeyFile = serde_json::from_slice(body).attempt(|| "read a key file".into())?;
    if file.kdf != "scrypt" || !file.n.is_power_of_two() {
        return Err(Error::failed(format!(
            "a key file asks for {} with N={}, which is not known here",
            file.kdf, file.n
        )));
    }
    let memory = file.n.saturating_mul(128).saturating_mul(u64::from(file.r));
    if memory > MAX_SCRYPT_BYTES || file.p > 64 {
        return Err(Error::failed(format!("a key file asks for {memory} bytes of memory")));
    }
    let salt = BASE64.decode(&file.salt).attempt(|| "read the salt of a key file".into())?;
    let mut data = BASE64.decode(&file.data).attempt(|| "read the data of a key file".into())?;
    // Below 2^30, so the logarithm fits.
    let log_n = file.n.trailing_zeros() as u8;
    let derived = derive(password, &salt, log_n, file.r, file.p)?;
    let Ok(text) = derived.open_in_place(&mut data) else {
        return Ok(Unlocked::WrongPassword);
    };
    let json: MasterJson = serde_json::from_slice(text).attempt(|| "read a master key".into())?;
    let mut bytes = [0; 64];
    for (part, to) in [(&json.encrypt, 0..32), (&json.mac.k, 32..48), (&json.mac.r, 48..64)] {
        let decoded = BASE64.decode(part).attempt(|| "read a master key".into())?;
        if decoded.len() != to.len() {
            return Err(Error::failed("a part of the master key has the wrong length"));
        }
        bytes[to].copy_from_slice(&decoded);
    }
    Ok(Unlocked::With(MasterKey { bytes }))
}

fn derive(password: &SecretString, salt: &[u8], log_n: u8, r: u32, p: u32) -> Result<Cipher> {
    let params = scrypt::Params::new(log_n, r, p, 64)
        .map_err(|_| Error::failed("the scrypt parameters of a key file make no sense"))?;
    let mut derived = [0; 64];
    scrypt::scrypt(password.expose_secret().as_bytes(), salt, &params, &mut derived)
        .map_err(|_| Error::failed("cannot derive a key from the password"))?;
    Ok(Cipher::new(&derived))
}
