//! Those with the most of many, in bounded memory: counters that are never too high, and too low by a known amount.
//!
//! Misra and Gries' algorithm, as Anderson et al. (2017) have it for amounts: when there is no counter left, the median of
//! all is taken from each, and those that have nothing left go. It is pure.

use std::collections::HashMap;
use std::hash::Hash;

/// Counters for so many at most.
pub(super) struct Sketch<K> {
    counts: HashMap<K, u64>,
    capacity: usize,
    missed: u64,
}

impl<K> Sketch<K> {
    /// `capacity` is at least 2.
    pub(super) fn new(capacity: usize) -> Self {
        Self { counts: HashMap::new(), capacity: capacity.max(2), missed: 0 }
    }

    /// How much more than its count each may have, and how much those may have that have none. Zero as long as there were
    /// no more of them than counters; never more than the sum of all amounts, divided by half the number of counters.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    /// Each that has a counter, and its count, which is never more than is true.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, u64)> {
        self.counts.iter().map(|(key, count)| (key, *count))
    }
}

impl<K: Clone + Eq + Hash> Sketch<K> {
    /// Counts so much for one of them.
    pub(super) fn add(&mut self, key: &K, amount: u64) {
        if let Some(count) = self.counts.get_mut(key) {
            *count = count.saturating_add(amount);
            return;
        }
        if self.counts.len() >= self.capacity {
            self.make_room();
        }
        self.counts.insert(key.clone(), amount);
    }

    /// At least half of the counters are free afterwards, so it is done once for so many that are new.
    fn make_room(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        let middle = counts.len() / 2;
        let (_, median, _) = counts.select_nth_unstable(middle);
        let median = *median;
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(median);
            *count > 0
        });
        self.missed = self.missed.saturating_add(median);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(capacity: usize, stream: &[(u8, u64)]) -> (Sketch<u8>, HashMap<u8, u64>) {
        let (mut sketch, mut exact) = (Sketch::new(capacity), HashMap::new());
        for (key, amount) in stream {
            sketch.add(key, *amount);
            *exact.entry(*key).or_insert(0) += amount;
        }
        (sketch, exact)
    }

    #[test]
    fn one_that_has_much_stays_whoever_comes() {
        let mut sketch = Sketch::new(8);
        for stranger in 0..10_000u32 {
            sketch.add(&(stranger + 10), 1);
            if stranger % 4 == 0 {
                sketch.add(&1, 1);
            }
        }
        let counts: HashMap<u32, u64> = sketch.iter().map(|(key, count)| (*key, count)).collect();
        let most = counts.iter().max_by_key(|(_, count)| **count).unwrap();
        assert_eq!(*most.0, 1, "{counts:?}");
        assert!((2500 - sketch.missed()..=2500).contains(most.1), "{counts:?}, {}", sketch.missed());
    }

    proptest! {
        #[test]
        fn no_count_is_too_high_and_none_is_too_low_by_more_than_is_said(
            capacity in 2usize..40,
            stream in prop::collection::vec((0u8..80, 1u64..1000), 0..2000),
        ) {
            let (sketch, exact) = counted(capacity, &stream);
            let counts: HashMap<u8, u64> = sketch.iter().map(|(key, count)| (*key, count)).collect();
            prop_assert!(counts.len() <= capacity);
            prop_assert!(counts.keys().all(|key| exact.contains_key(key)));
            for (key, exact) in &exact {
                let count = counts.get(key).copied().unwrap_or_default();
                prop_assert!(count <= *exact && *exact <= count + sketch.missed(), "{key}: {count} of {exact}");
            }
            let sum: u64 = stream.iter().map(|(_, amount)| amount).sum();
            prop_assert!(sketch.missed() * (capacity as u64 / 2) <= sum, "{} of {sum}", sketch.missed());
            if exact.len() <= capacity {
                prop_assert_eq!(counts, exact);
                prop_assert_eq!(sketch.missed(), 0);
            }
        }
    }
}
