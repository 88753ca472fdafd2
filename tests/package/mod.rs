//! The Debian package and the units in it: what is there, and that systemd, man and lintian agree.

mod contents; // what it installs, and what its documents lead to
mod units; // what systemd makes of the units

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::{Finished, Scratch, run};

/// The package of the program under test, and all that is in it, unpacked.
struct Package {
    scratch: Scratch,
    deb: PathBuf,
}

impl Package {
    fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    fn read(&self, name: &str) -> String {
        let path = self.root().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// Made once for all tests, since the program is large.
fn package() -> &'static Package {
    static PACKAGE: OnceLock<Package> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let scratch = Scratch::new();
        let deb = make(&scratch.path().join("made"));
        let root = scratch.path().join("root");
        run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root), "").expect_success("unpack");
        Package { scratch, deb }
    })
}

/// Makes a package into the folder.
fn make(output: &Path) -> PathBuf {
    let mut command = Command::new(source("scripts/package"));
    command.args(["--binary", env!("CARGO_BIN_EXE_fenice"), "--output"]).arg(output);
    // A clone without its history is packaged too, and without compression at once.
    command.env("SOURCE_DATE_EPOCH", "1767225600").env("DPKG_DEB_COMPRESSOR_TYPE", "none");
    let printed = run(command.env("CARGO", env!("CARGO")), "").expect_success("make a package");
    PathBuf::from(printed.trim())
}

/// A file of the source tree.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn fenice(arguments: &[&str]) -> Finished {
    run(Command::new(env!("CARGO_BIN_EXE_fenice")).args(arguments), "")
}
