//! The deadlines and counters of one login phase. Deadlines are absolute: no octet and no NOOP prolongs them
//! (slow-loris).

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;

/// For one command, from its first octet to its last, and for the silence before it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// For a client's TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Failed logins that a connection may have, whatever was the reason: each may cost a look-up and a line in the log.
const FAILED_LOGINS_MAX: u32 = 10;

/// What is left of one connection's time and patience.
pub(super) struct Budget {
    deadline: Instant,
    login_received: Instant,
    refused: u32,
    failed: u32,
}

impl Budget {
    /// Starts at accept; `login_timeout` is all the time there is until a login succeeds.
    pub(super) fn new(login_timeout: Duration) -> Self {
        let now = Instant::now();
        Self { deadline: now + login_timeout, login_received: now, refused: 0, failed: 0 }
    }

    /// When the next command must be complete.
    pub(super) fn command_deadline(&self) -> Instant {
        self.deadline.min(Instant::now() + COMMAND_TIMEOUT)
    }

    /// When a TLS handshake that begins now must be done.
    pub(super) fn handshake_deadline(&self) -> Instant {
        self.deadline.min(Instant::now() + HANDSHAKE_TIMEOUT)
    }

    /// A complete login has arrived now. Says when that is.
    pub(super) fn login_received(&mut self) -> Instant {
        self.login_received = Instant::now();
        self.login_received
    }

    /// When the login phase is over, whatever happens.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Runs one attempt to log in within what is left. No `async fn`, which would have room for the attempt twice: as its
    /// argument, and where it runs.
    pub(super) fn within_login<T>(
        &self,
        attempt: impl Future<Output = Result<T, Failure>>,
    ) -> impl Future<Output = Result<T, Failure>> {
        timeout_at(self.deadline, attempt).map(|done| done.unwrap_or(Err(Failure::LoginTimeout)))
    }

    /// When a refused login is to be answered: the next whole multiple of `interval` since it was received, and
    /// `longer` after that, in whole multiples as well.
    ///
    /// A node takes its time over a wrong password, and an unknown user costs one look-up; both answers fall on the
    /// same beat, so the time does not say which it was. Not beyond the deadline.
    pub(super) fn refusal_due(&self, interval: Duration, longer: Duration) -> Instant {
        refusal_due(self.login_received, Instant::now(), interval, longer).min(self.deadline)
    }

    /// Whether the first beat has passed.
    pub(super) fn is_late(&self, interval: Duration) -> bool {
        self.login_received.elapsed() >= interval
    }

    /// Whether less than `interval` was left when the login was received. It must not be tried: a refusal in time would
    /// say who is unknown, and a right password would be known by being accepted, however often it was tried.
    pub(super) fn is_last_beat(&self, interval: Duration) -> bool {
        self.deadline.saturating_duration_since(self.login_received) < interval
    }

    /// Counts a login that failed, for whatever reason. Whether it was the last that this connection may have.
    pub(super) fn login_failed(&mut self) -> bool {
        self.failed += 1;
        self.failed >= FAILED_LOGINS_MAX
    }

    /// Counts a refused login. Whether it was the last that this connection may have.
    pub(super) fn login_refused(&mut self, max: u32) -> bool {
        self.refused += 1;
        self.refused >= max
    }
}

fn refusal_due(received: Instant, now: Instant, interval: Duration, longer: Duration) -> Instant {
    if interval.is_zero() {
        return now + longer;
    }
    let beats = (now - received).as_nanos() / interval.as_nanos() + 1;
    // From the beat, not from now: what is added must not make two beats of one.
    let more = longer.as_nanos().div_ceil(interval.as_nanos());
    received + interval.saturating_mul(u32::try_from(beats + more).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_falls_on_the_next_beat_whoever_refused() {
        let start = Instant::now();
        let due = |elapsed_ms: u64, interval_ms: u64| {
            let now = start + Duration::from_millis(elapsed_ms);
            (refusal_due(start, now, Duration::from_millis(interval_ms), Duration::ZERO) - start).as_millis()
        };
        // An unknown user is known to be one at once, a wrong password after the node's own two seconds.
        assert_eq!(due(1, 3000), 3000);
        assert_eq!(due(2030, 3000), 3000);
        assert_eq!(due(3000, 3000), 6000);
        assert_eq!(due(3001, 3000), 6000);
        assert_eq!(due(17, 0), 17);
    }

    #[test]
    fn r_res_05_a_network_that_fails_often_waits_for_a_later_beat_whoever_refused() {
        let start = Instant::now();
        // Time until it was refused, the beat, how much longer, when it is answered.
        for (elapsed_ms, interval_ms, longer_ms, due_ms) in [
            (1, 3000, 1000, 6000),
            (2030, 3000, 1000, 6000),
            (2999, 3000, 3000, 6000),
            (1, 3000, 3001, 9000),
            (2999, 3000, 3001, 9000),
            (1, 3000, 0, 3000),
            (17, 0, 1000, 1017),
        ] {
            let ms = Duration::from_millis;
            let due = refusal_due(start, start + ms(elapsed_ms), ms(interval_ms), ms(longer_ms));
            assert_eq!(due - start, ms(due_ms), "{elapsed_ms} {interval_ms} {longer_ms}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_deadline_is_prolonged_by_activity() {
        let budget = Budget::new(Duration::from_secs(60));
        let start = Instant::now();
        assert_eq!((budget.command_deadline() - start).as_secs(), 30);
        assert_eq!((budget.handshake_deadline() - start).as_secs(), 10);
        tokio::time::advance(Duration::from_secs(55)).await;
        assert_eq!((budget.command_deadline() - start).as_secs(), 60);
        assert_eq!((budget.handshake_deadline() - start).as_secs(), 60);
        assert_eq!((budget.refusal_due(Duration::from_secs(7200), Duration::ZERO) - start).as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_outlives_the_budget_is_a_timeout() {
        let budget = Budget::new(Duration::from_secs(60));
        let never = std::future::pending::<Result<(), Failure>>();
        assert!(matches!(budget.within_login(never).await, Err(Failure::LoginTimeout)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_behind_the_first_beat_is_late() {
        let mut budget = Budget::new(Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(10)).await;
        budget.login_received();
        tokio::time::advance(Duration::from_millis(2999)).await;
        assert!(!budget.is_late(Duration::from_secs(3)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(budget.is_late(Duration::from_secs(3)));
    }

    #[test]
    fn the_fifth_refused_login_is_the_last() {
        let mut budget = Budget::new(Duration::from_secs(60));
        let last: Vec<bool> = (0..5).map(|_| budget.login_refused(5)).collect();
        assert_eq!(last, [false, false, false, false, true]);
    }
}
