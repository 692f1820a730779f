//! Figures of many logins. Latencies are those of logins that succeeded; the lost ones are counted beside them.

use std::time::Duration;

use super::{End, Visit};

/// What is said of a set of logins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Started.
    pub(crate) logins: usize,
    /// Without a positive answer.
    pub(crate) lost: usize,
    /// Logged in, and cut off before the end.
    pub(crate) cut: usize,
    /// From when a login was due to its answer; ascending.
    latencies: Vec<Duration>,
}

impl Figures {
    /// Of these logins.
    pub(crate) fn of<'a>(visits: impl IntoIterator<Item = &'a Visit>) -> Self {
        let mut figures = Self::default();
        for visit in visits {
            figures.logins += 1;
            match visit.end {
                End::Served => figures.latencies.push(visit.latency),
                End::Cut(_) => {
                    figures.cut += 1;
                    figures.latencies.push(visit.latency);
                }
                End::Lost(_) => figures.lost += 1,
            }
        }
        figures.latencies.sort();
        figures
    }

    /// The smallest latency that so many per mille of the logins did not exceed (nearest rank); `None` when nobody got
    /// in. 1000 is the longest.
    pub(crate) fn permille(&self, permille: usize) -> Option<Duration> {
        let rank = (self.latencies.len() * permille).div_ceil(1000);
        self.latencies.get(rank.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Protocol, Stage, Trouble};
    use super::*;

    fn visit(latency: u64, end: End) -> Visit {
        let latency = Duration::from_millis(latency);
        Visit { due: Duration::ZERO, user: "anna".into(), protocol: Protocol::Imap, latency, end }
    }

    fn trouble() -> Trouble {
        Trouble { stage: Stage::Login, words: String::new() }
    }

    #[test]
    fn ranks_are_the_nearest_ones() {
        let visits: Vec<_> = (1..=1000).rev().map(|n| visit(n, End::Served)).collect();
        let figures = Figures::of(&visits);
        for (permille, expected) in [(500, 500), (900, 900), (990, 990), (999, 999), (1000, 1000), (1, 1)] {
            assert_eq!(figures.permille(permille), Some(Duration::from_millis(expected)), "{permille}");
        }
        let figures = Figures::of(&visits[..3]); // 1000, 999, 998
        for (permille, expected) in [(500, 999), (333, 998), (334, 999), (990, 1000), (999, 1000)] {
            assert_eq!(figures.permille(permille), Some(Duration::from_millis(expected)), "{permille}");
        }
    }

    #[test]
    fn lost_logins_have_no_latency_and_cut_ones_do() {
        let visits = [visit(7, End::Cut(trouble())), visit(9000, End::Lost(trouble())), visit(5, End::Served)];
        let figures = Figures::of(&visits);
        assert_eq!((figures.logins, figures.lost, figures.cut), (3, 1, 1));
        assert_eq!(figures.permille(1000), Some(Duration::from_millis(7)));
        assert_eq!(Figures::of(&visits[1..2]).permille(500), None);
    }
}
