//! Who is connected: in all, and of each client network, and who goes when there is no place.
//!
//! A connection before its login is a stranger. Strangers stand in the order of their age, all of them and those of each
//! network, so that the oldest one is found without a search. One that was sent away is *leaving* until its slot is
//! dropped: it holds its descriptor until then, so it counts against what there are descriptors for, and against
//! nothing else. Nothing here waits, and no table is larger than the number of connections.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::eviction::Eviction;
use super::network::Network;
use super::{Full, Settings};

/// What a connection is called here. The number rises with each, so that a lower one is older.
pub(super) type Id = u64;

/// The table of all connections.
pub(super) struct Connections {
    caps: Caps,
    network_caps: Caps,
    /// Connections in all, those that are leaving included.
    places: u32,
    next: Id,
    count: Count,
    strangers: BTreeMap<Id, Stranger>,
    networks: HashMap<Network, Group>,
}

/// How many a group may have.
#[derive(Clone, Copy)]
struct Caps {
    all: u32,
    strangers: u32,
}

/// How many a group has. `all` includes the strangers and those that are leaving.
#[derive(Clone, Copy, Default)]
struct Count {
    all: u32,
    leaving: u32,
}

#[derive(Default)]
struct Group {
    count: Count,
    strangers: BTreeSet<Id>,
}

struct Stranger {
    network: Option<Network>,
    eviction: Eviction,
}

/// Whether a group takes one more.
enum Room {
    Free,
    /// If its oldest stranger goes.
    Instead,
    None,
}

impl Caps {
    fn room(self, count: Count, strangers: usize) -> Room {
        let strangers = u32::try_from(strangers).unwrap_or(u32::MAX);
        if count.all - count.leaving < self.all && strangers < self.strangers {
            Room::Free
        } else if strangers > 0 {
            Room::Instead
        } else {
            Room::None
        }
    }
}

impl Connections {
    pub(super) fn new(settings: &Settings, descriptors: u32) -> Self {
        let limit = |limit: Option<std::num::NonZeroU32>| limit.map_or(u32::MAX, std::num::NonZeroU32::get);
        Self {
            caps: Caps { all: limit(settings.connections).min(descriptors), strangers: settings.unauthenticated.get() },
            network_caps: Caps {
                all: limit(settings.connections_per_network),
                strangers: settings.unauthenticated_per_network.get(),
            },
            places: descriptors.saturating_add((descriptors / super::PER_LEAVING).max(1)),
            next: 0,
            count: Count::default(),
            strangers: BTreeMap::new(),
            networks: HashMap::new(),
        }
    }

    /// A place for a stranger of unknown network, and who must be told to go.
    pub(super) fn enter(&mut self) -> Result<(Id, Eviction, Option<Eviction>), Full> {
        if self.count.all >= self.places {
            return Err(Full::Connections);
        }
        let evicted = match self.caps.room(self.count, self.strangers.len()) {
            Room::Free => None,
            Room::Instead => self.strangers.first_key_value().map(|(id, _)| *id).and_then(|id| self.send_away(id)),
            Room::None => return Err(Full::Connections),
        };
        let (id, eviction) = (self.next, Eviction::default());
        self.next += 1;
        self.count.all += 1;
        self.strangers.insert(id, Stranger { network: None, eviction: eviction.clone() });
        Ok((id, eviction, evicted))
    }

    /// A stranger that belonged to no network belongs to this one, and who must be told to go. Where there is no place
    /// for it, it is leaving.
    pub(super) fn join(&mut self, id: Id, network: Network) -> Result<Joined, Full> {
        if !self.strangers.contains_key(&id) {
            return Ok(Joined::NotAny);
        }
        let group = self.networks.get(&network);
        let (count, strangers) = group.map_or_else(Default::default, |it| (it.count, it.strangers.len()));
        let evicted = match self.network_caps.room(count, strangers) {
            Room::Free => None,
            Room::Instead => group.and_then(|it| it.strangers.first().copied()).and_then(|id| self.send_away(id)),
            Room::None => {
                self.send_away(id);
                return Err(Full::Network);
            }
        };
        let group = self.networks.entry(network).or_default();
        group.count.all += 1;
        group.strangers.insert(id);
        if let Some(stranger) = self.strangers.get_mut(&id) {
            stranger.network = Some(network);
        }
        Ok(Joined::Member(evicted))
    }

    /// It belongs to its network no longer.
    pub(super) fn part(&mut self, id: Id, network: Network) {
        let is_stranger = match self.strangers.get_mut(&id) {
            Some(stranger) => stranger.network.take().is_some(),
            None => false,
        };
        self.leave_group(id, network, !is_stranger);
    }

    /// It has logged in.
    pub(super) fn authenticated(&mut self, id: Id, network: Option<Network>) {
        // It may have been sent away in the moment in which a node let it in. It stays then.
        let was_leaving = self.strangers.remove(&id).is_none();
        self.count.leaving -= u32::from(was_leaving);
        if let Some(group) = network.and_then(|network| self.networks.get_mut(&network)) {
            group.count.leaving -= u32::from(was_leaving);
            group.strangers.remove(&id);
        }
    }

    /// It is no more.
    pub(super) fn leave(&mut self, id: Id, network: Option<Network>, is_authenticated: bool) {
        let was_leaving = self.strangers.remove(&id).is_none() && !is_authenticated;
        self.count.all -= 1;
        self.count.leaving -= u32::from(was_leaving);
        if let Some(network) = network {
            self.leave_group(id, network, was_leaving);
        }
    }

    fn leave_group(&mut self, id: Id, network: Network, was_leaving: bool) {
        if let Entry::Occupied(mut group) = self.networks.entry(network) {
            let it = group.get_mut();
            it.count.all -= 1;
            it.count.leaving -= u32::from(was_leaving);
            it.strangers.remove(&id);
            if it.count.all == 0 {
                group.remove();
            }
        }
    }

    /// The stranger must go. Telling it is left to the caller, who holds a lock.
    fn send_away(&mut self, id: Id) -> Option<Eviction> {
        let Stranger { network, eviction } = self.strangers.remove(&id)?;
        self.count.leaving += 1;
        if let Some(group) = network.and_then(|network| self.networks.get_mut(&network)) {
            group.count.leaving += 1;
            group.strangers.remove(&id);
        }
        Some(eviction)
    }
}

/// What came of joining a network.
pub(super) enum Joined {
    /// It belongs to it, and this one must be told to go.
    Member(Option<Eviction>),
    /// It is leaving anyway.
    NotAny,
}

#[cfg(test)]
mod tests;
