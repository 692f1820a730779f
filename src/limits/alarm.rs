//! A line of the log that hostile clients could cause as often as they like, kept to so many in so much time.

use std::time::{Duration, Instant};

/// Lets the first few lines of each period through, and counts the rest.
pub struct Alarm {
    period: Duration,
    lines: u32,
    began: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Alarm {
    /// So many lines in each period of this length.
    pub fn new(lines: u32, period: Duration) -> Self {
        Self { period, lines, began: None, told: 0, untold: 0 }
    }

    /// Something happened. `Some`: tell it, and that it happened so often before without being told.
    pub fn ring(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= self.period) {
            (self.began, self.told) = (Some(now), 0);
        }
        if self.told == self.lines {
            self.untold += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn each_period_has_its_lines_and_the_first_says_how_many_went_untold() {
        let start = Instant::now().into_std();
        let mut alarm = Alarm::new(2, Duration::from_secs(60));
        let mut ring = |second| alarm.ring(start + Duration::from_secs(second));
        assert_eq!([ring(0), ring(1), ring(2), ring(59)], [Some(0), Some(0), None, None]);
        assert_eq!([ring(60), ring(61), ring(62)], [Some(2), Some(0), None]);
        assert_eq!(ring(1000), Some(1));
    }
}
