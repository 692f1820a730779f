//! What the operator wants of a node, and what he is shown of it beside its state. Nothing here decides where a login goes.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{NodePort, Table};
use crate::metrics;
use crate::routing::OperatorState;

/// What was noticed of a node, for one protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Why its state got worse the last time.
    pub reason: Option<Arc<str>>,
    /// From the connect to the greeting, of the last probe that got one.
    pub greeted_in: Option<Duration>,
}

impl Table {
    /// What is counted of its logins, over all reloads that leave the island where it is.
    pub fn tally(&self) -> &Arc<metrics::Island> {
        &self.tally
    }
}

impl NodePort {
    /// What is counted of it, over all reloads that leave the node where it is.
    pub fn tally(&self) -> &metrics::NodePort {
        let [imap, pop3] = &self.known().tallies;
        if self.index() == 0 { imap } else { pop3 }
    }

    /// The operator wants something else of the node, for all protocols.
    pub fn set_operator_state(&self, state: OperatorState) {
        *self.known().operator.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.tell_waiting(state == OperatorState::InService);
    }

    /// The node gets its users back, whatever `fail_back` says.
    pub fn release(&self) {
        self.health().release();
    }

    /// Since when it is in its state of health.
    pub fn since(&self) -> Instant {
        self.health().since()
    }

    /// Whether it has returned and has not got its users back yet.
    pub fn is_held_back(&self, now: Instant) -> bool {
        self.health().is_held_back(self.table().island().fail_back, now)
    }

    /// Its state has got worse, and why.
    pub fn note_reason(&self, reason: &str) {
        self.noted().reason = Some(reason.into());
    }

    /// A probe was greeted so fast.
    pub fn note_greeting(&self, took: Duration) {
        self.noted().greeted_in = Some(took);
    }

    /// What was noticed.
    pub fn notes(&self) -> Notes {
        self.noted().clone()
    }

    fn noted(&self) -> MutexGuard<'_, Notes> {
        let [imap, pop3] = &self.known().notes;
        let notes = if self.index() == 0 { imap } else { pop3 };
        notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
