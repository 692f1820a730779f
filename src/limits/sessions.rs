//! How many sessions each user has, in all and from each client network.
//!
//! A user is a name on an island's nodes; its letters' case is nothing, because most nodes take it for nothing. There is
//! an entry for each user with a session, and none where there is no limit to hold.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::Full;
use super::network::Network;
use crate::names::{IslandName, UserName, lower_case};

/// Whose sessions are counted together.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct User {
    island: IslandName,
    name: Box<[u8]>,
}

/// The sessions of all users.
pub(super) struct Sessions {
    per_user: Option<u32>,
    per_user_and_network: Option<u32>,
    users: HashMap<Arc<User>, Tally>,
}

#[derive(Default)]
struct Tally {
    all: u32,
    networks: HashMap<Network, u32>,
}

impl User {
    pub(super) fn new(island: &IslandName, user: &UserName) -> Self {
        Self { island: island.clone(), name: lower_case(user.as_bytes()).into() }
    }
}

impl Sessions {
    pub(super) fn new(per_user: Option<NonZeroU32>, per_user_and_network: Option<NonZeroU32>) -> Self {
        Self {
            per_user: per_user.map(NonZeroU32::get),
            per_user_and_network: per_user_and_network.map(NonZeroU32::get),
            users: HashMap::new(),
        }
    }

    /// Other limits for sessions that begin from now on.
    pub(super) fn reconfigure(&mut self, per_user: Option<NonZeroU32>, per_user_and_network: Option<NonZeroU32>) {
        self.per_user = per_user.map(NonZeroU32::get);
        self.per_user_and_network = per_user_and_network.map(NonZeroU32::get);
    }

    /// Whether a session from a network that is not exempt, or from one that is, need be counted at all.
    pub(super) fn counts(&self, is_exempt: bool) -> bool {
        self.per_user.is_some() || (self.per_user_and_network.is_some() && !is_exempt)
    }

    /// One more session of the user. No network: an exempt one.
    pub(super) fn sit(&mut self, user: &Arc<User>, network: Option<Network>) -> Result<(), Full> {
        let is_full = |limit: Option<u32>, count: u32| limit.is_some_and(|limit| count >= limit);
        if let Some(tally) = self.users.get(user) {
            if is_full(self.per_user, tally.all) {
                return Err(Full::User);
            }
            let here = network.and_then(|network| tally.networks.get(&network)).copied().unwrap_or(0);
            if is_full(self.per_user_and_network, here) {
                return Err(Full::UserAndNetwork);
            }
        }
        let tally = self.users.entry(Arc::clone(user)).or_default();
        tally.all += 1;
        if let Some(network) = network {
            *tally.networks.entry(network).or_default() += 1;
        }
        Ok(())
    }

    /// One less.
    pub(super) fn rise(&mut self, user: &Arc<User>, network: Option<Network>) {
        let Some(tally) = self.users.get_mut(user) else { return };
        tally.all -= 1;
        if let Some((network, here)) = network.and_then(|it| tally.networks.get_mut(&it).map(|here| (it, here))) {
            *here -= 1;
            if *here == 0 {
                tally.networks.remove(&network);
            }
        }
        if tally.all == 0 {
            self.users.remove(user);
        }
    }

    /// How many users have an entry, and how many networks of theirs.
    #[cfg(test)]
    fn entries(&self) -> (usize, usize) {
        (self.users.len(), self.users.values().map(|tally| tally.networks.len()).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(island: &str, name: &str) -> Arc<User> {
        Arc::new(User::new(&IslandName::new(island), &UserName::new(name.as_bytes()).unwrap()))
    }

    fn network(last: u8) -> Option<Network> {
        Some(Network::of([192, 0, 2, last].into()))
    }

    fn sessions(per_user: u32, per_user_and_network: u32) -> Sessions {
        Sessions::new(NonZeroU32::new(per_user), NonZeroU32::new(per_user_and_network))
    }

    #[test]
    fn a_user_has_so_many_sessions_and_so_many_from_one_network() {
        let mut sessions = sessions(3, 2);
        let alice = user("a", "alice");
        assert_eq!(sessions.sit(&alice, network(1)), Ok(()));
        assert_eq!(sessions.sit(&user("a", "ALICE"), network(1)), Ok(()), "the same user");
        assert_eq!(sessions.sit(&alice, network(1)), Err(Full::UserAndNetwork));
        assert!(user("a", "J\u{dc}RGEN") == user("a", "j\u{fc}rgen"), "not only the letters of ASCII");
        assert_eq!(sessions.sit(&user("b", "alice"), network(1)), Ok(()), "another island");
        assert_eq!(sessions.sit(&user("a", "bob"), network(1)), Ok(()), "another user");
        assert_eq!(sessions.sit(&alice, network(2)), Ok(()));
        assert_eq!(sessions.sit(&alice, network(2)), Err(Full::User));
        assert_eq!(sessions.sit(&alice, network(3)), Err(Full::User));
        sessions.rise(&alice, network(1));
        assert_eq!(sessions.sit(&alice, network(2)), Ok(()));
        assert_eq!(sessions.sit(&alice, network(1)), Err(Full::User));
    }

    #[test]
    fn an_exempt_network_has_no_limit_of_its_own_but_the_user_has() {
        let mut sessions = sessions(3, 1);
        let alice = user("a", "alice");
        for _ in 0..3 {
            assert_eq!(sessions.sit(&alice, None), Ok(()));
        }
        assert_eq!(sessions.sit(&alice, None), Err(Full::User));
    }

    #[test]
    fn nothing_is_left_of_users_without_sessions_and_nothing_kept_without_limits() {
        let mut some = sessions(3, 2);
        let alice = user("a", "alice");
        for round in 0..3 {
            some.sit(&alice, network(round)).unwrap();
        }
        for round in 0..3 {
            assert_eq!(some.entries(), (1, 3 - usize::from(round)));
            some.rise(&alice, network(round));
        }
        assert_eq!(some.entries(), (0, 0));
        assert!(some.counts(true) && sessions(0, 2).counts(false));
        assert!(!sessions(0, 2).counts(true) && !sessions(0, 0).counts(false));
    }
}
