//! Octets that have arrived and were not used yet, and lines cut from their front.
//!
//! [`Input`] wipes what is consumed, because a password may have been in it. It must not know any protocol.

use zeroize::{Zeroize, Zeroizing};

/// Octets of room that an input keeps when it is empty.
const KEPT: usize = 8 * 1024;

/// Octets of room that an input has when it holds more than that.
const LARGE: usize = 24 * 1024;

/// Octets by which a buffer grows at most beyond what it needs at the moment. Strangers fill many buffers.
const SLACK: usize = 8 * 1024;

/// What stands at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// No line end yet.
    Partial,
    /// More octets than allowed, with or without a line end; nothing was consumed. See [`Input::skip_line`].
    TooLong,
    /// A line without its CRLF or LF, now consumed.
    Complete(Zeroizing<Vec<u8>>),
}

/// Received octets, used from the front.
#[derive(Default)]
pub struct Input {
    octets: Vec<u8>,
    /// Everything before this was consumed and wiped.
    start: usize,
}

impl Input {
    /// An empty input.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends what was received.
    pub fn push(&mut self, octets: &[u8]) {
        if self.start > 0 && self.octets.len() + octets.len() > self.octets.capacity() {
            self.octets.drain(..self.start);
            self.start = 0;
        }
        let needed = self.octets.len() + octets.len();
        if needed > KEPT && needed > self.octets.capacity() {
            // Whoever has sent so much goes on, most often. One large room, of which only what is used costs memory,
            // leaves no holes behind as many that grow would.
            reserve_wiped(&mut self.octets, needed.max(LARGE));
        }
        append_wiped(&mut self.octets, octets);
    }

    /// What was received and not consumed.
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(self.start..).unwrap_or_default()
    }

    /// How many octets [`Self::as_bytes`] has.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether everything was consumed.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// Drops and wipes the first `count` octets, or all if there are fewer.
    pub fn consume(&mut self, count: usize) {
        let end = self.octets.len().min(self.start.saturating_add(count));
        if let Some(used) = self.octets.get_mut(self.start..end) {
            used.zeroize();
        }
        self.start = end;
        if self.is_empty() {
            self.octets.clear();
            self.start = 0;
            // Room for what was held once is not kept for the rest of the login phase.
            if self.octets.capacity() > KEPT {
                self.octets = Vec::new();
            }
        }
    }

    /// Takes one line of at most `max` octets (line end not counted). A bare LF ends a line too: scripts send it.
    pub fn line(&mut self, max: usize) -> Line {
        let octets = self.as_bytes();
        let Some(end) = octets.iter().position(|&octet| octet == b'\n') else {
            return if octets.len() > max + 1 { Line::TooLong } else { Line::Partial };
        };
        let line = octets.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > max {
            return Line::TooLong;
        }
        let line = Zeroizing::new(line.to_vec());
        self.consume(end + 1);
        Line::Complete(line)
    }

    /// Drops everything up to and including the next LF, and says how much; without one, drops everything and says
    /// `None`.
    pub fn skip_line(&mut self) -> Option<usize> {
        let end = self.as_bytes().iter().position(|&octet| octet == b'\n');
        self.consume(end.map_or(usize::MAX, |end| end + 1));
        end.map(|end| end + 1)
    }

    /// Takes everything that is left.
    pub fn take(&mut self) -> Vec<u8> {
        let rest = self.as_bytes().to_vec();
        self.consume(rest.len());
        rest
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

/// Appends to a buffer that may hold a secret. A vector that grows by itself would free its old room unwiped.
pub(super) fn append_wiped(buffer: &mut Vec<u8>, octets: &[u8]) {
    let needed = buffer.len() + octets.len();
    if needed > buffer.capacity() {
        reserve_wiped(buffer, needed.max((buffer.capacity() / 2 * 3).min(needed + SLACK)));
    }
    buffer.extend_from_slice(octets);
}

fn reserve_wiped(buffer: &mut Vec<u8>, capacity: usize) {
    let mut roomier = Vec::with_capacity(capacity);
    roomier.extend_from_slice(buffer);
    std::mem::swap(buffer, &mut roomier);
    roomier.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(octets: &[u8]) -> Input {
        let mut input = Input::new();
        input.push(octets);
        input
    }

    fn complete(line: &[u8]) -> Line {
        Line::Complete(Zeroizing::new(line.to_vec()))
    }

    #[test]
    fn lines_end_in_crlf_or_lf() {
        let mut input = input(b"one\r\ntwo\n\r\nrest");
        assert_eq!(input.line(8), complete(b"one"));
        assert_eq!(input.line(8), complete(b"two"));
        assert_eq!(input.line(8), complete(b""));
        assert_eq!(input.line(8), Line::Partial);
        assert_eq!(input.take(), b"rest");
        assert!(input.is_empty());
    }

    #[test]
    fn a_line_of_the_limit_passes_and_one_more_octet_does_not() {
        assert_eq!(input(b"12345678\r\n").line(8), complete(b"12345678"));
        assert_eq!(input(b"12345678\r").line(8), Line::Partial);
        assert_eq!(input(b"123456789\r\n").line(8), Line::TooLong);
        assert_eq!(input(b"1234567890").line(8), Line::TooLong);
    }

    #[test]
    fn skipping_ends_behind_the_line() {
        let mut input = input(b"too long\r\nnext\r\nx");
        assert_eq!(input.skip_line(), Some(10));
        assert_eq!(input.line(8), complete(b"next"));
        assert_eq!(input.skip_line(), None);
        assert!(input.is_empty());
    }

    #[test]
    fn what_is_consumed_is_wiped_and_its_room_used_again() {
        let mut input = Input::new();
        input.push(b"secret\r\nrest");
        input.consume(8);
        assert_eq!(input.octets.get(..8), Some([0; 8].as_slice()));
        for _ in 0..1000 {
            input.push(b"0123456789");
            input.consume(10);
        }
        assert_eq!(input.len(), 4);
        assert!(input.octets.capacity() < 64, "{}", input.octets.capacity());
    }
}
