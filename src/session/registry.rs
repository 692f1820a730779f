//! All sessions in the relay: who has one, where it is, what it has moved, and the way to end one from outside.
//!
//! There is an entry for each idle client, so it has no room to spare: it *is* what the end record needs, shared with the
//! relay, and not a copy of it. Entries stand in shards, each behind one lock that is held to put one in, to take one out,
//! or to take some for whoever looks at all of them (`walk`). Nothing here logs or waits for a session.

mod shard;
mod walk;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use self::shard::Shard;
pub use self::walk::Walk;
#[cfg(test)]
pub(crate) use self::walk::crowd;
use super::frequent::{Busiest, Frequent};
use super::minutes::Minutes;
use super::quiet::{Calm, Stirred};
use super::recent::Recent;
use super::tally::Tally;
use crate::names::{SessionId, UserName};
use crate::routing::{NodePort, Seat};

/// So many that the logins of one moment seldom meet, and that 100 000 sessions are some 1 500 in each.
const SHARDS: usize = 64;

/// Nobody waits for the word yet.
const NEW: u8 = 0;
/// The relay waits for it.
const WAITING: u8 = 1;
/// The session is to end if nothing is under way in it.
const LEAVING: u8 = 2;
/// The session is to end.
const ENDING: u8 = 3;

/// All sessions in the relay. Clones share everything.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    shards: [Mutex<Shard>; SHARDS],
    tally: Tally,
    began: Instant,
    /// Sessions that are over, by [`How`].
    ended: [AtomicU64; 3],
    minutes: Minutes,
    recent: Recent,
    calm: Calm,
    /// Whose they were, and what they have moved, those that are over included.
    frequent: Frequent,
}

/// How a session came to its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// Without us, or by the operator's command.
    ByItself,
    /// mailferry stops, and nothing was under way.
    Told,
    /// mailferry stops, and something was.
    Cut,
}

/// How many sessions have come to their ends since the start, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Without us, or by the operator's command.
    pub by_themselves: u64,
    /// mailferry stops, and nothing was under way in them.
    pub told: u64,
    /// mailferry stops, and something was.
    pub cut: u64,
}

impl Ends {
    /// All of them.
    pub fn all(self) -> u64 {
        self.by_themselves + self.told + self.cut
    }
}

/// What is wanted of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It is to end if nothing is under way in it.
    Leave,
    /// It is to end.
    End,
}

/// One session in the relay.
pub struct Session {
    /// Its name; the two halves stand apart for the sake of four octets.
    run: u32,
    number: u64,
    client: IpAddr,
    client_port: u16,
    state: AtomicU8,
    stirred: Stirred,
    /// Microseconds from the connection to the relay; a login has at most an hour.
    login_took: u32,
    began: Instant,
    tls: Option<&'static str>,
    user: Option<UserName>,
    /// Where the session is, and with which protocol.
    seat: Seat,
    to_node: AtomicU64,
    to_client: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

/// What a session is when its relay begins.
pub(super) struct Beginning {
    pub(super) id: SessionId,
    pub(super) client: SocketAddr,
    pub(super) began: Instant,
    pub(super) tls: Option<&'static str>,
    pub(super) user: Option<UserName>,
    pub(super) seat: Seat,
}

/// A session's place in the registry. Dropping it takes the session out.
pub(super) struct Entry {
    registry: Registry,
    session: Arc<Session>,
    place: u32,
}

impl Default for Registry {
    fn default() -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        let ended = std::array::from_fn(|_| AtomicU64::new(0));
        Self(Arc::new(Shared {
            shards,
            tally: Tally::default(),
            began: Instant::now(),
            ended,
            minutes: Minutes::default(),
            recent: Recent::default(),
            calm: Calm::default(),
            frequent: Frequent::default(),
        }))
    }
}

impl Registry {
    /// What is counted of all sessions, those before the relay too.
    pub fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// A session's relay begins.
    pub(super) fn enter(&self, beginning: Beginning) -> Entry {
        let Beginning { id, client, began, tls, user, seat } = beginning;
        let now = Instant::now();
        let took = now.saturating_duration_since(began);
        let session = Arc::new(Session {
            run: id.run,
            number: id.number,
            client: client.ip(),
            client_port: client.port(),
            state: AtomicU8::new(NEW),
            stirred: Stirred::new(took),
            login_took: u32::try_from(took.as_micros()).unwrap_or(u32::MAX),
            began,
            tls,
            user,
            seat,
            to_node: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            waker: Mutex::new(None),
        });
        self.0.minutes.count(session.port());
        self.0.frequent.logged_in(&session, now.saturating_duration_since(self.0.began));
        let place = lock(self.shard(id)).put(Arc::clone(&session));
        Entry { registry: self.clone(), session, place }
    }

    /// The session of this name.
    pub fn find(&self, id: SessionId) -> Option<Weak<Session>> {
        lock(self.shard(id)).places.iter().flatten().find(|session| session.id() == id).map(Arc::downgrade)
    }

    /// How many are over since the start.
    pub fn ends(&self) -> Ends {
        let [by_themselves, told, cut] =
            [How::ByItself, How::Told, How::Cut].map(|how| self.ended(how).load(Ordering::Relaxed));
        Ends { by_themselves, told, cut }
    }

    #[expect(clippy::indexing_slicing, reason = "there is one for each")]
    fn ended(&self, how: How) -> &AtomicU64 {
        &self.0.ended[how as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard>| {
            let shard = lock(shard);
            shard.places.len() - shard.free.len()
        };
        self.0.shards.iter().map(count).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many each node has had in the last minutes.
    pub fn minutes(&self) -> &Minutes {
        &self.0.minutes
    }

    /// What went wrong lately, also before the relay.
    pub fn recent(&self) -> &Recent {
        &self.0.recent
    }

    /// Who logged in and who moved how much in the last minute.
    pub fn busiest(&self) -> Busiest {
        self.0.frequent.last_minute(self.since())
    }

    /// How long a session must be quiet that may go when mailferry stops.
    pub(super) fn calm(&self) -> &Calm {
        &self.0.calm
    }

    fn since(&self) -> Duration {
        self.0.began.elapsed()
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder is smaller than what it was divided by")]
    fn shard(&self, id: SessionId) -> &Mutex<Shard> {
        &self.0.shards[(id.number % SHARDS as u64) as usize]
    }
}

impl Session {
    /// Its name.
    pub fn id(&self) -> SessionId {
        SessionId { run: self.run, number: self.number }
    }

    /// Where the client comes from.
    pub fn client(&self) -> SocketAddr {
        SocketAddr::new(self.client, self.client_port)
    }

    /// When its connection was accepted.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// From the connection to the relay, to the microsecond.
    pub fn login_took(&self) -> Duration {
        Duration::from_micros(self.login_took.into())
    }

    /// The version of TLS towards the client.
    pub fn tls(&self) -> Option<&'static str> {
        self.tls
    }

    /// Who has logged in.
    pub fn user(&self) -> Option<&UserName> {
        self.user.as_ref()
    }

    /// Its node, and the protocol.
    pub fn port(&self) -> &NodePort {
        self.seat.port()
    }

    /// Octets that the node has got.
    pub fn to_node(&self) -> u64 {
        self.to_node.load(Ordering::Relaxed)
    }

    /// Octets that the client has got.
    pub fn to_client(&self) -> u64 {
        self.to_client.load(Ordering::Relaxed)
    }

    /// The operator wants it to end. `false`: he has said so before.
    pub fn kick(&self) -> bool {
        match self.state.swap(ENDING, Ordering::AcqRel) {
            ENDING => false,
            WAITING => {
                let waker = lock(&self.waker).take();
                waker.into_iter().for_each(Waker::wake);
                true
            }
            _ => true,
        }
    }

    /// It is to end if nothing is under way in it. If something is, it is as if nobody had said so.
    pub fn leave(&self) {
        let waker = {
            let mut waker = lock(&self.waker);
            let to_leave = |from| self.state.compare_exchange(from, LEAVING, Ordering::AcqRel, Ordering::Acquire);
            let has_heard = to_leave(WAITING).is_ok();
            // It has not begun to wait, and will look before it does.
            let _ = to_leave(NEW);
            has_heard.then(|| waker.take()).flatten()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether it is on its way out.
    pub fn is_leaving(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), LEAVING | ENDING)
    }

    /// Since when nothing is under way and nothing has moved, to a tenth of a second; nothing while something is under
    /// way.
    pub fn at_rest(&self, now: Instant) -> Option<Duration> {
        self.stirred.at_rest(now.saturating_duration_since(self.began))
    }

    /// Ready when something is wanted of the session. Until then the first task that asked is woken by it, which must be
    /// the only one that asks.
    pub(super) fn poll_word(&self, cx: &Context<'_>) -> Poll<Word> {
        if self.state.load(Ordering::Acquire) == NEW {
            let mut waker = lock(&self.waker);
            *waker = Some(cx.waker().clone());
            let _ = self.state.compare_exchange(NEW, WAITING, Ordering::AcqRel, Ordering::Acquire);
        }
        match self.state.load(Ordering::Acquire) {
            ENDING => Poll::Ready(Word::End),
            LEAVING => Poll::Ready(Word::Leave),
            _ => Poll::Pending,
        }
    }

    /// Something is under way: it stays, and waits for the next word.
    pub(super) fn stay(&self) {
        let _ = self.state.compare_exchange(LEAVING, NEW, Ordering::AcqRel, Ordering::Acquire);
    }

    /// So many octets were delivered until now, and whether nothing is under way.
    pub(super) fn moved(&self, to_node: u64, to_client: u64, is_at_rest: bool) {
        let has_moved = self.to_node() != to_node || self.to_client() != to_client;
        self.to_node.store(to_node, Ordering::Relaxed);
        self.to_client.store(to_client, Ordering::Relaxed);
        self.stirred.look(has_moved, is_at_rest, || self.began.elapsed());
    }

    /// Octets that both have got.
    fn octets(&self) -> u64 {
        self.to_node().saturating_add(self.to_client())
    }
}

impl Entry {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// It is about to be taken out, and this is how it ended.
    pub(super) fn ended(&self, how: How) {
        self.registry.ended(how).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Whether nothing has been under way for as long as it must be in a session that may go.
    pub(super) fn is_quiet(&self) -> bool {
        self.session.at_rest(Instant::now()).is_some_and(|rest| self.registry.calm().is_over(rest))
    }

    /// So many octets were delivered until now, and whether nothing is under way. Only the session's own task says so.
    pub(super) fn moved(&self, to_node: u64, to_client: u64, is_at_rest: bool) {
        let session = &self.session;
        let before = session.octets();
        session.moved(to_node, to_client, is_at_rest);
        self.registry.0.frequent.moved(session, before, session.octets(), || self.registry.since());
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Dropped behind the lock: its seat has a lock of its own, and its waker may do anything.
        let _session = lock(self.registry.shard(self.session.id())).take(self.place);
        self.registry.0.frequent.ended(&self.session, self.session.octets(), self.registry.since());
        // Only now: whoever adds up both, those of the past first, may miss it for a moment, and never counts it twice.
        let tally = self.session.port().tally();
        tally.to_node.add(self.session.to_node());
        tally.to_client.add(self.session.to_client());
    }
}

/// No method can panic between two changes that belong together.
fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
