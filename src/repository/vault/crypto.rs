//! The cipher of the format: AES-256 in counter mode, authenticated by Poly1305-AES (restic design
//! document, "Keys, Encryption and MAC"). A sealed text is nonce (16 bytes), ciphertext, tag (16).

use aes256ctr_poly1305aes::aead::AeadInPlace;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key, Nonce, Tag};

use crate::error::{Error, Result};
use crate::ports::Entropy;

pub const NONCE_BYTES: usize = 16;
pub const TAG_BYTES: usize = 16;
/// What sealing adds to a text.
pub const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// Encrypts and authenticates. Wiped from memory when dropped (the cipher sees to it).
#[derive(Clone)]
pub struct Cipher(Aes256CtrPoly1305Aes);

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher(secret)")
    }
}

impl Cipher {
    /// From 64 secret bytes: 32 encrypt, 16 are Poly1305-AES's `k`, 16 its `r`.
    pub fn new(key: &[u8; 64]) -> Cipher {
        Cipher(Aes256CtrPoly1305Aes::new(Key::from_slice(key)))
    }

    /// Seals in place: `sealed` is 16 bytes of room, the text, 16 bytes of room.
    pub fn seal_in_place(&self, sealed: &mut [u8], entropy: &dyn Entropy) -> Result<()> {
        let Some(text_bytes) = sealed.len().checked_sub(OVERHEAD_BYTES) else {
            return Err(Error::failed("no room for a nonce and a tag"));
        };
        let (nonce, rest) = sealed.split_at_mut(NONCE_BYTES);
        let (text, tag) = rest.split_at_mut(text_bytes);
        entropy.fill(nonce);
        // The counter starts at the nonce. The format counts in 128 bits, the cipher's crate in
        // the lower 64: away from their end the two are the same.
        if nonce[8..12] == [0xff; 4] {
            nonce[8] = 0x7f;
        }
        let made = self
            .0
            .encrypt_in_place_detached(Nonce::from_slice(nonce), &[], text)
            .map_err(|_| Error::failed("cannot encrypt: the text is too long"))?;
        tag.copy_from_slice(&made);
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
        let Some(text_bytes) = sealed.len().checked_sub(OVERHEAD_BYTES) else {
            return Err(Error::failed(format!("{} bytes are too few to be sealed", sealed.len())));
        };
        let (nonce, rest) = sealed.split_at_mut(NONCE_BYTES);
        let (text, tag) = rest.split_at_mut(text_bytes);
        self.0
            .decrypt_in_place_detached(Nonce::from_slice(nonce), &[], text, Tag::from_slice(tag))
            .map_err(|_| Error::failed("the authentication code (MAC) does not match"))?;
        Ok(text)
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

    #[test]
    fn a_nonce_near_the_end_of_its_counter_is_moved_away() {
        struct Ones;
        impl Entropy for Ones {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(0xff);
            }
        }
        let cipher = Cipher::new(&[7; 64]);
        let mut sealed = cipher.seal(&[1; 100], &Ones).unwrap();
        assert_eq!(sealed[..NONCE_BYTES], [&[0xff; 8][..], &[0x7f], &[0xff; 7]].concat());
        assert_eq!(cipher.open_in_place(&mut sealed).unwrap(), [1; 100]);
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
