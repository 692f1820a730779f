//! Refused logins of each client network, and what they cost it: time at first, then its chance to try.
//!
//! What is remembered is the number of refusals in each eighth of the memory, so that a network costs the same
//! however often it fails. A login that is *open*, admitted and not judged, may become a refusal: it is counted as one
//! for those that come meanwhile, so that many at once are no more than one after the other. They wait for it, and are
//! not turned away: it may as well be right. The table is bounded: when it is full, the network that has not tried for
//! longest is forgotten. Whoever has so many networks that he can fill it does not need to be forgotten in order to try
//! again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::network::Network;

/// Networks that are remembered, at most: some 15 MB.
const NETWORKS_MAX: usize = 65_536;

/// How many times as many refusals as one network an IPv6 /48 may have: it may be one attacker's, or all phones' of a town.
const WIDE: u32 = 8;

/// Into how many parts the memory is divided. A refusal is remembered for at least the whole memory, and for at most
/// one part more.
const PARTS: u32 = 8;

/// Refusals that cost a network no time.
const FREE: u32 = 5;

/// What the first refusal costs that is not free. Each further one costs twice as much.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// Parts of the memory that may hold what counts: the one that runs, and the whole ones before it.
const SLOTS: usize = PARTS as usize + 1;

/// The refused logins of all networks.
pub(super) struct Guesses {
    limit: Option<u32>,
    part: Duration,
    delay_max: Duration,
    /// When the first part of all began.
    epoch: Option<Instant>,
    networks: HashMap<Network, Tally>,
    /// The networks in the order of their last try.
    by_age: BTreeMap<u64, Network>,
    next: u64,
}

/// One network's refusals.
#[derive(Default)]
struct Tally {
    /// How many in each part; a part's number says its place.
    refused: [u32; SLOTS],
    /// The last part in which there was one.
    last: u64,
    /// The network's place among all.
    age: u64,
    /// Whether it may not try any more, as far as was told.
    blocked: bool,
    /// Logins that were admitted and are not judged.
    open: u32,
    /// Where those wait who come when the open ones could be too many.
    turn: Option<Arc<Notify>>,
}

/// Whether a login may be tried.
pub(super) enum Admission {
    /// Yes; it is open until [`Guesses::settle`].
    Granted,
    /// Not until a refusal is forgotten.
    Denied,
    /// That is not known before another one is settled: it is to be asked for again then.
    Later(OwnedNotified),
}

/// What the operator should be told of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// No login of it is tried any more.
    Blocked(Network),
    /// Its logins are tried again.
    Free(Network),
}

impl Guesses {
    pub(super) fn new(limit: Option<u32>, memory: Duration, delay_max: Duration) -> Self {
        Self {
            limit,
            part: (memory / PARTS).max(Duration::from_nanos(1)),
            delay_max,
            epoch: None,
            networks: HashMap::new(),
            by_age: BTreeMap::new(),
            next: 0,
        }
    }

    /// Other limits from now on. With another memory everything is forgotten: its parts are no measure for the old ones.
    pub(super) fn reconfigure(&mut self, limit: Option<u32>, memory: Duration, delay_max: Duration) {
        // Who waits may have a place now.
        let turns = self.networks.values().filter_map(|tally| tally.turn.as_ref());
        turns.for_each(|turn| turn.notify_waiters());
        let fresh = Self::new(limit, memory, delay_max);
        if fresh.part == self.part {
            (self.limit, self.delay_max) = (limit, delay_max);
        } else {
            *self = fresh;
        }
    }

    /// May a login of this network be tried?
    pub(super) fn admit(&mut self, network: Network, now: Instant) -> (Admission, Vec<News>) {
        let part = self.part_at(now);
        let mut news = Vec::new();
        for it in self.concerned(network) {
            let (Some(limit), Some(tally)) = (self.limit_of(it), self.networks.get_mut(&it)) else { continue };
            let refused = tally.count(part);
            if refused >= limit {
                // Whoever waits for his turn must hear it too.
                tally.next_turn();
                self.pass_on(network, it, part);
                return (Admission::Denied, news);
            }
            if refused.saturating_add(tally.open) >= limit {
                let turn = tally.turn();
                self.pass_on(network, it, part);
                return (Admission::Later(turn), news);
            }
            if std::mem::take(&mut tally.blocked) {
                news.push(News::Free(it));
            }
        }
        for network in self.concerned(network) {
            let limit = self.limit_of(network);
            let tally = self.touch(network, part);
            tally.open += 1;
            if limit.is_some_and(|limit| tally.count(part).saturating_add(tally.open) < limit) {
                tally.next_turn();
            }
        }
        (Admission::Granted, news)
    }

    /// A login that was admitted is over. Was it refused, or could it have been?
    pub(super) fn settle(&mut self, network: Network, refused: bool, now: Instant) -> Vec<News> {
        let part = self.part_at(now);
        let mut news = Vec::new();
        for network in self.concerned(network) {
            let limit = self.limit_of(network);
            if refused {
                self.touch(network, part);
            }
            // None: it was forgotten meanwhile, because there are too many.
            let Some(tally) = self.networks.get_mut(&network) else { continue };
            tally.open = tally.open.saturating_sub(1);
            tally.next_turn();
            if refused {
                tally.add(part);
                let is_over = limit.is_some_and(|limit| tally.count(part) >= limit);
                if is_over && !std::mem::replace(&mut tally.blocked, true) {
                    news.push(News::Blocked(network));
                }
            } else if tally.open == 0 && tally.count(part) == 0 {
                self.forget(network);
            }
        }
        news
    }

    /// A login of this network may have been woken for a place that it cannot have, because `full` has none for it. The
    /// place is the next one's.
    fn pass_on(&self, network: Network, full: Network, part: u64) {
        for other in self.concerned(network).filter(|other| *other != full) {
            let (limit, tally) = (self.limit_of(other), self.networks.get(&other));
            let room = |it: &&Tally| limit.is_some_and(|limit| it.count(part).saturating_add(it.open) < limit);
            tally.filter(room).into_iter().for_each(Tally::next_turn);
        }
    }

    /// The network, and the /48 that it is in, where that matters.
    fn concerned(&self, network: Network) -> impl Iterator<Item = Network> + use<> {
        [Some(network), network.wide().filter(|_| self.limit.is_some())].into_iter().flatten()
    }

    fn limit_of(&self, network: Network) -> Option<u32> {
        self.limit.map(|limit| if network.is_wide() { limit.saturating_mul(WIDE) } else { limit })
    }

    /// The network's entry, which is the youngest now.
    fn touch(&mut self, network: Network, part: u64) -> &mut Tally {
        self.make_room(part, !self.networks.contains_key(&network));
        let age = self.next;
        self.next += 1;
        let tally = self.networks.entry(network).or_insert_with(|| Tally { last: part, age, ..Tally::default() });
        self.by_age.remove(&tally.age);
        self.by_age.insert(age, network);
        tally.age = age;
        tally
    }

    fn forget(&mut self, network: Network) {
        if let Some(tally) = self.networks.remove(&network) {
            self.by_age.remove(&tally.age);
            // They are as good as new ones.
            tally.turn.iter().for_each(|turn| turn.notify_waiters());
        }
    }

    /// How much longer the network waits for a refusal than one that has not been refused before. The refusal that it
    /// waits for is counted already.
    pub(super) fn delay(&mut self, network: Network, now: Instant) -> Duration {
        let part = self.part_at(now);
        let refused = self.networks.get(&network).map_or(0, |tally| tally.count(part));
        match refused.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_DELAY.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)),
        }
        .min(self.delay_max)
    }

    /// The number of the part of time that runs.
    fn part_at(&mut self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_insert(now);
        let elapsed = now.saturating_duration_since(epoch).as_nanos();
        u64::try_from(elapsed / self.part.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Forgets who has not failed within the memory, and whoever tried longest ago where there are too many. Each login
    /// adds one network at a time, so two go for each that comes.
    fn make_room(&mut self, part: u64, for_a_new_one: bool) {
        for _ in 0..2 {
            let Some((&age, &network)) = self.by_age.first_key_value() else { return };
            let is_over = self.networks.get(&network).is_none_or(|it| it.open == 0 && it.count(part) == 0);
            let is_full = for_a_new_one && self.networks.len() >= NETWORKS_MAX;
            if !is_over && !is_full {
                return;
            }
            self.by_age.remove(&age);
            self.forget(network);
        }
    }
}

impl Tally {
    /// Whoever has waited longest may ask again; or the next one that comes.
    fn next_turn(&self) {
        self.turn.iter().for_each(|turn| turn.notify_one());
    }

    fn turn(&mut self) -> OwnedNotified {
        Arc::clone(self.turn.get_or_insert_default()).notified_owned()
    }

    fn add(&mut self, part: u64) {
        for passed in (self.last + 1..=part).take(SLOTS) {
            *self.slot(passed) = 0;
        }
        // A part that lies before the last one is the clock's fault, and counts as the last one.
        self.last = self.last.max(part);
        let slot = self.slot(self.last);
        *slot = slot.saturating_add(1);
    }

    fn slot(&mut self, part: u64) -> &mut u32 {
        &mut self.refused[place(part)]
    }

    /// How many refusals are remembered in this part of time.
    fn count(&self, part: u64) -> u32 {
        let oldest = part.saturating_sub(u64::from(PARTS));
        (oldest..=self.last).rev().take(SLOTS).map(|it| self.refused[place(it)]).fold(0, u32::saturating_add)
    }
}

/// Where a part's number stands.
fn place(part: u64) -> usize {
    usize::try_from(part % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
