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

/// A login that was admitted and refused.
fn refused(guesses: &mut Guesses, network: Network, now: std::time::Instant) -> Vec<News> {
    let (admission, mut news) = guesses.admit(network, now);
    assert!(matches!(admission, Admission::Granted));
    news.extend(guesses.settle(network, true, now));
    news
}

/// Whether a login may be tried, which then succeeds.
fn may_try(guesses: &mut Guesses, network: Network, now: std::time::Instant) -> (bool, Vec<News>) {
    let (admission, mut news) = guesses.admit(network, now);
    let may = matches!(admission, Admission::Granted);
    if may {
        news.extend(guesses.settle(network, false, now));
    }
    (may, news)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn r_res_05_the_delay_doubles_behind_the_fifth_refusal_up_to_its_limit() {
    let (mut guesses, now) = guesses(0, 30);
    let mut delays = Vec::new();
    for _ in 0..12 {
        refused(&mut guesses, network(1), now);
        delays.push(guesses.delay(network(1), now).as_secs());
    }
    assert_eq!(delays, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(guesses.delay(network(2), now), Duration::ZERO, "another network's");
    for _ in 0..100 {
        refused(&mut guesses, network(1), now);
    }
    assert_eq!(guesses.delay(network(1), now), s(30), "no shift is too far");
}

#[test]
fn no_delay_where_none_is_wanted() {
    let (mut guesses, now) = guesses(0, 0);
    for _ in 0..50 {
        refused(&mut guesses, network(1), now);
    }
    assert_eq!(guesses.delay(network(1), now), Duration::ZERO);
    assert_eq!(may_try(&mut guesses, network(1), now), (true, vec![]));
}

#[test]
fn a_network_is_blocked_at_its_limit_and_free_when_a_refusal_is_forgotten_each_told_once() {
    let (mut guesses, start) = guesses(10, 0);
    for second in 0..9 {
        assert_eq!(refused(&mut guesses, network(1), start + s(second * 20)), vec![]);
        assert_eq!(may_try(&mut guesses, network(1), start + s(second * 20)), (true, vec![]));
    }
    assert_eq!(refused(&mut guesses, network(1), start + s(180)), vec![News::Blocked(network(1))]);
    assert_eq!(may_try(&mut guesses, network(1), start + s(182)), (false, vec![]));
    assert_eq!(may_try(&mut guesses, network(2), start + s(182)), (true, vec![]));
    // The refusals of the first 100 seconds are forgotten at 900 s, all together: 800 s is the memory, 100 s a part.
    assert_eq!(may_try(&mut guesses, network(1), start + s(899)), (false, vec![]));
    assert_eq!(may_try(&mut guesses, network(1), start + s(900)), (true, vec![News::Free(network(1))]));
    assert_eq!(may_try(&mut guesses, network(1), start + s(901)), (true, vec![]));
}

#[test]
fn a_48_may_have_eight_times_as_many_however_they_are_spread() {
    let (mut guesses, now) = guesses(10, 0);
    let of = |number: u32| Network::of(format!("2001:db8:1:{number:x}::1").parse().unwrap());
    for number in 0..80 {
        let news = refused(&mut guesses, of(number), now);
        assert_eq!(news, if number == 79 { vec![News::Blocked(of(0).wide().unwrap())] } else { vec![] });
    }
    assert!(!may_try(&mut guesses, of(1000), now).0 && !may_try(&mut guesses, of(0), now).0);
    let elsewhere = Network::of("2001:db8:2::1".parse().unwrap());
    assert!(may_try(&mut guesses, elsewhere, now).0);
    assert_eq!(guesses.delay(of(0), now), Duration::ZERO, "each network's delay is its own");
}

#[test]
fn nothing_is_left_of_networks_whose_logins_are_right() {
    let (mut guesses, now) = guesses(10, 0);
    for number in 0..100 {
        assert!(may_try(&mut guesses, network(number), now).0);
        assert!(may_try(&mut guesses, Network::of(format!("2001:db8:{number}::1").parse().unwrap()), now).0);
    }
    assert!(guesses.networks.is_empty() && guesses.by_age.is_empty());
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
        refused(&mut guesses, network(1), start + s(at));
        all.push(at);
        let within = |memory: u64| all.iter().filter(|it| at - **it < memory).count() as u32;
        let part = guesses.part_at(start + s(at));
        let count = guesses.networks[&network(1)].count(part);
        assert!((within(800)..=within(900)).contains(&count), "{count} of {}..={}", within(800), within(900));
    }
}

#[test]
fn the_table_is_bounded_and_forgets_who_has_not_failed_for_longest() {
    let (mut guesses, now) = guesses(3, 0);
    for number in 0..NETWORKS_MAX as u32 {
        refused(&mut guesses, network(number), now);
        refused(&mut guesses, network(number), now);
    }
    // One that fails again is young again.
    refused(&mut guesses, network(0), now);
    refused(&mut guesses, network(60_000), now);
    for number in 0..1000 {
        refused(&mut guesses, network(1_000_000 + number), now);
        assert!(guesses.networks.len() <= NETWORKS_MAX && guesses.by_age.len() == guesses.networks.len());
    }
    assert!(!may_try(&mut guesses, network(0), now).0 && !may_try(&mut guesses, network(60_000), now).0);
    assert_eq!([1, 900, 60_001].map(|it| guesses.networks.contains_key(&network(it))), [false, false, true]);
    // Who was forgotten costs nothing: two go for each that comes.
    guesses.limit = None;
    let later = now + s(10_000);
    for number in 0..NETWORKS_MAX as u32 {
        refused(&mut guesses, network(2_000_000 + number % 10), later);
    }
    assert_eq!(guesses.networks.len(), 10);
}
