//! How fast something may happen: one event every interval, with some allowed at once.
//!
//! The generic cell rate algorithm (ITU-T I.371), with the clock as an argument: used to admit logins.

use std::time::{Duration, Instant};

/// When the next event is due.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    next: Option<Instant>,
}

impl Pace {
    /// Takes the next place in time and says when it is. `interval` lies between two places; so many as `at_once` may
    /// be taken without waiting after a time of quiet.
    pub fn take(&mut self, now: Instant, interval: Duration, at_once: u32) -> Instant {
        let place = self.place(now, interval, at_once);
        self.next = Some(place + interval);
        place.max(now)
    }

    /// When the next place is, without taking it.
    pub fn due(&self, now: Instant, interval: Duration, at_once: u32) -> Instant {
        self.place(now, interval, at_once).max(now)
    }

    /// Places that nobody took are lost, but for `at_once` of them.
    fn place(&self, now: Instant, interval: Duration, at_once: u32) -> Instant {
        let credit = interval.saturating_mul(at_once.saturating_sub(1));
        let earliest = now.checked_sub(credit).unwrap_or(now);
        self.next.map_or(earliest, |next| next.max(earliest))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a beginning to which times are added; nothing here waits")]

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);

    #[test]
    fn events_are_spaced_and_some_come_at_once() {
        let start = Instant::now() + Duration::from_secs(1000);
        let mut pace = Pace::default();
        let due: Vec<u128> = (0..6).map(|_| (pace.take(start, INTERVAL, 3) - start).as_millis()).collect();
        assert_eq!(due, [0, 0, 0, 10, 20, 30]);
        let later = start + Duration::from_secs(1);
        let due: Vec<u128> = (0..6).map(|_| (pace.take(later, INTERVAL, 3) - later).as_millis()).collect();
        assert_eq!(due, [0, 0, 0, 10, 20, 30]);
    }

    #[test]
    fn without_credit_two_events_never_coincide() {
        let start = Instant::now() + Duration::from_secs(1000);
        let mut pace = Pace::default();
        let mut last = None;
        for step in 0..100u32 {
            let due = pace.take(start + step * Duration::from_millis(3), INTERVAL, 1);
            assert!(last.is_none_or(|last| due - last >= INTERVAL));
            last = Some(due);
        }
    }
}
