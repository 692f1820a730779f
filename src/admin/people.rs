//! Who is there: sessions by user, node, island and network, who has most of them, and who has to go. `listing` tells
//! which they are.
//!
//! 100 000 sessions are looked at some at a time, and others run in between. What is kept of them is a counter for each
//! user.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ipnet::IpNet;
use tokio::task::yield_now;

use super::Desk;
use super::moves::keys;
use super::refusal::Unknown;
use super::sight::path_of;
use super::view;
use crate::names::{SessionId, UserName, lower_case};
use crate::near::nearest;
use crate::routing::NodePort;
use crate::session::frequent::{LastMinute, Network, Rate};
use crate::session::registry::Session;
use crate::session::spread::Spread;

/// Of each kind in `top` where the question has no limit, and most that it may want.
const TOP: usize = 10;
const TOP_MAX: usize = 1000;

/// Names that differ more in length are not what was meant.
const SLIPS_MAX: usize = 3;

/// Which sessions.
#[derive(Default)]
pub(super) struct Selection {
    pub(super) user: Option<String>,
    pub(super) node: Option<NodePort>,
    pub(super) island: Option<NodePort>,
    pub(super) client: Option<IpNet>,
    session: Option<SessionId>,
    /// Names of one user, in lower case; empty: it does not matter.
    names: Vec<Vec<u8>>,
}

impl Selection {
    pub(super) fn of_names(names: Vec<Vec<u8>>) -> Self {
        Self { names, ..Self::default() }
    }

    pub(super) fn of_user(user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..Self::default() }
    }

    pub(super) fn of_node(node: NodePort) -> Self {
        Self { node: Some(node), ..Self::default() }
    }

    pub(super) fn of_session(session: SessionId) -> Self {
        Self { session: Some(session), ..Self::default() }
    }

    pub(super) fn has(&self, session: &Session) -> bool {
        let port = session.port();
        let is_users = |user: &String| session.user().is_some_and(|it| is_called(it, user));
        self.session.is_none_or(|id| session.id() == id)
            && self.node.as_ref().is_none_or(|node| node.is_node_of(port))
            && self.island.as_ref().is_none_or(|island| Arc::ptr_eq(island.table(), port.table()))
            && self.client.is_none_or(|network| network.contains(&session.client().ip().to_canonical()))
            && self.user.as_ref().is_none_or(is_users)
            && (self.names.is_empty()
                || session.user().is_some_and(|it| self.names.contains(&lower_case(it.as_bytes()))))
    }
}

/// Whether a name is this one: by its octets, or as the log shows it.
fn is_called(user: &UserName, name: &str) -> bool {
    user.as_bytes() == name.as_bytes() || (name.contains('\\') && user.to_string() == name)
}

impl Desk {
    /// The sessions of a user: those under this name, and of one who is held, those under all his names.
    pub(super) async fn sessions_of(&self, user: &str) -> (Selection, bool) {
        match self.held(user).await {
            Ok(hold) => {
                let hold = self.with_names(hold).await;
                (Selection::of_names(keys(&hold)), true)
            }
            Err(_) => (Selection::of_user(user), false),
        }
    }

    /// Ends all sessions of the selection; if they are many, one after the other over this time, so that their clients do
    /// not come back all at once. Says how many, and over what time.
    pub(super) async fn end_all(&self, selection: &Selection, over: Duration) -> (u64, Duration) {
        let mut all: Vec<Weak<Session>> = Vec::new();
        let select = |session: &Arc<Session>| {
            if selection.has(session) {
                all.push(Arc::downgrade(session));
            }
        };
        self.context.registry.look(select).await;
        let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let spread = Spread::new(all.len(), over);
        let ending = spread.each(all, |session| {
            if let Some(session) = session.upgrade() {
                session.kick();
            }
        });
        if spread.over().is_zero() {
            ending.await;
        } else {
            let drain = self.drain.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = ending => {}
                    () = drain.signalled() => {}
                }
            });
        }
        (count, spread.over())
    }

    /// Nobody of this name has a session; perhaps of a similar one.
    pub(super) async fn no_session_of(&self, user: &str) -> Unknown {
        let length = user.chars().count();
        let is_near = |name: &&UserName| name.as_bytes().len().abs_diff(length) <= SLIPS_MAX;
        let mut meant: Option<String> = None;
        for piece in self.context.registry.walk() {
            let near = piece.iter().filter_map(|session| session.user()).filter(is_near).map(UserName::to_string);
            let near: Vec<String> = meant.into_iter().chain(near).collect();
            drop(piece);
            meant = nearest(user, near.iter().map(String::as_str)).map(str::to_owned);
            yield_now().await;
        }
        Unknown { error: format!("no session of user {}", user.escape_debug()), meant }
    }

    /// Who has the most of what is asked for, of those who are there and those who were in the last minute.
    pub(super) async fn top(&self, depth: &view::Depth) -> view::Top {
        let mut all = 0;
        let busiest = self.context.registry.busiest();
        let missed = |missed: Rate| view::Missed { logins: missed.logins, octets: missed.octets };
        let missed =
            view::MissedRates { users: missed(busiest.users.missed), networks: missed(busiest.networks.missed) };
        let (mut users, mut networks) = (tallies(busiest.users), tallies(busiest.networks));
        let mut nodes = HashMap::new();
        for ((island, node), rate) in busiest.nodes.each {
            nodes.insert(format!("{island}/{node}"), Tally { rate, ..Tally::default() });
        }
        let look = self.context.registry.look(|session| {
            all += 1;
            if let Some(user) = session.user() {
                users.entry(user.clone()).or_default().add(session);
            }
            networks.entry(Network::of(session.client().ip())).or_default().add(session);
            nodes.entry(path_of(session.port())).or_default().add(session);
        });
        look.await;
        let (sort, limit) = (depth.sort.unwrap_or_default(), depth.limit.unwrap_or(TOP).min(TOP_MAX));
        view::Top {
            sessions: all,
            logins_last_minute: self.context.registry.minutes().last_minute(),
            users: first(users, sort, limit),
            networks: first(networks, sort, limit),
            nodes: first(nodes, sort, limit),
            missed,
        }
    }
}

/// What one of them has.
#[derive(Clone, Copy, Default)]
struct Tally {
    rate: Rate,
    sessions: u64,
    to_node: u64,
    to_client: u64,
}

impl Tally {
    fn add(&mut self, session: &Session) {
        self.sessions += 1;
        self.to_node += session.to_node();
        self.to_client += session.to_client();
    }

    /// By what was asked for, then by the rest.
    fn rank(&self, sort: view::Sort) -> [u64; 4] {
        let Self { rate: Rate { logins, octets }, sessions, to_node, to_client } = *self;
        let moved = to_node + to_client;
        match sort {
            view::Sort::Logins => [logins, sessions, octets, moved],
            view::Sort::Sessions => [sessions, logins, octets, moved],
            view::Sort::Bytes => [octets, moved, logins, sessions],
        }
    }
}

fn tallies<K: Eq + std::hash::Hash>(minute: LastMinute<K>) -> HashMap<K, Tally> {
    minute.each.into_iter().map(|(key, rate)| (key, Tally { rate, ..Tally::default() })).collect()
}

/// Those with the most, then by name.
fn first<K: ToString + Ord>(all: HashMap<K, Tally>, sort: view::Sort, limit: usize) -> Vec<view::Share> {
    let mut all: Vec<(K, Tally)> = all.into_iter().collect();
    all.sort_unstable_by(|(a, has), (b, other)| other.rank(sort).cmp(&has.rank(sort)).then_with(|| a.cmp(b)));
    let share = |(name, tally): (K, Tally)| view::Share {
        name: name.to_string(),
        logins_last_minute: tally.rate.logins,
        sessions: tally.sessions,
        octets_last_minute: tally.rate.octets,
        to_node: tally.to_node,
        to_client: tally.to_client,
    };
    all.into_iter().take(limit).map(share).collect()
}
