//! The states that the operator has given to nodes, and the users whom he holds, over a restart.
//!
//! An entry stands for a node whose state is not the configuration's, together with what that was: whoever changes the
//! configuration has said something newer, and the entry is forgotten. A hold stands with the time of its end by the
//! clock on the wall. The file is replaced as a whole. One that cannot
//! be understood is set aside, so that nothing is lost that somebody could still read, and the start goes on.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{info, warn};

use super::sight::{OPERATOR_STATES, operator_word, path_of};
use crate::names::{Protocol, UserName};
use crate::routing::{Islands, NodePort, OperatorState};
use crate::session::Holds;
use crate::session::holds::Hold;

/// Largest file that is read, in octets: some ten thousand nodes.
const MAX_LEN: u64 = 1024 * 1024;

/// The longest hold.
pub(super) const HOLD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Who may read it.
const MODE: u32 = 0o640;

/// The version of its form.
const VERSION: u32 = 1;

/// The file, and what stands in it.
pub(super) struct StateFile {
    path: PathBuf,
    nodes: BTreeMap<String, Entry>,
    holds: Vec<KeptHold>,
    /// What stood in it when it was read, for nodes that there are, and not.
    read: (BTreeMap<String, Entry>, Vec<KeptHold>),
    /// Another process writes it.
    is_given_away: bool,
}

/// The whole file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// By `island/node`.
    nodes: BTreeMap<String, Entry>,
    /// Users who are held. Files from before there were any do not have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    holds: Vec<KeptHold>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    state: String,
    /// What the configuration said when the operator gave the state.
    configured: String,
}

/// One user who is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptHold {
    id: u64,
    user: String,
    account: Option<String>,
    /// In seconds since 1970.
    since: u64,
    /// In seconds since 1970.
    until: u64,
    move_to: Option<String>,
    /// The operator's word was given. Files from before it was kept do not have it.
    #[serde(default, skip_serializing_if = "is_false")]
    go_on: bool,
    /// Nor this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticket: Option<Box<str>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_false(it: &bool) -> bool {
    !it
}

impl KeptHold {
    /// `None`: a name that is no text, which no operator has given.
    fn of(hold: &Hold, since_1970: Duration) -> Option<Self> {
        let text = |name: &UserName| String::from_utf8(name.as_bytes().to_vec()).ok();
        let left = hold.until.saturating_duration_since(Instant::now());
        Some(Self {
            id: hold.id,
            user: text(&hold.user)?,
            account: hold.account.as_ref().and_then(text),
            since: hold.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
            until: (since_1970 + left).as_secs(),
            move_to: hold.move_to.clone(),
            go_on: hold.go_on,
            ticket: hold.ticket.clone(),
        })
    }

    /// `None`: its time is over, or no such user can be.
    fn hold(&self, since_1970: Duration) -> Option<Hold> {
        let left = Duration::from_secs(self.until).checked_sub(since_1970).filter(|left| !left.is_zero())?;
        let name = |text: &String| UserName::new(text.as_bytes());
        Some(Hold {
            id: self.id,
            user: name(&self.user)?,
            account: self.account.as_ref().and_then(name),
            also: Vec::new(),
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(self.since).min(since_1970),
            // A clock that was put back must not make it longer than any may be.
            until: Instant::now() + left.min(HOLD_MAX),
            move_to: self.move_to.clone(),
            go_on: self.go_on,
            ticket: self.ticket.clone(),
            waiting: 0,
        })
    }
}

impl StateFile {
    /// Reads it and gives the nodes their states. Blocks for a moment.
    pub(super) fn open(path: &Path, islands: &Islands) -> Self {
        let (nodes, holds) = match read(path) {
            Ok(content) => (content.nodes, content.holds),
            Err(Unread::Missing) => Default::default(),
            Err(Unread::Unreadable(reason)) => {
                warn!(file = %path.display(), reason, "states of nodes cannot be read: those of the configuration hold");
                Default::default()
            }
            Err(Unread::Damaged(reason)) => {
                set_aside(path, &reason);
                Default::default()
            }
        };
        let read = (nodes.clone(), holds.clone());
        let mut file = Self { path: path.to_owned(), nodes: BTreeMap::new(), holds, read, is_given_away: false };
        let ports: BTreeMap<String, NodePort> =
            islands.iter().flat_map(|table| table.ports(Protocol::Imap)).map(|port| (path_of(&port), port)).collect();
        for (node, entry) in nodes {
            let wanted = OPERATOR_STATES.iter().find(|(word, _)| *word == entry.state);
            let (Some((state, wanted)), Some(port)) = (wanted, ports.get(&node)) else {
                warn!(node, "a state was kept for a node that is no more, and is forgotten");
                continue;
            };
            if entry.configured != operator_word(port.node().state) {
                info!(
                    node,
                    state, "the configuration of the node's state has changed: the state that was kept is forgotten"
                );
                continue;
            }
            port.set_operator_state(*wanted);
            info!(node, state, "node state as before the restart");
            file.nodes.insert(node, entry);
        }
        file
    }

    /// Reads it again, if another process has written it since. Blocks for a moment.
    pub(super) fn read_again(&mut self, islands: &Islands, holds: &Holds) {
        let is_as_read = match read(&self.path) {
            Ok(content) => (&content.nodes, &content.holds) == (&self.read.0, &self.read.1),
            Err(Unread::Missing) => self.read.0.is_empty() && self.read.1.is_empty(),
            Err(Unread::Unreadable(_) | Unread::Damaged(_)) => false,
        };
        if is_as_read {
            return;
        }
        let kept = std::mem::take(&mut self.nodes);
        let ports = islands.iter().flat_map(|table| table.ports(Protocol::Imap));
        for port in ports.filter(|port| kept.contains_key(&path_of(port))) {
            port.set_operator_state(port.node().state);
        }
        for hold in holds.all() {
            holds.release(hold.id);
        }
        *self = Self::open(&self.path, islands);
        self.restore_holds(holds);
    }

    /// Another process writes it from now on.
    pub(super) fn give_away(&mut self) {
        self.is_given_away = true;
    }

    /// Holds those who were held before the restart, but for holds whose time is over.
    pub(super) fn restore_holds(&mut self, holds: &Holds) {
        let since_1970 = since_1970();
        self.holds.retain(|kept| {
            let user = UserName::new(kept.user.as_bytes()).map(|name| name.to_string());
            let Some(hold) = kept.hold(since_1970) else {
                warn!(user, "a hold has ended by itself while mailferry did not run");
                return false;
            };
            let left_s = hold.until.saturating_duration_since(Instant::now()).as_secs();
            info!(user, left_s, "the user is held as before the restart");
            holds.restore(hold);
            true
        });
    }

    /// Keeps these holds and no others. Says why they are not kept, if they are not.
    pub(super) async fn keep_holds(&mut self, holds: &Holds) -> Result<(), String> {
        if self.is_given_away {
            // Who is held here too is kept by the process that has followed; after this one comes nobody.
            return Ok(());
        }
        let since_1970 = since_1970();
        self.holds = holds.all().iter().filter_map(|hold| KeptHold::of(hold, since_1970)).collect();
        self.write().await
    }

    /// Keeps a state. Says why it is not kept, if it is not.
    pub(super) async fn keep(&mut self, port: &NodePort, state: OperatorState) -> Result<(), String> {
        let configured = port.node().state;
        if state == configured {
            self.nodes.remove(&path_of(port));
        } else {
            let words = (operator_word(state).to_owned(), operator_word(configured).to_owned());
            self.nodes.insert(path_of(port), Entry { state: words.0, configured: words.1 });
        }
        self.write().await
    }

    async fn write(&self) -> Result<(), String> {
        if self.is_given_away {
            return Err("another mailferry has taken over: order it again, from that one".to_owned());
        }
        let content = Content { version: VERSION, nodes: self.nodes.clone(), holds: self.holds.clone() };
        let path = self.path.clone();
        let written = spawn_blocking(move || write(&path, &content)).await;
        let reason = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the writing broke down".to_owned(),
        };
        Err(format!("{} cannot be written: {reason}", self.path.display()))
    }
}

/// Why there are no states.
enum Unread {
    Missing,
    Unreadable(String),
    Damaged(String),
}

fn read(path: &Path) -> Result<Content, Unread> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unread::Missing,
        _ => Unread::Unreadable(error.to_string()),
    };
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Unread::Unreadable("not a regular file".to_owned()));
    }
    let mut octets = Vec::new();
    fs::File::open(path).and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut octets)).map_err(unreadable)?;
    if octets.len() as u64 > MAX_LEN {
        return Err(Unread::Damaged(format!("larger than {MAX_LEN} octets")));
    }
    let content: Content = serde_json::from_slice(&octets).map_err(|error| Unread::Damaged(error.to_string()))?;
    let is_known = |entry: &Entry| OPERATOR_STATES.iter().any(|(word, _)| *word == entry.state);
    match content {
        Content { version: VERSION, .. } if content.nodes.values().all(is_known) => Ok(content),
        Content { version: VERSION, .. } => Err(Unread::Damaged("a state that nobody gives".to_owned())),
        Content { version, .. } => Err(Unread::Damaged(format!("its version is {version}, and not {VERSION}"))),
    }
}

/// By the clock on the wall, which goes on while mailferry does not run.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn set_aside(path: &Path, reason: &str) {
    let aside = beside(path, ".damaged");
    let moved = fs::rename(path, &aside).map_or_else(|error| error.to_string(), |()| aside.display().to_string());
    warn!(
        file = %path.display(),
        reason,
        set_aside = moved,
        "states of nodes are damaged and set aside: those of the configuration hold"
    );
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(ending);
    path.with_file_name(name)
}

/// There is never half a file under its name.
fn write(path: &Path, content: &Content) -> io::Result<()> {
    let fresh = beside(path, ".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(content)?)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    // The name too; where that is not possible, the system writes it within seconds.
    let _ = fs::File::open(path.parent().unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
    Ok(())
}

#[cfg(test)]
mod tests;
