//! How often the directory is asked although the cache has an answer: guessed passwords must not flood it.
//!
//! A bucket of tokens, with the clock as an argument. It admits or refuses, and never makes anybody wait.

use std::time::Duration;

use tokio::time::Instant;

/// Between two extra look-ups: 50 a second, which a small LDAP server does not feel beside its ordinary work, while a
/// move of many users is still noticed as fast as they log in wrongly.
const INTERVAL: Duration = Duration::from_millis(20);
/// So many at once after a time of quiet: a client opens several connections together, and many move together.
const BURST: u32 = 50;

/// When the bucket is full again; `None` or the past when it is.
#[derive(Debug, Default)]
pub(super) struct Throttle(Option<Instant>);

impl Throttle {
    /// Takes a token if there is one.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let full = self.0.map_or(now, |full| full.max(now));
        let admitted = full.saturating_duration_since(now) <= INTERVAL * (BURST - 1);
        if admitted {
            self.0 = Some(full + INTERVAL);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_one_each_interval() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        let mut admitted = |now| (0..1000).filter(|_| throttle.admit(now)).count();
        assert_eq!(admitted(start), 50);
        assert_eq!(admitted(start + Duration::from_millis(19)), 0);
        assert_eq!(admitted(start + Duration::from_millis(20)), 1);
        assert_eq!(admitted(start + Duration::from_millis(520)), 25);
        assert_eq!(admitted(start + Duration::from_secs(3600)), 50, "a long quiet saves no more than a burst");
    }
}
