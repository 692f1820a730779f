//! A reload: what the nodes of another configuration know of those before.

#![allow(clippy::disallowed_methods, reason = "a beginning to which times are added; nothing here waits")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::names::UserName;
use crate::routing::{Node, OperatorState, Signal, State};
use crate::testkit::settings;

/// Island a with two nodes.
fn before(now: Instant) -> Islands {
    Islands::new(vec![settings::island(2)], None, now)
}

/// The same, with a change.
fn with(change: impl FnOnce(&mut Island)) -> Vec<Island> {
    let mut island = settings::island(2);
    change(&mut island);
    vec![island]
}

fn node(island: &mut Island, place: usize, change: impl FnOnce(&mut Node)) {
    let mut node = (*island.nodes[place]).clone();
    change(&mut node);
    island.nodes[place] = Arc::new(node);
}

fn port(islands: &Islands, place: usize) -> NodePort {
    islands.iter().next().unwrap().ports(Protocol::Imap).nth(place).unwrap()
}

#[test]
fn an_island_that_is_as_it_was_keeps_its_table_and_any_other_has_a_new_one() {
    let now = Instant::now();
    let old = before(now);
    let is_same = |islands: Vec<Island>, zone: Option<&str>| {
        let zone = zone.map(ZoneName::new);
        let new = old.succeed(islands, zone.as_ref(), now);
        port(&new, 0).is(&port(&old, 0))
    };
    assert!(is_same(with(|_| {}), None));
    assert!(!is_same(with(|it| it.patience = Duration::from_secs(9)), None));
    assert!(!is_same(with(|_| {}), Some("hall")));
    assert!(old.succeed(Vec::new(), None, now).iter().next().is_none());
}

#[test]
fn nodes_that_stay_where_they_are_keep_health_sessions_operator_state_and_place_in_the_plan() {
    let now = Instant::now();
    let old = before(now);
    let (left, right) = (port(&old, 0), port(&old, 1));
    let _seat = left.seat();
    for _ in 0..3 {
        left.signal(Signal::ProbeFailed, now);
    }
    right.set_operator_state(OperatorState::Draining);
    assert_eq!(left.state(), State::Down);
    // The other way round, one with another weight, and a third one.
    let new = old.succeed(
        with(|it| {
            it.patience = Duration::from_secs(9);
            it.nodes.reverse();
            node(it, 0, |right| right.tls_name = "other".into());
            let mut third = (*it.nodes[0]).clone();
            third.host = "node3".into();
            it.nodes.push(Arc::new(third));
        }),
        None,
        now,
    );
    let [new_right, new_left, third] = [0, 1, 2].map(|place| port(&new, place));
    assert!(new_left.is_node_of(&left) && new_right.is_node_of(&right) && !new_left.is(&left));
    assert_eq!((new_left.state(), new_left.sessions()), (State::Down, 1));
    assert_eq!(new_right.operator_state(), OperatorState::Draining);
    assert!(!third.is_node_of(&right), "another host is another node, whatever its name");
    assert_eq!((third.state(), third.operator_state()), (State::InService, OperatorState::InService));
    // What is seen at one of them is known at the other.
    let user = UserName::new(b"alice").unwrap();
    new_left.signal(Signal::ProbePassed { logged_in: true }, now);
    new_left.signal(Signal::ProbePassed { logged_in: true }, now);
    assert_eq!(left.state(), new_left.state());
    assert_ne!(left.state(), State::Down);
    let plan = new.find(&IslandName::new("a")).unwrap().plan(Protocol::Imap, &user, true, now);
    assert!(plan.candidates.iter().all(|it| !it.port.is_node_of(&right)), "it is draining");
}

#[test]
fn another_port_is_another_node_and_another_island_has_other_nodes() {
    let now = Instant::now();
    let old = before(now);
    let _seat = port(&old, 0).seat();
    let moved = old.succeed(with(|it| node(it, 0, |left| left.imap_port = 1143)), None, now);
    assert_eq!(port(&moved, 0).sessions(), 0);
    let renamed = old.succeed(with(|it| it.name = IslandName::new("b")), None, now);
    assert_eq!(port(&renamed, 0).sessions(), 0);
    let same = old.succeed(with(|it| it.hedge = Some(Duration::from_millis(1))), None, now);
    assert_eq!(port(&same, 0).sessions(), 1);
}

#[test]
fn what_the_operator_wants_stays_unless_the_file_says_something_new() {
    let now = Instant::now();
    let old = before(now);
    port(&old, 0).set_operator_state(OperatorState::Maintenance);
    let same = old.succeed(with(|it| it.patience = Duration::ZERO), None, now);
    assert_eq!(port(&same, 0).operator_state(), OperatorState::Maintenance);
    let mut changes = same.iter().next().unwrap().changes();
    changes.borrow_and_update();
    let file = same.succeed(with(|it| node(it, 0, |left| left.state = OperatorState::Draining)), None, now);
    assert_eq!(port(&file, 0).operator_state(), OperatorState::Draining);
    assert!(!changes.has_changed().unwrap());
    let back = file.succeed(with(|_| {}), None, now);
    assert_eq!(port(&back, 0).operator_state(), OperatorState::InService);
    assert!(changes.has_changed().unwrap(), "who waits for a node hears that it is back");
}
