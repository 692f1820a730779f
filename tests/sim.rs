//! No login is lost: thousands of histories of a mail site in memory, on a paused clock, each drawn from a seed.
//!
//! Nodes die, freeze, babble and return at every step of every login; the directory is lost, users are moved, mailferry
//! restarts. Everything between the client's octets and the node's is the production code. What must always be true is
//! in `judge`. All that is logged meanwhile, at TRACE and by every library, is searched for passwords.
//!
//! A failure prints its seed; `SIM_SEED=<seed> cargo test --test sim` lives through that history alone and tells it;
//! `SIM_COUNT=<n>` tries more histories than usual, `SIM_FROM=<seed>` others. The one thing that a seed does not fix is
//! which of two things that are ready at the same time is taken first; a history is lived through more than once for
//! that.

#![allow(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, reason = "helpers of tests are tests")]

#[path = "sim/client.rs"]
mod client;
#[path = "sim/judge.rs"]
mod judge;
#[path = "sim/ledger.rs"]
mod ledger;
#[path = "sim/node.rs"]
mod node;
#[path = "sim/script.rs"]
mod script;
#[path = "sim/world.rs"]
mod world;

use std::fmt::Write;
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailferry::testkit::leaks::MARKER;
use mailferry::testkit::log::Search;

/// Histories in an ordinary run.
const HISTORIES: u64 = 2000;

/// Seeds that once found a defect, and those that are the first to find one when the code is broken on purpose: nodes that
/// never return, no hedging, credentials left with a node; a full queue that ended the patience early; a goodbye that the
/// judge did not expect. They are lived through in every run, several times each.
const REGRESSIONS: [u64; 5] = [8, 9, 11, 1890, 3160];

/// What a history came to: the violations, and everything that happened.
struct Outcome {
    violations: Vec<String>,
    events: Vec<String>,
    accepted: usize,
    logins: usize,
}

fn live(seed: u64) -> Outcome {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (world, relays) = runtime.block_on(world::live(script::Script::new(seed)));
    let ledger = world.ledger.clone();
    runtime.block_on(async { judge::judge(&world, &relays) });
    let pages = ledger.pages();
    Outcome {
        violations: pages.violations.clone(),
        events: pages.events.clone(),
        accepted: pages.logins.iter().filter(|login| login.answer == Some(ledger::Answer::Accepted)).count(),
        logins: pages.logins.len(),
    }
}

/// Each seed's, in their order. Nothing in a history knows of another, so there are as many at a time as the machine has
/// cores. What happened in them is not kept.
fn live_all(seeds: Range<u64>) -> Vec<(u64, Outcome)> {
    let next = AtomicU64::new(seeds.start);
    let live_some = || {
        let seeds =
            std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|seed| *seed < seeds.end);
        seeds.map(|seed| (seed, Outcome { events: Vec::new(), ..live(seed) })).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..thread::available_parallelism().map_or(1, NonZero::get)).map(|_| scope.spawn(live_some)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    all.sort_by_key(|(seed, _)| *seed);
    all
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn no_login_is_lost_in_any_history() {
    if let Some(seed) = number("SIM_SEED") {
        tracing_subscriber::fmt().with_ansi(false).without_time().with_test_writer().init();
        eprintln!("{:#?}", script::Script::new(seed));
        let outcome = live(seed);
        eprintln!("{}", outcome.events.join("\n"));
        assert!(outcome.violations.is_empty(), "seed {seed}:\n{}", outcome.violations.join("\n"));
        return;
    }
    let search = Search::everywhere(&[MARKER]);
    let (from, count) = (number("SIM_FROM").unwrap_or(0), number("SIM_COUNT").unwrap_or(HISTORIES));
    let (mut failures, mut bad, mut accepted, mut logins) = (String::new(), 0, 0, 0);
    for (seed, outcome) in live_all(from..from + count) {
        (accepted, logins) = (accepted + outcome.accepted, logins + outcome.logins);
        if !outcome.violations.is_empty() {
            bad += 1;
            writeln!(failures, "SIM_SEED={seed}\n    {}", outcome.violations.join("\n    ")).unwrap();
        }
    }
    eprintln!("{count} histories, {logins} logins, {accepted} of them accepted");
    assert!(bad == 0, "{bad} of {count} histories went wrong:\n{failures}");
    // Histories in which nothing happens prove nothing.
    assert!(accepted * 3 > logins, "only {accepted} of {logins} logins were accepted");
    // Each login leaves a line, and so does each of its stages.
    search.assert_nothing_found(4 * logins as u64);
}

#[test]
fn what_once_went_wrong_stays_mended() {
    if number("SIM_SEED").is_some() {
        return;
    }
    let search = Search::everywhere(&[MARKER]);
    for seed in REGRESSIONS {
        for _ in 0..5 {
            let outcome = live(seed);
            assert!(outcome.violations.is_empty(), "SIM_SEED={seed}\n{}", outcome.violations.join("\n"));
        }
    }
    search.assert_nothing_found(1000);
}

/// The search itself: if it found nothing anywhere, nothing would ever fail.
#[test]
fn r_log_01_a_password_of_a_history_would_be_found_in_its_log() {
    let login = ledger::Login {
        client: 1,
        user: 7,
        is_right: true,
        protocol: mailferry::proto::Protocol::Imap,
        connected: Duration::ZERO,
        began: Duration::ZERO,
        ended: None,
        answer: None,
    };
    let (_, password) = ledger::Ledger::new().login(login);
    for user in ["u7", "u77", "u777"] {
        for line in [
            format!("TRACE said=a LOGIN {user} {password}"),
            format!("TRACE said=a AUTHENTICATE PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}"))),
            format!("TRACE said={:?}", password.as_bytes()),
        ] {
            let search = Search::new(&[MARKER]);
            search.look("TRACE stage");
            search.assert_nothing_found(1);
            search.look(&line);
            assert!(search.found().is_some(), "not found in {line}");
        }
    }
}
