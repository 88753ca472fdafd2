//! One suite a port, run over every adapter.

mod bucket;
mod retain;
mod store;
mod transfer;
