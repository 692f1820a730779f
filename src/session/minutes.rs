//! How many logins each node has had in the last minutes, for the small curves of the status page.
//!
//! Counted where a session begins, under one lock that is held for one look-up. A node that has had none for longer is
//! forgotten, so that there are never more than the configuration has, and those that it had lately.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::names::{IslandName, NodeName};
use crate::routing::NodePort;

/// Steps that are told: five minutes of them.
pub const STEPS: usize = 60;

/// How long one is.
pub const STEP: Duration = Duration::from_secs(5);

/// The logins of the last minutes, by node.
#[derive(Debug)]
pub struct Minutes {
    began: Instant,
    nodes: Mutex<HashMap<(IslandName, NodeName), Steps>>,
}

/// One node's.
#[derive(Clone, Debug)]
struct Steps {
    /// The newest step in it, counted from the start.
    newest: u64,
    /// Logins of each, the step's number modulo the length being its place. One more than is told: it is running.
    counts: [u32; STEPS + 1],
}

impl Default for Minutes {
    fn default() -> Self {
        Self { began: Instant::now(), nodes: Mutex::default() }
    }
}

impl Minutes {
    /// A node has accepted a login.
    pub(super) fn count(&self, port: &NodePort) {
        let now = self.step();
        let key = (port.table().island().name.clone(), port.node().name.clone());
        let mut nodes = self.nodes();
        if let Some(steps) = nodes.get_mut(&key) {
            return steps.add(now);
        }
        nodes.retain(|_, steps| now.saturating_sub(steps.newest) <= STEPS as u64);
        let mut steps = Steps { newest: now, counts: [0; STEPS + 1] };
        steps.add(now);
        nodes.insert(key, steps);
    }

    /// The step that is running: what is told changes with it.
    pub fn step(&self) -> u64 {
        self.began.elapsed().as_secs() / STEP.as_secs()
    }

    /// Logins of each node that had any, in the [`STEPS`] steps before the running one, the oldest first.
    pub fn all(&self) -> Vec<(IslandName, NodeName, Vec<u32>)> {
        let now = self.step();
        let all: Vec<_> = self.nodes().iter().map(|(key, steps)| (key.clone(), steps.clone())).collect();
        let told = |((island, node), mut steps): ((IslandName, NodeName), Steps)| {
            steps.move_to(now);
            let counts = (1..=STEPS as u64).map(|ago| steps.of(now + ago)).collect();
            (island, node, counts)
        };
        all.into_iter().map(told).filter(|(_, _, counts): &(_, _, Vec<u32>)| counts.iter().any(|it| *it > 0)).collect()
    }

    /// No method can panic between two changes that belong together.
    fn nodes(&self) -> MutexGuard<'_, HashMap<(IslandName, NodeName), Steps>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Steps {
    fn add(&mut self, now: u64) {
        self.move_to(now);
        if let Some(count) = self.counts.get_mut(place(now)) {
            *count = count.saturating_add(1);
        }
    }

    /// Steps without a login are empty, and do not keep what stood in their place before.
    fn move_to(&mut self, now: u64) {
        let passed = now.saturating_sub(self.newest).min(self.counts.len() as u64);
        for step in 0..passed {
            if let Some(count) = self.counts.get_mut(place(now - step)) {
                *count = 0;
            }
        }
        self.newest = self.newest.max(now);
    }

    fn of(&self, step: u64) -> u32 {
        self.counts.get(place(step)).copied().unwrap_or(0)
    }
}

fn place(step: u64) -> usize {
    usize::try_from(step % (STEPS as u64 + 1)).unwrap_or(0)
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
}
