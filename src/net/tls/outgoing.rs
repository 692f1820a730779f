//! Where records are written that are to be sent: one area, used by many connections in turn. It must never hold
//! plaintext.

use crate::net::AT_ONCE;

/// Octets that an outgoing area has from the start: the plaintext in records of 16 KiB, and the overhead of more than
/// those. It grows if that is not enough, which no peer can bring about.
const OUTGOING: usize = AT_ONCE + 8 * 1024;

/// Records that are to be sent. It keeps its memory, so that many connections can use one area in turn.
pub struct Outgoing {
    octets: Vec<u8>,
    len: usize,
}

impl Outgoing {
    /// An empty area.
    pub fn new() -> Self {
        Self { octets: vec![0; OUTGOING], len: 0 }
    }

    /// Forgets what is in it.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// What is to be sent, in this order.
    pub fn filled(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    /// Appends octets that were encrypted before.
    pub fn put(&mut self, octets: &[u8]) {
        self.room(octets.len()).copy_from_slice(octets);
        self.len += octets.len();
    }

    /// Exactly so much room behind what is in it. It is not part of it before [`Self::keep`].
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.len + len;
        if end > self.octets.len() {
            self.octets.resize(end, 0);
        }
        self.octets.get_mut(self.len..end).unwrap_or_default()
    }

    /// All the room there is without growing.
    pub fn all_room(&mut self) -> &mut [u8] {
        self.octets.get_mut(self.len..).unwrap_or_default()
    }

    /// So many octets were written into the room.
    pub fn keep(&mut self, len: usize) {
        self.len = (self.len + len).min(self.octets.len());
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::new()
    }
}
