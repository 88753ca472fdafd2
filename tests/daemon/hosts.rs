//! Two hosts: one works, the other stands by and takes over.

use serde_json::Value;

use super::rig::{Place, ended, listen_anywhere};
use super::{Daemon, RESOURCE, protecting, small};

fn held(metrics: &str, name: &str) -> bool {
    metrics.lines().any(|line| line.starts_with(name) && line.ends_with(" 1"))
}

fn second_host(first: &Place, cluster: &crate::support::Cluster) -> Place {
    let other = first.another_host();
    other.configure(&cluster.conninfo(), &cluster.data_dir(), "");
    listen_anywhere(&other);
    other
}

#[test]
fn a_second_host_stands_by_begins_nothing_and_takes_over() {
    let cluster = small().start();
    let first_place = protecting(&cluster, "");
    let second_place = second_host(&first_place, &cluster);
    let first = Daemon::start(&first_place);
    first.wait_for_end("snapshot", "done");
    let second = Daemon::begin(&second_place, &["--stand-by"], &[]);
    second.systemd.wait_for("READY=1");
    crate::support::wait_for("the second host's turn to wait", || {
        held(&second.get("/metrics").1, "fenice_lease_standing_by{")
    });
    assert_eq!(second.get("/readyz").0, 200);
    let jobs = second.wait_for_jobs("what is due and held", |jobs| {
        let waiting = jobs["waiting"].as_array().unwrap();
        waiting.iter().any(|job| job["held"].as_str().is_some_and(|why| why.contains("not ours")))
    });
    assert_eq!(jobs["last"], Value::Array(Vec::new()));
    first.stop();
    // What it left in order is free at once.
    second.wait_for_end("snapshot", "done");
    assert!(held(&second.get("/metrics").1, "fenice_lease_held{"));
    let shipped = second_place.json(0, &["ship", RESOURCE, "--once"]);
    assert!(shipped["stored_until"].is_string(), "{shipped}");
    // Not told to stand by, the first one is not ready: nobody meant it to wait.
    let mut first = Daemon::start(&first_place);
    crate::support::wait_for("a reason", || {
        let (status, reasons) = first.get("/readyz");
        status == 503 && reasons.contains("writes to this repository")
    });
    let jobs = first_place.json(0, &["jobs"]);
    assert!(ended(&jobs, "snapshot").count() >= 1, "its own journal stays");
    first.signal(rustix::process::Signal::TERM);
    assert_eq!(first.end(), Some(0), "{}", first.log());
    second.stop();
}
