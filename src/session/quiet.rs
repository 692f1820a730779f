//! Who is quiet, when mailferry stops: since when nothing is under way in a session, and for how long that must be so
//! before it may end.
//!
//! The octets say whether a line was over and answered (`net/pump.rs`), and not whether that was all: a longer silence
//! does. How long it must be is one answer for all sessions, those that are let go and those that are cut. Nothing here
//! ends a session, and each has four octets for it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A session in which something has moved so lately may be in the middle of it, whatever the last octets were.
pub(super) const CALM: Duration = Duration::from_secs(1);

/// The longest that nothing must have been under way.
const CALM_MOST: Duration = Duration::from_secs(5);

/// Of [`Stirred`]: nothing is under way since then. The rest is a time in [`TICK`]s, enough for six years.
const AT_REST: u32 = 1 << 31;

/// How exactly it is known since when a session is at rest.
const TICK: Duration = Duration::from_millis(100);

/// When something last moved in a session, counted from its beginning, and whether nothing is under way.
pub(super) struct Stirred(AtomicU32);

impl Stirred {
    /// Something is under way, so long after the beginning.
    pub(super) fn new(now: Duration) -> Self {
        Self(AtomicU32::new(ticks(now)))
    }

    /// Whether something has moved since the last look, and whether nothing is under way. The clock is asked where it
    /// matters.
    pub(super) fn look(&self, has_moved: bool, is_at_rest: bool, now: impl FnOnce() -> Duration) {
        let rest = if is_at_rest { AT_REST } else { 0 };
        if has_moved || self.0.load(Ordering::Relaxed) & AT_REST != rest {
            self.0.store(ticks(now()) | rest, Ordering::Relaxed);
        }
    }

    /// Since when nothing is under way and nothing has moved, to a tenth of a second; nothing while something is under
    /// way.
    pub(super) fn at_rest(&self, now: Duration) -> Option<Duration> {
        let stirred = self.0.load(Ordering::Relaxed);
        (stirred & AT_REST != 0).then(|| now.saturating_sub(TICK * (stirred & !AT_REST)))
    }
}

/// Rounded up, so that nothing is at rest before its time.
fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX).min(AT_REST - 1)
}

/// For how long nothing may have been under way in a session that may go; the same for all.
pub(super) struct Calm(AtomicU32);

impl Default for Calm {
    fn default() -> Self {
        Self(AtomicU32::new(ticks(CALM)))
    }
}

impl Calm {
    /// A stop begins that gives the sessions this time: the more of it there is, the longer the silence may be.
    pub(super) fn for_stop(&self, time: Duration) {
        self.0.store(ticks((time / 4).clamp(CALM, CALM_MOST)), Ordering::Relaxed);
    }

    /// Whether so long a rest is enough.
    pub(super) fn is_over(&self, rest: Duration) -> bool {
        rest >= TICK * self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rest_is_counted_in_ticks_and_never_begins_too_early() {
        assert_eq!(ticks(Duration::ZERO), 0);
        assert_eq!(ticks(Duration::from_millis(1)), 1, "rounded up");
        assert_eq!(ticks(Duration::MAX), AT_REST - 1);
    }

    #[test]
    fn a_rest_begins_again_with_what_moves_and_ends_with_what_is_under_way() {
        let stirred = Stirred::new(SECOND);
        assert_eq!(stirred.at_rest(2 * SECOND), None, "it begins with something under way");
        stirred.look(false, true, || 3 * SECOND);
        stirred.look(false, true, || unreachable!("nothing has changed"));
        assert_eq!(stirred.at_rest(10 * SECOND), Some(7 * SECOND));
        stirred.look(true, true, || 8 * SECOND);
        assert_eq!(stirred.at_rest(10 * SECOND), Some(2 * SECOND));
        stirred.look(false, false, || 9 * SECOND);
        assert_eq!(stirred.at_rest(10 * SECOND), None);
    }

    #[test]
    fn the_shorter_the_stop_the_shorter_the_rest_that_is_enough_between_a_second_and_five() {
        let calm = Calm::default();
        assert!(calm.is_over(SECOND) && !calm.is_over(SECOND - TICK), "before any stop");
        for (time, expected) in [(0, 1), (4, 1), (8, 2), (20, 5), (3600, 5)] {
            calm.for_stop(SECOND * time);
            assert!(calm.is_over(SECOND * expected) && !calm.is_over(SECOND * expected - TICK), "{time}");
        }
    }
}
