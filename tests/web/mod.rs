//! What the daemon answers over HTTP, and that documents, alerts and dashboard say the same.

mod documents; // every name is exported, explained and watched
mod exposition; // facts to text
mod named; // reads alerts, dashboard and documents for what they name
mod promtool; // Prometheus' own checker on all of it
mod runbooks; // links and commands that are there
mod sample; // facts of everything there is
mod server; // over TCP, with clients that behave and clients that do not
