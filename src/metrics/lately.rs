//! How often something has happened in the last minute. No lock and no clock of its own: it is counted on the way of logins,
//! and whoever counts and asks says what time it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Seconds that are counted one by one: a minute, and some for the one that is running.
const SECONDS: usize = 64;

/// Each place has a second, counted from the beginning, in its upper half, and how often it happened then in the lower one.
#[derive(Debug)]
pub struct Lately([AtomicU64; SECONDS]);

impl Default for Lately {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Lately {
    /// Once more, so long after the beginning.
    pub fn count(&self, now: Duration) {
        let second = now.as_secs();
        let place = usize::try_from(second).unwrap_or(0) % SECONDS;
        let Some(slot) = self.0.get(place) else { return };
        let more = |slot: u64| Some(if slot >> 32 == second { slot + 1 } else { (second << 32) + 1 });
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// How often in the last minute, the running second not counted.
    pub fn last_minute(&self, now: Duration) -> u64 {
        let now = now.as_secs();
        let recent = |slot: &AtomicU64| {
            let slot = slot.load(Ordering::Relaxed);
            // A slot of the first second of all is never told from an empty one, and both hold what is true.
            let (second, count) = (slot >> 32, slot & u64::from(u32::MAX));
            (second < now && now - second <= 60).then_some(count)
        };
        self.0.iter().filter_map(recent).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_counted_for_a_minute() {
        let lately = Lately::default();
        let second = Duration::from_secs;
        assert_eq!(lately.last_minute(second(0)), 0);
        (0..5).for_each(|_| lately.count(Duration::from_millis(999)));
        assert_eq!(lately.last_minute(second(0)), 0, "the running second is not over");
        assert_eq!(lately.last_minute(second(1)), 5);
        lately.count(second(31));
        assert_eq!(lately.last_minute(second(60)), 6);
        assert_eq!(lately.last_minute(second(61)), 1, "the first ones are a minute ago");
        lately.count(second(159));
        assert_eq!(lately.last_minute(second(160)), 1, "nothing of the slot's old second");
    }
}
