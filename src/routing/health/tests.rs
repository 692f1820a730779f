//! The state machine: every state and signal as a table, and random histories.

#![allow(clippy::disallowed_methods, reason = "a beginning to which times are added; nothing here waits")]

mod histories;

use proptest::prelude::*;

use super::*;
use crate::routing::island::Check;

const SECOND: Duration = Duration::from_secs(1);

fn probe(fall: u32, rise: u32) -> Probe {
    Probe { check: Check::Greeting, interval: 5 * SECOND, timeout: 2 * SECOND, fall, rise }
}

fn witness(client: u8, user: u8) -> Witness {
    Witness {
        client: IpAddr::from([192, 0, 2, client]),
        user: UserName::new(format!("user{user}").as_bytes()).unwrap(),
    }
}

/// Signals in short: `u` unreachable, `f` failed a login, `n` not ready, `s` slow (all for the client and user of its place in the text, so
/// that no two are alike), `F` failed (always the same client and user), `v` served, `x` probe failed, `p` probe
/// passed, `l` probe logged in, `d` doubt.
fn signals(text: &str) -> Vec<Signal> {
    let one = |(place, letter): (usize, char)| {
        let other = witness(place as u8, place as u8);
        match letter {
            'u' => Signal::Unreachable,
            'f' => Signal::LoginFailed(other),
            'n' => Signal::NotReady(other),
            's' => Signal::Slow(other),
            'F' => Signal::LoginFailed(witness(200, 200)),
            'v' => Signal::Served,
            'x' => Signal::ProbeFailed,
            'p' => Signal::ProbePassed { logged_in: false },
            'l' => Signal::ProbePassed { logged_in: true },
            'd' => Signal::Doubt,
            _ => unreachable!("{letter}"),
        }
    };
    text.chars().enumerate().map(one).collect()
}

/// Whether a login of somebody new would find out if the node serves.
fn is_trial_due(health: &Health, probe: &Probe, now: Instant) -> bool {
    health.is_trial_due(&witness(99, 99).user, probe, now)
}

/// The state after these signals, at once one after the other.
fn after(text: &str, probe: &Probe) -> Health {
    let now = Instant::now();
    let mut health = Health::new(now);
    for signal in signals(text) {
        health.signal(signal, probe, now);
    }
    health
}

#[test]
fn every_state_answers_every_signal() {
    use State::{Down, InService, Probation, Suspect};
    // With fall 3 and rise 2: how the state is reached, then where each signal leads from there.
    let ways = [
        // Reached by, is in; after: u    f (2nd)  s (2nd)  v          x          p          l          d
        ("F", InService, [Suspect, Suspect, Suspect, InService, Suspect, InService, InService, InService]),
        ("xF", Suspect, [Suspect, Suspect, Suspect, Suspect, Suspect, Suspect, Suspect, Suspect]),
        ("xxF", Suspect, [Down, Down, Suspect, Suspect, Down, Suspect, Suspect, Suspect]),
        ("Fff", Suspect, [Down, Down, Suspect, Suspect, Down, Suspect, Suspect, Suspect]),
        ("xv", Suspect, [Suspect, Suspect, Suspect, InService, Suspect, InService, InService, Suspect]),
        ("xxx", Down, [Down, Down, Down, InService, Down, Probation, Probation, Down]),
        ("xxxp", Probation, [Down, Probation, Probation, InService, Down, InService, InService, Probation]),
        ("Ffff", Down, [Down, Down, Down, InService, Down, Probation, Probation, Down]),
        ("Ffffp", Probation, [Down, Probation, Probation, InService, Down, Probation, InService, Probation]),
        ("Ffffppp", Probation, [Down, Probation, Probation, InService, Down, Probation, InService, Probation]),
    ];
    for (way, is, expected) in ways {
        assert_eq!(after(way, &probe(3, 2)).state(), is, "after {way}");
        for (letter, expected) in "ufsvxpld".chars().zip(expected) {
            let reached = after(&format!("{way}{letter}"), &probe(3, 2)).state();
            assert_eq!(reached, expected, "after {way}, then {letter}");
        }
    }
}

#[test]
fn an_outcome_names_the_old_state_once_and_calls_the_probe_for_what_it_has_not_seen_itself() {
    let now = Instant::now();
    let cases = [
        ("", "u", Some(State::InService), true),
        ("", "F", None, true),
        ("", "s", None, true),
        ("F", "f", Some(State::InService), true),
        ("F", "s", Some(State::InService), true),
        ("", "d", None, true),
        ("", "x", Some(State::InService), false),
        ("", "p", None, false),
        ("", "v", None, false),
        ("xxx", "p", Some(State::Down), false),
        ("xxx", "v", Some(State::Down), false),
        ("xxxp", "p", Some(State::Probation), false),
        ("xxx", "x", None, false),
    ];
    for (way, letter, was, wants_probe) in cases {
        let mut health = after(way, &probe(3, 2));
        let signal = signals(&format!("{way}{letter}")).pop().unwrap();
        assert_eq!(
            health.signal(signal, &probe(3, 2), now),
            Outcome { was, probe: wants_probe },
            "{way}, then {letter}"
        );
    }
}

#[test]
fn fall_and_rise_count_in_a_row() {
    for fall in 1..5 {
        for rise in 1..5 {
            let probe = probe(fall, rise);
            let fail = |count: u32| "x".repeat(count as usize);
            let pass = |count: u32| "p".repeat(count as usize);
            let state = |text: String| after(&text, &probe).state();
            if fall > 1 {
                assert_eq!(state(fail(fall - 1)), State::Suspect);
                assert_eq!(state(fail(fall - 1) + "p" + &fail(fall - 1)), State::Suspect, "a pass between begins anew");
            }
            assert_eq!(state(fail(fall)), State::Down);
            if rise > 1 {
                assert_eq!(state(fail(fall) + &pass(rise - 1)), State::Probation);
                assert_eq!(
                    state(fail(fall) + &pass(rise - 1) + "x"),
                    State::Down,
                    "one failure in probation is enough"
                );
                assert_eq!(state(fail(fall) + &pass(rise - 1) + "x" + &pass(rise - 1)), State::Probation);
            }
            assert_eq!(state(fail(fall) + &pass(rise)), State::InService);
        }
    }
}

#[test]
fn a_failure_behind_the_connect_needs_another_address_and_another_user_within_a_minute() {
    let probe = probe(1, 1);
    let cases = [
        ("same client, same user", (1, 1), 1, State::InService),
        ("same client, other user", (1, 2), 1, State::InService),
        ("other client, same user", (2, 1), 1, State::InService),
        ("both others", (2, 2), 1, State::Down),
        ("both others, just in time", (2, 2), 59, State::Down),
        ("both others, too late", (2, 2), 60, State::InService),
    ];
    for (name, (client, user), seconds, expected) in cases {
        let now = Instant::now();
        let mut health = Health::new(now);
        health.signal(Signal::LoginFailed(witness(1, 1)), &probe, now);
        health.signal(Signal::LoginFailed(witness(client, user)), &probe, now + seconds * SECOND);
        assert_eq!(health.state(), expected, "{name}");
    }
    // Whoever came too late is the first witness of the next pair.
    let now = Instant::now();
    let mut health = Health::new(now);
    for (client, second) in [(1, 0), (2, 60), (3, 61)] {
        health.signal(Signal::LoginFailed(witness(client, client)), &probe, now + second * SECOND);
    }
    assert_eq!(health.state(), State::Down);
    assert_eq!(after("Fvf", &probe).state(), State::InService, "a login served in between clears the suspicion");
}

#[test]
fn only_a_node_that_is_suspect_for_its_connection_is_asked_last() {
    let cases = [
        ("", false),
        ("u", true),
        ("x", true),
        ("Fs", true),
        ("Ff", false),
        ("Ffx", false),
        ("Fnx", true),
        ("xxx", false),
    ];
    for (way, expected) in cases {
        assert_eq!(after(way, &probe(3, 2)).is_asked_last(), expected, "after {way}");
    }
}

#[test]
fn since_is_when_the_state_began() {
    let (now, probe) = (Instant::now(), probe(3, 1));
    let mut health = Health::new(now);
    let mut since = Vec::new();
    for (second, signal) in signals("xxxxpx").into_iter().enumerate() {
        health.signal(signal, &probe, now + second as u32 * SECOND);
        since.push((health.since() - now).as_secs());
    }
    assert_eq!(since, [0, 0, 2, 2, 4, 5]);
}

#[test]
fn a_node_that_went_down_over_logins_is_tried_by_one_login_at_a_time() {
    let (now, probe) = (Instant::now(), probe(1, 2));
    let mut health = after("Ff", &probe);
    assert!(!is_trial_due(&health, &probe, now), "down");
    health.signal(Signal::ProbePassed { logged_in: false }, &probe, now);
    assert!(!is_trial_due(&health, &probe, now), "one pass is not enough");
    health.signal(Signal::ProbePassed { logged_in: false }, &probe, now);
    assert_eq!(health.state(), State::Probation);
    assert!(is_trial_due(&health, &probe, now));
    assert!(health.begin_trial() && !health.begin_trial());
    assert!(!is_trial_due(&health, &probe, now + 3600 * SECOND), "one is under way");
    health.end_trial();
    assert!(is_trial_due(&health, &probe, now), "that one was lost");
    health.signal(Signal::Served, &probe, now + 31 * SECOND);
    assert_eq!(health.state(), State::InService);
    assert!(!is_trial_due(&health, &probe, now + 100 * SECOND), "nothing to find out");
}

#[test]
fn each_failed_trial_doubles_the_pause_up_to_a_minute() {
    let (start, probe) = (Instant::now(), probe(1, 1));
    let mut health = after("Ff", &probe);
    let mut now = start;
    let mut pauses = Vec::new();
    for _ in 0..20 {
        health.signal(Signal::ProbePassed { logged_in: false }, &probe, now);
        let from = now;
        let due = (0..100).find(|seconds| is_trial_due(&health, &probe, from + *seconds * SECOND));
        now = from + due.unwrap() * SECOND;
        pauses.push(due.unwrap());
        health.signal(Signal::LoginFailed(witness(1, 1)), &probe, now);
        assert_ne!(health.state(), State::InService);
    }
    assert_eq!(pauses[..6], [0, 10, 20, 40, 60, 60]);
    assert_eq!(pauses[19], 60);
    health.signal(Signal::Served, &probe, now);
    for signal in signals("fff") {
        health.signal(signal, &probe, now);
    }
    assert_eq!(health.state(), State::Down);
    health.signal(Signal::ProbePassed { logged_in: false }, &probe, now);
    assert!(is_trial_due(&health, &probe, now), "a served login forgets the failed trials");
}

#[test]
fn a_node_that_returned_is_held_back_as_fail_back_says() {
    let (now, probe) = (Instant::now(), probe(3, 2));
    let ways = [
        ("", false),
        ("xp", false),   // It was never down.
        ("xxx", false),  // It has not returned.
        ("xxxpp", true), // By probes.
        ("xxxv", true),  // By a login.
        ("xxxpv", true),
        ("Ffffppv", true),
        ("Ffffpl", true),
        ("xxxppxp", true), // Suspect in between.
    ];
    for (way, returned) in ways {
        let health = after(way, &probe);
        let held = |fail_back, after| health.is_held_back(fail_back, health.since() + after);
        assert!(!held(FailBack::Now, Duration::ZERO), "{way}");
        assert_eq!(held(FailBack::After(60 * SECOND), 59 * SECOND), returned, "{way}");
        assert!(!held(FailBack::After(60 * SECOND), 61 * SECOND), "{way}");
        assert_eq!(held(FailBack::Manual, 100_000 * SECOND), returned, "{way}");
        let mut health = health;
        health.release();
        assert!(!health.is_held_back(FailBack::Manual, now), "{way}");
    }
    // The time begins anew with each return.
    let mut health = after("xxxpp", &probe);
    let later = now + 100 * SECOND;
    for signal in signals("xxxpp") {
        health.signal(signal, &probe, later);
    }
    assert!(health.is_held_back(FailBack::After(60 * SECOND), later + 59 * SECOND));
}

#[test]
fn who_is_not_ready_is_asked_last_and_who_fails_logins_keeps_its_place_until_it_is_down() {
    let probe = probe(3, 2);
    assert!(after("Fn", &probe).is_asked_last() && after("Fs", &probe).is_asked_last());
    assert!(!after("Ff", &probe).is_asked_last());
}

#[test]
fn a_node_that_fails_by_turns_stays_suspect_and_comes_back_after_successes_in_a_row() {
    let probe = probe(3, 2);
    for way in ["uvuvuvuv", "xpxpxp", "upvupu", "Fsp"] {
        assert_eq!(after(way, &probe).state(), State::Suspect, "after {way}");
    }
    for way in ["uvuvuvv", "xpxpp", "upv", "Fspp"] {
        assert_eq!(after(way, &probe).state(), State::InService, "after {way}");
    }
}

#[test]
fn a_node_that_is_only_slow_is_not_suspected_for_it_over_and_over() {
    let (probe, now) = (probe(3, 1), Instant::now());
    let mut health = after("Fsp", &probe);
    for signal in signals("FsssF") {
        health.signal(signal, &probe, now + 59 * SECOND);
    }
    assert_eq!(health.state(), State::InService);
    health.signal(Signal::Slow(witness(7, 7)), &probe, now + 61 * SECOND);
    assert_eq!(health.state(), State::Suspect);
}

#[test]
fn the_user_whose_trial_failed_does_not_get_the_next_one() {
    let (probe, now) = (probe(3, 1), Instant::now());
    let mut health = after("Ffffp", &probe);
    health.signal(Signal::LoginFailed(witness(9, 9)), &probe, now);
    health.signal(Signal::ProbePassed { logged_in: false }, &probe, now);
    let later = now + TRIAL_PAUSE_MAX;
    assert!(!health.is_trial_due(&witness(9, 9).user, &probe, later));
    assert!(health.is_trial_due(&witness(9, 8).user, &probe, later));
}

#[test]
fn one_client_alone_does_not_keep_a_returning_node_down_but_the_next_trial_waits() {
    let (probe, now) = (probe(3, 1), Instant::now());
    let mut health = after("Ffffp", &probe);
    health.witness = None;
    assert!(is_trial_due(&health, &probe, now));
    health.signal(Signal::LoginFailed(witness(9, 9)), &probe, now);
    assert_eq!(health.state(), State::Probation);
    assert!(!is_trial_due(&health, &probe, now));
    assert!(is_trial_due(&health, &probe, now + 2 * probe.interval));
}

#[test]
fn silence_counts_unless_somebody_was_served_meanwhile() {
    let (probe, now) = (probe(3, 1), Instant::now());
    let silent = |client, sent| Signal::Unanswered { witness: witness(client, client), sent };
    let mut health = Health::new(now);
    for client in 1..=4 {
        health.signal(silent(client, now), &probe, now + 3 * SECOND);
    }
    assert_eq!(health.state(), State::Down);
    let mut health = Health::new(now);
    health.signal(Signal::Served, &probe, now + SECOND);
    for client in 1..=4 {
        let outcome = health.signal(silent(client, now), &probe, now + 3 * SECOND);
        assert_eq!(outcome, Outcome { was: None, probe: true });
    }
}
