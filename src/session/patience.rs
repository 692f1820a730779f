//! Waiting for a node to return: how long one login still may, and what ends the wait.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::routing::{Changes, Table};

/// How often nodes that are in service are asked again although they failed this login: their database may be moving.
const RETRY: Duration = Duration::from_secs(1);

/// One login's patience. The clock starts with the first wait.
pub(super) struct Patience {
    limit: Duration,
    until: Option<Instant>,
    changes: watch::Receiver<Changes>,
    since: Changes,
}

impl Patience {
    pub(super) fn new(table: &Table) -> Self {
        let mut changes = table.changes();
        let since = *changes.borrow_and_update();
        Self { limit: table.island().patience, until: None, changes, since }
    }

    /// A plan is about to be made: what becomes better from now on is news.
    pub(super) fn begin_round(&mut self) {
        self.since = *self.changes.borrow_and_update();
    }

    /// The clock runs from now, unless it does already.
    pub(super) fn begin(&mut self) {
        self.until = Some(self.would_end());
    }

    /// When it would be over if a wait began now.
    pub(super) fn would_end(&self) -> Instant {
        self.until.unwrap_or_else(|| Instant::now() + self.limit)
    }

    /// Whether the clock has run out.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }

    /// Returns when a node's state has become better since the round began, or the patience is over.
    pub(super) async fn node_or_end(&mut self) {
        self.begin();
        let until = self.would_end();
        let since = self.since.better;
        let _ = timeout_at(until, self.changes.wait_for(|now| now.better != since)).await;
    }

    /// Waits until it is worth trying again: a node's state has become better, or some time has passed. `false`: the
    /// patience is over.
    pub(super) async fn wait(&mut self) -> bool {
        let until = self.would_end();
        tokio::select! {
            biased;
            () = self.node_or_end() => {}
            // Not all at the same moment, who failed at the same moment.
            () = sleep(RETRY.mul_f64(0.75 + fastrand::f64() / 2.0)) => {}
        }
        Instant::now() < until
    }
}
