//! The cipher of the format: AES-256 in counter mode, authenticated by Poly1305-AES (restic design
//! document, "Keys, Encryption and MAC"). A sealed text is nonce (16 bytes), ciphertext, tag (16).

use std::sync::Arc;

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::iv::FixedLength;
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit, UniversalHash};
use secrecy::zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::ports::Entropy;

pub const NONCE_BYTES: usize = 16;
pub const TAG_BYTES: usize = 16;
/// What sealing adds to a text.
pub const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

const BLOCK_BYTES: usize = 16;

/// Encrypts and authenticates. Wiped from memory when dropped. Cheap to clone.
#[derive(Clone)]
pub struct Cipher(Arc<Keys>);

struct Keys {
    /// AES-256: the stream that hides the text.
    text: EncryptingKey,
    /// AES-128 with `k`: encrypts the nonce for the tag.
    nonce: EncryptingKey,
    /// Poly1305's `r`.
    r: Zeroizing<[u8; 16]>,
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher(secret)")
    }
}

impl Cipher {
    /// From 64 secret bytes: 32 encrypt, 16 are Poly1305-AES's `k`, 16 its `r`.
    #[expect(clippy::expect_used, reason = "the keys have the lengths that AES demands")]
    pub fn new(key: &[u8; 64]) -> Cipher {
        let ctr = |algorithm, key: &[u8]| {
            UnboundCipherKey::new(algorithm, key).and_then(EncryptingKey::ctr).expect("a key")
        };
        let mut r = Zeroizing::new([0; 16]);
        r.copy_from_slice(&key[48..]);
        Cipher(Arc::new(Keys {
            text: ctr(&AES_256, &key[..32]),
            nonce: ctr(&AES_128, &key[32..48]),
            r,
        }))
    }

    /// Seals in place: `sealed` is 16 bytes of room, the text, 16 bytes of room.
    pub fn seal_in_place(&self, sealed: &mut [u8], entropy: &dyn Entropy) -> Result<()> {
        let (nonce, text, tag) = split(sealed)?;
        entropy.fill(nonce);
        stream(&self.0.text, nonce, text)?;
        tag.copy_from_slice(&self.tag(nonce, text)?);
        Ok(())
    }

    /// A sealed copy of `text`.
    pub fn seal(&self, text: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        let mut sealed = vec![0; text.len() + OVERHEAD_BYTES];
        sealed[NONCE_BYTES..NONCE_BYTES + text.len()].copy_from_slice(text);
        self.seal_in_place(&mut sealed, entropy)?;
        Ok(sealed)
    }

    /// Opens in place; the text lies inside `sealed`.
    ///
    /// # Errors
    /// The text is too short, was changed, or was sealed with another key. What `sealed` then
    /// holds is not to be used.
    pub fn open_in_place<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8]> {
        let (nonce, text, tag) = split(sealed)?;
        verify_slices_are_equal(&self.tag(nonce, text)?, tag)
            .map_err(|_| Error::failed("the authentication code (MAC) does not match"))?;
        stream(&self.0.text, nonce, text)?;
        Ok(text)
    }

    /// Poly1305-AES of the ciphertext: Poly1305 with `r` and, as `s`, the encrypted nonce.
    fn tag(&self, nonce: &[u8; NONCE_BYTES], text: &[u8]) -> Result<[u8; TAG_BYTES]> {
        let mut key = Zeroizing::new([0; 32]);
        let (r, s) = key.split_at_mut(16);
        r.copy_from_slice(&*self.0.r);
        // The first block of a counter stream over zeros is the encrypted counter: the nonce.
        stream(&self.0.nonce, nonce, s)?;
        let (blocks, rest) = text.split_at(text.len() - text.len() % BLOCK_BYTES);
        let mut mac = Poly1305::new((&*key).into());
        // Whole blocks several at a time; `compute_unpadded` goes one by one.
        mac.update_padded(blocks);
        Ok(mac.compute_unpadded(rest).into())
    }
}

type Parts<'a> = (&'a mut [u8; NONCE_BYTES], &'a mut [u8], &'a mut [u8; TAG_BYTES]);

/// Nonce, text, tag.
fn split(sealed: &mut [u8]) -> Result<Parts<'_>> {
    let bytes = sealed.len();
    let parts = sealed.split_first_chunk_mut().and_then(|(nonce, rest)| {
        let (text, tag) = rest.split_last_chunk_mut()?;
        Some((nonce, text, tag))
    });
    parts.ok_or_else(|| Error::failed(format!("{bytes} bytes are too few to be sealed")))
}

/// Applies the stream that begins with the counter `from`, a 128-bit number.
fn stream(key: &EncryptingKey, from: &[u8; NONCE_BYTES], bytes: &mut [u8]) -> Result<()> {
    let context = EncryptionContext::Iv128(FixedLength::from(from));
    match key.less_safe_encrypt(bytes, context) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::failed("cannot encrypt: the cipher refused")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting;

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = at as u8);
        }
    }

    /// The counter has 128 bits: near the end of its lower half it carries into the upper.
    #[test]
    fn a_counter_carries_into_its_upper_half() {
        struct Ones;
        impl Entropy for Ones {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(0xff);
                bytes[..8].fill(0);
            }
        }
        let mut key = [7; 64];
        key[48..].fill(0); // without Poly1305's r the tag is the encrypted nonce alone
        let sealed = Cipher::new(&key).seal(&[0; 32], &Ones).unwrap();
        let block = |counter: [u8; 16]| {
            let mut block = [0; 16];
            let text = Cipher::new(&key);
            stream(&text.0.text, &counter, &mut block).unwrap();
            block
        };
        let mut next = [0; 16];
        next[7] = 1;
        assert_eq!(sealed[NONCE_BYTES + 16..NONCE_BYTES + 32], block(next));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let cipher = Cipher::new(&[7; 64]);
        let sealed = cipher.seal(b"registro", &Counting).unwrap();
        assert_eq!(cipher.open_in_place(&mut sealed.clone()).unwrap(), b"registro");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(cipher.open_in_place(&mut changed).is_err(), "bit {bit}");
        }
        assert!(Cipher::new(&[8; 64]).open_in_place(&mut sealed.clone()).is_err());
        assert!(cipher.open_in_place(&mut sealed[..31].to_vec()).is_err());
    }
}
