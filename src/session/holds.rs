//! Users whom the operator holds: their logins wait between the user's name and the look-up, and do not fail at once.
//!
//! A user is held by the name that is looked up, in whatever case, and by the name on the nodes, so that another name
//! of the same mailbox is held as well, once the directory has said whose it is. Where nobody is held, a login costs one
//! load of a counter here, and its entry in `under_way`. Everything is bounded: the users held, the logins that wait in
//! all and for one user, and the time of each wait. Nothing here logs, asks the directory or knows a protocol; whoever
//! ends a hold has made the cache forget the user before.

mod under_way;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use self::under_way::{Keys, Place, UnderWay};
use crate::names::{SessionId, UserName, lower_case};

/// Most users held at once.
pub const HELD_MAX: usize = 256;

/// Most logins that wait, in all: each is a connection before its login, of at most 128 KiB.
const WAITING_MAX: usize = 1000;

/// Most of one user: several devices with a handful of connections each.
const WAITING_PER_USER: usize = 64;

/// Other names of a user that are remembered.
const ALSO_MAX: usize = 64;

/// Tickets of orders that were taken back before they came.
const TAKEN_BACK_MAX: usize = 64;

/// What a wait leaves a login for its node, at least: of the time until its deadline, where that is long.
const RESERVE: Duration = Duration::from_secs(10);

/// All who are held. Clones share everything.
#[derive(Clone, Default)]
pub struct Holds(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// How many users are held.
    held: AtomicUsize,
    /// How many holds have ended.
    ended: AtomicU64,
    table: Mutex<Table>,
    under_way: UnderWay,
    changed: Notify,
}

#[derive(Default)]
struct Table {
    held: Vec<Held>,
    /// Holds and waits that there have been.
    count: u64,
    /// Logins that wait, for whomever.
    waiting: usize,
    /// Tickets that hold nobody any more, the oldest first.
    taken_back: VecDeque<Box<str>>,
}

struct Held {
    hold: Hold,
    /// What logins are compared with: who comes in under another name is known by the account.
    keys: Vec<Vec<u8>>,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A user who is held.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Its number; none has it again in this process.
    pub id: u64,
    /// The name that is looked up.
    pub user: UserName,
    /// The name on the nodes, where the directory says one.
    pub account: Option<UserName>,
    /// Other names of the same mailbox that are known.
    pub also: Vec<UserName>,
    /// Since when.
    pub since: SystemTime,
    /// When it ends by itself.
    pub until: Instant,
    /// The island to which the user is being moved.
    pub move_to: Option<String>,
    /// The operator's word that the move may go on.
    pub go_on: bool,
    /// How whoever has ordered it calls the order, and knows it again if he does not hear what came of it.
    pub ticket: Option<Box<str>>,
    /// Logins that wait.
    pub waiting: usize,
}

/// Why somebody is not held.
#[derive(Debug)]
pub enum NotHeld {
    /// So many are.
    TooMany,
    /// The user is, already.
    Already(Box<Hold>),
    /// The order was taken back before it came.
    TakenBack,
}

/// A login has waited as long as it may, or too many wait, or mailferry stops.
pub(super) struct Overdue;

/// A name as it is compared: most nodes and directories take case for nothing.
fn key(name: &UserName) -> Vec<u8> {
    lower_case(name.as_bytes())
}

impl Hold {
    /// All names that are known of the user.
    pub fn names(&self) -> impl Iterator<Item = &UserName> {
        [&self.user].into_iter().chain(&self.account).chain(&self.also)
    }
}

impl Holds {
    /// Holds a user from now until then. Who is held already, by this name or by another one of the account, stays so as
    /// before.
    ///
    /// # Errors
    /// Too many are held, or the user is.
    pub fn hold(
        &self,
        (user, account): (UserName, Option<UserName>),
        (since, until): (SystemTime, Instant),
        move_to: Option<String>,
    ) -> Result<Hold, NotHeld> {
        self.hold_by(None, (user, account), (since, until), move_to)
    }

    /// The same by an order that has a ticket. An order that comes twice finds its own hold.
    ///
    /// # Errors
    /// As [`Self::hold`]; or this order was taken back.
    pub fn hold_by(
        &self,
        ticket: Option<Box<str>>,
        (user, account): (UserName, Option<UserName>),
        (since, until): (SystemTime, Instant),
        move_to: Option<String>,
    ) -> Result<Hold, NotHeld> {
        let mut table = self.table();
        if ticket.as_ref().is_some_and(|ticket| table.taken_back.contains(ticket)) {
            return Err(NotHeld::TakenBack);
        }
        let keys: Vec<Vec<u8>> = [&user].into_iter().chain(&account).map(key).collect();
        if let Some(held) = table.find(&keys) {
            return Err(NotHeld::Already(Box::new(held.shown())));
        }
        if table.held.len() >= HELD_MAX {
            return Err(NotHeld::TooMany);
        }
        table.count += 1;
        let id = table.count;
        let (also, go_on, waiting) = (Vec::new(), false, 0);
        let hold = Hold { id, user, account, also, since, until, move_to, go_on, ticket, waiting };
        table.held.push(Held::new(hold.clone()));
        self.0.held.store(table.held.len(), Ordering::SeqCst);
        self.0.changed.notify_one();
        Ok(hold)
    }

    /// Holds a user again who was held before a restart.
    pub fn restore(&self, hold: Hold) {
        let mut table = self.table();
        if table.held.len() < HELD_MAX && table.find(&keys(&hold)).is_none() {
            table.count = table.count.max(hold.id);
            table.held.push(Held::new(hold));
            self.0.held.store(table.held.len(), Ordering::SeqCst);
            self.0.changed.notify_one();
        }
    }

    /// Changes what is said of a hold. `None`: it is over.
    pub fn change(&self, id: u64, change: impl FnOnce(&mut Hold)) -> Option<Hold> {
        let mut table = self.table();
        let held = table.held.iter_mut().find(|held| held.hold.id == id)?;
        change(&mut held.hold);
        held.hold.also.truncate(ALSO_MAX);
        held.keys = keys(&held.hold);
        let shown = held.shown();
        self.0.changed.notify_one();
        Some(shown)
    }

    /// Ends a hold. Its logins go on, in the order in which they came. `None`: it is over.
    pub fn release(&self, id: u64) -> Option<Hold> {
        self.release_if(|hold| hold.id == id)
    }

    /// Ends a hold whose time is over. `None`: it is over, or has been prolonged.
    pub fn expire(&self, id: u64) -> Option<Hold> {
        let now = Instant::now();
        self.release_if(|hold| hold.id == id && hold.until <= now)
    }

    fn release_if(&self, is_it: impl Fn(&Hold) -> bool) -> Option<Hold> {
        let mut table = self.table();
        let place = table.held.iter().position(|held| is_it(&held.hold))?;
        let held = table.held.remove(place);
        // Before it is seen that nobody is held.
        self.0.ended.fetch_add(1, Ordering::SeqCst);
        self.0.held.store(table.held.len(), Ordering::SeqCst);
        table.waiting -= held.waiting.len();
        let shown = held.shown();
        // Whoever has gone away meanwhile does not hear it.
        for word in held.waiting.into_values() {
            let _ = word.send(());
        }
        self.0.changed.notify_one();
        Some(shown)
    }

    /// The user's hold, by any of his names.
    pub fn find(&self, user: &UserName) -> Option<Hold> {
        self.table().find(&[key(user)]).map(Held::shown)
    }

    /// The hold of this number.
    pub fn of_id(&self, id: u64) -> Option<Hold> {
        self.table().held.iter().find(|held| held.hold.id == id).map(Held::shown)
    }

    /// The hold that was ordered by this ticket.
    pub fn of_ticket(&self, ticket: &str) -> Option<Hold> {
        self.table().of_ticket(ticket)
    }

    /// The same, for its end: an order of this ticket that is still on its way holds nobody any more.
    pub fn take_back(&self, ticket: &str) -> Option<Hold> {
        let mut table = self.table();
        let found = table.of_ticket(ticket);
        if !table.taken_back.iter().any(|it| **it == *ticket) {
            if table.taken_back.len() >= TAKEN_BACK_MAX {
                table.taken_back.pop_front();
            }
            table.taken_back.push_back(ticket.into());
        }
        found
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Hold> {
        self.table().held.iter().map(Held::shown).collect()
    }

    /// Users who are held, and logins that wait.
    pub fn count(&self) -> (usize, usize) {
        let table = self.table();
        (table.held.len(), table.waiting)
    }

    /// Returns the next hold whose time is over, as soon as it is. Only for one task.
    pub async fn overdue(&self) -> Hold {
        loop {
            // A change between the look and the wait is kept for it.
            let Some(hold) = self.all().into_iter().min_by_key(|hold| hold.until) else {
                self.0.changed.notified().await;
                continue;
            };
            if timeout_at(hold.until, self.0.changed.notified()).await.is_err() {
                return hold;
            }
        }
    }

    /// Shows the names, in lower case, of each login that is on its way to a node. Those of somebody who is held had passed
    /// before the hold. Logins that come or go meanwhile are shown or not.
    pub fn look_under_way(&self, see: impl FnMut(&[Vec<u8>])) {
        self.0.under_way.look(see);
    }

    /// For one connection's logins.
    pub(super) fn way(&self, session: SessionId) -> Way<'_> {
        Way { holds: self, session, place: None }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No method can panic between two changes that belong together.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in the user's queue, if he is held by one of these names.
    fn queue(&self, keys: &[Vec<u8>]) -> Option<Result<Turn<'_>, Overdue>> {
        // Behind the entry in `under_way`: whoever holds the user now sees that, or is seen here.
        if self.0.held.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut table = self.table();
        let Table { held, count, waiting, .. } = &mut *table;
        let held = held.iter_mut().find(|held| keys.iter().any(|key| held.keys.contains(key)))?;
        if *waiting >= WAITING_MAX || held.waiting.len() >= WAITING_PER_USER {
            return Some(Err(Overdue));
        }
        let (word, released) = oneshot::channel();
        *count += 1;
        *waiting += 1;
        held.waiting.insert(*count, word);
        Some(Ok(Turn { holds: self, hold: held.hold.id, number: *count, released }))
    }
}

impl Table {
    /// Who has one of these.
    fn find(&self, keys: &[Vec<u8>]) -> Option<&Held> {
        self.held.iter().find(|held| held.keys.iter().any(|it| keys.contains(it)))
    }

    fn of_ticket(&self, ticket: &str) -> Option<Hold> {
        self.held.iter().find(|held| held.hold.ticket.as_deref() == Some(ticket)).map(Held::shown)
    }
}

fn keys(hold: &Hold) -> Vec<Vec<u8>> {
    [&hold.user].into_iter().chain(&hold.account).map(key).collect()
}

impl Held {
    fn new(hold: Hold) -> Self {
        Self { keys: keys(&hold), hold, waiting: BTreeMap::new() }
    }

    fn shown(&self) -> Hold {
        Hold { waiting: self.waiting.len(), ..self.hold.clone() }
    }
}

/// A place in a queue. Dropping it leaves the queue.
struct Turn<'a> {
    holds: &'a Holds,
    hold: u64,
    number: u64,
    released: oneshot::Receiver<()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut table = self.holds.table();
        let Table { held, waiting, .. } = &mut *table;
        let held = held.iter_mut().find(|held| held.hold.id == self.hold);
        if held.is_some_and(|held| held.waiting.remove(&self.number).is_some()) {
            *waiting -= 1;
        }
    }
}

/// The logins of one connection, one after the other, from the name to the relay. Dropping it says that none is under
/// way any more.
pub(super) struct Way<'a> {
    holds: &'a Holds,
    session: SessionId,
    place: Option<Place<'a>>,
}

impl Way<'_> {
    /// A login of a user of these names goes on its way, as soon as he is held by none of them. Says whether it had to
    /// wait: what was known of the user before counts no more then. `queued` is called each time that it begins to.
    ///
    /// # Errors
    /// It may not wait any longer, or too many do.
    pub(super) async fn pass(
        &mut self,
        names: &[&UserName],
        until: Instant,
        mut queued: impl FnMut(),
    ) -> Result<bool, Overdue> {
        let mut has_waited = false;
        let keys: Keys = names.iter().map(|name| key(name)).collect();
        loop {
            // The older entry goes first: both have the session's number.
            self.place = None;
            self.place = Some(self.holds.0.under_way.enter(self.session, Arc::clone(&keys)));
            let Some(turn) = self.holds.queue(&keys) else { return Ok(has_waited) };
            self.place = None;
            let mut turn = turn?;
            queued();
            timeout_at(until, &mut turn.released).await.map_err(|_| Overdue)?.map_err(|_| Overdue)?;
            has_waited = true;
        }
    }

    /// How many holds have ended, of whomever.
    pub(super) fn ended(&self) -> u64 {
        self.holds.0.ended.load(Ordering::SeqCst)
    }

    /// The login has failed.
    pub(super) fn leave(&mut self) {
        self.place = None;
    }
}

/// Until when a login may wait that has this deadline.
pub(super) fn wait_until(now: Instant, hold_timeout: Duration, deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(now);
    now + hold_timeout.min(left - RESERVE.min(left / 4))
}

#[cfg(test)]
mod tests;
