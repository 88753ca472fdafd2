//! Secrets from where the configuration says they stand.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::error::{Attempt, Error, Kind, Result};
use crate::model::SecretRef;

/// More than any key or password; keeps a wrong path from filling memory.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Reads a secret, without the line break that editors leave at its end.
///
/// # Errors
/// Of kind `Config`: it is not there, is empty, is not UTF-8, exceeds 64 KiB, or, for a file,
/// others than its owner may use it.
pub fn read_secret(reference: &SecretRef) -> Result<SecretString> {
    read_with(reference, &|name| std::env::var_os(name))
}

fn read_with(
    reference: &SecretRef,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<SecretString> {
    let text = match reference {
        SecretRef::Credential(name) => read_file(&credential(name, environment)?, false),
        SecretRef::File(path) => read_file(path, true),
        SecretRef::Env(name) => read_variable(name, environment),
    };
    let text = text.map_err(|error| error.with_kind(Kind::Config))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        let what = format!("the secret {} is empty", described(reference));
        return Err(Error::new(Kind::Config, what).hint("Put the secret where it is expected."));
    }
    Ok(SecretString::from(secret))
}

/// Where systemd put a credential (systemd.exec(5), "Credentials").
fn credential(name: &str, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let folder = environment("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        Error::new(Kind::Config, format!("there is no credential `{name}`: not run by systemd"))
            .hint(format!("Run it as a unit with LoadCredential={name}:/path, or use `file`."))
    })?;
    Ok(Path::new(&folder).join(name))
}

/// systemd keeps credentials from others by itself (`checked` is false); files are checked.
/// The permissions are those of the opened file, so that none can take its place meanwhile.
fn read_file(path: &Path, checked: bool) -> Result<Zeroizing<String>> {
    let shown = path.display();
    let reading = || format!("read the secret in {shown}");
    let file = File::open(path).attempt(reading)?;
    let facts = file.metadata().attempt(reading)?;
    if !facts.is_file() {
        return Err(Error::failed(format!("{shown} is not a file")).hint("Name the file itself."));
    }
    let mode = facts.permissions().mode() & 0o7777;
    if checked && mode & 0o077 != 0 {
        let what = format!("others than its owner may use the secret in {shown} (mode {mode:04o})");
        return Err(Error::refused(what).hint(format!("Run: chmod 600 {shown}")));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).attempt(reading)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        let hint = "Is this the right file?";
        return Err(Error::failed(format!("the secret in {shown} exceeds 64 KiB")).hint(hint));
    }
    Ok(text)
}

fn read_variable(
    name: &str,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Zeroizing<String>> {
    let hint = format!("Set `{name}` for the daemon, or use a credential.");
    let Some(value) = environment(name) else {
        let what = format!("the environment has no variable `{name}`");
        return Err(Error::failed(what).hint(hint));
    };
    let text = value
        .into_string()
        .map_err(|_| Error::failed(format!("the variable `{name}` is not UTF-8")).hint(hint))?;
    Ok(Zeroizing::new(text))
}

fn described(reference: &SecretRef) -> String {
    match reference {
        SecretRef::Credential(name) => format!("of the credential `{name}`"),
        SecretRef::File(path) => format!("in {}", path.display()),
        SecretRef::Env(name) => format!("in the variable `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::fs::Permissions;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_private_file_is_read_without_its_line_break() {
        for (text, secret) in
            [("hush", "hush"), ("hush\n", "hush"), ("hush\r\n", "hush"), ("a\nb\n\n", "a\nb\n")]
        {
            let (_folder, path) = written(text, 0o600);
            let read = read_secret(&SecretRef::File(path)).unwrap();
            assert_eq!(read.expose_secret(), secret);
            assert!(!format!("{read:?}").contains("hush"));
        }
    }

    #[test]
    fn a_file_that_others_can_use_is_refused() {
        for mode in [0o640, 0o604, 0o620, 0o666] {
            let (_folder, path) = written("hush", mode);
            let error = read_secret(&SecretRef::File(path.clone())).unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{mode:o}");
            let hint = format!("Run: chmod 600 {}", path.display());
            assert_eq!(error.hint_text(), Some(hint.as_str()));
            assert!(!format!("{error:?}").contains("hush"));
        }
    }

    #[test]
    fn absent_empty_and_oversized_secrets_are_refused() {
        let (folder, path) = written("\n", 0o600);
        let large = written(&"x".repeat(65_537), 0o600);
        for path in [path, large.1.clone(), folder.path().join("absent"), folder.path().into()] {
            let error = read_secret(&SecretRef::File(path.clone())).unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{}", path.display());
        }
    }

    #[test]
    fn credentials_come_from_systemds_directory_whatever_their_mode() {
        let (folder, path) = written("hush\n", 0o440);
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let directory = folder.path().as_os_str().to_owned();
        let systemd = |asked: &str| (asked == "CREDENTIALS_DIRECTORY").then(|| directory.clone());
        let read = read_with(&SecretRef::Credential(name.clone()), &systemd).unwrap();
        assert_eq!(read.expose_secret(), "hush");
        let error = read_with(&SecretRef::Credential(name), &|_| None).unwrap_err();
        assert!(error.chain().contains("not run by systemd"), "{error:?}");
    }

    #[test]
    fn variables_are_read() {
        let set = |name: &str| (name == "FENICE_TEST").then(|| OsString::from("hush"));
        let read = read_with(&SecretRef::Env("FENICE_TEST".to_owned()), &set).unwrap();
        assert_eq!(read.expose_secret(), "hush");
        let error = read_with(&SecretRef::Env("OTHER".to_owned()), &set).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(read_secret(&SecretRef::Env("PATH".to_owned())).is_ok());
    }
}
