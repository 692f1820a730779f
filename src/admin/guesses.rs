//! Wrong tokens of each client network, and when it may show the next one.
//!
//! A network may be wrong some times at once, and then once in some seconds: that stops whoever tries all tokens, and not
//! a machine whose token was replaced and that asks four times a minute. The table is bounded; when it is full, the
//! network is forgotten that has been quiet for longest. Pure: time is an argument, and nothing is logged here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::pace::{Alarm, Pace};
use crate::session::frequent::Network;

/// Networks that are remembered, at most: some 100 KB.
const NETWORKS_MAX: usize = 1024;

/// Wrong tokens of one network at once, after a time of quiet.
const AT_ONCE: u32 = 10;

/// What one costs beyond that.
const INTERVAL: Duration = Duration::from_secs(6);

/// Lines in the log about wrong tokens, of all networks together, in [`PERIOD`]; and as many about networks that must wait.
const LINES: u32 = 5;
const PERIOD: Duration = Duration::from_secs(60);

/// The wrong tokens of all networks.
pub(super) struct Guesses {
    networks: HashMap<Network, Guesser>,
    /// One for those who may go on, and one for those who must wait: that a network must is not drowned by its wrong tokens.
    alarms: [Alarm; 2],
}

struct Guesser {
    pace: Pace,
    last: Instant,
}

/// What the operator should be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// So many more since the last time.
    pub(super) untold: u64,
    /// Whether the network must wait now.
    pub(super) is_last: bool,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { networks: HashMap::new(), alarms: [(); 2].map(|()| Alarm::new(LINES, PERIOD)) }
    }
}

impl Guesses {
    /// How long a network must wait before its next wrong token; `None`: it need not.
    pub(super) fn must_wait(&self, network: Network, now: Instant) -> Option<Duration> {
        let due = self.networks.get(&network)?.pace.due(now, INTERVAL, AT_ONCE);
        Some(due.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// A token of it was wrong.
    pub(super) fn wrong(&mut self, network: Network, now: Instant) -> Option<News> {
        self.make_room(network, now);
        let guesser = self.networks.entry(network).or_insert_with(|| Guesser { pace: Pace::default(), last: now });
        guesser.pace.take(now, INTERVAL, AT_ONCE);
        guesser.last = now;
        let is_last = self.must_wait(network, now).is_some();
        let [wrong, last] = &mut self.alarms;
        let alarm = if is_last { last } else { wrong };
        alarm.ring(now).map(|untold| News { untold, is_last })
    }

    fn make_room(&mut self, network: Network, now: Instant) {
        if self.networks.len() < NETWORKS_MAX || self.networks.contains_key(&network) {
            return;
        }
        // After so long, a network may do all at once again and is as good as a new one.
        let memory = INTERVAL * AT_ONCE;
        self.networks.retain(|_, it| now.saturating_duration_since(it.last) < memory);
        if self.networks.len() >= NETWORKS_MAX {
            let quietest = self.networks.iter().min_by_key(|(_, it)| it.last).map(|(network, _)| *network);
            quietest.and_then(|network| self.networks.remove(&network));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a beginning to which times are added; nothing here waits")]

    use std::net::Ipv4Addr;

    use super::*;

    fn network(number: u32) -> Network {
        Network::of(std::net::IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn ten_wrong_tokens_at_once_and_then_one_in_six_seconds() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        let one = network(1);
        for wrong in 0..AT_ONCE {
            assert_eq!(guesses.must_wait(one, start), None, "after {wrong}");
            guesses.wrong(one, start);
        }
        assert_eq!(guesses.must_wait(one, start), Some(INTERVAL));
        assert_eq!(guesses.must_wait(network(2), start), None, "another network");
        assert_eq!(guesses.must_wait(one, start + INTERVAL - Duration::from_millis(1)), Some(Duration::from_millis(1)));
        let later = start + INTERVAL;
        assert_eq!(guesses.must_wait(one, later), None);
        guesses.wrong(one, later);
        assert_eq!(guesses.must_wait(one, later), Some(INTERVAL));
        let quiet = later + INTERVAL * AT_ONCE;
        for _ in 0..AT_ONCE {
            assert_eq!(guesses.must_wait(one, quiet), None);
            guesses.wrong(one, quiet);
        }
        assert_eq!(guesses.must_wait(one, quiet), Some(INTERVAL));
    }

    #[test]
    fn the_operator_hears_of_few_and_how_many_there_were() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        let told: Vec<_> = (0..100).filter_map(|_| guesses.wrong(network(1), start)).collect();
        let news = |is_last| [News { untold: 0, is_last }; LINES as usize];
        assert_eq!(told, [news(false), news(true)].concat(), "that it must wait is told however many there were");
        let later = guesses.wrong(network(1), start + PERIOD);
        assert_eq!(later, Some(News { untold: 86, is_last: true }));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_quietest() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        let most = u32::try_from(NETWORKS_MAX).unwrap();
        for number in 0..most {
            for _ in 0..AT_ONCE {
                guesses.wrong(network(number), start + Duration::from_millis(number.into()));
            }
        }
        let now = start + Duration::from_millis(most.into());
        guesses.wrong(network(most), now);
        assert_eq!(guesses.networks.len(), NETWORKS_MAX);
        assert_eq!(guesses.must_wait(network(0), now), None, "forgotten");
        assert!(guesses.must_wait(network(1), now).is_some(), "remembered");
        guesses.wrong(network(most + 1), now + INTERVAL * AT_ONCE);
        assert_eq!(guesses.networks.len(), 1, "all others may do everything again");
    }
}
