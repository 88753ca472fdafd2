//! The vault's `config`: format version, repository id, and the polynomial that restic's own
//! chunker would use. Written once, at `init`, as the last step: no config, no vault.

use serde::{Deserialize, Serialize};

use super::crypto::Cipher;
use super::id::Id;
use crate::error::{Attempt, Error, Result};
use crate::ports::Entropy;

/// The format version written and read here.
const VERSION: u32 = 2;
/// Degree of the polynomial (restic's chunker works modulo one of degree 53).
const DEGREE: u32 = 53;
/// One random polynomial in about 27 is irreducible; this many misses mean broken entropy.
const MAX_TRIES: u32 = 10_000;

/// What `config` holds. Keys of other programs are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub version: u32,
    /// Random; tells vaults apart.
    pub id: Id,
    /// Hexadecimal. Chunks of fixed size do not need it; `restic backup` into the vault does.
    pub chunker_polynomial: String,
}

impl Config {
    pub fn generate(entropy: &dyn Entropy) -> Result<Config> {
        let mut id = [0; 32];
        entropy.fill(&mut id);
        let polynomial = random_polynomial(entropy)?;
        let chunker_polynomial = format!("{polynomial:x}");
        Ok(Config { version: VERSION, id: Id(id), chunker_polynomial })
    }

    /// Sealed, not compressed: the format keeps `config` readable by every version.
    pub fn seal(&self, cipher: &Cipher, entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let text = serde_json::to_vec(self).attempt(|| "write the vault's config".into())?;
        cipher.seal(&text, entropy)
    }

    /// # Errors
    /// Sealed with another key, damaged, or of another format version.
    pub fn open(mut sealed: Vec<u8>, cipher: &Cipher) -> Result<Config> {
        let opened = cipher.open_in_place(&mut sealed);
        let text = opened.attempt(|| "decrypt the vault's config".into())?;
        let config: Config =
            serde_json::from_slice(text).attempt(|| "read the vault's config".into())?;
        if config.version != VERSION {
            let what = format!("the vault has format version {}, not {VERSION}", config.version);
            return Err(Error::failed(what).hint(
                "`restic migrate upgrade_repo_v2` brings an older repository to version 2.",
            ));
        }
        Ok(config)
    }
}

/// A random irreducible polynomial over GF(2) of degree 53; bit n is the coefficient of x^n.
fn random_polynomial(entropy: &dyn Entropy) -> Result<u64> {
    for _ in 0..MAX_TRIES {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        let below = u64::from_le_bytes(bytes) & ((1 << DEGREE) - 1);
        // Without a constant term x would divide it.
        let candidate = below | (1 << DEGREE) | 1;
        if is_irreducible(candidate) {
            return Ok(candidate);
        }
    }
    Err(Error::failed("no irreducible polynomial was found; the random numbers are not random"))
}

/// Ben-Or's test: f of degree n is irreducible if it has no factor in common with x^(2^i) - x for
/// any i up to n/2, since those are the products of all irreducible polynomials of degree i.
fn is_irreducible(f: u64) -> bool {
    const X: u64 = 0b10;
    let mut power = X;
    (1..=degree(f) / 2).all(|_| {
        power = multiply_modulo(power, power, f);
        greatest_common_divisor(f, power ^ X) == 1
    })
}

fn degree(f: u64) -> u32 {
    63 - f.leading_zeros().min(63)
}

fn multiply_modulo(mut a: u64, mut b: u64, f: u64) -> u64 {
    let top = 1 << degree(f);
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        b >>= 1;
        a <<= 1;
        if a & top != 0 {
            a ^= f;
        }
    }
    product
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        // a modulo b.
        while a != 0 && degree(a) >= degree(b) {
            a ^= b << (degree(a) - degree(b));
        }
        (a, b) = (b, a);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn irreducible_polynomials_are_told_from_products() {
        // x^2+x+1, x^3+x+1, AES's x^8+x^4+x^3+x+1; two that restic made.
        for f in [0b111, 0b1011, 0x11b, 0x0027_7bb4_2103_dd6d, 0x003d_a335_8b4d_c173] {
            assert!(is_irreducible(f), "{f:x}");
        }
        // (x+1)^2, (x^2+x+1)^2, x^8+1, and a neighbour of restic's.
        for f in [0b101, 0b1_0101, 0x101, 0x0027_7bb4_2103_dd6f] {
            assert!(!is_irreducible(f), "{f:x}");
        }
    }

    #[test]
    fn entropy_that_is_not_random_ends_in_an_error() {
        struct Zeros;
        impl Entropy for Zeros {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(0);
            }
        }
        assert!(Config::generate(&Zeros).is_err());
    }
}
