//! Nodes that are slow or fail by turns, but serve. Nobody loses a login by that, and health does not flap: each of its
//! changes is a line in the log.

use mailferry::routing::State;
use tokio::time::sleep;

use crate::server::{Manner, REFUSES, WELL};
use crate::world::{GREETING_TIMEOUT, HEDGE, LOGIN_PHASE, PATIENCE, World, all, assert_put_off, assert_served, ms};

/// All nodes are overloaded, and greet well within `greeting_timeout` and `patience`.
#[tokio::test(start_paused = true)]
async fn slow_nodes_still_serve() {
    for (nodes, greets) in [(1, 400), (1, 800), (1, 1500), (2, 400), (2, 600), (2, 800), (2, 1500)] {
        let world = World::new(&vec![Manner { greets_after: ms(greets), ..WELL }; nodes]);
        let history = world.history(0);
        assert_served(&world.crowd(0..400, ms(50)).await, ms(greets) + HEDGE);
        // A slow node gets no more work than that: each login dials it once, and probes at most five times a second.
        let seconds = 400 / 20 + 2;
        for server in &world.servers {
            let dials = server.dialled.lock().unwrap().len();
            assert!(dials <= 400 + 5 * seconds, "{nodes} nodes, {greets} ms: {dials} dials for 400 logins");
        }
        let history = history.lock().unwrap();
        assert!(history.len() <= 5, "{nodes} nodes, {greets} ms: {history:?}");
    }
}

/// One node is a little slower than `hedge`, always; the other is fast.
#[tokio::test(start_paused = true)]
async fn a_node_slower_than_hedge_does_not_flap() {
    let world = World::new(&[Manner { greets_after: ms(300), ..WELL }, WELL]);
    let history = world.history(0);
    assert_served(&world.crowd(0..1000, ms(60)).await, HEDGE + ms(50));
    let history = history.lock().unwrap();
    assert!(history.len() <= 20, "{} changes of state in 60 s", history.len() - 1);
}

/// A stranger with two user names and two addresses, and no password, who logs in just before the end of
/// `server.login_timeout`, while the nodes take two seconds over a wrong password as Dovecot does.
#[tokio::test(start_paused = true)]
async fn our_own_deadline_says_nothing_of_a_node() {
    let refuses = Manner { answers_after: ms(2000), says: "NO [AUTHENTICATIONFAILED] no", ..WELL };
    let world = World::new(&[refuses, refuses]);
    let histories = [world.history(0), world.history(1)];
    let left = ms(1100);
    let logins = (0..8).map(|number| world.login_after(LOGIN_PHASE - left, number % 2)).collect();
    assert_put_off(&all(logins).await, left);
    for history in histories {
        assert_eq!(*history.lock().unwrap(), [State::InService]);
    }
}

/// A node that returns is dialled by many whose patience is nearly over.
#[tokio::test(start_paused = true)]
async fn who_has_no_patience_left_does_not_take_a_returning_node_down() {
    let world = World::new(&[REFUSES]);
    let mut early = Vec::new();
    for who in 0..200 {
        early.push(world.login(who));
        sleep(ms(50)).await;
    }
    assert_eq!(world.states(), [State::Down]);
    let history = world.history(0);
    world.servers[0].set(Manner { greets_after: ms(600), ..WELL });
    assert_served(&world.crowd(200..800, ms(50)).await, PATIENCE);
    // Who came in the last second before it returned has waited for it. Those whose patience ended before were put off.
    let mut early = all(early).await;
    assert_served(&early.split_off(180), PATIENCE);
    assert!(early.iter().all(|heard| heard.is_served() || heard.is_temporary_failure()));
    let history = history.lock().unwrap();
    let downs = history.iter().filter(|state| **state == State::Down).count();
    assert_eq!(downs, 1, "it went down again: {history:?}");
}

/// One node that refuses every second connection.
#[tokio::test(start_paused = true)]
async fn health_has_no_change_for_each_login() {
    let world = World::new(&[WELL]);
    let history = world.history(0);
    let mut logins = Vec::new();
    for who in 0..400 {
        world.servers[0].set(if who % 2 == 0 { REFUSES } else { WELL });
        logins.push(world.login(who));
        sleep(ms(25)).await;
    }
    // Most are refused at first, wait, and are served.
    assert_served(&all(logins).await, PATIENCE + GREETING_TIMEOUT);
    let history = history.lock().unwrap();
    // Mostly some thirty; pauses are random, and of a hundred runs a few had up to seventy.
    assert!(history.len() <= 100, "{} changes of state for 400 logins", history.len() - 1);
}
