//! The live state of one island's nodes: health, sessions, what the operator wants.
//!
//! Sessions and probes send signals and get plans; whoever waits for a node to return watches [`Table::changes`]. Locks
//! are held for the length of one method and never across an await. Nothing is logged here: a signal returns the
//! [`Change`] that it caused, and its sender tells it. What the configuration says of an island never changes here: a
//! reload makes another table, which shares the state of the nodes that stay.

mod operator;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::abilities::Abilities;
use super::health::{Health, Signal, State, Witness};
use super::island::{Island, Node, OperatorState};
use super::select::{Asker, Reason, Standing, View, order};
use crate::metrics;
use crate::names::{Protocol, UserName, ZoneName};
use crate::pace::Pace;
use crate::proto::{NodeAcceptance, NodeHello};

/// Ends of sessions of one node that are never delayed, however close together.
const ENDS_AT_ONCE: u32 = 10;

/// One island's nodes.
pub struct Table {
    island: Island,
    zone: Option<ZoneName>,
    nodes: Vec<Arc<NodeState>>,
    changes: Arc<watch::Sender<Changes>>,
    tally: Arc<metrics::Island>,
}

/// What has changed so far, for those who wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Changes that could let a waiting login through.
    pub better: u64,
}

/// What is known of a node.
struct NodeState {
    operator: Mutex<OperatorState>,
    /// In the order of [`Protocol::ALL`].
    health: [Mutex<Health>; 2],
    abilities: [Mutex<Abilities>; 2],
    probe_wanted: [Notify; 2],
    sessions: AtomicU64,
    ends: Mutex<Ends>,
    /// The way in. Whoever holds the lock is the next to get in; the lock is a fair queue.
    gate: tokio::sync::Mutex<Pace>,
    waiting: AtomicU64,
    notes: [Mutex<operator::Notes>; 2],
    tallies: [metrics::NodePort; 2],
}

/// The pace of a node's sessions that end.
#[derive(Default)]
struct Ends {
    /// When the next one would be due without [`ENDS_AT_ONCE`].
    next: Option<Instant>,
    /// Between two of them, fixed when a burst begins.
    interval: Duration,
}

/// The nodes that one login may try, best first.
#[derive(Clone)]
pub struct Plan {
    /// The island.
    pub table: Arc<Table>,
    /// In the order of trying.
    pub candidates: Vec<Candidate>,
}

/// One node of a plan.
#[derive(Clone)]
pub struct Candidate {
    /// The node.
    pub port: NodePort,
    /// Why it stands where it stands.
    pub reason: Reason,
}

/// A node and a protocol that it speaks: what health is known of.
#[derive(Clone)]
pub struct NodePort {
    table: Arc<Table>,
    /// In the configuration's list. Small, because every session has one.
    place: u32,
    /// The protocol.
    pub protocol: Protocol,
}

/// A state that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub was: State,
    /// The state now.
    pub is: State,
    /// Nodes of the island that take logins of this protocol now.
    pub in_service: usize,
}

/// A session, or a login on its way, as a node's load. Dropping it ends it.
pub struct Seat(NodePort);

impl Seat {
    /// The node.
    pub fn port(&self) -> &NodePort {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.known().sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A login finds out whether a node serves again. Dropping it lets another one try.
pub struct Trial(NodePort);

impl Drop for Trial {
    fn drop(&mut self) {
        self.0.health().end_trial();
    }
}

impl NodeState {
    fn new(operator: OperatorState, now: Instant) -> Self {
        Self {
            operator: Mutex::new(operator),
            health: Protocol::ALL.map(|_| Mutex::new(Health::new(now))),
            abilities: Default::default(),
            probe_wanted: Protocol::ALL.map(|_| Notify::new()),
            sessions: AtomicU64::new(0),
            ends: Mutex::default(),
            gate: tokio::sync::Mutex::default(),
            waiting: AtomicU64::new(0),
            notes: Default::default(),
            tallies: Default::default(),
        }
    }
}

impl Table {
    pub(super) fn new(island: Island, zone: Option<ZoneName>, now: Instant) -> Self {
        let nodes = island.nodes.iter().map(|node| Arc::new(NodeState::new(node.state, now)));
        Self { nodes: nodes.collect(), island, zone, changes: Arc::default(), tally: Arc::default() }
    }

    /// The same island with another configuration. Nodes that are still where they were keep their state; what the
    /// operator wants of one changes only if the configuration says something else than before.
    pub(super) fn succeed(&self, island: Island, zone: Option<ZoneName>, now: Instant) -> Self {
        let mut is_better = false;
        let mut known = |node: &Node| {
            let (old, state) = self.island.nodes.iter().zip(&self.nodes).find(|(old, _)| old.is_where(node))?;
            if old.state != node.state {
                *state.operator.lock().unwrap_or_else(PoisonError::into_inner) = node.state;
                is_better |= node.state == OperatorState::InService;
            }
            Some(Arc::clone(state))
        };
        let nodes = island
            .nodes
            .iter()
            .map(|node| known(node).unwrap_or_else(|| Arc::new(NodeState::new(node.state, now))))
            .collect();
        if is_better {
            // Who waits at the old table hears of the nodes that are in both.
            self.changes.send_modify(|changes| changes.better += 1);
        }
        Self { nodes, island, zone, changes: Arc::clone(&self.changes), tally: Arc::clone(&self.tally) }
    }

    /// Whether the configuration says of it what it said before.
    pub(super) fn is_as(&self, island: &Island, zone: Option<&ZoneName>) -> bool {
        self.island == *island && self.zone.as_ref() == zone
    }

    /// What the configuration says.
    pub fn island(&self) -> &Island {
        &self.island
    }

    /// Every node, for one protocol.
    pub fn ports(self: &Arc<Self>, protocol: Protocol) -> impl Iterator<Item = NodePort> {
        (0..self.nodes.len()).map(move |place| NodePort::new(self, place, protocol))
    }

    /// The nodes that this user's login may try. `may_guess` lets it try a node that is down, if all are.
    pub fn plan(self: &Arc<Self>, protocol: Protocol, user: &UserName, may_guess: bool, now: Instant) -> Plan {
        let mut views: Vec<View<'_>> =
            self.ports(protocol).filter_map(|port| port.view(&self.island, user, now)).collect();
        // One login puts one node to the test.
        let trials = views.iter_mut().filter(|view| view.standing == Standing::Trial);
        trials.skip(1).for_each(|view| view.standing = Standing::Returning);
        let asker = Asker { user, zone: self.zone.as_ref(), may_guess };
        let candidates = order(self.island.policy, &views, asker)
            .into_iter()
            .map(|(place, reason)| Candidate { port: NodePort::new(self, place, protocol), reason });
        Plan { candidates: candidates.collect(), table: Arc::clone(self) }
    }

    /// Sees every change of a node's state.
    pub fn changes(&self) -> watch::Receiver<Changes> {
        self.changes.subscribe()
    }

    /// Nodes that take logins of this protocol.
    fn in_service(self: &Arc<Self>, protocol: Protocol) -> usize {
        self.ports(protocol).filter(NodePort::takes_logins).count()
    }
}

impl NodePort {
    fn new(table: &Arc<Table>, place: usize, protocol: Protocol) -> Self {
        // No configuration has four thousand million nodes.
        Self { table: Arc::clone(table), place: place as u32, protocol }
    }

    fn place(&self) -> usize {
        self.place as usize
    }

    /// The island's state.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// What the configuration says of the node.
    #[expect(clippy::indexing_slicing, reason = "`place` was counted off this very list, which never changes")]
    pub fn node(&self) -> &Arc<Node> {
        &self.table.island.nodes[self.place()]
    }

    #[expect(clippy::indexing_slicing, reason = "`place` was counted off this very list, which never changes")]
    fn known(&self) -> &Arc<NodeState> {
        &self.table.nodes[self.place()]
    }

    /// Whether both are the same node, for the same protocol or another, before a reload or behind it.
    pub fn is_node_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.known(), other.known())
    }

    /// Whether both are the same node, protocol and configuration.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table) && self.place == other.place && self.protocol == other.protocol
    }

    fn index(&self) -> usize {
        match self.protocol {
            Protocol::Imap => 0,
            Protocol::Pop3 => 1,
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        let [imap, pop3] = &self.known().health;
        let health = if self.index() == 0 { imap } else { pop3 };
        health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn abilities(&self) -> MutexGuard<'_, Abilities> {
        let [imap, pop3] = &self.known().abilities;
        let abilities = if self.index() == 0 { imap } else { pop3 };
        abilities.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node has told what it can do before a login.
    pub fn hear(&self, hello: &NodeHello) {
        self.abilities().learn(hello.said(), || hello.extensions());
    }

    /// The node has told what it can do behind a login; nothing, if it would not say.
    pub fn hear_behind(&self, said: &NodeAcceptance) {
        self.abilities().learn_behind(Some(&said.capabilities), || said.extensions());
    }

    /// Its health.
    pub fn state(&self) -> State {
        self.health().state()
    }

    /// What the operator wants of it.
    pub fn operator_state(&self) -> OperatorState {
        *self.known().operator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it takes logins now.
    pub fn takes_logins(&self) -> bool {
        self.operator_state() == OperatorState::InService && matches!(self.state(), State::InService | State::Suspect)
    }

    fn view<'a>(&self, island: &'a Island, user: &UserName, now: Instant) -> Option<View<'a>> {
        let operator = self.operator_state();
        let health = self.health();
        let standing = match health.state() {
            _ if operator != OperatorState::InService => Standing::Excluded,
            State::Suspect if health.is_asked_last() => Standing::Suspect,
            State::InService | State::Suspect if health.is_held_back(island.fail_back, now) => Standing::HeldBack,
            State::InService | State::Suspect => Standing::InService,
            State::Probation if health.is_trial_due(user, &island.probe, now) => Standing::Trial,
            State::Probation => Standing::Returning,
            State::Down => Standing::Down,
        };
        let (since, sessions) = (health.since(), self.known().sessions.load(Ordering::Relaxed));
        Some(View { node: island.nodes.get(self.place())?, standing, since, sessions })
    }

    /// Tells what was seen of it. Returns the change of state that this led to.
    pub fn signal(&self, signal: Signal, now: Instant) -> Option<Change> {
        let has_failed = signal == Signal::ProbeFailed;
        let (outcome, is) = {
            let mut health = self.health();
            let outcome = health.signal(signal, &self.table.island.probe, now);
            (outcome, health.state())
        };
        if outcome.probe {
            let [imap, pop3] = &self.known().probe_wanted;
            if self.index() == 0 { imap } else { pop3 }.notify_one();
        }
        let Some(was) = outcome.was else {
            // Who waits for an answer may take it as a sign.
            if has_failed {
                self.tell_waiting(false);
            }
            return None;
        };
        let has_returned = is == State::InService && matches!(was, State::Down | State::Probation);
        let others = || self.table.ports(self.protocol).filter(|port| port.place != self.place);
        if has_returned && !others().any(|port| port.takes_logins()) {
            // Nobody else has its users.
            self.health().release();
        }
        if is == State::Down {
            self.hand_over(now);
        }
        self.tell_waiting(matches!(is, State::InService | State::Probation));
        Some(Change { was, is, in_service: self.table.in_service(self.protocol) })
    }

    /// It is down. If all that are left are held back, they have its users now, and keep them when it returns.
    fn hand_over(&self, now: Instant) {
        let fail_back = self.table.island.fail_back;
        let heirs: Vec<Self> = self.table.ports(self.protocol).filter(Self::takes_logins).collect();
        if heirs.iter().all(|heir| heir.health().is_held_back(fail_back, now)) {
            heirs.iter().for_each(Self::release);
        }
    }

    fn tell_waiting(&self, is_better: bool) {
        self.table.changes.send_modify(|changes| {
            changes.better += u64::from(is_better);
        });
    }

    /// Returns when the node is down, at once if it is already.
    pub async fn is_down(&self) {
        let _ = self.table.changes().wait_for(|_| self.state() == State::Down).await;
    }

    /// Returns when a probe has failed after `then`.
    pub async fn fails_probe_since(&self, then: Instant) {
        let _ = self.table.changes().wait_for(|_| self.health().has_failed_probe_since(then)).await;
    }

    /// Whether it is worth leaving silent nodes for it.
    pub fn is_back(&self) -> bool {
        let is_back = matches!(self.state(), State::InService | State::Probation);
        is_back && self.operator_state() == OperatorState::InService
    }

    /// Begins to find out whether it serves again. `None`: another login does so already.
    pub fn begin_trial(&self) -> Option<Trial> {
        self.health().begin_trial().then(|| Trial(self.clone()))
    }

    /// Returns when somebody wants it to be probed.
    pub async fn probe_wanted(&self) {
        let [imap, pop3] = &self.known().probe_wanted;
        if self.index() == 0 { imap } else { pop3 }.notified().await;
    }

    /// Whoever saw it, for signals that have a witness.
    pub fn witness(client: IpAddr, user: &UserName) -> Witness {
        Witness { client: client.to_canonical(), user: user.clone() }
    }

    /// One session more, for as long as the seat is held.
    pub fn seat(&self) -> Seat {
        self.known().sessions.fetch_add(1, Ordering::Relaxed);
        Seat(self.clone())
    }

    /// Sessions and logins that the node has now.
    pub fn sessions(&self) -> u64 {
        self.known().sessions.load(Ordering::Relaxed)
    }

    /// A session's node has closed it: how long its client is to be kept, so that the clients of a node that died come
    /// back one after the other. At most `disconnect_spread`; nothing for few ends at once, or for ends as slow as that
    /// anyway.
    pub fn end_delay(&self, now: Instant) -> Duration {
        let spread = self.table.island.disconnect_spread;
        let mut ends = self.known().ends.lock().unwrap_or_else(PoisonError::into_inner);
        let credit = ends.interval * (ENDS_AT_ONCE - 1);
        let mut wait = ends.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now));
        if wait > spread + credit {
            // More have ended than there were: these are new ones, so the node lives.
            wait = Duration::ZERO;
        }
        if wait.is_zero() {
            let sessions = u32::try_from(self.sessions()).unwrap_or(u32::MAX);
            ends.interval = spread / sessions.max(1);
        }
        ends.next = Some(now + wait + ends.interval);
        wait.saturating_sub(credit)
    }

    /// The queue into the node, and how many wait in it.
    pub fn gate(&self) -> (&tokio::sync::Mutex<Pace>, &AtomicU64) {
        (&self.known().gate, &self.known().waiting)
    }
}

#[cfg(test)]
mod tests;
