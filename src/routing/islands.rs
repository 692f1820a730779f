//! All islands, found by the directory's spelling, and what all their nodes can do.
//!
//! Never changed, but for what clients are told: a reload makes another one, which takes over the tables of islands that
//! are as they were. Its lock is held for the length of one method. Nothing is logged here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::abilities::{Common, Turnover};
use super::island::Island;
use super::table::{NodePort, Table};
use crate::names::{IslandName, Protocol, ZoneName};
use crate::proto::Extensions;

/// All islands, found by the directory's spelling.
#[derive(Clone, Default)]
pub struct Islands {
    tables: Vec<Arc<Table>>,
    /// What all nodes in service can do, in the order of [`Protocol::ALL`].
    common: Arc<[Mutex<Common>; 2]>,
}

impl Islands {
    /// The configuration has made sure that no spelling means two islands. `zone` is where this mailferry stands.
    pub fn new(islands: Vec<Island>, zone: Option<&ZoneName>, now: Instant) -> Self {
        let tables = islands.into_iter().map(|island| Arc::new(Table::new(island, zone.cloned(), now)));
        Self { tables: tables.collect(), common: Arc::default() }
    }

    /// What another configuration makes of them. An island that is as it was keeps its table; of one that has changed, the
    /// nodes that are still where they were keep their health, sessions and abilities, and what the operator wants of
    /// them. To be called when nothing can fail any more: both are the same nodes from then on.
    #[must_use]
    pub fn succeed(&self, islands: Vec<Island>, zone: Option<&ZoneName>, now: Instant) -> Self {
        let table = |island: Island| match self.tables.iter().find(|table| table.island().name == island.name) {
            Some(old) if old.is_as(&island, zone) => Arc::clone(old),
            Some(old) => Arc::new(old.succeed(island, zone.cloned(), now)),
            None => Arc::new(Table::new(island, zone.cloned(), now)),
        };
        Self { tables: islands.into_iter().map(table).collect(), common: Arc::clone(&self.common) }
    }

    /// The island that the directory means.
    pub fn find(&self, spelling: &IslandName) -> Option<&Arc<Table>> {
        self.tables.iter().find(|table| table.island().spellings.contains(spelling))
    }

    /// What all nodes can do that take logins now, of all islands; nothing, as long as one of them has not said
    /// anything. May be a second old.
    pub fn extensions(&self, protocol: Protocol, now: Instant) -> Arc<Extensions> {
        let ports = || self.tables.iter().flat_map(move |table| table.ports(protocol));
        let nodes = || ports().filter(NodePort::takes_logins).map(|port| port.abilities().all());
        self.common(protocol).of(nodes, now)
    }

    /// What the operator is to be told of [`Self::extensions`], because it has changed since he was told the last time.
    /// Six times at once at most, and then once in ten seconds.
    pub fn turnover(&self, protocol: Protocol, now: Instant) -> Option<Turnover<NodePort>> {
        let ports = || self.tables.iter().flat_map(move |table| table.ports(protocol)).filter(NodePort::takes_logins);
        let nodes = || {
            ports().map(|port| {
                let all = port.abilities().all();
                (port, all)
            })
        };
        self.common(protocol).news(nodes, now)
    }

    fn common(&self, protocol: Protocol) -> MutexGuard<'_, Common> {
        let [imap, pop3] = &*self.common;
        let common = if protocol == Protocol::Imap { imap } else { pop3 };
        common.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.iter()
    }
}

#[cfg(test)]
mod tests;
