//! Users whom the operator holds, as their clients feel it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use mailferry::names::UserName;
use mailferry::session::holds::Hold;
use tokio::time::{Instant, sleep};

use crate::server::{Manner, NEVER, WELL};
use crate::world::{World, all, assert_put_off, assert_served, island, ms};

/// `hold_timeout`, as nobody has changed it.
const HOLD: std::time::Duration = ms(30_000);

fn hold(world: &World, who: u32) -> Hold {
    let user = UserName::new(format!("user{who}").as_bytes()).unwrap();
    let until = Instant::now() + ms(3_600_000);
    world.context.holds.hold((user, None), (SystemTime::now(), until), None).unwrap()
}

/// How many logins of the user's are under way.
fn under_way(world: &World, hold: &Hold) -> usize {
    let mut count = 0;
    let is_his = |key: &Vec<u8>| hold.names().any(|name| name.as_bytes() == key.as_slice());
    world.context.holds.look_under_way(|keys| count += usize::from(keys.iter().any(is_his)));
    count
}

/// Islands `a` and `b` of a node each, and what makes the directory say `b`.
fn world() -> (World, Arc<AtomicBool>) {
    let is_moved = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_moved);
    let home = move || if asked.load(Ordering::SeqCst) { "b" } else { "a" };
    (World::without_probes(vec![island("a", 0..1), island("b", 1..2)], &[WELL, WELL], home), is_moved)
}

fn logins(world: &World, place: usize) -> u64 {
    world.servers[place].logins.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_login_waits_for_the_release_and_goes_where_the_directory_says_then() {
    let (world, is_moved) = world();
    assert_served(&[world.login(1).await.unwrap()], ms(100));
    let held = hold(&world, 1);
    let waiting = vec![world.login(1), world.login(1)];
    sleep(ms(10_000)).await;
    assert_served(&[world.login(2).await.unwrap()], ms(100));
    is_moved.store(true, Ordering::SeqCst);
    // The cache still says the old island, and believes it for five minutes.
    world.context.holds.release(held.id).unwrap();
    let heard = all(waiting).await;
    assert_served(&heard, ms(10_100));
    assert!(heard.iter().all(|heard| heard.after >= ms(10_000)));
    assert_eq!((logins(&world, 0), logins(&world, 1)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_login_that_nobody_releases_fails_for_the_time_being_and_within_its_own() {
    let (world, _) = world();
    hold(&world, 1);
    let heard = world.login(1).await.unwrap();
    assert_put_off(&[heard], HOLD + ms(10));
    // One that comes late has less time, of which a quarter is kept for the node.
    let heard = world.login_after(ms(40_000), 1).await.unwrap();
    assert!(heard.after >= ms(14_900), "{:?}", heard.after);
    assert_put_off(&[heard], ms(15_010));
    assert_eq!(logins(&world, 0), 0);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_passed_before_the_hold_is_under_way_until_it_is_a_session() {
    let (world, _) = world();
    world.servers[0].set(Manner { answers_after: NEVER, ..WELL });
    let slow = world.login(1);
    sleep(ms(2_000)).await;
    let held = hold(&world, 1);
    let holds = &world.context.holds;
    assert_eq!((under_way(&world, &held), world.context.registry.len()), (1, 0));
    world.servers[0].set(WELL);
    assert!(slow.await.unwrap().is_served());
    assert_eq!(under_way(&world, &held), 0);
    assert_eq!((logins(&world, 0), holds.count()), (1, (1, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_leaves_the_queue() {
    let (world, _) = world();
    let held = hold(&world, 1);
    let waiting = world.login(1);
    sleep(ms(1_000)).await;
    assert_eq!(world.context.holds.count(), (1, 1));
    waiting.abort();
    sleep(ms(1_000)).await;
    assert_eq!((world.context.holds.count(), under_way(&world, &held)), ((1, 0), 0));
}
