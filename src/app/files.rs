//! Which files with certificates a configuration names, and whether they are still those that were read.
//!
//! A file is looked at through all links, so that a link that points elsewhere and a file that was renamed over another
//! are other files. Nothing is opened: what has not been touched has not changed.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::Settings;
use crate::directory::SourceSettings;
use crate::routing::NodeTls;
use crate::server::ListenerTls;

/// What all files looked like, by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prints(BTreeMap<PathBuf, Option<Print>>);

/// What changes when a file is another one, or is written to, or may be read by somebody else. Nothing can be set back
/// that moves the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Print {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Prints {
    /// Looks at all of them. Blocks.
    pub(super) fn take(settings: &Settings) -> Self {
        Self(paths(settings).into_iter().map(|path| (path.to_owned(), Print::take(path))).collect())
    }

    /// Whether this file is the same in both; absent, the system's own, which are not watched.
    pub(super) fn agree(&self, other: &Self, path: Option<&Path>) -> bool {
        path.is_none_or(|path| self.0.get(path) == other.0.get(path))
    }

    /// Those that differ.
    pub(super) fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Path> {
        self.0.keys().map(PathBuf::as_path).filter(|path| !self.agree(other, Some(path)))
    }
}

impl Print {
    /// `None`: it is not there, or cannot be looked at.
    fn take(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

/// The files that are read where TLS is set up.
fn paths(settings: &Settings) -> Vec<&Path> {
    let mut paths: Vec<&Path> = Vec::new();
    let tls = settings.tls.iter().flat_map(|tls| &tls.certificates);
    paths.extend(tls.flat_map(|files| [files.chain.as_path(), files.key.as_path()]));
    let own = settings.admin.certificate.iter().filter(|_| settings.admin.address.is_some());
    paths.extend(own.flat_map(|files| [files.chain.as_path(), files.key.as_path()]));
    let listeners = settings.listeners.iter().filter(|it| it.tls != ListenerTls::Off);
    paths.extend(listeners.filter_map(|it| it.client_ca.as_deref()));
    let islands = settings.islands.iter().filter(|island| island.tls != NodeTls::Off);
    paths.extend(islands.filter_map(|island| island.ca.as_deref()));
    if let SourceSettings::Ldap(ldap) = &settings.directory.source {
        paths.extend(ldap.ca.as_deref());
    }
    paths
}
