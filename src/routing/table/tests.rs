//! The live table: what signals, the operator and time make of plans, and the pace of sessions' ends.

#![allow(clippy::disallowed_methods, reason = "a beginning to which times are added; nothing here waits")]

use std::num::NonZeroU32;

use super::*;
use crate::names::{IslandName, NodeName};
use crate::proto::Extensions;
use crate::routing::island::{Check, FailBack, NodeTls, Policy, Probe};
use crate::routing::{Islands, Turnover};

const SECOND: Duration = Duration::from_secs(1);

impl NodePort {
    fn learn(&self, before: Extensions) {
        self.abilities().learn(None, || before);
    }

    fn learn_behind(&self, behind: Extensions) {
        self.abilities().learn_behind(None, || behind);
    }
}

fn island(policy: Policy, fail_back: FailBack) -> Island {
    let node = |(rank, name): (u32, &str)| Node {
        name: NodeName::new(name),
        host: name.to_owned(),
        imap_port: 143,
        pop3_port: 110,
        tls_name: name.to_owned(),
        weight: NonZeroU32::MIN,
        rank,
        zone: None,
        state: OperatorState::InService,
    };
    let nodes = [(0, "left"), (1, "right")].map(|it| Arc::new(node(it)));
    Island {
        name: IslandName::new("a"),
        spellings: vec![IslandName::new("a"), IslandName::new("store-a")],
        policy,
        fail_back,
        tls: NodeTls::Off,
        forward: crate::routing::Forward::Off,
        ca: None,
        connect_timeout: 5 * SECOND,
        greeting_timeout: 10 * SECOND,
        login_timeout: 30 * SECOND,
        hedge: None,
        patience: 5 * SECOND,
        disconnect_spread: 5 * SECOND,
        max_login_rate: None,
        probe: Probe { check: Check::Greeting, interval: 5 * SECOND, timeout: 2 * SECOND, fall: 2, rise: 2 },
        nodes: nodes.to_vec(),
    }
}

/// An island's table, its two IMAP ports, and a clock.
struct World {
    table: Arc<Table>,
    left: NodePort,
    right: NodePort,
    now: Instant,
}

impl World {
    fn new(policy: Policy, fail_back: FailBack) -> Self {
        let now = Instant::now();
        let table = Arc::new(Table::new(island(policy, fail_back), None, now));
        let [left, right] = [0, 1].map(|place| table.ports(Protocol::Imap).nth(place).unwrap());
        Self { left, right, now, table }
    }

    fn plan_of(&self, protocol: Protocol) -> Vec<(String, Reason)> {
        let user = UserName::new(b"bob").unwrap();
        let plan = self.table.plan(protocol, &user, true, self.now);
        plan.candidates.iter().map(|it| (it.port.node().name.to_string(), it.reason)).collect()
    }

    fn first(&self) -> String {
        self.plan_of(Protocol::Imap).swap_remove(0).0
    }

    fn falls(&self, port: &NodePort) {
        for _ in 0..2 {
            port.signal(Signal::ProbeFailed, self.now);
        }
        assert_eq!(port.state(), State::Down);
    }

    fn returns(&self, port: &NodePort) {
        for _ in 0..2 {
            port.signal(Signal::ProbePassed { logged_in: false }, self.now);
        }
        assert_eq!(port.state(), State::InService);
    }
}

#[test]
fn an_island_is_found_by_each_of_its_spellings_and_no_other() {
    let islands = Islands::new(vec![island(Policy::Prefer, FailBack::Now)], None, Instant::now());
    for spelling in ["a", "store-a"] {
        assert_eq!(islands.find(&IslandName::new(spelling)).unwrap().island().name.as_str(), "a");
    }
    assert!(islands.find(&IslandName::new("A")).is_none() && islands.find(&IslandName::new("b")).is_none());
    assert_eq!(islands.iter().count(), 1);
}

#[test]
fn a_signal_is_about_one_protocol_and_its_change_counts_what_is_left() {
    let world = World::new(Policy::Prefer, FailBack::Now);
    let change = world.left.signal(Signal::Unreachable, world.now);
    assert_eq!(change, Some(Change { was: State::InService, is: State::Suspect, in_service: 2 }));
    let change = world.left.signal(Signal::Unreachable, world.now);
    assert_eq!(change, Some(Change { was: State::Suspect, is: State::Down, in_service: 1 }));
    assert_eq!(world.left.signal(Signal::Unreachable, world.now), None, "told once");
    assert_eq!(world.plan_of(Protocol::Imap), [("right".to_owned(), Reason::Preferred)]);
    assert_eq!(world.plan_of(Protocol::Pop3)[0], ("left".to_owned(), Reason::Preferred));
}

#[test]
fn the_operator_stands_above_health_and_protocols() {
    let world = World::new(Policy::Prefer, FailBack::Now);
    for state in [OperatorState::Draining, OperatorState::Maintenance] {
        world.left.set_operator_state(state);
        for protocol in Protocol::ALL {
            assert_eq!(world.plan_of(protocol), [("right".to_owned(), Reason::Preferred)], "{state:?}");
        }
    }
    world.falls(&world.right);
    assert_eq!(world.plan_of(Protocol::Imap), [("right".to_owned(), Reason::BestGuess)], "never the one taken out");
    world.right.set_operator_state(OperatorState::Draining);
    assert_eq!(world.plan_of(Protocol::Imap), []);
    world.left.set_operator_state(OperatorState::InService);
    assert_eq!(world.plan_of(Protocol::Imap), [("left".to_owned(), Reason::Preferred)]);
}

#[test]
fn a_node_that_returned_waits_for_its_users_unless_nobody_else_has_them() {
    let mut world = World::new(Policy::Prefer, FailBack::After(60 * SECOND));
    world.falls(&world.left);
    world.returns(&world.left);
    let expected = [("right".to_owned(), Reason::Preferred), ("left".to_owned(), Reason::HeldBack)];
    assert_eq!(world.plan_of(Protocol::Imap), expected);
    world.now += 60 * SECOND;
    assert_eq!(world.first(), "left");

    let world = World::new(Policy::Prefer, FailBack::Manual);
    world.falls(&world.left);
    world.returns(&world.left);
    assert_eq!(world.first(), "right");
    world.left.release();
    assert_eq!(world.first(), "left");

    let world = World::new(Policy::Prefer, FailBack::Manual);
    world.falls(&world.left);
    world.falls(&world.right);
    world.returns(&world.left);
    let expected = [("left".to_owned(), Reason::Preferred)];
    assert_eq!(world.plan_of(Protocol::Imap), expected, "its users are nowhere else");
}

#[test]
fn whoever_has_the_users_keeps_them_when_a_better_node_returns() {
    // Right was held back itself when left went down; since then it has the users.
    for policy in [Policy::Prefer, Policy::Sticky] {
        let world = World::new(policy, FailBack::Manual);
        world.falls(&world.right);
        world.returns(&world.right);
        world.falls(&world.left);
        assert_eq!(world.first(), "right");
        world.returns(&world.left);
        assert_eq!(world.first(), "right", "{policy:?}");
        // And the other way round, for the node that the policy likes less.
        world.falls(&world.right);
        assert_eq!(world.first(), "left");
        world.returns(&world.right);
        assert_eq!(world.first(), "left", "{policy:?}");
    }
}

#[test]
fn a_trial_is_one_logins_at_a_time() {
    let world = World::new(Policy::Prefer, FailBack::Now);
    for client in 1..=3 {
        let user = UserName::new(format!("user{client}").as_bytes()).unwrap();
        let witness = NodePort::witness(IpAddr::from([192, 0, 2, client]), &user);
        world.left.signal(Signal::LoginFailed(witness), world.now);
    }
    assert_eq!(world.left.state(), State::Down);
    for _ in 0..2 {
        world.left.signal(Signal::ProbePassed { logged_in: false }, world.now);
    }
    assert_eq!(world.left.state(), State::Probation);
    // A plan alone is no trial: its login may never get there.
    for _ in 0..2 {
        let plan = world.plan_of(Protocol::Imap);
        assert_eq!(plan, [("left".to_owned(), Reason::Trial), ("right".to_owned(), Reason::Preferred)]);
    }
    let trial = world.left.begin_trial();
    assert!(trial.is_some() && world.left.begin_trial().is_none());
    let plan = world.plan_of(Protocol::Imap);
    assert_eq!(plan, [("right".to_owned(), Reason::Preferred), ("left".to_owned(), Reason::Returning)]);
    drop(trial);
    assert_eq!(world.plan_of(Protocol::Imap)[0].1, Reason::Trial, "the first one never said how it went");
    world.left.signal(Signal::Served, world.now);
    assert_eq!(world.plan_of(Protocol::Imap)[0], ("left".to_owned(), Reason::Preferred));
}

#[test]
fn a_witness_is_the_same_through_either_kind_of_address() {
    let user = UserName::new(b"bob").unwrap();
    let plain = NodePort::witness("192.0.2.1".parse().unwrap(), &user);
    assert_eq!(NodePort::witness("::ffff:192.0.2.1".parse().unwrap(), &user), plain);
}

#[test]
fn seats_are_counted_for_both_protocols_and_balance_the_plan() {
    let world = World::new(Policy::Balance, FailBack::Now);
    assert_eq!(world.first(), "left");
    let seat = world.left.seat();
    assert_eq!((world.left.sessions(), world.first()), (1, "right".to_owned()));
    let pop3: Vec<NodePort> = world.table.ports(Protocol::Pop3).collect();
    let seats = [pop3[1].seat(), pop3[1].seat()];
    assert_eq!((world.right.sessions(), world.first()), (2, "left".to_owned()));
    drop((seat, seats));
    assert_eq!((world.left.sessions(), world.right.sessions()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_was_wanted_before_it_listened_is_not_missed() {
    let world = World::new(Policy::Prefer, FailBack::Now);
    world.left.signal(Signal::Doubt, world.now);
    tokio::time::timeout(SECOND, world.left.probe_wanted()).await.unwrap();
    let pop3 = world.table.ports(Protocol::Pop3).next().unwrap();
    let wanted = [pop3.clone(), world.left.clone(), world.right.clone()].map(|port| async move {
        tokio::select! {
            biased;
            () = port.probe_wanted() => true,
            () = std::future::ready(()) => false,
        }
    });
    let [pop3, left, right] = wanted;
    assert_eq!((pop3.await, left.await, right.await), (false, false, false), "one wish, one port, one probe");
}

#[test]
fn who_waits_hears_of_a_return_and_of_the_operator() {
    let world = World::new(Policy::Prefer, FailBack::Now);
    let mut changes = world.table.changes();
    world.falls(&world.left);
    changes.mark_unchanged();
    world.returns(&world.left);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    world.left.set_operator_state(OperatorState::Draining);
    assert!(changes.has_changed().unwrap());
}

/// The delays of so many ends, these apart, on a node with so many sessions more.
fn end_delays(ends: u64, apart: Duration, others: u64) -> Vec<Duration> {
    let mut world = World::new(Policy::Prefer, FailBack::Now);
    let _others: Vec<Seat> = (0..others).map(|_| world.left.seat()).collect();
    let mut seats: Vec<Seat> = (0..ends).map(|_| world.left.seat()).collect();
    let mut delays = Vec::new();
    while let Some(seat) = seats.pop() {
        delays.push(world.left.end_delay(world.now));
        drop(seat);
        world.now += apart;
    }
    delays
}

#[test]
fn a_dead_nodes_clients_are_sent_away_evenly_over_disconnect_spread() {
    for apart in [Duration::ZERO, Duration::from_micros(5)] {
        let delays = end_delays(10_000, apart, 0);
        let mut seconds = [0; 6];
        for (place, delay) in delays.iter().enumerate() {
            let ends = apart * place as u32 + *delay;
            seconds[ends.as_millis() as usize / 1000] += 1;
        }
        assert!(seconds[..5].iter().all(|count| (1980..=2020).contains(count)), "{seconds:?}");
        assert_eq!(seconds[5], 0, "{seconds:?}");
    }
}

#[test]
fn few_ends_at_once_and_ordinary_ends_are_not_delayed() {
    let is_prompt = |delays: Vec<Duration>| delays.iter().all(Duration::is_zero);
    assert!(is_prompt(end_delays(10, Duration::ZERO, 0)));
    assert!(is_prompt(end_delays(10, Duration::ZERO, 9990)));
    assert!(!is_prompt(end_delays(12, Duration::ZERO, 0)));
    // Ten thousand sessions of a quarter of an hour each.
    assert!(is_prompt(end_delays(5000, Duration::from_millis(90), 5000)));
    assert!(is_prompt(end_delays(1000, 6 * SECOND, 0)));
}

#[test]
fn no_end_is_delayed_beyond_disconnect_spread() {
    let mut world = World::new(Policy::Prefer, FailBack::Now);
    for _ in 0..1000 {
        let seat = world.left.seat();
        world.now += SECOND;
        assert!(world.left.end_delay(world.now) <= 5 * SECOND);
        drop(seat);
    }
}

fn can(words: &str) -> Extensions {
    words.split(' ').map(str::as_bytes).collect()
}

/// Two islands of two nodes each, and a clock that moves by more than what is kept is kept.
struct Sea {
    islands: Islands,
    now: Instant,
}

impl Sea {
    fn new() -> Self {
        let now = Instant::now();
        let other = Island { name: IslandName::new("b"), ..island(Policy::Prefer, FailBack::Now) };
        let islands = vec![island(Policy::Prefer, FailBack::Now), other];
        Self { islands: Islands::new(islands, None, now), now }
    }

    fn ports(&self, protocol: Protocol) -> Vec<NodePort> {
        self.islands.iter().flat_map(|table| table.ports(protocol)).collect()
    }

    fn all_can(&mut self, protocol: Protocol) -> String {
        self.now += SECOND;
        let common = self.islands.extensions(protocol, self.now);
        common.iter().collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn all_nodes_of_all_islands_can_do_what_each_has_said_before_or_behind_a_login() {
    let mut sea = Sea::new();
    let ports = sea.ports(Protocol::Imap);
    for port in &ports[1..] {
        port.learn(can("ID LITERAL+"));
        port.learn_behind(can("IDLE NAMESPACE"));
        assert_eq!(sea.all_can(Protocol::Imap), "", "one of them has said nothing");
    }
    ports[0].learn_behind(can("IDLE"));
    assert_eq!(sea.all_can(Protocol::Imap), "", "behind a login is not before it");
    ports[0].learn(can("id namespace"));
    assert_eq!(sea.all_can(Protocol::Imap), "ID IDLE NAMESPACE");
    assert_eq!(sea.all_can(Protocol::Pop3), "", "each protocol for itself");
    // What was said last counts; a node that would not say has not taken it back.
    ports[0].learn(can("ID"));
    ports[0].learn_behind(Extensions::default());
    assert_eq!(sea.all_can(Protocol::Imap), "ID IDLE");
    ports[0].learn(Extensions::default());
    ports[0].learn_behind(can("MOVE"));
    assert_eq!(sea.all_can(Protocol::Imap), "");
}

#[test]
fn what_is_said_in_the_same_octets_as_the_last_time_is_not_read_again() {
    let mut sea = Sea::new();
    let ports = sea.ports(Protocol::Imap);
    let said = [(&b"IDLE"[..], true), (b"IDLE", false), (b"idle", true), (b"IDLE", true), (b"", true)];
    for (said, is_read) in said {
        for port in &ports {
            let reads = std::cell::Cell::new(0);
            let read = || {
                reads.set(reads.get() + 1);
                can(str::from_utf8(said).unwrap())
            };
            port.abilities().learn(Some(said), read);
            port.abilities().learn_behind(Some(said), read);
            assert_eq!(reads.get(), if is_read { 2 } else { 0 }, "{}", said.escape_ascii());
        }
    }
    assert_eq!(sea.all_can(Protocol::Imap), "IDLE", "behind the login it is still what it was");
}

#[test]
fn a_node_that_takes_no_logins_does_not_keep_the_others_from_being_announced() {
    let mut sea = Sea::new();
    let ports = sea.ports(Protocol::Pop3);
    ports[1..].iter().for_each(|port| port.learn(can("TOP UIDL")));
    for state in [OperatorState::Draining, OperatorState::Maintenance] {
        ports[0].set_operator_state(state);
        assert_eq!(sea.all_can(Protocol::Pop3), "TOP UIDL");
    }
    ports[0].set_operator_state(OperatorState::InService);
    assert_eq!(sea.all_can(Protocol::Pop3), "");
    ports[0].signal(Signal::Unreachable, sea.now);
    assert_eq!((ports[0].state(), sea.all_can(Protocol::Pop3)), (State::Suspect, String::new()), "it takes logins");
    ports[0].signal(Signal::Unreachable, sea.now);
    assert_eq!((ports[0].state(), sea.all_can(Protocol::Pop3).as_str()), (State::Down, "TOP UIDL"));
    // What it has said holds when it returns.
    ports[0].learn(can("UIDL"));
    assert_eq!(sea.all_can(Protocol::Pop3), "TOP UIDL");
    ports[0].signal(Signal::Served, sea.now);
    assert_eq!((ports[0].state(), sea.all_can(Protocol::Pop3).as_str()), (State::InService, "UIDL"));
    ports.iter().for_each(|port| port.set_operator_state(OperatorState::Draining));
    assert_eq!(sea.all_can(Protocol::Pop3), "", "nobody is left to ask");
}

#[test]
fn what_all_can_do_is_looked_at_once_a_second_and_shared() {
    let sea = Sea::new();
    let ports = sea.ports(Protocol::Imap);
    ports.iter().for_each(|port| port.learn(can("IDLE")));
    let at = |time| sea.islands.extensions(Protocol::Imap, sea.now + time);
    let first = at(Duration::ZERO);
    assert!(first.has("IDLE"));
    ports[0].learn(can("MOVE"));
    for early in [Duration::ZERO, Duration::from_millis(999)] {
        assert!(Arc::ptr_eq(&first, &at(early)));
        assert!(Arc::ptr_eq(&first, &sea.islands.clone().extensions(Protocol::Imap, sea.now + early)));
    }
    assert_eq!(*at(SECOND), Extensions::default());
    ports[0].learn(can("IDLE"));
    assert!(at(2 * SECOND).has("IDLE"));
    assert!(Arc::ptr_eq(&at(3 * SECOND), &at(5 * SECOND)), "nothing has changed");
}

#[test]
fn the_operator_is_told_which_node_takes_something_from_all_clients() {
    let mut sea = Sea::new();
    let ports = sea.ports(Protocol::Imap);
    ports.iter().for_each(|port| port.learn(can("IDLE MOVE")));
    let told = |sea: &mut Sea| {
        sea.all_can(Protocol::Imap);
        sea.islands.turnover(Protocol::Imap, sea.now).map(|Turnover { gained, lost, lacking }| {
            let nodes = lacking.iter().map(|port| format!("{}/{}", port.table().island().name, port.node().name));
            (gained, lost, nodes.collect::<Vec<_>>())
        })
    };
    let nothing = Extensions::default;
    assert_eq!(told(&mut sea), Some((can("IDLE MOVE"), nothing(), vec![])));
    assert_eq!(told(&mut sea), None, "once");
    ports[3].learn(can("MOVE ID"));
    assert_eq!(told(&mut sea), Some((nothing(), can("IDLE"), vec!["b/right".to_owned()])));
    assert_eq!(told(&mut sea), None);
    ports[3].learn(can("MOVE IDLE"));
    assert_eq!(told(&mut sea), Some((can("IDLE"), nothing(), vec![])));
    // One that says something else each time is told of six times at once, three of them above, then once in ten seconds.
    let mut lines = 0;
    for round in 0..100 {
        ports[0].learn(can(if round % 2 == 0 { "MOVE" } else { "MOVE IDLE" }));
        lines += usize::from(told(&mut sea).is_some());
    }
    assert!((10..=14).contains(&lines), "{lines}");
    // What it came to is told when there is time, if it is not what was told.
    sea.now += 10 * SECOND;
    let _ = told(&mut sea);
    ports[0].learn(can("MOVE"));
    ports[1].learn(can("IDLE"));
    sea.now += 10 * SECOND;
    let last = told(&mut sea).unwrap();
    assert_eq!(last, (nothing(), can("IDLE MOVE"), vec!["a/left".to_owned(), "a/right".to_owned()]));
}
