//! The cache in front of the directory, and the one flight per user to it.
//!
//! Two tables. `routes` holds the last route of each user: it is believed for some time, and much longer it serves while
//! the directory is unavailable. A large site has a million of them, so that an entry there is small. `heard` holds how
//! flights have ended: "no such user" for as long as that is believed, and all else for the moment in which those who
//! asked at the same time get it. Ages are measured by tokio's clock, in the entries themselves; moka's own expiry only
//! gives the memory back. Only `routes` is kept over a restart, and what was kept is never believed like an answer.
//!
//! However many ask for one user at once, the directory is asked once, in a task that nobody's hang-up can cancel, and
//! all get the same answer. Never cached as an answer: an ambiguity, an unavailable directory.
//! The key is the name's octets and nothing else: IMAP and POP3 share the entries. A source that changes as a whole,
//! like a file, counts its editions: an answer of an older one is fresh no more, but still an old route.

mod heard;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use moka::ops::compute::Op;
use tokio::runtime::Handle;
use tokio::time::Instant;

use self::heard::{Heard, JUST_NOW, Lifetimes};
use super::snapshot::Entry;
use super::{Found, Located, LookupError, Route};
use crate::metrics;
use crate::names::{UserName, lower_case};
use crate::pace::Pace;

/// The edition of routes that were kept over a restart: no source has it.
const KEPT: u32 = u32::MAX;

/// Between two questions that the cache could have answered: 50 a second, which a small LDAP server does not feel beside
/// its ordinary work, while a move of many users is still noticed as fast as they log in wrongly.
const EXTRA_INTERVAL: Duration = Duration::from_millis(20);

/// So many of them at once after a time of quiet: a client opens several connections together, and many move together.
const EXTRA_AT_ONCE: u32 = 50;

/// How much is kept, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Most users remembered; beyond it the least used go first.
    pub capacity: u64,
    /// How long a route is used without asking again.
    pub ttl: Duration,
    /// How long "no such user" is believed.
    pub negative_ttl: Duration,
    /// How long an old route serves while the directory is unavailable. Counted from when the directory said it.
    pub stale: Duration,
    /// Where routes are kept over a restart; absent, a restart forgets them.
    pub file: Option<PathBuf>,
}

/// What a source says: a route and who said it.
pub(super) type Answer = Result<(Route, Arc<str>), LookupError>;

/// The cache. Clones share it.
#[derive(Clone)]
pub(super) struct Cache {
    lifetimes: Lifetimes,
    began: Instant,
    /// Where flights are: not with the session that asked first, whose thread may have much to do.
    home: Handle,
    /// By the names' octets: a [`UserName`] takes more.
    routes: moka::future::Cache<Box<[u8]>, Known>,
    heard: moka::future::Cache<UserName, Heard>,
    /// How often `routes` has changed.
    changes: Arc<AtomicU64>,
    /// For the questions that the cache could have answered.
    extra: Arc<Mutex<Pace>>,
    tally: Arc<metrics::Cache>,
}

/// A route as the directory gave it. Of 48 octets: one more would cost sixteen for each user.
#[derive(Clone)]
struct Known {
    route: Route,
    /// Nanoseconds from the cache's beginning to when it was said.
    at: u64,
    /// Of the source that said it, or [`KEPT`].
    edition: u32,
    /// Seconds that it was old then already: more than none where it was kept over a restart.
    before: u32,
}

impl Cache {
    /// Users will be looked up in the runtime inside which this is called.
    pub(super) fn new(settings: &Settings) -> Self {
        let Settings { capacity, ttl, negative_ttl, stale, file: _ } = *settings;
        let lifetimes = Lifetimes::new(ttl, negative_ttl, stale);
        Self {
            lifetimes,
            began: Instant::now(),
            home: Handle::current(),
            // Without an expiry of its own: the capacity bounds it, and an entry is a tenth smaller.
            routes: moka::future::Cache::builder().max_capacity(capacity).build(),
            heard: moka::future::Cache::builder().max_capacity(capacity).expire_after(lifetimes).build(),
            changes: Arc::default(),
            extra: Arc::default(),
            tally: Arc::default(),
        }
    }

    /// The same routes under other settings. Lifetimes are those of the new settings from now on. What ended flights have
    /// left behind is forgotten; it is soon too old anyway. Blocks where the capacity changes.
    pub(super) fn succeed(&self, settings: &Settings) -> Self {
        let fresh = Self::new(settings);
        let routes = if self.routes.policy().max_capacity() == Some(settings.capacity) {
            self.routes.clone()
        } else {
            for (user, known) in &self.routes {
                // Inserting only ever waits for others' insertions.
                let _ = fresh.routes.insert((*user).clone(), known).now_or_never();
            }
            fresh.routes
        };
        let (changes, extra) = (Arc::clone(&self.changes), Arc::clone(&self.extra));
        let (lifetimes, tally) = (fresh.lifetimes, Arc::clone(&self.tally));
        Self { lifetimes, began: self.began, home: fresh.home, routes, heard: fresh.heard, changes, extra, tally }
    }

    /// What the cache has, where the directory's answer is still believed. `edition` is the source's present one.
    pub(super) async fn believed(&self, user: &UserName, edition: u64) -> Option<Result<Located, LookupError>> {
        let now = Instant::now();
        if let Some(known) = self.routes.get(user.as_bytes()).await {
            let age = self.age(&known, now);
            if u64::from(known.edition) == edition && age < self.lifetimes.ttl {
                self.count(&self.tally.hits, true, now);
                return Some(Ok(Located { route: known.route, found: Found::Cached { age } }));
            }
        }
        let heard = self.heard.get(user).await.filter(|heard| self.lifetimes.cover(heard, now, edition))?;
        self.count(if heard.outcome.is_ok() { &self.tally.hits } else { &self.tally.negative }, true, now);
        Some(heard.outcome.map(|said| located(&said, Found::Cached { age: now - heard.at })))
    }

    /// From the directory; else, when that is unavailable, the old route.
    pub(super) async fn ask_for<F>(
        &self,
        user: &UserName,
        edition: u64,
        ask: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Located, LookupError>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let (now, lifetimes) = (Instant::now(), self.lifetimes);
        let believed = move |heard: &Heard| lifetimes.cover(heard, now, edition);
        let heard = match self.fly(user, now, edition, false, believed, ask).await {
            Err(LookupError::Unavailable(reason)) => self.old_route(user).await.ok_or(LookupError::Unavailable(reason)),
            heard => heard,
        };
        let is_stale = matches!(heard, Ok(Located { found: Found::Stale { .. }, .. }));
        self.count(if is_stale { &self.tally.stale } else { &self.tally.misses }, false, Instant::now());
        heard
    }

    /// From the directory, although the cache may have an answer, unless it was asked so for this user within the last
    /// second: that is its answer still. Never an old route. `None` where too many ask so.
    pub(super) async fn locate_afresh<F>(
        &self,
        user: &UserName,
        edition: u64,
        ask: impl FnOnce() -> F + Send + 'static,
    ) -> Option<Result<Located, LookupError>>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let now = Instant::now();
        let lifetimes = self.lifetimes;
        let believed = move |heard: &Heard| {
            let is_of_just_now = now.saturating_duration_since(heard.at) < JUST_NOW;
            lifetimes.cover(heard, now, edition) && heard.in_doubt && is_of_just_now
        };
        if let Some(heard) = self.heard.get(user).await.filter(believed) {
            return Some(heard.outcome.map(|said| located(&said, Found::Cached { age: now - heard.at })));
        }
        // Also of those who will only join a flight: who they are is not known before.
        if !self.extra.lock().unwrap_or_else(PoisonError::into_inner).admit(
            now.into_std(),
            EXTRA_INTERVAL,
            EXTRA_AT_ONCE,
        ) {
            return None;
        }
        self.tally.doubts.count();
        Some(self.fly(user, now, edition, true, believed, ask).await)
    }

    /// Joins the flight for this user, or starts it, unless what was heard meanwhile is believed. No old routes.
    async fn fly<F>(
        &self,
        user: &UserName,
        now: Instant,
        edition: u64,
        in_doubt: bool,
        believed: impl Fn(&Heard) -> bool + Send + Sync + 'static,
        ask: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Located, LookupError>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let (cache, key) = (self.clone(), user.clone());
        let flight = self.home.spawn(async move {
            let before = cache.heard.get(&key).await.filter(|heard| cache.lifetimes.cover(heard, now, edition));
            let init = async { Heard { in_doubt, ..cache.ask(key.clone(), edition, ask).await } };
            // Whatever was heard after we came is an answer to us, also an error of the flight that just landed.
            let replace = |heard: &Heard| heard.at <= now && !believed(heard);
            let heard = cache.heard.entry_by_ref(&key).or_insert_with_if(init, replace).await.into_value();
            if let Some(before) = before.filter(|_| heard.is_trouble()) {
                cache.put_back(key, before).await;
            }
            heard
        });
        let Ok(heard) = flight.await else {
            return Err(LookupError::Unavailable("the lookup was broken off".into()));
        };
        match heard.outcome {
            Ok(said) if heard.at >= now => Ok(located(&said, Found::Asked(Arc::clone(&said.1)))),
            Ok(said) => Ok(located(&said, Found::Cached { age: now - heard.at })),
            Err(error) => Err(error),
        }
    }

    /// The flight itself. The source runs in a task of its own, so that its panic is one error and not one for each
    /// of those who wait, in turn.
    async fn ask<F>(&self, user: UserName, edition: u64, ask: impl FnOnce() -> F) -> Heard
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let answer = match tokio::spawn(ask()).await {
            Ok(answer) => answer,
            Err(_) => Err(LookupError::Unavailable("the lookup broke down".into())),
        };
        let at = Instant::now();
        let outcome = answer.map(Arc::new);
        match &outcome {
            Ok(said) => {
                self.know(&user, said.0.clone(), at, edition).await;
                self.changes.fetch_add(1, Ordering::Release);
            }
            Err(LookupError::NotFound) => {
                if self.routes.remove(user.as_bytes()).await.is_some() {
                    self.changes.fetch_add(1, Ordering::Release);
                }
            }
            // The directory contradicts itself, or is silent: neither says that the old route is wrong.
            Err(LookupError::Ambiguous(_) | LookupError::Unavailable(_)) => {}
        }
        Heard { outcome, at, edition, in_doubt: false }
    }

    /// A directory in trouble does not say that its last answer is wrong, and who doubted that must not take it from
    /// the others.
    async fn put_back(&self, user: UserName, before: Heard) {
        let decide = |entry: Option<moka::Entry<UserName, Heard>>| {
            let newer = entry.is_some_and(|entry| !entry.into_value().is_trouble());
            std::future::ready(if newer { Op::Nop } else { Op::Put(before) })
        };
        self.heard.entry(user).and_compute_with(decide).await;
    }

    async fn know(&self, user: &UserName, route: Route, at: Instant, edition: u64) {
        // An edition that does not fit is never believed.
        let edition = u32::try_from(edition).unwrap_or(KEPT);
        let known = Known { route, at: self.since_began(at), edition, before: 0 };
        self.routes.insert(user.as_bytes().into(), known).await;
    }

    /// In nanoseconds, for 584 years.
    fn since_began(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    fn age(&self, known: &Known, now: Instant) -> Duration {
        let here = self.since_began(now).saturating_sub(known.at);
        Duration::from_nanos(here).saturating_add(Duration::from_secs(known.before.into()))
    }

    async fn old_route(&self, user: &UserName) -> Option<Located> {
        let known = self.routes.get(user.as_bytes()).await?;
        let age = self.age(&known, Instant::now());
        (age < self.lifetimes.stale).then_some(Located { route: known.route, found: Found::Stale { age } })
    }

    /// Has this user an old route, should the directory be unavailable?
    pub(super) async fn has_old_route(&self, user: &UserName) -> bool {
        self.old_route(user).await.is_some()
    }

    /// Routes that are there, and most of them.
    pub(super) async fn filling(&self) -> (u64, u64) {
        // It counts what it has put in order.
        self.routes.run_pending_tasks().await;
        (self.routes.entry_count(), self.routes.policy().max_capacity().unwrap_or(u64::MAX))
    }

    /// Forgets a user, or all. `false`: there was nothing. A look-up that is under way is not forgotten.
    pub(super) async fn flush(&self, user: Option<&UserName>) -> bool {
        let had = match user {
            Some(user) => {
                // What is void, since all were forgotten or by its age, may still lie there, and `remove` would tell it.
                let had = self.heard.contains_key(user) || self.routes.contains_key(user.as_bytes());
                self.heard.invalidate(user).await;
                self.routes.invalidate(user.as_bytes()).await;
                had
            }
            None => {
                // The count comes some time after what it counts.
                let had = self.routes.iter().next().is_some();
                self.heard.invalidate_all();
                self.routes.invalidate_all();
                had
            }
        };
        self.changes.fetch_add(1, Ordering::Release);
        had
    }

    pub(super) fn tally(&self) -> &metrics::Cache {
        &self.tally
    }

    /// Look-ups of the last minute, and those of them for which the directory was not asked.
    pub(super) fn lately(&self) -> (u64, u64) {
        let now = self.began.elapsed();
        (self.tally.lookups.last_minute(now), self.tally.served.last_minute(now))
    }

    fn count(&self, result: &metrics::Counter, has_served: bool, now: Instant) {
        let now = now.saturating_duration_since(self.began);
        result.count();
        self.tally.lookups.count(now);
        if has_served {
            self.tally.served.count(now);
        }
    }

    /// Names whose route has this login, in whatever case. Looks at every route, and blocks meanwhile.
    pub(super) fn names_of(&self, login: &UserName) -> Vec<UserName> {
        let login = lower_case(login.as_bytes());
        let is_his = |route: &Route| route.login.as_ref().is_some_and(|it| lower_case(it.as_bytes()) == login);
        self.routes.iter().filter(|(_, it)| is_his(&it.route)).filter_map(|(user, _)| UserName::new(&user)).collect()
    }

    /// Grows with each change of the old routes.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The old routes, in no order, with the times that their ages mean when `since_1970` is now. Blocks nobody for long.
    pub(super) fn known(&self, since_1970: Duration) -> impl Iterator<Item = Entry> {
        let stale = self.lifetimes.stale;
        self.routes.iter().filter_map(move |(user, known)| {
            let age = self.age(&known, Instant::now());
            let said = since_1970.saturating_sub(age).as_secs();
            let user = UserName::new(&user)?;
            (age < stale).then_some(Entry { user, route: known.route, said })
        })
    }

    /// What was kept becomes old routes again, unless it is too old by now; what the directory is to say in the future
    /// counts as said now. Returns how many there are. Only for a cache that nobody uses yet.
    pub(super) fn restore(&self, entries: Vec<Entry>, since_1970: Duration) -> usize {
        let at = self.since_began(Instant::now());
        let mut restored = 0;
        for Entry { user, route, said } in entries {
            let before = since_1970.saturating_sub(Duration::from_secs(said));
            if before < self.lifetimes.stale {
                let before = u32::try_from(before.as_secs()).unwrap_or(u32::MAX);
                let known = Known { route, at, edition: KEPT, before };
                // Inserting only ever waits for others' insertions.
                restored += usize::from(self.routes.insert(user.as_bytes().into(), known).now_or_never().is_some());
            }
        }
        restored
    }
}

fn located(said: &(Route, Arc<str>), found: Found) -> Located {
    Located { route: said.0.clone(), found }
}

const _: () = assert!(size_of::<Known>() == 48);

#[cfg(test)]
mod tests;
