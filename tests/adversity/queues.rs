//! Waiting lines: `max_login_rate` with bursts, with nodes that die, and with clients that hang up in it.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;

use mailferry::routing::Policy;
use tokio::time::{Instant, sleep};

use crate::server::{FROZEN, Manner, REFUSES, SILENT, WELL};
use crate::world::{PATIENCE, World, all, assert_served, island, ms};

/// Logins queue for a node, which dies; the other one is idle.
#[tokio::test(start_paused = true)]
async fn a_queue_into_a_dead_node_is_left_at_once() {
    let mut island = island("a", 0..2);
    island.max_login_rate = NonZeroU32::new(20);
    let world = World::of(island, &[WELL, WELL]);
    let port = world.ports().remove(0);
    let down = tokio::spawn(async move {
        port.is_down().await;
        Instant::now()
    });
    let logins = (0..90).map(|who| world.login(who)).collect();
    sleep(ms(500)).await;
    world.servers[0].set(REFUSES);
    assert_served(&all(logins).await, PATIENCE);
    let down = down.await.unwrap();
    let dials = world.servers[0].dialled.lock().unwrap().iter().filter(|at| **at > down).count();
    // Once a second, for as long as the patience.
    assert!(dials < 10, "a node that is down is dialled by nobody but the probe: {dials} times");
}

/// A burst under `balance` and a rate: who waits for a node is its load.
#[tokio::test(start_paused = true)]
async fn a_burst_is_balanced_over_the_queues() {
    let mut island = island("a", 0..2);
    island.policy = Policy::Balance;
    island.max_login_rate = NonZeroU32::new(10);
    let world = World::of(island, &[WELL, WELL]);
    let logins = (0..40).map(|who| world.login(who)).collect();
    // 20 logins in each queue, ten a second.
    assert_served(&all(logins).await, ms(2500));
    for server in &world.servers {
        let logins = server.logins.load(Ordering::Relaxed);
        assert!(logins >= 15, "{logins} of 40 logins");
    }
}

/// Clients hang up at any moment, and nodes do anything: nothing is kept of any of them.
#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_those_who_hang_up() {
    let mut island = island("a", 0..3);
    island.max_login_rate = NonZeroU32::new(50);
    let world = World::of(island, &[WELL, WELL, WELL]);
    let mut random = fastrand::Rng::with_seed(7);
    for who in 0..3000 {
        let manners = [
            WELL,
            WELL,
            REFUSES,
            FROZEN,
            SILENT,
            Manner { greets_after: ms(random.u64(..5000)), ..WELL },
            Manner { answers_after: ms(random.u64(..8000)), ..WELL },
            Manner { says: "NO [UNAVAILABLE] x", ..WELL },
        ];
        if random.u32(..20) == 0 {
            world.servers[random.usize(..3)].set(manners[random.usize(..manners.len())]);
        }
        let login = world.login(who);
        let hangs_up_after = ms(random.u64(..9000));
        tokio::spawn(async move {
            sleep(hangs_up_after).await;
            login.abort();
        });
        sleep(ms(random.u64(..40))).await;
    }
    // Longer than all timeouts.
    sleep(ms(200_000)).await;
    for port in world.ports() {
        let (gate, waiting) = port.gate();
        assert_eq!((port.sessions(), waiting.load(Ordering::Relaxed)), (0, 0));
        assert!(gate.try_lock().is_ok(), "somebody stands in the way in");
    }
}
