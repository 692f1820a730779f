//! Users who were moved to another island while their route is in the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::sleep;

use crate::server::{Manner, REFUSES, WELL};
use crate::world::{PATIENCE, World, assert_served, island, ms};

/// Islands `a` and `b` of a node each. User 1 has logged in on `a`, whose node has this manner from then on; and after
/// that the directory says `b`.
async fn moved_from(manner: Manner) -> World {
    let is_moved = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_moved);
    let home = move || if asked.load(Ordering::SeqCst) { "b" } else { "a" };
    let world = World::without_probes(vec![island("a", 0..1), island("b", 1..2)], &[WELL, WELL], home);
    assert_served(&[world.login(1).await.unwrap()], ms(100));
    world.servers[0].set(manner);
    is_moved.store(true, Ordering::SeqCst);
    world
}

/// An island died, and the operator has moved its users.
#[tokio::test(start_paused = true)]
async fn users_evacuated_from_a_dead_island_are_found() {
    let world = moved_from(REFUSES).await;
    assert_served(&[world.login(1).await.unwrap()], PATIENCE + ms(1000));
}

/// The old island does not know the user any more, and refuses the password a second later.
#[tokio::test(start_paused = true)]
async fn a_user_who_was_moved_a_moment_ago_does_not_feel_the_cache() {
    let world = moved_from(Manner { says: "NO [AUTHENTICATIONFAILED] who?", ..WELL }).await;
    sleep(ms(1000)).await;
    assert_served(&[world.login(1).await.unwrap()], ms(1000));
    assert_eq!(world.servers[1].logins.load(Ordering::Relaxed), 1);
}
