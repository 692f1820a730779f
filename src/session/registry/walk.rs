//! The way through all sessions, some at a time: those of a piece are taken out under their shard's lock, and looked at
//! behind it. However slow whoever looks is, and whatever he makes of them, no login waits for him.

use std::sync::Arc;

use super::{Registry, Session, lock};

/// Places that are looked at under a lock: some ten microseconds.
const PIECE: usize = 256;

/// A way through all sessions: whoever is there all the time is met once, those who come or go meanwhile are met or not.
pub struct Walk {
    registry: Registry,
    shard: usize,
    place: usize,
}

impl Registry {
    /// The way through all sessions.
    pub fn walk(&self) -> Walk {
        Walk { registry: self.clone(), shard: 0, place: 0 }
    }

    /// Shows each session to `see`, under no lock, and lets others run in between.
    pub async fn look(&self, mut see: impl FnMut(&Arc<Session>)) {
        for piece in self.walk() {
            piece.iter().for_each(&mut see);
            drop(piece);
            tokio::task::yield_now().await;
        }
    }
}

impl Iterator for Walk {
    /// A piece, perhaps an empty one. A session that is over keeps its seat at the node as long as it is held here, so that
    /// it is to be given back before any wait.
    type Item = Vec<Arc<Session>>;

    fn next(&mut self) -> Option<Self::Item> {
        let shard = self.registry.0.shards.get(self.shard)?;
        let mut piece = Vec::with_capacity(PIECE);
        let is_last = {
            let shard = lock(shard);
            piece.extend(shard.places.iter().skip(self.place).take(PIECE).flatten().cloned());
            self.place + PIECE >= shard.places.len()
        };
        (self.shard, self.place) = if is_last { (self.shard + 1, 0) } else { (self.shard, self.place + PIECE) };
        Some(piece)
    }
}

/// Sessions of these users, which live as long as what is returned.
#[cfg(test)]
pub(crate) fn crowd(registry: &Registry, port: &crate::routing::NodePort, count: u64) -> Vec<Box<dyn Send>> {
    let enter = |number| -> Box<dyn Send> {
        Box::new(registry.enter(super::Beginning {
            id: crate::names::SessionId { run: 7, number },
            client: std::net::SocketAddr::from(([192, 0, 2, 1], 993)),
            began: tokio::time::Instant::now(),
            tls: None,
            user: crate::names::UserName::new(format!("user{number}").as_bytes()),
            seat: port.seat(),
        }))
    };
    (0..count).map(enter).collect()
}
