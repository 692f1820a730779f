//! The files and the user that proxy.toml names: whether mailferry will be able to use them.
//!
//! The same functions that load them for good are asked here, and what they return is dropped. This is the only part
//! of the configuration that touches files other than proxy.toml itself. A password is read and wiped, never shown.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::report::Problem;
use crate::admin::{TokenError, Tokens, check_token};
use crate::directory::file::{self, FileError};
use crate::directory::snapshot;
use crate::names::IslandName;
use crate::net::tls::{self, CertificateFiles};
use crate::privileges::{self, Account, AccountError};
use crate::secret::{PasswordError, read_password};

const READABLE: &str = "name a file that the user mailferry runs as can read";

/// A file that the configuration names, and where.
#[derive(Clone)]
pub(super) enum NamedFile {
    /// A certificate with its key.
    Certificate { files: CertificateFiles, chain_span: Range<usize>, key_span: Range<usize> },
    /// Certificate authorities.
    Authorities { path: PathBuf, span: Range<usize> },
    /// The system's, where there is TLS and no file is named.
    SystemAuthorities { span: Range<usize> },
    /// The password of whom this key names.
    Password { of: &'static str, path: PathBuf, span: Range<usize> },
    /// The directory, and the islands that it may name; `None` where they are not known.
    Routes { path: PathBuf, span: Range<usize>, islands: Option<BTreeSet<IslandName>> },
    /// Where the cache's routes are written, perhaps for the first time.
    Snapshot { path: PathBuf, span: Range<usize> },
    /// What operators show, where one is named.
    Tokens { operator: Option<(PathBuf, Range<usize>)>, read_only: Option<(PathBuf, Range<usize>)> },
    /// No file, but an entry of one: a group.
    Group { name: String, span: Range<usize> },
    /// The same: who mailferry is to be.
    User { settings: privileges::Settings, span: Range<usize>, group_span: Range<usize> },
}

/// What is wrong with the files.
pub(super) fn check(files: &[NamedFile]) -> Vec<Problem> {
    // Hundreds of files on some systems, so looked for at most once.
    let has_authorities = LazyCell::new(|| tls::system_roots().is_ok());
    let mut problems = Vec::new();
    for file in files {
        match file {
            NamedFile::Certificate { files, chain_span, key_span } => {
                problems.extend(certificate(files, chain_span, key_span));
            }
            NamedFile::Authorities { path, span } => {
                let remedy = "name a PEM file with certificates of authorities";
                problems.extend(tls::load_roots(path).err().map(|error| problem(span, error.to_string(), remedy)));
            }
            NamedFile::SystemAuthorities { span } => {
                if !*has_authorities {
                    let message = "TLS without `ca`, and the system has no certificate authorities";
                    problems.push(problem(
                        span,
                        message.to_owned(),
                        "install the package ca-certificates, or set `ca`",
                    ));
                }
            }
            NamedFile::Password { of, path, span } => problems.extend(password(of, path, span)),
            NamedFile::Routes { path, span, islands } => problems.extend(routes(path, span, islands.as_ref())),
            NamedFile::Snapshot { path, span } => problems.extend(kept_routes(path, span)),
            NamedFile::Tokens { operator, read_only } => problems.extend(tokens(operator.as_ref(), read_only.as_ref())),
            NamedFile::Group { name, span } => {
                let remedy = "name a group of this machine, of which mailferry's user is a member";
                let error = privileges::group(name).err();
                problems.extend(error.map(|error| problem(span, error.to_string(), remedy)));
            }
            NamedFile::User { settings, span, group_span } => problems.extend(user(settings, span, group_span)),
        }
    }
    problems
}

fn problem(span: &Range<usize>, message: String, remedy: &str) -> Problem {
    Problem { span: Some(span.clone()), message, remedy: remedy.to_owned(), other: None }
}

fn certificate(files: &CertificateFiles, chain_span: &Range<usize>, key_span: &Range<usize>) -> Vec<Problem> {
    let told = tls::certificate_problems(files).into_iter().map(|error| {
        let span = if error.path == files.key { key_span } else { chain_span };
        let remedy =
            "name a PEM file with the certificate and its intermediates, and one with the key that belongs to it";
        problem(span, error.to_string(), remedy)
    });
    told.collect()
}

fn password(of: &str, path: &Path, span: &Range<usize>) -> Option<Problem> {
    let error = read_password(path).err()?;
    let remedy = match error {
        PasswordError::Unreadable { .. } => READABLE.to_owned(),
        PasswordError::Empty(_) | PasswordError::TooLong(_) | PasswordError::NotText(_) => {
            format!("write the password of `{of}` into it, and nothing else")
        }
    };
    Some(problem(span, error.to_string(), &remedy))
}

fn tokens(operator: Option<&(PathBuf, Range<usize>)>, read_only: Option<&(PathBuf, Range<usize>)>) -> Vec<Problem> {
    const REMEDY: &str = "make it with `openssl rand -hex 32`, and write nothing else into the file";
    let told = |error: &TokenError, span: &Range<usize>| {
        let remedy = match error {
            TokenError::File(PasswordError::Unreadable { .. }) => READABLE,
            TokenError::File(PasswordError::Empty(_) | PasswordError::TooLong(_) | PasswordError::NotText(_))
            | TokenError::Short(_)
            | TokenError::Strange(_) => REMEDY,
            TokenError::Same => "give the operator another token than those who look",
        };
        problem(span, error.to_string(), remedy)
    };
    let each = [operator, read_only].into_iter().flatten();
    let problems: Vec<_> = each.filter_map(|(path, span)| Some(told(&check_token(path).err()?, span))).collect();
    match (operator, read_only) {
        (Some((operator, _)), Some((read_only, span))) if problems.is_empty() => {
            let both = Tokens::load(Some(operator), Some(read_only)).err();
            both.iter().map(|error| told(error, span)).collect()
        }
        _ => problems,
    }
}

fn routes(path: &Path, span: &Range<usize>, islands: Option<&BTreeSet<IslandName>>) -> Option<Problem> {
    let is_island = |name: &IslandName| islands.is_none_or(|islands| islands.contains(name));
    Some(match file::check(path, &is_island).err()? {
        FileError::Unreadable { path, reason } => {
            problem(span, format!("{} cannot be read: {reason}", path.display()), READABLE)
        }
        bad @ FileError::BadLines { .. } => problem(span, format!("the file has bad lines:\n{bad}"), "mend them"),
    })
}

/// The file need not be there yet, but its folder must.
fn kept_routes(path: &Path, span: &Range<usize>) -> Option<Problem> {
    let said = snapshot::check(path).err()?.to_string();
    let (cause, remedy) = said.rsplit_once(": ").unwrap_or((&said, ""));
    Some(problem(span, format!("{} cannot keep routes: {cause}", path.display()), remedy))
}

fn user(settings: &privileges::Settings, span: &Range<usize>, group_span: &Range<usize>) -> Option<Problem> {
    let error = Account::find(settings.user.as_ref()?, settings.group.as_deref()).err()?;
    let (at, remedy) = match error {
        AccountError::NoUser(_) => (span, "name a user of this machine, or make it with `adduser --system --group`"),
        AccountError::NoGroup(_) => (group_span, "name a group of this machine, or remove `group` for the user's own"),
        AccountError::Root(_) => (span, "name a user that has no rights, or remove `user` to stay root"),
        AccountError::Untold { .. } => (span, "look at what /etc/nsswitch.conf names for users"),
    };
    Some(problem(at, error.to_string(), remedy))
}
