//! One direction of the copy: octets are read into the scratch area and written at once; what is not taken is kept.
//!
//! Nothing is read while something is left to write, and nothing is kept but that rest: not more than the scratch area
//! or a pipe takes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Breakable;
use super::pipe::{Burst, Pipe};

/// Where a tagged answer is looked for that has untagged lines behind it: so many octets before their end.
const BEHIND_MAX: usize = 1024;

/// Octets read at once between two sockets: who brings as many brings more, most likely, and that goes by itself (see
/// [`Direction::splice`]).
const BURST: usize = 64 * 1024;

/// One direction of the copy.
pub(super) struct Direction {
    pub(super) state: State,
    /// Octets delivered to the destination, with what was received before.
    pub(super) moved: u64,
    /// Whether octets were read from the source, to be passed on.
    pub(super) has_read: bool,
    /// Whether the source's end is not to be passed on yet.
    pub(super) is_held: bool,
    /// Whether the other direction is done, so that both streams are closed when this one is.
    pub(super) is_last: bool,
    /// Whether bursts may go through a pipe.
    pub(super) may_splice: bool,
    /// Whether what comes next belongs to a burst most likely.
    is_bursting: bool,
    /// Whether the destination has not sent on yet what it took: records of TLS that its socket would not take.
    is_unsent: bool,
    /// Whether the other direction waits for something to come this way.
    pub(super) is_due: bool,
    /// What stands for the tag of the command that came last this way; 0: not known.
    pub(super) tag: u16,
    /// The tag for whose answer the other direction waits; 0: not known.
    pub(super) due_tag: u16,
    /// How what came last from the source ended.
    pub(super) line: Line,
    /// With which octet the line began that came last; 0 where that was not seen.
    first: u8,
}

/// How octets end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Inside a line.
    Inside,
    /// With the first half of a line end.
    Half,
    /// With a line end.
    Ended,
    /// They went through a pipe and were not seen, or there were none.
    Unseen,
}

impl Line {
    fn behind(self, octets: &[u8]) -> Self {
        match octets {
            [.., b'\r', b'\n'] => Self::Ended,
            [b'\n'] if self == Self::Half => Self::Ended,
            [.., b'\r'] => Self::Half,
            [] => self,
            [..] => Self::Inside,
        }
    }
}

/// Where the last line feed stands. By parts, because whether a part has one is found out many octets at a time, and a
/// message may have none for megabytes.
fn last_line_end(octets: &[u8]) -> Option<usize> {
    let mut end = octets.len();
    for part in octets.rchunks(512) {
        end -= part.len();
        if part.contains(&b'\n') {
            return part.iter().rposition(|octet| *octet == b'\n').map(|place| end + place);
        }
    }
    None
}

/// With which octet the last line began that begins behind another one.
fn line_began(octets: &[u8]) -> Option<u8> {
    let end = last_line_end(octets)?;
    octets.get(end + 1).copied()
}

/// What stands for the tag of the command with which these octets end. 0: they end inside a line, or it had begun
/// before. `None`: a line of one word, as DONE, belongs to the command before it.
fn last_tag(octets: &[u8], is_new: bool) -> Option<u16> {
    let Some(lines) = octets.strip_suffix(b"\n") else { return Some(0) };
    let begin = match last_line_end(lines) {
        Some(end) => end + 1,
        None if is_new => 0,
        None => return Some(0),
    };
    let line = lines.get(begin..)?;
    let end = line.iter().position(|octet| *octet == b' ')?;
    line.get(..end).map(hash)
}

/// Whether one of the last lines says that the command of this tag is done. A line of a literal may look like it: only a
/// mail that somebody wrote for that does, and a silence is waited for in any case.
fn is_answered(octets: &[u8], is_new: bool, tag: u16) -> bool {
    let begin = octets.len().saturating_sub(BEHIND_MAX);
    let is_answer = |line: &[u8]| {
        let mut words = line.trim_ascii_end().splitn(3, |octet| *octet == b' ');
        let (tagged, word) = (words.next().map(hash), words.next().unwrap_or_default());
        tagged == Some(tag) && ["OK", "NO", "BAD"].iter().any(|done| word.eq_ignore_ascii_case(done.as_bytes()))
    };
    let lines = octets.get(begin..).unwrap_or_default().split(|octet| *octet == b'\n');
    // The first of them may have begun before.
    lines.skip(usize::from(begin > 0 || !is_new)).any(is_answer)
}

/// Never 0.
fn hash(word: &[u8]) -> u16 {
    // FNV-1a.
    let hash = word.iter().fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193));
    ((hash ^ (hash >> 16)) as u16).max(1)
}

pub(super) enum State {
    /// Octets are read and written. What the destination has not taken yet is kept here, and nothing more is read.
    Open { rest: Option<Box<Rest>> },
    /// The source has ended and everything is written; the end is passed on.
    Closing,
    /// The destination is gone; what comes is read and dropped until the source ends, or there was too much.
    Discarding { most: usize },
    /// Nothing more will happen.
    Done,
}

/// What the destination has not taken. Its memory is freed, or the pipe given back, as soon as it is empty.
pub(super) enum Rest {
    Octets { octets: Vec<u8>, written: usize },
    InPipe(Pipe),
}

/// What happened to a direction.
pub(super) enum Event {
    /// The source closed, or failed. What came before will still be delivered.
    SourceEnded(Option<io::Error>),
    /// The destination failed; the direction is done.
    WriteFailed(io::Error),
}

impl Direction {
    pub(super) fn new(rest: Vec<u8>) -> Self {
        let (line, first) = (Line::Unseen.behind(&rest), line_began(&rest).unwrap_or_default());
        let state = State::Open { rest: Rest::new(rest) };
        Self {
            state,
            moved: 0,
            has_read: false,
            is_held: false,
            is_last: false,
            may_splice: true,
            is_bursting: false,
            is_unsent: false,
            is_due: false,
            tag: 0,
            due_tag: 0,
            line,
            first,
        }
    }

    /// Takes note of what has come. A whole line is what the other direction waits for, unless it begins with `*`: such
    /// lines come unasked, or before the answer. Whatever comes behind it, a `+` that comes first is one, and so is a line
    /// with the tag of the client's last command.
    fn see(&mut self, octets: &[u8]) {
        let is_new = self.line == Line::Ended;
        self.tag = last_tag(octets, is_new).unwrap_or(self.tag);
        let starts = if is_new { octets.first().copied() } else { Some(self.first) };
        let starts = starts.unwrap_or_default();
        if let Some(end) = last_line_end(octets) {
            let last = octets.get(..end).and_then(line_began).unwrap_or(starts);
            let is_tag_known = self.is_due && self.due_tag != 0;
            if last != b'*' || starts == b'+' || (is_tag_known && is_answered(octets, is_new, self.due_tag)) {
                self.is_due = false;
            }
            self.first = octets.get(end + 1).copied().unwrap_or(last);
        } else {
            self.first = starts;
        }
        self.line = self.line.behind(octets);
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.state, State::Open { rest: None }) && !self.is_unsent
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the source is not read because the destination takes nothing.
    pub(super) fn is_stalled(&self) -> bool {
        match &self.state {
            State::Open { rest } => rest.is_some() || self.is_unsent,
            State::Closing | State::Discarding { .. } | State::Done => false,
        }
    }

    /// What waits in a pipe waits in our own memory instead.
    pub(super) fn leave_pipe(&mut self) -> io::Result<()> {
        if let State::Open { rest: Some(rest) } = &mut self.state
            && let Rest::InPipe(pipe) = &mut **rest
        {
            match pipe.read() {
                Ok(octets) => **rest = Rest::Octets { octets, written: 0 },
                Err(error) => {
                    self.state = State::Done;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Moves what can be moved now. Pending when that was all, also when the direction is done.
    pub(super) fn poll<S, D>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        from: &mut S,
        to: &mut D,
    ) -> Poll<Event>
    where
        S: AsyncRead + Breakable + Unpin,
        D: AsyncWrite + Breakable + Unpin,
    {
        let event = match &mut self.state {
            State::Done => return Poll::Pending,
            State::Discarding { most } => {
                while *most > 0 {
                    let mut buf = ReadBuf::new(scratch);
                    if ready!(Pin::new(&mut *from).poll_read(cx, &mut buf)).is_err() || buf.filled().is_empty() {
                        self.state = State::Done;
                        return Poll::Pending;
                    }
                    *most = most.saturating_sub(buf.filled().len());
                }
                return Poll::Pending;
            }
            State::Open { .. } => ready!(self.move_on(cx, scratch, from, to)),
            // What was written must not wait for the end in some buffer of TLS.
            State::Closing if self.is_held => match ready!(Pin::new(to).poll_flush(cx)) {
                Ok(()) => return Poll::Pending,
                Err(error) => Event::WriteFailed(error),
            },
            // A socket's close says the same, and comes now.
            State::Closing if self.is_last && to.socket().is_some() => {
                self.state = State::Done;
                return Poll::Pending;
            }
            State::Closing => {
                // Whether the destination heard of the end or was gone already is the same to us.
                ready!(Pin::new(to).poll_shutdown(cx)).unwrap_or(());
                self.state = State::Done;
                return Poll::Pending;
            }
        };
        self.state = match event {
            Event::SourceEnded(_) => State::Closing,
            Event::WriteFailed(_) => State::Done,
        };
        Poll::Ready(event)
    }

    /// Moves octets until either side has had enough.
    fn move_on<S, D>(&mut self, cx: &mut Context<'_>, scratch: &mut [u8], from: &mut S, to: &mut D) -> Poll<Event>
    where
        S: AsyncRead + Breakable + Unpin,
        D: AsyncWrite + Breakable + Unpin,
    {
        let mut is_burst = std::mem::take(&mut self.is_bursting);
        loop {
            if let Err(error) = ready!(self.write_rest(cx, to, &mut is_burst)) {
                return Poll::Ready(Event::WriteFailed(error));
            }
            // Under TLS what was taken may still wait for the socket. If more were read now, that would wait behind it.
            let sent_on = Pin::new(&mut *to).poll_flush(cx);
            self.is_unsent = sent_on.is_pending();
            if let Err(error) = ready!(sent_on) {
                return Poll::Ready(Event::WriteFailed(error));
            }
            if std::mem::take(&mut is_burst) && self.may_splice {
                let moved = self.moved;
                let line = std::mem::replace(&mut self.line, Line::Unseen);
                let seen = [&mut self.tag, &mut self.due_tag].map(std::mem::take);
                let seen = (std::mem::take(&mut self.first), std::mem::take(&mut self.is_due), seen);
                match self.splice(cx, from, to) {
                    Some(Burst::Ended(event)) => return Poll::Ready(event),
                    Some(Burst::SourceEmpty) => {
                        self.is_bursting = self.moved - moved >= BURST as u64;
                        if self.moved == moved {
                            self.line = line;
                            (self.first, self.is_due, [self.tag, self.due_tag]) = seen;
                        }
                        return Poll::Pending;
                    }
                    Some(Burst::Stalled(pipe)) => {
                        self.keep(Some(Box::new(Rest::InPipe(pipe))));
                        return Poll::Pending;
                    }
                    // No pipe to be had, and nothing moved.
                    None => {
                        self.line = line;
                        (self.first, self.is_due, [self.tag, self.due_tag]) = seen;
                    }
                }
            }
            let is_between_sockets = from.socket().is_some() && to.socket().is_some();
            let most = if is_between_sockets { BURST } else { scratch.len() };
            let mut buf = ReadBuf::new(scratch.get_mut(..most).unwrap_or_default());
            match Pin::new(&mut *from).poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Event::SourceEnded(Some(error))),
                Poll::Ready(Ok(())) if buf.filled().is_empty() => return Poll::Ready(Event::SourceEnded(None)),
                Poll::Ready(Ok(())) => {
                    self.has_read = true;
                    self.see(buf.filled());
                    match write_now(cx, to, buf.filled(), &mut self.moved) {
                        Ok(taken) => {
                            is_burst = taken == buf.capacity();
                            self.keep(Rest::new(buf.filled().get(taken..).unwrap_or_default().to_vec()));
                        }
                        Err(error) => return Poll::Ready(Event::WriteFailed(error)),
                    }
                }
            }
        }
    }

    /// Both are sockets, much has come, and all of it was taken: more goes by itself, if there is a pipe for it.
    fn splice<S: Breakable, D: Breakable>(&mut self, cx: &mut Context<'_>, from: &S, to: &D) -> Option<Burst> {
        let (from, to) = (from.socket()?, to.socket()?);
        Pipe::take()?.splice(cx, from, to, &mut self.has_read, &mut self.moved)
    }

    fn keep(&mut self, left: Option<Box<Rest>>) {
        if let State::Open { rest } = &mut self.state {
            *rest = left;
        }
    }

    /// Writes the rest. Says whether it was one of a burst.
    fn write_rest<D>(&mut self, cx: &mut Context<'_>, to: &mut D, is_burst: &mut bool) -> Poll<io::Result<()>>
    where
        D: AsyncWrite + Breakable + Unpin,
    {
        let State::Open { rest: Some(rest) } = &mut self.state else { return Poll::Ready(Ok(())) };
        match &mut **rest {
            Rest::Octets { octets, written } => {
                while let Some(left) = octets.get(*written..).filter(|left| !left.is_empty()) {
                    let count = ready!(Pin::new(&mut *to).poll_write(cx, left))?;
                    if count == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    *written += count;
                    self.moved += count as u64;
                }
            }
            Rest::InPipe(pipe) => {
                let Some(to) = to.socket() else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
                ready!(pipe.write(cx, to, &mut self.moved))?;
                *is_burst = true;
            }
        }
        self.keep(None);
        Poll::Ready(Ok(()))
    }
}

impl Rest {
    /// Nothing, if there is none.
    fn new(octets: Vec<u8>) -> Option<Box<Self>> {
        (!octets.is_empty()).then(|| Box::new(Self::Octets { octets, written: 0 }))
    }
}

/// Writes as much as is taken without waiting, and says how much that was.
pub(super) fn write_now<D: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    to: &mut D,
    octets: &[u8],
    moved: &mut u64,
) -> io::Result<usize> {
    let mut taken = 0;
    while let Some(left) = octets.get(taken..).filter(|left| !left.is_empty()) {
        match Pin::new(&mut *to).poll_write(cx, left) {
            Poll::Pending => break,
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => {
                taken += count;
                *moved += count as u64;
            }
            Poll::Ready(Err(error)) => return Err(error),
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::last_line_end;

    #[test]
    fn the_last_line_feed_is_found_wherever_it_stands() {
        for len in [0, 1, 511, 512, 513, 1024, 1500] {
            assert_eq!(last_line_end(&vec![b'a'; len]), None, "{len}");
            for place in 0..len {
                let mut octets = vec![b'a'; len];
                octets[place / 2] = b'\n';
                octets[place] = b'\n';
                assert_eq!(last_line_end(&octets), Some(place), "{place} of {len}");
            }
        }
    }
}
