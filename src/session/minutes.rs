//! How many logins each node has had in the last minutes: the small curves of the status page, and how many there were in
//! the last one.
//!
//! Counted where a session begins, under one lock that is held for one look-up, or to add up what nodes have had. A node that
//! has had none for longer is forgotten, so that there are never more than the configuration has, and those that it had
//! lately. `frequent` counts logins too, with those of users and networks, of which there may be more than can be told
//! apart: what it knows of nodes can be laid beside that, and this is exact.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::names::{IslandName, NodeName};
use crate::routing::NodePort;

/// Steps that are told: five minutes of them.
pub const STEPS: usize = 60;

/// How long one is.
pub const STEP: Duration = Duration::from_secs(STEP_SECONDS as u64);

const STEP_SECONDS: usize = 5;

/// Seconds that are counted: those of all steps, and of the one that is running.
const SECONDS: usize = (STEPS + 1) * STEP_SECONDS;

/// The logins of the last minutes, by node.
#[derive(Debug)]
pub struct Minutes {
    began: Instant,
    nodes: Mutex<HashMap<(IslandName, NodeName), Seconds>>,
}

/// One node's.
#[derive(Debug)]
struct Seconds {
    /// The newest one in it, counted from the start.
    newest: u64,
    /// Logins of each, the second's number modulo the length being its place.
    counts: [u32; SECONDS],
}

impl Default for Minutes {
    fn default() -> Self {
        Self { began: Instant::now(), nodes: Mutex::default() }
    }
}

impl Minutes {
    /// A node has accepted a login.
    pub(super) fn count(&self, port: &NodePort) {
        let now = self.second();
        let key = (port.table().island().name.clone(), port.node().name.clone());
        let mut nodes = self.nodes();
        if let Some(seconds) = nodes.get_mut(&key) {
            return seconds.count(now);
        }
        nodes.retain(|_, seconds| now.saturating_sub(seconds.newest) < SECONDS as u64);
        let mut seconds = Seconds { newest: now, counts: [0; SECONDS] };
        seconds.count(now);
        nodes.insert(key, seconds);
    }

    /// The step that is running: what is told changes with it.
    pub fn step(&self) -> u64 {
        self.second() / STEP_SECONDS as u64
    }

    /// Logins of each node that had any, in the [`STEPS`] steps before the running one, the oldest first.
    pub fn all(&self) -> Vec<(IslandName, NodeName, Vec<u32>)> {
        let (steps, length) = (STEPS as u64, STEP_SECONDS as u64);
        let running = self.step();
        let told = |seconds: &Seconds| -> Vec<u32> {
            let step = |ago: u64| running.checked_sub(ago).map(|step| step * length..(step + 1) * length);
            (1..=steps).rev().map(|ago| step(ago).map_or(0, |range| seconds.sum(range))).collect()
        };
        let nodes = self.nodes();
        let all = nodes.iter().map(|((island, node), seconds)| (island.clone(), node.clone(), told(seconds)));
        all.filter(|(_, _, counts)| counts.iter().any(|count| *count > 0)).collect()
    }

    /// Logins of the last minute, of all nodes, the running second not counted.
    pub fn last_minute(&self) -> u64 {
        let now = self.second();
        self.nodes().values().map(|seconds| u64::from(seconds.sum(now.saturating_sub(60)..now))).sum()
    }

    fn second(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    /// No method can panic between two changes that belong together.
    fn nodes(&self) -> MutexGuard<'_, HashMap<(IslandName, NodeName), Seconds>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seconds {
    fn count(&mut self, now: u64) {
        // Seconds without a login do not keep what stood in their place before.
        let passed = now.saturating_sub(self.newest).min(SECONDS as u64);
        for ago in 0..passed {
            if let Some(count) = self.counts.get_mut(place(now - ago)) {
                *count = 0;
            }
        }
        self.newest = self.newest.max(now);
        // Whoever asked for the time first may come second.
        if let Some(count) = self.counts.get_mut(place(now)) {
            *count = count.saturating_add(1);
        }
    }

    /// Of seconds that are told still.
    fn sum(&self, seconds: Range<u64>) -> u32 {
        let is_counted = |second: &u64| *second <= self.newest;
        let counts = seconds.filter(is_counted).filter_map(|second| self.counts.get(place(second)));
        counts.fold(0, |sum, count| sum.saturating_add(*count))
    }
}

fn place(second: u64) -> usize {
    usize::try_from(second % SECONDS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::names::Protocol;
    use crate::routing::Islands;
    use crate::testkit::settings;

    #[tokio::test(start_paused = true)]
    async fn each_step_is_told_when_it_is_over_and_forgotten_after_five_minutes() {
        let islands = Islands::new(vec![settings::island(3)], None, Instant::now().into_std());
        let ports: Vec<_> = islands.find(&IslandName::new("a")).unwrap().ports(Protocol::Imap).collect();
        let minutes = Minutes::default();
        let curve = |place: usize| {
            let name = ports[place].node().name.clone();
            let found = minutes.all().into_iter().find(|(island, node, _)| island.as_str() == "a" && *node == name);
            found.map(|(_, _, counts)| counts)
        };
        minutes.count(&ports[0]);
        minutes.count(&ports[0]);
        assert_eq!(curve(0), None, "its step is still running");
        advance(STEP).await;
        minutes.count(&ports[0]);
        minutes.count(&ports[1]);
        assert_eq!(curve(0).unwrap()[STEPS - 1..], [2]);
        advance(STEP * 2).await;
        assert_eq!(curve(0).unwrap()[STEPS - 4..], [0, 2, 1, 0]);
        assert_eq!(curve(1).unwrap()[STEPS - 4..], [0, 0, 1, 0]);
        advance(STEP * (STEPS as u32 - 2)).await;
        assert_eq!(curve(0).unwrap()[..2], [1, 0], "the first step is forgotten");
        minutes.count(&ports[0]);
        advance(STEP).await;
        assert_eq!(curve(0).unwrap()[STEPS - 2..], [0, 1]);
        assert_eq!((curve(0).unwrap().iter().sum::<u32>(), curve(1)), (1, None));
        advance(STEP * (3 * STEPS as u32)).await;
        assert!(minutes.all().is_empty());
        assert_eq!(minutes.nodes().len(), 2);
        minutes.count(&ports[2]);
        assert_eq!(minutes.nodes().len(), 1, "who has had none for long is forgotten");
    }
    #[tokio::test(start_paused = true)]
    async fn the_last_minute_is_told_to_the_second() {
        let islands = Islands::new(vec![settings::island(2)], None, Instant::now().into_std());
        let ports: Vec<_> = islands.find(&IslandName::new("a")).unwrap().ports(Protocol::Imap).collect();
        let (minutes, second) = (Minutes::default(), Duration::from_secs(1));
        assert_eq!(minutes.last_minute(), 0);
        (0..5).for_each(|number| minutes.count(&ports[number % 2]));
        assert_eq!(minutes.last_minute(), 0, "the running second is not over");
        advance(second).await;
        assert_eq!(minutes.last_minute(), 5, "of all nodes");
        advance(30 * second).await;
        minutes.count(&ports[0]);
        advance(29 * second).await;
        assert_eq!(minutes.last_minute(), 6);
        advance(second).await;
        assert_eq!(minutes.last_minute(), 1, "the first ones are a minute ago");
        advance(SECONDS as u32 * second).await;
        minutes.count(&ports[0]);
        advance(second).await;
        assert_eq!(minutes.last_minute(), 1, "nothing of what stood in the places before");
    }
}
