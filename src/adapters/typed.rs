//! A secret from standard input: typed on a terminal, which does not show it, or piped in.

use std::io::{BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::error::{Attempt, Result};

/// More than anybody types; what follows is not read.
const BYTES_MAX: u64 = 64 << 10;

/// Reads a line from a terminal after showing `prompt` on standard error; else all of the input.
///
/// # Errors
/// It cannot be read, or is not UTF-8.
pub fn read_secret(prompt: &str) -> Result<SecretString> {
    let what = || "read from standard input".to_owned();
    let input = std::io::stdin();
    let mut text = Zeroizing::new(String::new());
    if input.is_terminal() {
        let quiet = Quiet::begin().attempt(|| "keep the terminal from showing it".to_owned())?;
        // Whoever types may do so unasked.
        let _ = write!(std::io::stderr(), "{prompt}");
        input.lock().take(BYTES_MAX).read_line(&mut text).attempt(what)?;
        drop(quiet);
        let _ = writeln!(std::io::stderr());
    } else {
        input.lock().take(BYTES_MAX).read_to_string(&mut text).attempt(what)?;
    }
    Ok(SecretString::from(text.as_str()))
}

/// The terminal shows nothing of what is typed until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> std::io::Result<Quiet> {
        let before = tcgetattr(std::io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // The terminal is gone if this fails.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
