//! Those with the most of many, in bounded memory: counters that are never too high, and too low by a known amount.
//!
//! Misra and Gries' algorithm, as Anderson et al. (2017) have it for amounts: when there is no counter left, the median of
//! all is taken from each, and those that have nothing left go. It is pure.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Counters for so many at most.
pub(super) struct Sketch<K> {
    /// By the hash that whoever counts has made.
    counts: HashMap<u64, (K, u64), BuildHasherDefault<Made>>,
    capacity: usize,
    missed: u64,
}

impl<K> Sketch<K> {
    /// `capacity` is at least 2.
    pub(super) fn new(capacity: usize) -> Self {
        Self { counts: HashMap::default(), capacity: capacity.max(2), missed: 0 }
    }

    /// How much more than its count each may have, and how much those may have that have none. Zero as long as there were
    /// no more of them than counters; never more than the sum of all amounts, divided by half the number of counters.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    /// Each that has a counter, and its count, which is never more than is true.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, u64)> {
        self.counts.values().map(|(key, count)| (key, *count))
    }

    /// Counts so much for one of them, of which `hash` is a good hash that nobody can choose. Two of one hash are never
    /// taken for each other: one of them is not counted.
    pub(super) fn add(&mut self, hash: u64, is_it: impl Fn(&K) -> bool, it: impl FnOnce() -> K, amount: u64) {
        match self.counts.get_mut(&hash) {
            Some((known, count)) if is_it(known) => *count = count.saturating_add(amount),
            Some(_) => self.missed = self.missed.saturating_add(amount),
            None => {
                if self.counts.len() >= self.capacity {
                    self.make_room();
                }
                self.counts.insert(hash, (it(), amount));
            }
        }
    }

    /// At least half of the counters are free afterwards, so it is done once for so many that are new.
    fn make_room(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().map(|(_, count)| *count).collect();
        let middle = counts.len() / 2;
        let (_, median, _) = counts.select_nth_unstable(middle);
        let median = *median;
        self.counts.retain(|_, (_, count)| {
            *count = count.saturating_sub(median);
            *count > 0
        });
        self.missed = self.missed.saturating_add(median);
    }
}

/// Takes a hash for what it is.
#[derive(Default)]
struct Made(u64);

impl Hasher for Made {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Nothing else is ever asked for.
    fn write(&mut self, octets: &[u8]) {
        self.0 = octets.iter().fold(self.0, |hash, octet| hash.rotate_left(8) ^ u64::from(*octet));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, DefaultHasher, Hash};

    use proptest::prelude::*;

    use super::*;

    impl<K: Clone + Eq + Hash> Sketch<K> {
        fn count(&mut self, key: &K, amount: u64) {
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
            self.add(hash, |known| known == key, || key.clone(), amount);
        }
    }

    #[test]
    fn two_of_one_hash_are_never_taken_for_each_other() {
        let mut sketch = Sketch::new(8);
        for (key, amount) in [(1, 5), (2, 70), (1, 1)] {
            sketch.add(42, |known| *known == key, || key, amount);
        }
        assert_eq!(sketch.iter().collect::<Vec<_>>(), [(&1, 6)]);
        assert_eq!(sketch.missed(), 70);
    }

    fn counted(capacity: usize, stream: &[(u8, u64)]) -> (Sketch<u8>, HashMap<u8, u64>) {
        let (mut sketch, mut exact) = (Sketch::new(capacity), HashMap::new());
        for (key, amount) in stream {
            sketch.count(key, *amount);
            *exact.entry(*key).or_insert(0) += amount;
        }
        (sketch, exact)
    }

    #[test]
    fn one_that_has_much_stays_whoever_comes() {
        let mut sketch = Sketch::new(8);
        for stranger in 0..10_000u32 {
            sketch.count(&(stranger + 10), 1);
            if stranger % 4 == 0 {
                sketch.count(&1, 1);
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
