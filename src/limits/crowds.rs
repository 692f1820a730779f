//! Strangers by where they come from: who goes first when there are too many.
//!
//! Whoever has the most goes first, or one attacker would push everybody else out. A crowd is the strangers of one IPv4
//! address or of one IPv6 /48: many have a /48 to themselves, and with it 65 536 networks. Those whose network is not
//! known yet are a crowd too. A stranger of an exempt network is alone: there, many are no sign of anything.
//!
//! Of the largest crowd the oldest stranger goes; of a /48, the oldest of the /64 that has the most. Of equals, those go
//! first that have the oldest stranger. Each step is a look into an ordered set, however many strangers there are.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use super::connections::Id;
use super::network::Network;

/// Whom a connection belongs to, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Nobody knows yet.
    Unknown,
    /// Somebody for whom no limit per network holds.
    Exempt,
    /// This network's.
    Of(Network),
}

impl Whose {
    pub(super) fn network(self) -> Option<Network> {
        match self {
            Self::Unknown | Self::Exempt => None,
            Self::Of(network) => Some(network),
        }
    }
}

/// All strangers.
#[derive(Default)]
pub(super) struct Crowds {
    crowds: Ranked<Crowd>,
    /// Within each IPv6 /48, its networks.
    within: HashMap<Network, Ranked<Network>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Crowd {
    Unknown,
    Alone(Id),
    Of(Network),
}

impl Crowds {
    pub(super) fn add(&mut self, id: Id, whose: Whose) {
        self.crowds.add(Crowd::of(id, whose), id);
        if let Some((wide, network)) = wide(whose) {
            self.within.entry(wide).or_default().add(network, id);
        }
    }

    pub(super) fn remove(&mut self, id: Id, whose: Whose) {
        self.crowds.remove(Crowd::of(id, whose), id);
        let Some((wide, network)) = wide(whose) else { return };
        if let Some(networks) = self.within.get_mut(&wide) {
            networks.remove(network, id);
            if networks.members.is_empty() {
                self.within.remove(&wide);
            }
        }
    }

    /// Who goes first of all.
    pub(super) fn first(&self) -> Option<Id> {
        let (crowd, oldest) = self.crowds.first()?;
        let networks = if let Crowd::Of(wide) = crowd { self.within.get(&wide) } else { None };
        networks.map_or(Some(oldest), |networks| networks.first().map(|(_, id)| id))
    }

    /// Who goes first of one network.
    pub(super) fn first_of(&self, network: Network) -> Option<Id> {
        self.members(network).and_then(|members| members.first().copied())
    }

    /// How many strangers a network has.
    pub(super) fn size_of(&self, network: Network) -> usize {
        self.members(network).map_or(0, BTreeSet::len)
    }

    fn members(&self, network: Network) -> Option<&BTreeSet<Id>> {
        match network.wide() {
            Some(wide) => self.within.get(&wide)?.members.get(&network),
            None => self.crowds.members.get(&Crowd::Of(network)),
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.crowds.members.is_empty() && self.crowds.ranks.is_empty() && self.within.is_empty()
    }
}

impl Crowd {
    fn of(id: Id, whose: Whose) -> Self {
        match whose {
            Whose::Unknown => Self::Unknown,
            Whose::Exempt => Self::Alone(id),
            Whose::Of(network) => Self::Of(network.wide().unwrap_or(network)),
        }
    }
}

/// The /48 that holds it, and the network.
fn wide(whose: Whose) -> Option<(Network, Network)> {
    let network = whose.network()?;
    Some((network.wide()?, network))
}

/// Groups of connections, in the order of their size and then of their oldest one's age.
struct Ranked<K> {
    members: HashMap<K, BTreeSet<Id>>,
    ranks: BTreeSet<(usize, Reverse<Id>, K)>,
}

impl<K> Default for Ranked<K> {
    fn default() -> Self {
        Self { members: HashMap::new(), ranks: BTreeSet::new() }
    }
}

impl<K: Copy + Ord + Hash> Ranked<K> {
    fn add(&mut self, key: K, id: Id) {
        self.change(key, |members| members.insert(id));
    }

    fn remove(&mut self, key: K, id: Id) {
        self.change(key, |members| members.remove(&id));
    }

    fn change(&mut self, key: K, change: impl FnOnce(&mut BTreeSet<Id>) -> bool) {
        let members = self.members.entry(key).or_default();
        if let Some(rank) = rank(key, members) {
            self.ranks.remove(&rank);
        }
        change(members);
        match rank(key, members) {
            Some(rank) => {
                self.ranks.insert(rank);
            }
            None => {
                self.members.remove(&key);
            }
        }
    }

    /// The group that goes first, and its oldest one.
    fn first(&self) -> Option<(K, Id)> {
        self.ranks.last().map(|&(_, Reverse(oldest), key)| (key, oldest))
    }
}

/// None: nobody is in it.
fn rank<K>(key: K, members: &BTreeSet<Id>) -> Option<(usize, Reverse<Id>, K)> {
    members.first().map(|&oldest| (members.len(), Reverse(oldest), key))
}
