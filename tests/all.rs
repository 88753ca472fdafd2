//! The one test binary. Each module says what it needs; none depends on another, on a clock's
//! speed, or on a network beyond 127.0.0.1.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test ends where it fails")]

mod support; // real servers: clusters of several versions, free ports

mod tidy; // imports, first lines, sizes

mod config; // every problem of a file at once
mod notify; // who is told what, by a mail server and by webhooks
mod plan; // recovery plans, log records
mod report; // drill reports as text, JSON, HTML

mod contract; // one suite a port, over every adapter
mod vault; // restic v2, against restic and rustic_core
mod watch; // what the daemon measures, and what of it somebody should hear
mod web; // metrics, alerts, dashboard, and the server of the three
mod wire; // the PostgreSQL client, against servers

mod cli; // the binary, as operators use it
mod daemon; // as it runs under systemd
mod demo; // the throw-away PostgreSQL, end to end
mod engine; // snapshot, ship, restore, against clusters
mod jobs; // standing orders carried out, through crashes
mod package; // the Debian package, and its units
