//! The memory of refused logins, minute by minute.

use tokio::time::Instant;

use super::*;

const MEMORY: Duration = Duration::from_secs(800);

fn guesses(limit: u32, delay_max: u64) -> (Guesses, std::time::Instant) {
    let limit = Some(limit).filter(|limit| *limit > 0);
    let start = Instant::now().into_std();
    let mut guesses = Guesses::new(limit, MEMORY, Duration::from_secs(delay_max));
    // The first part of time begins now.
    assert_eq!(guesses.delay(network(0), start), Duration::ZERO);
    (guesses, start)
}

fn network(number: u32) -> Network {
    Network::of(number.to_be_bytes().into())
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn r_res_05_the_delay_doubles_behind_the_fifth_refusal_up_to_its_limit() {
    let (mut guesses, now) = guesses(0, 30);
    let mut delays = Vec::new();
    for _ in 0..12 {
        guesses.refused(network(1), now);
        delays.push(guesses.delay(network(1), now).as_secs());
    }
    assert_eq!(delays, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(guesses.delay(network(2), now), Duration::ZERO, "another network's");
    for _ in 0..100 {
        guesses.refused(network(1), now);
    }
    assert_eq!(guesses.delay(network(1), now), s(30), "no shift is too far");
}

#[test]
fn no_delay_where_none_is_wanted() {
    let (mut guesses, now) = guesses(0, 0);
    for _ in 0..50 {
        guesses.refused(network(1), now);
    }
    assert_eq!(guesses.delay(network(1), now), Duration::ZERO);
    assert_eq!(guesses.may_try(network(1), now), (true, None));
}

#[test]
fn a_network_is_blocked_at_its_limit_and_free_when_a_refusal_is_forgotten_each_told_once() {
    let (mut guesses, start) = guesses(10, 0);
    for second in 0..9 {
        assert_eq!(guesses.refused(network(1), start + s(second * 20)), None);
        assert_eq!(guesses.may_try(network(1), start + s(second * 20)), (true, None));
    }
    assert_eq!(guesses.refused(network(1), start + s(180)), Some(News::Blocked));
    // Logins that were under way already.
    assert_eq!(guesses.refused(network(1), start + s(181)), None);
    assert_eq!(guesses.may_try(network(1), start + s(182)), (false, None));
    assert_eq!(guesses.may_try(network(2), start + s(182)), (true, None));
    // The refusals of the first 100 seconds are forgotten at 900 s, all together: 800 s is the memory, 100 s a part.
    assert_eq!(guesses.may_try(network(1), start + s(899)), (false, None));
    assert_eq!(guesses.may_try(network(1), start + s(900)), (true, Some(News::Free)));
    assert_eq!(guesses.may_try(network(1), start + s(901)), (true, None));
}

/// Against a list of all times: what is remembered is what is not older than the memory, and at most one part of it more.
#[test]
fn the_count_is_that_of_the_memory_to_an_eighth() {
    let (mut guesses, start) = guesses(0, 0);
    let (mut at, mut all, mut random) = (0, Vec::new(), 7_u64);
    for _ in 0..2000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        at += match random >> 60 {
            0 => 1500,
            it => it * 3,
        };
        guesses.refused(network(1), start + s(at));
        all.push(at);
        let within = |memory: u64| all.iter().filter(|it| at - **it < memory).count() as u32;
        let part = guesses.part_at(start + s(at));
        let count = guesses.networks[&network(1)].count(part);
        assert!((within(800)..=within(900)).contains(&count), "{count} of {}..={}", within(800), within(900));
    }
}

#[test]
fn the_table_is_bounded_and_forgets_who_has_not_failed_for_longest() {
    let (mut guesses, now) = guesses(1, 0);
    for number in 0..NETWORKS_MAX as u32 {
        guesses.refused(network(number), now);
    }
    // One that fails again is young again.
    guesses.refused(network(0), now);
    for number in 0..1000 {
        guesses.refused(network(1_000_000 + number), now);
        assert!(guesses.networks.len() <= NETWORKS_MAX && guesses.by_age.len() == guesses.networks.len());
    }
    assert!(!guesses.may_try(network(0), now).0 && !guesses.may_try(network(60_000), now).0);
    assert!(guesses.may_try(network(1), now).0 && guesses.may_try(network(900), now).0);
    // Who was forgotten costs nothing: two go for each that comes.
    let later = now + s(10_000);
    for number in 0..NETWORKS_MAX as u32 {
        guesses.refused(network(2_000_000 + number % 10), later);
    }
    assert_eq!(guesses.networks.len(), 10);
}
