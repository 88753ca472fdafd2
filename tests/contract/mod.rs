//! One suite a port, run over every adapter.

mod bucket;
mod store;
mod transfer;
