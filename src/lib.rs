//! Fenice: backup, recovery and continuity for PostgreSQL, proven by restoring.
//!
//! Modules in the order data passes through them. Who may import whom is checked by
//! `tests/tidy.rs`; `model`, `config` and `plan` are pure: no I/O, clock, randomness or async.

pub mod error;
pub mod model;

pub mod config;
pub mod plan;

pub mod ports;

pub mod repository;

pub mod catalog;

pub mod engines;

pub mod jobs;

pub mod drill;

pub mod evidence;

pub mod notify;

pub mod adapters;

pub mod demo;

pub mod web;

pub mod cli;

pub mod daemon;
