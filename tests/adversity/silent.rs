//! Nodes that accept connections and say nothing, at the greeting or at logins: what clients hear, and when. Worse than
//! dead ones, because only time tells.

use mailferry::routing::State;
use tokio::time::sleep;

use crate::server::{FROZEN, Manner, SILENT, WELL};
use crate::world::{GREETING_TIMEOUT, HEDGE, PATIENCE, World, all, assert_put_off, assert_served, island, ms};

/// An authentication backend hangs behind all nodes: they greet, and never answer a login.
#[tokio::test(start_paused = true)]
async fn when_all_are_silent_at_logins_clients_hear_it_soon() {
    for nodes in [1, 2] {
        let world = World::new(&vec![SILENT; nodes]);
        let history = world.history(0);
        let heard = world.crowd(0..1200, ms(100)).await;
        // Until probes have found the nodes down, each login tries one after the other.
        let (early, late) = heard.split_at(150);
        assert_put_off(early, ms(35_000));
        assert_put_off(late, ms(10_000));
        let history = history.lock().unwrap();
        assert!(history.contains(&State::Down) && history.len() <= 10, "{history:?}");
    }
}

/// The database is back before anybody has given up.
#[tokio::test(start_paused = true)]
async fn a_short_silence_of_all_costs_nobody_a_login() {
    let world = World::new(&[SILENT, SILENT]);
    let returns = async {
        sleep(ms(2500)).await;
        world.servers.iter().for_each(|server| server.set(WELL));
    };
    let (heard, ()) = tokio::join!(world.crowd(0..100, ms(100)), returns);
    assert_served(&heard, ms(2600));
}

/// One node greets and is silent at logins, the other is well. Probes at the greeting cannot tell, so a login has to try
/// it now and then.
#[tokio::test(start_paused = true)]
async fn one_node_silent_at_logins_costs_no_login() {
    let world = World::new(&[SILENT, WELL]);
    let heard = world.crowd(0..1200, ms(100)).await;
    assert_served(&heard, ms(10_000));
    let late = &heard[100..];
    let slow = late.iter().filter(|heard| heard.after > HEDGE + ms(100)).count();
    assert!(slow * 50 <= late.len(), "{slow} of {} logins were slow", late.len());
}

/// Without `hedge` the nodes are asked one after the other; two silent ones cost one greeting and the patience, and not
/// every timeout. With probes and without: a lone login may come before any probe.
#[tokio::test(start_paused = true)]
async fn without_hedge_silence_costs_one_greeting_and_the_patience() {
    for has_probes in [false, true] {
        let mut island = island("a", 0..2);
        island.hedge = None;
        let world = if has_probes {
            World::of(island, &[FROZEN, FROZEN])
        } else {
            World::without_probes(vec![island], &[FROZEN, FROZEN], || "a")
        };
        assert_put_off(&[world.login(1).await.unwrap()], GREETING_TIMEOUT + PATIENCE + ms(1000));
    }
}

/// The preferred one of two nodes freezes for ten seconds under 200 logins a second: from everywhere, and all from one
/// address, whose word alone takes no node out of service.
#[tokio::test(start_paused = true)]
async fn a_freeze_under_load_costs_hedge_at_most() {
    for is_one_address in [false, true] {
        // Some are waiting for their answer when it freezes.
        let busy = Manner { answers_after: ms(12), ..WELL };
        let world = World::new(&[busy, busy]);
        let mut logins = Vec::new();
        for who in 0..3000 {
            match who {
                500 => world.servers[0].set(FROZEN),
                2500 => world.servers[0].set(busy),
                _ => {}
            }
            logins.push(world.login(if is_one_address { 5 } else { who }));
            sleep(ms(5)).await;
        }
        let mut heard = all(logins).await;
        // Those that the node had been given when it froze wait until it is found out.
        assert_served(&heard, ms(10_000));
        heard.sort_by_key(|heard| heard.after);
        let p99 = heard[heard.len() * 99 / 100].after;
        assert!(p99 <= HEDGE + ms(100), "one address: {is_one_address}; 99 of 100 took up to {p99:?}");
    }
}
