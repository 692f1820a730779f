//! Who is connected: in all, and of each client network, and who goes when there is no place.
//!
//! A connection before its login is a stranger; which of them goes is said by `crowds`. One that was sent away is
//! *leaving* until its slot is dropped: it holds its descriptor until then, so it counts against what there are
//! descriptors for, and against nothing else. Nothing here waits or searches, and no table is larger than the number of
//! connections.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::crowds::{Crowds, Whose};
use super::eviction::Eviction;
use super::network::Network;
use super::{Full, Settings};
use crate::metrics::{self, Limit};

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
    strangers: HashMap<Id, Stranger>,
    crowds: Crowds,
    networks: HashMap<Network, Count>,
    tally: Arc<metrics::Limits>,
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

struct Stranger {
    whose: Whose,
    eviction: Eviction,
}

/// Whether a group takes one more.
enum Room {
    Free,
    /// If a stranger of it goes.
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

/// For all, for one network, and places in all.
fn caps(settings: &Settings, descriptors: u32) -> (Caps, Caps, u32) {
    let limit = |limit: Option<std::num::NonZeroU32>| limit.map_or(u32::MAX, std::num::NonZeroU32::get);
    let all = Caps { all: limit(settings.connections).min(descriptors), strangers: settings.unauthenticated.get() };
    let network =
        Caps { all: limit(settings.connections_per_network), strangers: settings.unauthenticated_per_network.get() };
    (all, network, descriptors.saturating_add((descriptors / super::PER_LEAVING).max(1)))
}

impl Connections {
    pub(super) fn new(settings: &Settings, descriptors: u32) -> Self {
        let (caps, network_caps, places) = caps(settings, descriptors);
        Self {
            caps,
            network_caps,
            places,
            next: 0,
            count: Count::default(),
            strangers: HashMap::new(),
            crowds: Crowds::default(),
            networks: HashMap::new(),
            tally: Arc::default(),
        }
    }

    /// Other limits for those who come from now on.
    pub(super) fn reconfigure(&mut self, settings: &Settings, descriptors: u32) {
        (self.caps, self.network_caps, self.places) = caps(settings, descriptors);
    }

    /// A place for a stranger, and who must be told to go.
    pub(super) fn enter(&mut self, whose: Whose) -> Result<Entered, Full> {
        let is_full = matches!(self.caps.room(self.count, self.strangers.len()), Room::None);
        if is_full || self.count.all >= self.places {
            return Err(Full::Connections);
        }
        // Nobody goes for the sake of one who may not come in.
        let mut evicted = Vec::new();
        if let Whose::Of(network) = whose {
            evicted.extend(self.make_room_in(network)?);
            self.networks.entry(network).or_default().all += 1;
        }
        let room = self.caps.room(self.count, self.strangers.len());
        let (id, eviction) = (self.next, Eviction::default());
        self.next += 1;
        self.count.all += 1;
        self.strangers.insert(id, Stranger { whose, eviction: eviction.clone() });
        self.crowds.add(id, whose);
        if let Room::Instead = room {
            // Counted with the new one, so that whoever comes once more than others pays for it himself. It is the
            // youngest, and not alone, so it is never the one that goes.
            let is_crowded = self.strangers.len() > self.caps.strangers as usize;
            self.hit(is_crowded, [Limit::Unauthenticated, Limit::Connections]);
            evicted.extend(self.crowds.first().and_then(|id| self.send_away(id)));
        }
        Ok(Entered { id, eviction, evicted })
    }

    /// A stranger is somebody else's than was known, and who must be told to go. Where there is no place for it, it is
    /// leaving, and nobody's.
    pub(super) fn change(&mut self, id: Id, from: Whose, to: Whose) -> Result<Changed, Full> {
        let is_stranger = self.strangers.contains_key(&id);
        if let Whose::Of(network) = from {
            self.leave_network(network, !is_stranger);
        }
        if !is_stranger {
            return Ok(Changed::NotAny);
        }
        self.belongs_to(id, Whose::Unknown);
        let Whose::Of(network) = to else {
            self.belongs_to(id, to);
            return Ok(Changed::Member(None));
        };
        let evicted = self.make_room_in(network).inspect_err(|_| {
            self.send_away(id);
        })?;
        self.networks.entry(network).or_default().all += 1;
        self.belongs_to(id, to);
        Ok(Changed::Member(evicted))
    }

    /// It has logged in.
    pub(super) fn authenticated(&mut self, id: Id, whose: Whose) {
        // It may have been sent away in the moment in which a node let it in. It stays then.
        let was_leaving = self.forget_stranger(id).is_none();
        self.count.leaving -= u32::from(was_leaving);
        if let Some(count) = whose.network().and_then(|network| self.networks.get_mut(&network)) {
            count.leaving -= u32::from(was_leaving);
        }
    }

    /// It is no more.
    pub(super) fn leave(&mut self, id: Id, whose: Whose, is_authenticated: bool) {
        let was_leaving = self.forget_stranger(id).is_none() && !is_authenticated;
        self.count.all -= 1;
        self.count.leaving -= u32::from(was_leaving);
        if let Whose::Of(network) = whose {
            self.leave_network(network, was_leaving);
        }
    }

    /// Sends a stranger of the network away if it needs that for one more.
    fn make_room_in(&mut self, network: Network) -> Result<Option<Eviction>, Full> {
        let count = self.networks.get(&network).copied().unwrap_or_default();
        match self.network_caps.room(count, self.crowds.size_of(network)) {
            Room::Free => Ok(None),
            Room::Instead => {
                let is_crowded = self.crowds.size_of(network) >= self.network_caps.strangers as usize;
                self.hit(is_crowded, [Limit::UnauthenticatedPerNetwork, Limit::ConnectionsPerNetwork]);
                Ok(self.crowds.first_of(network).and_then(|id| self.send_away(id)))
            }
            Room::None => Err(Full::Network),
        }
    }

    /// A stranger goes: because there are too many strangers, or else too many in all.
    fn hit(&self, is_crowded: bool, [crowded, full]: [Limit; 2]) {
        self.tally.hits.of(if is_crowded { crowded } else { full }).count();
    }

    /// What is counted of the limits, these and others.
    pub(super) fn tally(&self) -> Arc<metrics::Limits> {
        Arc::clone(&self.tally)
    }

    /// How many there are before their login, and in all.
    pub(super) fn counts(&self) -> (u32, u32) {
        let strangers = u32::try_from(self.strangers.len()).unwrap_or(u32::MAX);
        (strangers + self.count.leaving, self.count.all)
    }

    fn belongs_to(&mut self, id: Id, whose: Whose) {
        if let Some(stranger) = self.strangers.get_mut(&id) {
            self.crowds.remove(id, stranger.whose);
            self.crowds.add(id, whose);
            stranger.whose = whose;
        }
    }

    fn forget_stranger(&mut self, id: Id) -> Option<Stranger> {
        let stranger = self.strangers.remove(&id)?;
        self.crowds.remove(id, stranger.whose);
        Some(stranger)
    }

    fn leave_network(&mut self, network: Network, was_leaving: bool) {
        if let Entry::Occupied(mut count) = self.networks.entry(network) {
            let it = count.get_mut();
            it.all -= 1;
            it.leaving -= u32::from(was_leaving);
            if it.all == 0 {
                count.remove();
            }
        }
    }

    /// The stranger must go. Telling it is left to the caller, who holds a lock.
    fn send_away(&mut self, id: Id) -> Option<Eviction> {
        let Stranger { whose, eviction } = self.forget_stranger(id)?;
        self.count.leaving += 1;
        if let Some(count) = whose.network().and_then(|network| self.networks.get_mut(&network)) {
            count.leaving += 1;
        }
        Some(eviction)
    }
}

/// One that has come in.
pub(super) struct Entered {
    pub(super) id: Id,
    pub(super) eviction: Eviction,
    /// Who must be told to go for it.
    pub(super) evicted: Vec<Eviction>,
}

/// What came of belonging to somebody else.
pub(super) enum Changed {
    /// It does, and this one must be told to go.
    Member(Option<Eviction>),
    /// It is leaving anyway.
    NotAny,
}

#[cfg(test)]
mod tests;
