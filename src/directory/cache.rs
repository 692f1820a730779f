//! The cache in front of the directory, and the one flight per user to it.
//!
//! Two tables. `fresh` holds the directory's answers, "no such user" included, for as long as they are believed.
//! `stale` holds the last route of each user for much longer, and is read only while the directory is unavailable.
//! Ages are measured by tokio's clock, in the entries themselves; moka's own expiry only gives the memory back.
//!
//! However many ask for one user at once, the directory is asked once, in a task that nobody's hang-up can cancel, and
//! all get the same answer. Never cached as an answer: an ambiguity, an unavailable directory.
//! The key is the name's octets and nothing else: IMAP and POP3 share the entries. A source that changes as a whole,
//! like a file, counts its editions: an answer of an older one is fresh no more, but still an old route.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::Expiry;
use moka::ops::compute::Op;
use tokio::time::Instant;

use super::throttle::Throttle;
use super::{Found, Located, LookupError, Route};
use crate::names::UserName;

/// Lifetimes beyond this are cut to it; moka refuses those of more than a thousand years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// An answer so young to a doubt is not doubted again: many connections of one client fail together, and guessed
/// passwords are doubts as well.
const JUST_NOW: Duration = Duration::from_secs(1);

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
}

/// What a source says: a route and who said it.
pub(super) type Answer = Result<(Route, Arc<str>), LookupError>;

/// The cache. Clones share it.
#[derive(Clone)]
pub(super) struct Cache {
    lifetimes: Lifetimes,
    fresh: moka::future::Cache<UserName, Heard>,
    stale: moka::future::Cache<UserName, Known>,
    /// For the questions that the cache could have answered.
    extra: Arc<Mutex<Throttle>>,
}

/// A route as the directory gave it.
#[derive(Clone)]
struct Known {
    /// Shared by both tables.
    said: Arc<(Route, Arc<str>)>,
    at: Instant,
}

/// The end of a flight.
#[derive(Clone)]
struct Heard {
    outcome: Result<Arc<(Route, Arc<str>)>, LookupError>,
    at: Instant,
    edition: u64,
    /// Whether it was asked for in doubt of an answer that the cache had.
    in_doubt: bool,
}

impl Heard {
    /// Neither a route nor "no such user".
    fn is_trouble(&self) -> bool {
        match self.outcome {
            Ok(_) | Err(LookupError::NotFound) => false,
            Err(LookupError::Ambiguous(_) | LookupError::Unavailable(_)) => true,
        }
    }
}

#[derive(Clone, Copy)]
struct Lifetimes {
    ttl: Duration,
    negative_ttl: Duration,
    stale: Duration,
}

impl Lifetimes {
    fn of(&self, heard: &Heard) -> Duration {
        match heard.outcome {
            Ok(_) => self.ttl,
            Err(LookupError::NotFound) => self.negative_ttl,
            Err(LookupError::Ambiguous(_) | LookupError::Unavailable(_)) => Duration::ZERO,
        }
    }

    /// Is this still believed, when the source is at this edition?
    fn cover(&self, heard: &Heard, now: Instant, edition: u64) -> bool {
        heard.edition == edition && now.saturating_duration_since(heard.at) < self.of(heard)
    }
}

impl Expiry<UserName, Heard> for Lifetimes {
    fn expire_after_create(&self, _: &UserName, heard: &Heard, _: std::time::Instant) -> Option<Duration> {
        Some(self.of(heard))
    }

    fn expire_after_update(
        &self,
        _: &UserName,
        heard: &Heard,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.of(heard))
    }
}

impl Cache {
    pub(super) fn new(settings: &Settings) -> Self {
        let Settings { capacity, ttl, negative_ttl, stale } = *settings;
        let [ttl, negative_ttl, stale] = [ttl, negative_ttl, stale].map(|lifetime| lifetime.min(LONGEST));
        let lifetimes = Lifetimes { ttl, negative_ttl, stale };
        Self {
            lifetimes,
            fresh: moka::future::Cache::builder().max_capacity(capacity).expire_after(lifetimes).build(),
            stale: moka::future::Cache::builder().max_capacity(capacity).time_to_live(stale).build(),
            extra: Arc::default(),
        }
    }

    /// From the cache where the directory's answer is still believed; else from the directory; else, when that is
    /// unavailable, the old route. `edition` is the source's present one.
    pub(super) async fn locate<F>(
        &self,
        user: &UserName,
        edition: u64,
        ask: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Located, LookupError>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let now = Instant::now();
        let lifetimes = self.lifetimes;
        let believed = move |heard: &Heard| lifetimes.cover(heard, now, edition);
        if let Some(heard) = self.fresh.get(user).await.filter(believed) {
            return Ok(located(&*heard.outcome?, Found::Cached { age: now - heard.at }));
        }
        match self.fly(user, now, edition, false, believed, ask).await {
            Err(LookupError::Unavailable(reason)) => self.old_route(user).await.ok_or(LookupError::Unavailable(reason)),
            heard => heard,
        }
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
        if let Some(heard) = self.fresh.get(user).await.filter(believed) {
            return Some(heard.outcome.map(|said| located(&said, Found::Cached { age: now - heard.at })));
        }
        // Also of those who will only join a flight: who they are is not known before.
        if !self.extra.lock().unwrap_or_else(PoisonError::into_inner).admit(now) {
            return None;
        }
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
        let flight = tokio::spawn(async move {
            let before = cache.fresh.get(&key).await.filter(|heard| cache.lifetimes.cover(heard, now, edition));
            let init = async { Heard { in_doubt, ..cache.ask(key.clone(), edition, ask).await } };
            // Whatever was heard after we came is an answer to us, also an error of the flight that just landed.
            let replace = |heard: &Heard| heard.at <= now && !believed(heard);
            let heard = cache.fresh.entry_by_ref(&key).or_insert_with_if(init, replace).await.into_value();
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
            Ok(said) => self.stale.insert(user, Known { said: Arc::clone(said), at }).await,
            Err(LookupError::NotFound) => self.stale.invalidate(&user).await,
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
        self.fresh.entry(user).and_compute_with(decide).await;
    }

    async fn old_route(&self, user: &UserName) -> Option<Located> {
        let known = self.stale.get(user).await?;
        let age = known.at.elapsed();
        (age < self.lifetimes.stale).then(|| located(&known.said, Found::Stale { age }))
    }
}

fn located(said: &(Route, Arc<str>), found: Found) -> Located {
    Located { route: said.0.clone(), found }
}

#[cfg(test)]
mod tests;
