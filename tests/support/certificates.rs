//! A certificate authority and a server certificate for 127.0.0.1 and localhost, by `openssl`.

use std::path::Path;

use super::command::run;
use super::servers::Runner;

/// Writes `ca.crt`, `ca.key`, `server.crt` and `server.key` into `dir`, owned by `runner`:
/// PostgreSQL refuses a key that others may read.
pub(super) fn make(dir: &Path, runner: Runner) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    openssl(
        runner,
        dir,
        &["req", "-x509", "-days", "2", "-subj", "/CN=test authority", "-out", "ca.crt"],
        &[&key[..], &["-keyout", "ca.key", "-addext", "keyUsage=critical,keyCertSign"]].concat(),
    );
    openssl(
        runner,
        dir,
        &["req", "-x509", "-days", "2", "-subj", "/CN=localhost", "-out", "server.crt"],
        &[
            &key[..],
            &["-keyout", "server.key", "-CA", "ca.crt", "-CAkey", "ca.key"],
            &["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            &["-addext", "basicConstraints=critical,CA:FALSE"],
        ]
        .concat(),
    );
}

fn openssl(runner: Runner, dir: &Path, first: &[&str], rest: &[&str]) {
    let mut command = runner.command(Path::new("openssl"));
    command.args(first).args(rest).current_dir(dir);
    run(&mut command, "").expect_success("openssl");
}
