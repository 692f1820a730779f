//! When somebody was last heard: what tells a busy server from a frozen one.
//!
//! A search that is not answered in time says nothing of a server that has answered others meanwhile: there is only too
//! much to do. It never says anything of what was answered.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// The last sign of life, of a connection or of a server.
#[derive(Debug, Default)]
pub(super) struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    /// Something was heard.
    pub(super) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// When something was last heard.
    pub(super) fn last(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Was anything heard after that moment?
    pub(super) fn after(&self, moment: Instant) -> bool {
        self.last().is_some_and(|last| last > moment)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_heard_later_counts() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        assert!(!pulse.after(start), "never heard");
        pulse.beat();
        assert_eq!(pulse.last(), Some(start));
        assert!(!pulse.after(start), "what was heard just before is no answer");
        tokio::time::advance(Duration::from_millis(1)).await;
        pulse.beat();
        assert!(pulse.after(start));
        assert!(!pulse.after(Instant::now()));
    }
}
