//! Everything that was seen in a history, by fake nodes, clients and directory, each with its time; judged when it is
//! over.

use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mailferry::proto::Protocol;
use mailferry::testkit::leaks::MARKER;
use tokio::time::Instant;

/// One login command: its password is used by no other.
#[derive(Clone, Debug)]
pub struct Login {
    pub client: usize,
    pub user: usize,
    pub is_right: bool,
    pub protocol: Protocol,
    /// When its client connected.
    pub connected: Duration,
    pub began: Duration,
    pub ended: Option<Duration>,
    pub answer: Option<Answer>,
}

/// How a login command was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    /// In words that are about the password.
    WrongPassword,
    /// In words that are about something temporary.
    Unavailable,
    /// The connection ended without one.
    Closed,
    /// The client hung up before.
    HungUp,
    /// There was none in all the time there is.
    Never,
}

/// One login's credentials on one node: from the moment when they arrived there until the node had answered, or the
/// connection was closed.
#[derive(Clone, Debug)]
pub struct Flight {
    pub login: usize,
    pub island: usize,
    pub node: usize,
    pub from: Duration,
    pub to: Option<Duration>,
    pub accepted: bool,
}

/// What the directory has said of a user: an island, nothing, or that it is away.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub at: Duration,
    pub user: usize,
    pub what: Result<usize, Silence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    NotFound,
    Unavailable,
}

#[derive(Default)]
pub struct Pages {
    pub logins: Vec<Login>,
    pub flights: Vec<Flight>,
    pub said: Vec<Said>,
    pub violations: Vec<String>,
    pub events: Vec<String>,
}

/// Shared by everybody in a history.
#[derive(Clone)]
pub struct Ledger {
    start: Instant,
    pages: Arc<Mutex<Pages>>,
}

impl Ledger {
    pub fn new() -> Self {
        Self { start: Instant::now(), pages: Arc::default() }
    }

    /// Since the history began.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// When that is on the clock.
    pub fn at(&self, since_start: Duration) -> Instant {
        self.start + since_start
    }

    pub fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap()
    }

    /// For whoever reads the failure.
    pub fn tell(&self, event: impl Display) {
        let line = format!("{:9.3} {event}", self.now().as_secs_f64());
        self.pages().events.push(line);
    }

    pub fn violation(&self, what: impl Display) {
        self.tell(format_args!("VIOLATION {what}"));
        let line = format!("{:.3} {what}", self.now().as_secs_f64());
        self.pages().violations.push(line);
    }

    /// A login command begins. Returns its number and password, which ends in what is searched for in the log.
    pub fn login(&self, login: Login) -> (usize, String) {
        let mut pages = self.pages();
        let number = pages.logins.len();
        let judgement = if login.is_right { "right" } else { "wrong" };
        let password = format!("s{number}-{judgement}-u{}-{MARKER}", login.user);
        pages.logins.push(login);
        (number, password)
    }

    pub fn answered(&self, number: usize, answer: Answer) {
        self.tell(format_args!("login {number}: {answer:?}"));
        let now = self.now();
        let login = &mut self.pages().logins[number];
        (login.ended, login.answer) = (Some(now), Some(answer));
    }

    /// Credentials have arrived at a node.
    pub fn flies(&self, login: usize, island: usize, node: usize) -> InFlight {
        self.tell(format_args!("login {login}: credentials reach node {island}.{node}"));
        let from = self.now();
        let mut pages = self.pages();
        pages.flights.push(Flight { login, island, node, from, to: None, accepted: false });
        InFlight { ledger: self.clone(), number: pages.flights.len() - 1 }
    }

    pub fn said(&self, user: usize, what: Result<usize, Silence>) {
        self.tell(format_args!("directory: u{user} is {what:?}"));
        let at = self.now();
        self.pages().said.push(Said { at, user, what });
    }
}

/// Credentials on a node; they are there until this is dropped.
pub struct InFlight {
    ledger: Ledger,
    number: usize,
}

impl InFlight {
    pub fn login(&self) -> usize {
        self.ledger.pages().flights[self.number].login
    }

    /// The node says yes.
    pub fn accepted(&self) {
        self.ledger.pages().flights[self.number].accepted = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let now = self.ledger.now();
        let mut pages = self.ledger.pages();
        pages.flights[self.number].to.get_or_insert(now);
    }
}

impl Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let judgement = if self.is_right { "right" } else { "wrong" };
        write!(f, "{} u{} ({judgement}) from {:.3}", self.protocol, self.user, self.began.as_secs_f64())?;
        self.ended.map_or(Ok(()), |ended| write!(f, " to {:.3}", ended.as_secs_f64()))
    }
}

/// The login that a password in this line belongs to.
pub fn login_of(line: &[u8]) -> Option<(usize, bool, usize)> {
    let text = String::from_utf8_lossy(line);
    let word = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').find(|word| {
        let mut parts = word.split('-');
        parts.next().is_some_and(|part| part.starts_with('s')) && matches!(parts.next(), Some("right" | "wrong"))
    })?;
    let mut parts = word.split('-');
    let number = parts.next()?.strip_prefix('s')?.parse().ok()?;
    let is_right = parts.next()? == "right";
    let user = parts.next()?.strip_prefix('u')?.parse().ok()?;
    Some((number, is_right, user))
}
