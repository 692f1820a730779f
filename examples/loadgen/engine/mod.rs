//! Logs in at a fixed rate, each time on a fresh connection, and says how each login went.
//!
//! The load is open-loop: the clock starts logins, whatever happened to earlier ones, and a latency counts from the moment
//! when the login was due. A proxy that stops for a second is therefore seen by all logins of that second, as by real
//! users. Tests use this folder too (`tests/real/load.rs`). It prints nothing, and no password leaves it.

mod client;
mod hold;
mod summary;
mod target;
#[cfg(test)]
mod tests;
mod users;

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

pub(crate) use client::Session;
pub(crate) use hold::{Held, HeldReport};
pub(crate) use summary::Figures;
pub(crate) use target::{Protocol, Target, trust};
pub(crate) use users::{User, read_users};

/// What is to be done.
pub(crate) struct Load {
    /// Where to log in; they take turns. At least one.
    pub(crate) targets: Vec<Target>,
    /// Who logs in; they take turns. At least one.
    pub(crate) users: Vec<User>,
    /// Logins started in a second.
    pub(crate) rate: u32,
    /// From the first login to the last.
    pub(crate) duration: Duration,
    /// What a login may take, from the moment when it was due to the end of its connection.
    pub(crate) limit: Duration,
    /// From how many loopback addresses the clients come (127.0.1.1, 127.0.2.1, …), in turns; 0 leaves it to the
    /// kernel. Limits and health count client addresses, and one address is no crowd.
    pub(crate) addresses: u8,
}

/// One login, from when it was due to the end of its connection.
pub(crate) struct Visit {
    /// When it was due, from the beginning of the load.
    pub(crate) due: Duration,
    /// Who.
    pub(crate) user: String,
    /// In which language.
    pub(crate) protocol: Protocol,
    /// From when it was due to the login's positive answer; for lost logins to when they were given up.
    pub(crate) latency: Duration,
    /// How it went.
    pub(crate) end: End,
}

/// How a login went.
pub(crate) enum End {
    /// Login, one command in the mailbox and a polite end, all answered.
    Served,
    /// The login was answered, and the connection was lost behind it: what a node that dies does to its sessions.
    Cut(Trouble),
    /// The login failed: no positive answer to it, whatever the reason.
    Lost(Trouble),
}

/// What went wrong, and when.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// How far it had come.
    pub(crate) stage: Stage,
    /// The server's words or the system's.
    pub(crate) words: String,
}

/// How far a connection has come: what it was waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Connect,
    Tls,
    Greeting,
    Login,
    Mailbox,
    Logout,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Greeting => "greeting",
            Self::Login => "login",
            Self::Mailbox => "mailbox",
            Self::Logout => "logout",
        })
    }
}

/// What the task of a visit has seen so far; readable when the task is given up.
struct Progress {
    stage: Stage,
    logged_in: Option<Instant>,
}

impl Load {
    /// Runs it and returns all logins, in the order in which they were due. `start` may lie in the future.
    pub(crate) async fn run(self: Arc<Self>, start: Instant) -> Vec<Visit> {
        let mut tasks = JoinSet::new();
        for turn in 0.. {
            let due = self.offset(turn);
            if due >= self.duration {
                break;
            }
            sleep_until(start + due).await;
            let load = Arc::clone(&self);
            tasks.spawn(async move { load.visit(turn, start, due).await });
        }
        let mut visits = tasks.join_all().await;
        visits.sort_by_key(|visit| visit.due);
        visits
    }

    /// When the login of this number is due.
    fn offset(&self, turn: u32) -> Duration {
        Duration::from_secs(1) * turn / self.rate
    }

    async fn visit(&self, turn: u32, start: Instant, due: Duration) -> Visit {
        let (target, user) = (self.target(turn), self.user(turn));
        let mut progress = Progress { stage: Stage::Connect, logged_in: None };
        let due_at = start + due;
        let work = all_of_it(target, user, self.address(turn), &mut progress);
        let outcome = match timeout_at(due_at + self.limit, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("nothing more within {:?}", self.limit)),
        };
        let trouble = |words| Trouble { stage: progress.stage, words };
        let (at, end) = match (progress.logged_in, outcome) {
            (Some(at), Ok(())) => (at, End::Served),
            (Some(at), Err(words)) => (at, End::Cut(trouble(words))),
            (None, Err(words)) => (Instant::now(), End::Lost(trouble(words))),
            (None, Ok(())) => (Instant::now(), End::Lost(trouble("the client forgot to log in".into()))),
        };
        Visit { due, user: user.name.clone(), protocol: target.protocol, latency: at - due_at, end }
    }

    fn target(&self, turn: u32) -> &Target {
        &self.targets[turn as usize % self.targets.len()]
    }

    /// The next user comes after all targets have seen this one, or half of the users would never use half of the targets.
    fn user(&self, turn: u32) -> &User {
        &self.users[turn as usize / self.targets.len() % self.users.len()]
    }

    fn address(&self, turn: u32) -> Option<Ipv4Addr> {
        let turn = turn.checked_rem(self.addresses.into())?;
        u8::try_from(turn + 1).ok().map(|network| Ipv4Addr::new(127, 0, network, 1))
    }
}

async fn all_of_it(
    target: &Target,
    user: &User,
    from: Option<Ipv4Addr>,
    progress: &mut Progress,
) -> Result<(), String> {
    let mut session = Session::open(target, from, |stage| progress.stage = stage).await?;
    progress.stage = Stage::Login;
    session.log_in(user).await?;
    progress.logged_in = Some(Instant::now());
    progress.stage = Stage::Mailbox;
    session.look_into_mailbox().await?;
    progress.stage = Stage::Logout;
    session.log_out().await
}
