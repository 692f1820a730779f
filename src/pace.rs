//! How often something may happen: one event every interval, with some allowed at once. Two keepers of that, one for
//! events that may wait or be left out, one for lines of the log.
//!
//! The generic cell rate algorithm (ITU-T I.371), with the clock as an argument: nothing here waits, logs or locks.

use std::time::{Duration, Instant};

/// When the next event is due.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// When everything that was allowed at once is allowed again; `None` or the past: it is.
    full: Option<Instant>,
}

impl Pace {
    /// Takes the next place in time and says when it is. `interval` lies between two places; so many as `at_once` may
    /// be taken without waiting after a time of quiet, and places that nobody took are lost beyond that.
    pub fn take(&mut self, now: Instant, interval: Duration, at_once: u32) -> Instant {
        let due = self.due(now, interval, at_once);
        self.full = Some(self.full.map_or(now, |full| full.max(now)) + interval);
        due
    }

    /// When the next place is, without taking it.
    pub fn due(&self, now: Instant, interval: Duration, at_once: u32) -> Instant {
        let credit = interval.saturating_mul(at_once.saturating_sub(1));
        let behind = self.full.map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        now + behind.saturating_sub(credit)
    }

    /// Takes the next place if it is now. An event that may not happen now is never heard of again.
    pub fn admit(&mut self, now: Instant, interval: Duration, at_once: u32) -> bool {
        let is_due = self.due(now, interval, at_once) <= now;
        if is_due {
            self.take(now, interval, at_once);
        }
        is_due
    }
}

/// A line of the log that hostile clients could cause as often as they like, kept to so many in so much time.
#[derive(Debug)]
pub struct Alarm {
    interval: Duration,
    at_once: u32,
    pace: Pace,
    untold: u64,
}

impl Alarm {
    /// So many lines in each period of this length, and as many at once after a time of quiet.
    pub fn new(lines: u32, period: Duration) -> Self {
        Self { interval: period / lines.max(1), at_once: lines, pace: Pace::default(), untold: 0 }
    }

    /// Something happened. `Some`: tell it, and that it happened so often before without being told.
    pub fn ring(&mut self, now: Instant) -> Option<u64> {
        if self.pace.admit(now, self.interval, self.at_once) {
            return Some(std::mem::take(&mut self.untold));
        }
        self.untold += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a beginning to which times are added; nothing here waits")]

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);

    #[test]
    fn events_are_spaced_and_some_come_at_once() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let due: Vec<u128> = (0..6).map(|_| (pace.take(start, INTERVAL, 3) - start).as_millis()).collect();
        assert_eq!(due, [0, 0, 0, 10, 20, 30]);
        let later = start + Duration::from_secs(1);
        let due: Vec<u128> = (0..6).map(|_| (pace.take(later, INTERVAL, 3) - later).as_millis()).collect();
        assert_eq!(due, [0, 0, 0, 10, 20, 30]);
    }

    #[test]
    fn without_credit_two_events_never_coincide() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut last = None;
        for step in 0..100u32 {
            let due = pace.take(start + step * Duration::from_millis(3), INTERVAL, 1);
            assert!(last.is_none_or(|last| due - last >= INTERVAL));
            last = Some(due);
        }
    }

    #[test]
    fn a_burst_is_admitted_and_then_one_each_interval() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut admitted = |after| (0..1000).filter(|_| pace.admit(start + after, INTERVAL, 50)).count();
        assert_eq!(admitted(Duration::ZERO), 50);
        assert_eq!(admitted(Duration::from_millis(9)), 0, "who is not admitted takes no place");
        assert_eq!(admitted(Duration::from_millis(10)), 1);
        assert_eq!(admitted(Duration::from_millis(260)), 25);
        assert_eq!(admitted(Duration::from_secs(3600)), 50, "a long quiet saves no more than a burst");
    }

    #[test]
    fn each_period_has_its_lines_and_the_next_one_says_how_many_went_untold() {
        let start = Instant::now();
        let mut alarm = Alarm::new(2, Duration::from_secs(60));
        let mut ring = |second| alarm.ring(start + Duration::from_secs(second));
        assert_eq!([ring(0), ring(1), ring(2), ring(29)], [Some(0), Some(0), None, None]);
        assert_eq!([ring(31), ring(32), ring(59)], [Some(2), None, None]);
        assert_eq!(ring(1000), Some(2));
    }
}
