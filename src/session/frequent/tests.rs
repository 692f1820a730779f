//! What is counted for whom, and how it is forgotten.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

impl Counters<u32> {
    fn count(&self, key: &u32, amount: u64, now: Duration) {
        self.add(key, |known| known == key, || *key, amount, now);
    }
}

/// At each of these seconds, so many.
fn rates(counters: &Counters<u32>, now: Duration) -> HashMap<u32, u64> {
    let mut each = HashMap::new();
    counters.last_minute(now, |key, count| assert!(each.insert(key, count).is_none(), "{key} is told twice"));
    each
}

#[test]
fn an_even_rate_is_told_as_it_is_at_every_moment() {
    let counters = Counters::default();
    for second in 0..300u64 {
        let now = u32::try_from(second).unwrap() * SECOND;
        if second % 5 == 0 {
            counters.count(&7, 1, now);
        }
        if second >= 60 {
            let rate = rates(&counters, now)[&7];
            assert!((11..=13).contains(&rate), "{rate} at {second}");
        }
    }
}

#[test]
fn what_is_over_is_forgotten_within_two_minutes() {
    let counters = Counters::default();
    counters.count(&1, 60, 30 * SECOND);
    let at = |second: u32| rates(&counters, second * SECOND).get(&1).copied();
    assert_eq!(
        [at(31), at(59), at(60), at(75), at(119), at(120)],
        [Some(60), Some(60), Some(60), Some(45), Some(1), None]
    );
    counters.count(&1, 5, 1000 * SECOND);
    assert_eq!(rates(&counters, 1001 * SECOND)[&1], 5, "nothing of a minute that was not the last one");
    counters.count(&1, 5, 900 * SECOND);
    assert_eq!(rates(&counters, 1001 * SECOND)[&1], 10, "a clock that was read earlier takes nothing away");
}

#[test]
fn memory_is_bounded_and_the_error_is_told() {
    let counters = Counters::default();
    let users = 40 * COUNTERS as u32;
    for user in 0..users {
        counters.count(&user, 1, SECOND);
        counters.count(&u32::MAX, u64::from(user % 8 == 0), SECOND);
    }
    let mut each = HashMap::new();
    let missed = counters.last_minute(SECOND, |key, count| assert_eq!(each.insert(key, count), None));
    assert!(each.len() <= SHARDS * COUNTERS, "{}", each.len());
    let exact = u64::from(users / 8);
    let frequent = each[&u32::MAX];
    assert!(missed > 0 && frequent <= exact && exact <= frequent + missed, "{frequent} of {exact}, {missed}");
    assert!(each.iter().all(|(key, count)| *key == u32::MAX || *count < frequent));
}

#[test]
fn few_are_counted_exactly() {
    let counters = Counters::default();
    // As many as any shard has counters for, however they fall.
    (0..COUNTERS as u32).for_each(|user| counters.count(&user, 3, SECOND));
    let mut each = Vec::new();
    assert_eq!(counters.last_minute(SECOND, |key, count| each.push((key, count))), 0);
    assert_eq!((each.len(), each.iter().all(|(_, count)| *count == 3)), (COUNTERS, true));
}
