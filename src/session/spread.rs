//! Ends of many sessions, evenly over a time, so that their clients do not come back all at once. Pure but for the wait
//! in [`Spread::each`]; whom it is applied to is chosen elsewhere.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// So many sessions may end at once.
const AT_ONCE: usize = 10;

/// How often it is looked how many are due.
const STEP: Duration = Duration::from_millis(100);

/// Ends of so many, over this time.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    count: usize,
    over: Duration,
}

impl Spread {
    /// A few need no time.
    pub fn new(count: usize, over: Duration) -> Self {
        Self { count, over: if count > AT_ONCE { over } else { Duration::ZERO } }
    }

    /// The time that it takes.
    pub fn over(&self) -> Duration {
        self.over
    }

    /// How many are due so long after the beginning. The first one is at once.
    pub fn due(&self, since: Duration) -> usize {
        if since >= self.over {
            return self.count;
        }
        let share = (self.count as u128).saturating_mul(since.as_nanos()) / self.over.as_nanos().max(1);
        usize::try_from(share).unwrap_or(usize::MAX).saturating_add(1).min(self.count)
    }

    /// Does it to each one when it is due.
    pub async fn each<T>(self, all: Vec<T>, mut end: impl FnMut(T)) {
        let began = Instant::now();
        let (mut left, mut done) = (all.into_iter(), 0);
        loop {
            let due = self.due(began.elapsed());
            left.by_ref().take(due - done).for_each(&mut end);
            done = due;
            if done >= self.count {
                return;
            }
            sleep(STEP).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ends_are_even_over_the_time_and_the_first_is_at_once() {
        let spread = Spread::new(100, 10 * SECOND);
        let due = |milliseconds| spread.due(Duration::from_millis(milliseconds));
        assert_eq!([0, 99, 100, 1000, 5000, 9899, 9900, 10_000, 99_999].map(due), [1, 1, 2, 11, 51, 99, 100, 100, 100]);
    }

    #[test]
    fn a_few_and_those_without_a_time_end_at_once() {
        for (count, over) in [(0, SECOND), (10, SECOND), (100_000, Duration::ZERO)] {
            let spread = Spread::new(count, over);
            assert_eq!((spread.due(Duration::ZERO), spread.over()), (count, Duration::ZERO));
        }
        assert_eq!(Spread::new(11, SECOND).due(Duration::ZERO), 1);
    }

    #[test]
    fn no_count_and_no_time_is_too_large() {
        let count = u32::MAX as usize;
        let spread = Spread::new(count, Duration::MAX);
        assert_eq!(spread.due(Duration::MAX / 2), count / 2 + 1);
        assert_eq!(spread.due(Duration::MAX), count);
    }

    #[tokio::test(start_paused = true)]
    async fn each_one_is_ended_once_and_in_its_time() {
        let began = Instant::now();
        let mut ended = Vec::new();
        Spread::new(50, 10 * SECOND).each((0..50).collect(), |number: u32| ended.push((number, began.elapsed()))).await;
        assert_eq!(ended.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
        for (number, at) in ended {
            let due = number * SECOND / 5;
            assert!(at >= due && at <= due + 2 * STEP, "{number}: {at:?}");
        }
    }
}
