//! What lies in the repository: key layout, vault, log archive, manifests, secrets.

pub mod vault;
