//! Nodes that went down over logins and pass probes again: probes end at the greeting, so one login at a time finds out
//! whether they serve. Nobody can take that chance away from the others.

use std::net::IpAddr;

use mailferry::names::UserName;
use mailferry::routing::{NodePort, Signal, State};
use tokio::time::{Instant, sleep};

use crate::server::{Manner, WELL};
use crate::world::{PATIENCE, World, assert_served, ms};

/// Takes a node down over logins, and lets probes pass until it waits for a trial.
fn wait_for_trial(port: &NodePort) {
    let tell = |signal| {
        port.signal(signal, Instant::now().into_std());
    };
    for who in 1..=4 {
        let user = UserName::new(format!("witness{who}").as_bytes()).unwrap();
        tell(Signal::LoginFailed(NodePort::witness(IpAddr::from([192, 0, 2, who]), &user)));
    }
    assert_eq!(port.state(), State::Down);
    for _ in 0..3 {
        tell(Signal::ProbePassed { logged_in: false });
    }
    assert_eq!(port.state(), State::Probation);
}

/// Three nodes are back after the loss of their database: one login tries one of them, and leaves the others to the next.
#[tokio::test(start_paused = true)]
async fn one_login_does_not_use_up_every_nodes_trial() {
    let world = World::new(&[WELL, WELL, WELL]);
    world.ports().iter().for_each(wait_for_trial);
    for who in 0..100 {
        assert_served(&[world.login(who).await.unwrap()], PATIENCE);
        sleep(ms(100)).await;
    }
    assert_eq!(world.states(), [State::InService; 3]);
}

/// A stranger hangs up before the answer: the next login tries the node.
#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_gives_its_trial_back() {
    let answers = Manner { answers_after: ms(100), ..WELL };
    let world = World::new(&[answers, answers]);
    wait_for_trial(&world.ports()[0]);
    let stranger = world.login(1);
    sleep(ms(50)).await;
    stranger.abort();
    sleep(ms(50)).await;
    for who in 2..100 {
        assert_served(&[world.login(who).await.unwrap()], PATIENCE);
        sleep(ms(100)).await;
    }
    assert_eq!(world.states(), [State::InService; 2]);
}

/// One user whose mailbox is broken tries every second, from one address, on a quiet site: for twenty minutes hardly
/// anybody else comes.
#[tokio::test(start_paused = true)]
async fn one_client_does_not_keep_a_node_out() {
    let world = World::new(&[WELL, WELL]);
    wait_for_trial(&world.ports()[0]);
    let history = world.history(0);
    for second in 0..1200 {
        world.servers[0].set(Manner { says: "NO [UNAVAILABLE] this mailbox is broken", ..WELL });
        drop(world.login(7));
        sleep(ms(900)).await;
        world.servers[0].set(WELL);
        if second % 10 == 0 {
            assert_served(&[world.login(second + 100).await.unwrap()], PATIENCE);
        }
        sleep(ms(100)).await;
    }
    let history = history.lock().unwrap();
    assert!(history.contains(&State::InService), "one client has kept the node out: {history:?}");
    assert!(!history.contains(&State::Down), "one client has taken the node down: {history:?}");
}
