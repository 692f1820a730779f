//! The directory as a text file: one user a line, `user island [login-name]`, blanks between, `#` comments.
//!
//! For small sites, tests and migrations. Names are octets and compared exactly. The file is in memory; a new version
//! is seen on the first lookup that comes a second or more after the last look, and is used as a whole or, with any
//! bad line, not at all. Replace the file by renaming a finished one over it: a half-written one is a version too.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{info, warn};

use super::cache::Answer;
use super::{LookupError, Route};
use crate::names::{IslandName, UserName};

/// The file is looked at no more often than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Largest file, in octets: about ten million users.
const MAX_FILE_LEN: u64 = 512 * 1024 * 1024;
/// Longest island name, in octets.
const MAX_ISLAND_LEN: usize = 255;
/// So many bad lines of a new version are logged.
const MAX_LOGGED: usize = 3;
/// So many bad lines are told; the others are counted.
const MAX_TOLD: usize = 20;

/// The file directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The operating system's reason.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The first bad lines, one a line of the text, and the number of the others.
    #[error("{}", lines(path, bad, MAX_TOLD).join("\n"))]
    BadLines {
        /// The file.
        path: PathBuf,
        /// All of them, in the file's order.
        bad: Vec<BadLine>,
    },
}

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
    /// The trouble.
    pub problem: LineProblem,
}

/// What is wrong with a line, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// One field only.
    #[error("no island: write user, island and, where it differs, the login name")]
    NoIsland,
    /// Four fields or more.
    #[error("more than three fields: write user, island and login name, and # before a comment")]
    TooMany,
    /// Not a [`UserName`].
    #[error("the {0} is not a name of 1 to {max} octets without NUL and CR", max = UserName::MAX_LEN)]
    BadName(&'static str),
    /// Not text, or too long.
    #[error("the island is not UTF-8 text of at most {MAX_ISLAND_LEN} octets")]
    BadIsland,
    /// As some editors begin a file, and several put together have it amidst; it would become part of the name.
    #[error("begins with a byte order mark: save the file without it")]
    ByteOrderMark,
    /// A login there could only fail. Found by [`check`] alone: the directory itself knows no islands.
    #[error("no island has the name or match \"{0}\": mend it, or add the island")]
    UnknownIsland(IslandName),
    /// A route that nobody has. Found by [`idle_lines`] alone.
    #[error("no login is looked up as {0}: the rules of [usernames] make another name of it; write that one")]
    NeverLookedUp(UserName),
    /// The same name again.
    #[error("{user} is on line {first} already: remove one of them")]
    Duplicate {
        /// Who.
        user: UserName,
        /// Where.
        first: usize,
    },
}

/// Reads a file as a directory would, and says everything that is wrong with it; islands that `is_island` does not
/// know are wrong too. Blocks.
///
/// # Errors
/// It cannot be read, or has bad lines.
pub fn check(path: &Path, is_island: &dyn Fn(&IslandName) -> bool) -> Result<(), FileError> {
    match look(path, None, is_island) {
        Look::Changed(_, routes) => routes.map(drop),
        Look::Unreadable(reason) => Err(FileError::Unreadable { path: path.to_owned(), reason }),
        Look::Same => Ok(()),
    }
}

/// The lines of a file whose users no login is looked up as; the first ones, and how many more there are. Nothing of a
/// file that cannot be read. Blocks.
pub fn idle_lines(path: &Path, may_look_up: &dyn Fn(&UserName) -> bool) -> Vec<String> {
    let Ok(Some((_, content))) = read_unless(path, None) else { return Vec::new() };
    let idle = (1..).zip(content.split(|&octet| octet == b'\n')).filter_map(|(line, text)| {
        let (user, _) = parse_line(text).ok()??;
        (!may_look_up(&user)).then_some(BadLine { line, problem: LineProblem::NeverLookedUp(user) })
    });
    lines(path, &idle.collect::<Vec<_>>(), MAX_TOLD)
}

/// The file, in memory.
pub(super) struct File {
    path: PathBuf,
    name: Arc<str>,
    /// Locked while somebody looks at the file; nobody waits for it.
    looked: tokio::sync::Mutex<Looked>,
    current: RwLock<Current>,
    /// Counts the versions that were taken over.
    edition: AtomicU64,
}

type Routes = HashMap<UserName, Route>;

#[derive(Clone)]
struct Current {
    routes: Arc<Routes>,
    /// Why the file cannot be read now.
    trouble: Option<Arc<str>>,
}

struct Looked {
    at: Instant,
    version: Version,
}

/// Tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Version {
    inode: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a look at the file brought.
enum Look {
    Same,
    Changed(Version, Result<Routes, FileError>),
    Unreadable(String),
}

impl File {
    /// The path, for messages.
    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Reads the file, blocking: for the start of the program.
    pub(super) fn new(settings: &Settings) -> Result<Self, FileError> {
        let path = settings.path.clone();
        let (version, routes) = match look(&path, None, &|_| true) {
            Look::Changed(version, routes) => (version, routes?),
            Look::Unreadable(reason) => return Err(FileError::Unreadable { path, reason }),
            Look::Same => return Err(FileError::Unreadable { path, reason: "it was not read".into() }),
        };
        Ok(Self {
            name: Arc::from(path.display().to_string()),
            path,
            looked: tokio::sync::Mutex::new(Looked { at: Instant::now(), version }),
            current: RwLock::new(Current { routes: Arc::new(routes), trouble: None }),
            edition: AtomicU64::new(0),
        })
    }

    /// Which version of the file is in use, after a look at the file when it is due.
    pub(super) async fn edition(&self) -> u64 {
        self.look_if_due().await;
        self.edition.load(Ordering::Acquire)
    }

    /// From memory, after a look at the file when it is due.
    pub(super) async fn ask(&self, user: &UserName) -> Answer {
        self.look_if_due().await;
        let Current { routes, trouble } = self.current();
        if let Some(reason) = trouble {
            return Err(LookupError::Unavailable(reason));
        }
        let route = routes.get(user).ok_or(LookupError::NotFound)?;
        Ok((route.clone(), Arc::clone(&self.name)))
    }

    /// One lookup looks; those that come meanwhile use what is in memory.
    async fn look_if_due(&self) {
        let Ok(mut looked) = self.looked.try_lock() else { return };
        if looked.at.elapsed() < LOOK_EVERY {
            return;
        }
        let (path, version) = (self.path.clone(), looked.version);
        let Ok(seen) = spawn_blocking(move || look(&path, Some(version), &|_| true)).await else { return };
        looked.at = Instant::now();
        match seen {
            Look::Same => self.is_readable(),
            Look::Unreadable(reason) => self.is_unreadable(&reason),
            Look::Changed(version, routes) => {
                looked.version = version;
                self.is_readable();
                let old = self.take_over(routes);
                // There may be millions, which a thread of sessions does not free.
                spawn_blocking(move || drop(old));
            }
        }
    }

    /// The routes that are of no use any more.
    fn take_over(&self, routes: Result<Routes, FileError>) -> Option<Arc<Routes>> {
        match routes {
            Ok(routes) => {
                info!(file = &*self.name, users = routes.len(), "directory file read again");
                let mut old = Arc::new(routes);
                self.change(|current| std::mem::swap(&mut current.routes, &mut old));
                self.edition.fetch_add(1, Ordering::Release);
                return Some(old);
            }
            Err(FileError::Unreadable { reason, .. }) => self.is_unreadable(&reason),
            Err(FileError::BadLines { bad, .. }) => {
                let first = lines(&self.path, &bad, MAX_LOGGED).join("; ");
                warn!(
                    file = &*self.name,
                    bad_lines = bad.len(),
                    first,
                    "new directory file is not used, the old one is"
                );
            }
        }
        None
    }

    fn is_readable(&self) {
        if self.current().trouble.is_some() {
            info!(file = &*self.name, "directory file can be read again");
            self.change(|current| current.trouble = None);
        }
    }

    fn is_unreadable(&self, reason: &str) {
        if self.current().trouble.is_none() {
            warn!(file = &*self.name, reason, "directory file cannot be read");
        }
        let trouble = Arc::from(format!("{}: {reason}", self.name));
        self.change(|current| current.trouble = Some(trouble));
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Current)) {
        change(&mut self.current.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Version {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads the file unless it is the known version. Blocks.
fn look(path: &Path, known: Option<Version>, is_island: &dyn Fn(&IslandName) -> bool) -> Look {
    match read_unless(path, known) {
        Ok(None) => Look::Same,
        Ok(Some((version, content))) => {
            let routes = parse(&content, is_island).map_err(|bad| FileError::BadLines { path: path.to_owned(), bad });
            Look::Changed(version, routes)
        }
        Err(error) => Look::Unreadable(error.to_string()),
    }
}

fn read_unless(path: &Path, known: Option<Version>) -> std::io::Result<Option<(Version, Vec<u8>)>> {
    // Before it is opened, because opening a pipe would wait.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    if known == Some(Version::of(&metadata)) {
        return Ok(None);
    }
    let file = std::fs::File::open(path)?;
    let version = Version::of(&file.metadata()?);
    if version.len > MAX_FILE_LEN {
        return Err(std::io::Error::other(format!("larger than {MAX_FILE_LEN} octets")));
    }
    let mut content = Vec::new();
    file.take(MAX_FILE_LEN).read_to_end(&mut content)?;
    Ok(Some((version, content)))
}

/// All the routes, or all the bad lines.
fn parse(content: &[u8], is_island: &dyn Fn(&IslandName) -> bool) -> Result<Routes, Vec<BadLine>> {
    let mut routes = Routes::new();
    let mut lines_of = HashMap::new();
    let mut bad = Vec::new();
    for (line, text) in (1..).zip(content.split(|&octet| octet == b'\n')) {
        let mut tell = |problem| bad.push(BadLine { line, problem });
        match parse_line(text) {
            Ok(None) => {}
            Ok(Some((user, route))) => {
                if !is_island(&route.island) {
                    tell(LineProblem::UnknownIsland(route.island.clone()));
                }
                match lines_of.entry(user.clone()) {
                    Entry::Vacant(entry) => {
                        entry.insert(line);
                        routes.insert(user, route);
                    }
                    Entry::Occupied(entry) => tell(LineProblem::Duplicate { user, first: *entry.get() }),
                }
            }
            Err(problem) => tell(problem),
        }
    }
    if bad.is_empty() { Ok(routes) } else { Err(bad) }
}

/// `None`: nothing on this line. A comment begins with a field that begins with `#`, so that names may contain one.
fn parse_line(text: &[u8]) -> Result<Option<(UserName, Route)>, LineProblem> {
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(LineProblem::ByteOrderMark);
    }
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let fields = text.split(|octet| matches!(octet, b' ' | b'\t')).filter(|field| !field.is_empty());
    let fields: Vec<&[u8]> = fields.take_while(|field| !field.starts_with(b"#")).take(4).collect();
    let (user, island, login) = match *fields.as_slice() {
        [] => return Ok(None),
        [_] => return Err(LineProblem::NoIsland),
        [user, island] => (user, island, None),
        [user, island, login] => (user, island, Some(login)),
        _ => return Err(LineProblem::TooMany),
    };
    let user = UserName::new(user).ok_or(LineProblem::BadName("user"))?;
    let island = std::str::from_utf8(island).ok().filter(|island| island.len() <= MAX_ISLAND_LEN);
    let island = IslandName::new(island.ok_or(LineProblem::BadIsland)?);
    let login = match login {
        Some(login) => Some(UserName::new(login).ok_or(LineProblem::BadName("login name"))?),
        None => None,
    };
    Ok(Some((user, Route { island, login })))
}

/// The first `most` of them, and how many more there are.
fn lines(path: &Path, bad: &[BadLine], most: usize) -> Vec<String> {
    let told = bad.iter().take(most).map(|bad| format!("{}:{bad}", path.display()));
    let more = bad.len().checked_sub(most).filter(|more| *more > 0).map(|more| format!("and {more} more"));
    told.chain(more).collect()
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.problem)
    }
}

#[cfg(test)]
mod tests;
