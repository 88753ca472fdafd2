//! Unpredictable bytes.

/// Where keys, nonces and ids get their bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` from the system's cryptographic generator. Cannot fail: an adapter without
    /// entropy must end the process rather than return anything predictable.
    fn fill(&self, bytes: &mut [u8]);
}
