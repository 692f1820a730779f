//! How the octets of a client become commands: lines, the octets of literals, and what is thrown away unread.
//!
//! Nothing here knows what a command means. What is held is bounded and wiped, and the octets of a literal that was
//! refused are never taken for a command.

use zeroize::Zeroizing;

use crate::proto::Input;
use crate::proto::line::append_wiped;

/// Most octets of one refused command that are read and dropped. Behind it the connection is not worth keeping.
const DISCARD_MAX: usize = 64 * 1024;

/// What there is of one command, or of one SASL response.
#[derive(Default)]
pub(super) struct Collector {
    octets: Zeroizing<Vec<u8>>,
    /// Where the line begins that is being read.
    line_start: usize,
    /// How many of the octets are those of literals.
    literals: usize,
}

/// How far a line got.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Collected {
    /// Its end is not there yet.
    More,
    /// Its end was read, and is not kept.
    Line,
    /// It is longer than allowed. If its end has come, that is still in the input.
    TooLong,
}

/// The limit of a command, in octets.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    /// What literals hold does not count.
    WithoutLiterals(usize),
    /// Everything counts.
    InAll(usize),
}

impl Collector {
    /// Everything that was collected.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The first `max` octets of the command, whether they were collected or are still in the input.
    pub(super) fn head(&self, input: &Input, max: usize) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.octets.iter().chain(input.as_bytes()).take(max).copied().collect())
    }

    /// Reads on to the end of the line, CRLF or LF.
    pub(super) fn line(&mut self, input: &mut Input, limit: Limit) -> Collected {
        let (limit, uncounted) = match limit {
            Limit::WithoutLiterals(limit) => (limit, self.literals),
            Limit::InAll(limit) => (limit, 0),
        };
        // Two more than allowed: a CR that belongs to the line end, and the LF or the octet that shows it does not.
        let room = (limit + uncounted + 2).saturating_sub(self.octets.len());
        let window = input.as_bytes();
        let window = window.get(..room).unwrap_or(window);
        let end = window.iter().position(|&octet| octet == b'\n');
        let taken = window.get(..end.unwrap_or(window.len())).unwrap_or_default();
        append_wiped(&mut self.octets, taken);
        let taken = taken.len();
        input.consume(taken);
        let line_end = usize::from(self.current_line().ends_with(b"\r"));
        if self.octets.len() - uncounted - line_end > limit {
            Collected::TooLong
        } else if end.is_some() {
            input.consume(1);
            let length = self.octets.len() - line_end;
            self.octets.truncate(length);
            Collected::Line
        } else {
            Collected::More
        }
    }

    /// The line that was just read announced a literal.
    pub(super) fn begin_literal(&mut self) {
        append_wiped(&mut self.octets, b"\r\n");
    }

    /// Takes what there is of a literal of which `missing` octets are not here, and says how many are missing then.
    pub(super) fn literal(&mut self, input: &mut Input, missing: usize) -> usize {
        let octets = input.as_bytes();
        let taken = octets.get(..missing).unwrap_or(octets);
        append_wiped(&mut self.octets, taken);
        let taken = taken.len();
        self.literals += taken;
        self.line_start = self.octets.len();
        input.consume(taken);
        missing - taken
    }

    /// Gives the command up in the middle of a line, or at its end.
    pub(super) fn discard(self) -> Discard {
        let mut tail = Tail::Other;
        tail.feed(self.current_line());
        Discard { spent: self.octets.len(), tail, literal: 0 }
    }

    fn current_line(&self) -> &[u8] {
        self.octets.get(self.line_start..).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.octets.capacity()
    }
}

/// A refused command of which something may be left to read. Nothing of it is kept.
pub(super) struct Discard {
    /// Octets that were read or announced.
    spent: usize,
    tail: Tail,
    /// Octets of a literal that are still to come.
    literal: usize,
}

/// How far a refused command got.
pub(super) enum Discarded {
    /// Its next line end is not there yet.
    More(Discard),
    /// A line of it has ended. See [`Discard::behind_line`].
    LineEnd(Discard),
    /// It is longer than anything that is worth reading.
    TooMuch,
}

/// What follows a line of a refused command.
pub(super) enum Behind {
    /// The next command.
    Command,
    /// A literal that the client sends without waiting, and then the rest of this command.
    Rest(Discard),
    /// A literal that is not worth reading.
    TooMuch,
}

impl Discard {
    /// Drops what there is, up to the next line end.
    pub(super) fn run(mut self, input: &mut Input) -> Discarded {
        let taken = self.literal.min(input.len());
        input.consume(taken);
        self.literal -= taken;
        if self.literal > 0 {
            return Discarded::More(self);
        }
        let window = input.as_bytes();
        let window = window.get(..DISCARD_MAX.saturating_sub(self.spent)).unwrap_or(window);
        let end = window.iter().position(|&octet| octet == b'\n');
        let line = window.get(..end.unwrap_or(window.len())).unwrap_or_default();
        self.tail.feed(line);
        let taken = line.len() + usize::from(end.is_some());
        self.spent += taken;
        input.consume(taken);
        match end {
            Some(_) => Discarded::LineEnd(self),
            None if self.spent >= DISCARD_MAX => Discarded::TooMuch,
            None => Discarded::More(self),
        }
    }

    /// What follows, at the end of a line. A client that waits for a `+` gets none and sends nothing.
    pub(super) fn behind_line(mut self) -> Behind {
        let Tail::Closed(octets) = std::mem::replace(&mut self.tail, Tail::Other) else { return Behind::Command };
        if octets > DISCARD_MAX.saturating_sub(self.spent) {
            return Behind::TooMuch;
        }
        self.spent += octets;
        self.literal = octets;
        Behind::Rest(self)
    }
}

/// Whether a line ends in `{n+}`, found without keeping the line. The number saturates.
enum Tail {
    Other,
    Brace,
    Digits(usize),
    Plus(usize),
    Closed(usize),
}

impl Tail {
    fn feed(&mut self, octets: &[u8]) {
        for &octet in octets {
            *self = match (&*self, octet) {
                (_, b'{') => Self::Brace,
                (Self::Brace, b'0'..=b'9') => Self::Digits(usize::from(octet - b'0')),
                (Self::Digits(sum), b'0'..=b'9') => {
                    Self::Digits(sum.saturating_mul(10).saturating_add(usize::from(octet - b'0')))
                }
                (Self::Digits(sum), b'+') => Self::Plus(*sum),
                (Self::Plus(sum), b'}') => Self::Closed(*sum),
                // The CR of the line end.
                (Self::Closed(sum), b'\r') => Self::Closed(*sum),
                _ => Self::Other,
            };
        }
    }
}
