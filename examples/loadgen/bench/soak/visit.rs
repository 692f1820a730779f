//! What one client of a soak does: log in and go, or move a message too, or break off.

use std::time::Duration;

use tokio::time::timeout;

use crate::bench::client::{Client, connect};
use crate::bench::door::Door;
use crate::bench::fuse::{End, Fuse};
use crate::bench::logins::PATIENCE;
use crate::engine::Protocol;

/// Octets of the largest message, and how far a client goes at most that breaks off. Sizes are spread evenly over powers.
const MESSAGE_MAX: u64 = 4 * 1024 * 1024;

/// How long a client takes nothing before it is gone, at most.
const STALL_MAX: Duration = Duration::from_millis(500);

/// Octets that are read or written at once.
const BLOCK: usize = 16 * 1024;

/// Of a hundred clients so many move a message, and so many break off; the others log in and go.
const MESSAGES: u32 = 30;
const CUTS: u32 = 35;

/// Troubles that are kept.
const TROUBLES_MAX: usize = 100;

/// What has happened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) visits: u64,
    /// Logins that the proxy confirmed.
    pub(super) logins: u64,
    /// Messages that went through, and their octets.
    pub(super) messages: u64,
    pub(super) octets: u64,
    /// Clients that broke off before the greeting, TLS included, between greeting and login, and behind the login.
    pub(super) cut_greeting: u64,
    pub(super) cut_login: u64,
    pub(super) cut_session: u64,
    /// What went wrong for those who did not break off.
    pub(super) troubles: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.visits += other.visits;
        self.logins += other.logins;
        self.messages += other.messages;
        self.octets += other.octets;
        self.cut_greeting += other.cut_greeting;
        self.cut_login += other.cut_login;
        self.cut_session += other.cut_session;
        self.troubles.extend(other.troubles);
    }
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Greeting,
    Login,
    Session,
}

/// One client, from its connect to its end.
pub(super) async fn visit(door: &Door, turn: u64, tally: &mut Tally) {
    tally.visits += 1;
    let kind = fastrand::u32(0..100);
    let octets = if kind < MESSAGES + CUTS { size() } else { 0 };
    let done = if (MESSAGES..MESSAGES + CUTS).contains(&kind) {
        cut(door, turn, octets, tally).await
    } else {
        match timeout(PATIENCE, whole(door, turn, octets, tally)).await {
            Ok(done) => done,
            Err(_) => Err(format!("no end within {PATIENCE:?}")),
        }
    };
    if let Err(words) = done
        && tally.troubles.len() < TROUBLES_MAX
    {
        tally.troubles.push(format!("{door}: {words}"));
    }
}

async fn whole(door: &Door, turn: u64, octets: u64, tally: &mut Tally) -> Result<(), String> {
    let mut client = Client::log_in(door, turn).await?;
    tally.logins += 1;
    if octets > 0 {
        message(door.protocol, &mut client, octets).await?;
        tally.messages += 1;
        tally.octets += octets;
    }
    if fastrand::bool() {
        client.command(if door.protocol == Protocol::Imap { "LOGOUT" } else { "QUIT" }).await?;
    }
    client.close().await;
    Ok(())
}

/// A client that wants a large message, and that is gone by a reset before it has all of it.
async fn cut(door: &Door, turn: u64, octets: u64, tally: &mut Tally) -> Result<(), String> {
    let socket = connect(door, turn).await.map_err(|error| format!("connect: {error}"))?;
    socket.set_zero_linger().map_err(|error| error.to_string())?;
    let (end, patience) =
        if fastrand::bool() { (End::Stalls, STALL_MAX.mul_f64(fastrand::f64())) } else { (End::Fails, PATIENCE) };
    let socket = Box::new(Fuse::new(socket, octets as usize, end));
    let mut stage = Stage::Greeting;
    let way = async {
        let mut client = Client::greet(door, socket).await?;
        stage = Stage::Login;
        client.authenticate(&door.user(turn)).await?;
        stage = Stage::Session;
        // The fuse never lets all of it pass.
        message(door.protocol, &mut client, MESSAGE_MAX).await
    };
    // Whether it failed or was given up: it was meant to.
    let _ = timeout(patience, way).await;
    match stage {
        Stage::Greeting => tally.cut_greeting += 1,
        Stage::Login => tally.cut_login += 1,
        Stage::Session => {
            tally.logins += 1;
            tally.cut_session += 1;
        }
    }
    Ok(())
}

async fn message(protocol: Protocol, client: &mut Client, octets: u64) -> Result<(), String> {
    let mut scratch = vec![b'x'; BLOCK];
    if protocol == Protocol::Imap && fastrand::bool() {
        client.upload(octets, &scratch).await
    } else {
        client.download(octets, &mut scratch).await
    }
}

/// As many between 1 and 2 as between a million and two millions.
fn size() -> u64 {
    let octets = (MESSAGE_MAX as f64).powf(fastrand::f64());
    (octets as u64).clamp(1, MESSAGE_MAX)
}
