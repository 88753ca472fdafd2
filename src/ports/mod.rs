//! Small traits for what the world must do. Their comments are the contract each adapter meets;
//! one contract suite a port runs over every adapter (`tests/contract/`).

pub mod clock;
pub mod entropy;
pub mod http;
pub mod mail;
pub mod postgres;
pub mod retained;
pub mod server;
pub mod store;

pub use clock::Clock;
pub use entropy::Entropy;
pub use http::Http;
pub use mail::Mail;
pub use store::Store;
