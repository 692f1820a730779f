//! The one type that holds a password or anything made from it.
//!
//! It is wiped when dropped and implements neither `Debug` nor `Display`, in any build: a secret in a log line does
//! not compile. Whoever needs the octets says so with [`Secret::expose`]. The files that passwords are read from are read
//! here.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Longest password in a file, in octets.
const MAX_PASSWORD_LEN: usize = 1024;

/// Octets that must never be printed: a password, a SASL response, a command that carries one.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the octets over; they are wiped when the secret is dropped.
    pub fn new(octets: Vec<u8>) -> Self {
        #[cfg(test)]
        tests::watch(&octets);
        Self(Zeroizing::new(octets))
    }

    /// The octets, for the one place that puts them on the wire.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Why a file's content cannot be a password. Nothing of it is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The operating system's reason, or it is no regular file.
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nobody has an empty password; an LDAP bind with one succeeds anonymously (RFC 4513 §5.1.2), and then finds nobody.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// Some other file, most likely.
    #[error("{} is longer than {MAX_PASSWORD_LEN} octets", .0.display())]
    TooLong(PathBuf),
    /// Passwords are UTF-8 (RFC 4513 §5.1.3, RFC 4616 §2).
    #[error("{} is not UTF-8", .0.display())]
    NotText(PathBuf),
}

/// The file's content without its last line end: UTF-8 text of 1 to 1024 octets. Blocks.
///
/// # Errors
/// It cannot be read, or is no password that one could log in or bind with.
pub fn read_password(path: &Path) -> Result<Secret, PasswordError> {
    let octets = read_file(path)
        .map_err(|error| PasswordError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
    match octets.expose() {
        [] => Err(PasswordError::Empty(path.to_owned())),
        octets if octets.len() > MAX_PASSWORD_LEN => Err(PasswordError::TooLong(path.to_owned())),
        octets if std::str::from_utf8(octets).is_err() => Err(PasswordError::NotText(path.to_owned())),
        _ => Ok(octets),
    }
}

/// As much of the file as a password may have, and a little more.
fn read_file(path: &Path) -> std::io::Result<Secret> {
    // Before it is opened, because opening a pipe would wait.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    // Never grown, so that no copy of it is left behind.
    let mut octets = Vec::with_capacity(MAX_PASSWORD_LEN + 3);
    let done = std::fs::File::open(path)?.take(MAX_PASSWORD_LEN as u64 + 3).read_to_end(&mut octets);
    strip_line_end(&mut octets);
    let password = Secret::new(octets);
    done.map(|_| password)
}

fn strip_line_end(octets: &mut Vec<u8>) {
    if octets.last() == Some(&b'\n') {
        octets.pop();
        if octets.last() == Some(&b'\r') {
            octets.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever makes a secret in a test of this crate is watched for it.
    pub(super) fn watch(octets: &[u8]) {
        crate::testkit::log::watch::secret(octets);
    }

    #[test]
    fn a_password_is_its_file_without_its_last_line_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let longest = vec![b'x'; MAX_PASSWORD_LEN];
        let longest_line = [&longest, &b"\r\n"[..]].concat();
        let cases: [(&[u8], &[u8]); 7] = [
            (b"pw", b"pw"),
            (b"pw\n", b"pw"),
            (b"pw\r\n", b"pw"),
            (b" p w \n\n", b" p w \n"),
            (b"pw\r", b"pw\r"),
            (&longest, &longest),
            (&longest_line, &longest),
        ];
        for (content, password) in cases {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read_password(&path).map_err(|error| error.to_string()).unwrap().expose(), password);
        }
    }

    #[test]
    fn a_file_that_cannot_be_a_password_is_refused_by_name_and_nothing_of_it_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let error = |path: &Path| read_password(path).err().unwrap().to_string();
        let mut errors = vec![
            (error(&path), "secret cannot be read: No such file"),
            (error(directory.path()), "not a regular file"),
        ];
        let long = [b'x'; 5000];
        let cases: [(&[u8], &str); 6] = [
            (b"", "secret is empty"),
            (b"\n", "secret is empty"),
            (b"\r\n", "secret is empty"),
            (b"xxx\xff", "secret is not UTF-8"),
            (&long[..=MAX_PASSWORD_LEN], "secret is longer than 1024 octets"),
            (&long, "secret is longer than 1024 octets"),
        ];
        for (content, part) in cases {
            std::fs::write(&path, content).unwrap();
            errors.push((error(&path), part));
        }
        for (error, part) in errors {
            assert!(error.contains(part) && !error.contains("xxx"), "{error}");
        }
    }
}
