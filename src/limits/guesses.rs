//! Refused logins of each client network, and what they cost it: time at first, then its chance to try.
//!
//! What is remembered is the number of refusals in each eighth of the memory, so that a network costs the same
//! however often it fails. The table is bounded: when it is full, the network that has not failed for longest is
//! forgotten. Whoever has so many networks that he can fill it does not need to be forgotten in order to try again.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::network::Network;

/// Networks that are remembered, at most: some 10 MB.
const NETWORKS_MAX: usize = 65_536;

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
    /// The networks in the order of their last refusal.
    by_age: BTreeMap<u64, Network>,
    next: u64,
}

/// One network's refusals.
struct Tally {
    /// How many in each part; a part's number says its place.
    refused: [u32; SLOTS],
    /// The last part in which there was one.
    last: u64,
    /// The network's place among all.
    age: u64,
    /// Whether it may not try any more, as far as was told.
    blocked: bool,
}

/// What the operator should be told of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// No login of it is tried any more.
    Blocked,
    /// Its logins are tried again.
    Free,
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

    /// Counts a refused login.
    pub(super) fn refused(&mut self, network: Network, now: Instant) -> Option<News> {
        let part = self.part_at(now);
        self.make_room(part);
        let age = self.next;
        self.next += 1;
        let tally = self.networks.entry(network).or_insert_with(|| Tally::new(part, age));
        self.by_age.remove(&tally.age);
        self.by_age.insert(age, network);
        tally.age = age;
        tally.add(part);
        let is_over = self.limit.is_some_and(|limit| tally.count(part) >= limit);
        (is_over && !std::mem::replace(&mut tally.blocked, true)).then_some(News::Blocked)
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

    /// Whether the network's logins are tried.
    pub(super) fn may_try(&mut self, network: Network, now: Instant) -> (bool, Option<News>) {
        let part = self.part_at(now);
        let (Some(limit), Some(tally)) = (self.limit, self.networks.get_mut(&network)) else { return (true, None) };
        if tally.count(part) >= limit {
            return (false, None);
        }
        (true, std::mem::take(&mut tally.blocked).then_some(News::Free))
    }

    /// The number of the part of time that runs.
    fn part_at(&mut self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_insert(now);
        let elapsed = now.saturating_duration_since(epoch).as_nanos();
        u64::try_from(elapsed / self.part.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Forgets who has not failed within the memory, and whoever failed longest ago where there are too many. Each
    /// refusal adds one network at most, so two go for each that comes.
    fn make_room(&mut self, part: u64) {
        for _ in 0..2 {
            let Some((&age, &network)) = self.by_age.first_key_value() else { return };
            let is_over = self.networks.get(&network).is_none_or(|it| it.count(part) == 0);
            if !is_over && self.networks.len() < NETWORKS_MAX {
                return;
            }
            self.by_age.remove(&age);
            self.networks.remove(&network);
        }
    }
}

impl Tally {
    fn new(part: u64, age: u64) -> Self {
        Self { refused: [0; SLOTS], last: part, age, blocked: false }
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
