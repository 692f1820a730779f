//! The two-way copy between a client and a node: every octet once, in order, until both sides are done.
//!
//! No buffer is held while nothing moves: octets are read into one scratch area per worker, inside a single poll, and
//! written at once. Only what the other side would not take is kept, and that side's source is not read until it is
//! gone. An end of stream is passed on as such (half-close). This file must not know what the octets mean.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Octets moved by one read; each worker thread has one area of this size.
const SCRATCH: usize = 64 * 1024;

/// How long nothing may move after one side has ended: for a node that still answers a client which closed its sending
/// side, and for a client that takes its time over the last octets and the end of its node.
const HALF_CLOSED_IDLE: Duration = Duration::from_secs(60);

/// How often a peer that is not read, because the other one takes nothing, is asked whether it is still there.
const STALLED_LOOK: Duration = Duration::from_millis(500);

thread_local! {
    static SCRATCH_AREA: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// One of the two peers of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Who logged in.
    Client,
    /// Who has the mail.
    Node,
}

/// Who ended the copy first, and how.
#[derive(Debug)]
pub struct Ended {
    /// Whose end of stream or error came first.
    pub by: Peer,
    /// The error, or nothing for an orderly close.
    pub error: Option<io::Error>,
}

/// A stream that can say, without being read, that its connection broke.
pub trait Breakable {
    /// What broke it, if it is broken for good. A passing trouble on the way to the peer is none (RFC 1122 §4.2.3.9).
    fn broken(&self) -> Option<io::Error>;
}

/// A running copy. It may be dropped at any time; the counters stay readable until then.
pub struct Pump {
    to_node: Direction,
    to_client: Direction,
    ended: Option<Ended>,
}

impl Pump {
    /// `to_node` and `to_client` are octets that were received before and go first.
    pub fn new(to_node: Vec<u8>, to_client: Vec<u8>) -> Self {
        Self { to_node: Direction::new(to_node), to_client: Direction::new(to_client), ended: None }
    }

    /// Who has ended the copy, if somebody has; it may still be delivering the rest.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Octets delivered to the node so far.
    pub fn to_node(&self) -> u64 {
        self.to_node.moved
    }

    /// Octets delivered to the client so far.
    pub fn to_client(&self) -> u64 {
        self.to_client.moved
    }

    /// Copies until both directions are done, or one is and the other has been silent for too long.
    pub async fn run<C, N>(&mut self, client: &mut C, node: &mut N) -> Ended
    where
        C: AsyncRead + AsyncWrite + Breakable + Unpin,
        N: AsyncRead + AsyncWrite + Breakable + Unpin,
    {
        let mut look: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            let ended = self.poll(cx, client, node, |pump| pump.ended.is_some());
            if ended.is_ready() { ended } else { self.look_for_breaks(cx, &mut look, client, node) }
        })
        .await;
        // Only now is there a timer; a session that nobody has begun to close has none.
        let mut timer = pin!(sleep_until(Instant::now()));
        let mut moved = u64::MAX;
        poll_fn(|cx| {
            let done = self.poll(cx, client, node, |_| false);
            self.arm(&mut timer, &mut moved);
            if done.is_ready() { done } else { timer.as_mut().poll(cx) }
        })
        .await;
        self.ended.take().unwrap_or(Ended { by: Peer::Client, error: None })
    }

    /// Drives both directions. Ready when nothing is left to do, or when it is `enough`.
    fn poll<C, N>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        node: &mut N,
        enough: impl Fn(&Self) -> bool,
    ) -> Poll<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        N: AsyncRead + AsyncWrite + Unpin,
    {
        SCRATCH_AREA.with_borrow_mut(|scratch| {
            while let Poll::Ready(event) = self.to_node.poll(cx, scratch, client, node) {
                self.on_the_way_to_node(event);
            }
            while let Poll::Ready(event) = self.to_client.poll(cx, scratch, node, client) {
                self.on_the_way_to_client(event);
            }
        });
        let done = (self.to_node.is_done() && self.to_client.is_done()) || enough(self);
        if done { Poll::Ready(()) } else { Poll::Pending }
    }

    fn on_the_way_to_node(&mut self, event: Event) {
        match event {
            Event::SourceEnded(error) => {
                // A connection that was reset takes no answers. One that ended without TLS' close_notify may: many
                // clients end like that, and what they sent before still counts.
                if error.as_ref().is_some_and(|error| error.kind() != io::ErrorKind::UnexpectedEof) {
                    self.to_node.state = State::Done;
                    self.to_client.state = State::Done;
                }
                self.note(Peer::Client, error);
            }
            // The node takes nothing more, but what it said before may still be on its way to the client. So the client
            // is read on, into nothing: a socket closed over unread octets is reset, and takes what it sent with it.
            Event::WriteFailed(error) => {
                self.to_node.state = State::Discarding;
                self.note(Peer::Node, Some(error));
            }
        }
    }

    fn on_the_way_to_client(&mut self, event: Event) {
        match event {
            Event::SourceEnded(error) => self.note(Peer::Node, error),
            Event::WriteFailed(error) => {
                self.to_node.state = State::Done;
                self.note(Peer::Client, Some(error));
            }
        }
    }

    /// A side whose octets the other one does not take is not read, so that nothing tells that its connection broke but
    /// this look, twice a second while it lasts. (A frozen node is the case in mind.) An orderly end is not seen: what
    /// the client sent before it may still be wanted. TCP keepalive bounds that.
    fn look_for_breaks<C: Breakable, N: Breakable>(
        &mut self,
        cx: &mut Context<'_>,
        look: &mut Option<Pin<Box<Sleep>>>,
        client: &C,
        node: &N,
    ) -> Poll<()> {
        if !self.to_node.is_stalled() && !self.to_client.is_stalled() {
            *look = None;
            return Poll::Pending;
        }
        let timer = look.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + STALLED_LOOK)));
        while timer.as_mut().poll(cx).is_ready() {
            if let Some(error) = client.broken() {
                self.on_the_way_to_node(Event::SourceEnded(Some(error)));
                return Poll::Ready(());
            }
            if let Some(error) = node.broken() {
                // It takes nothing more. What it sent before is still there to be read.
                self.on_the_way_to_node(Event::WriteFailed(error));
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + STALLED_LOOK);
        }
        Poll::Pending
    }

    fn note(&mut self, by: Peer, error: Option<io::Error>) {
        self.ended.get_or_insert(Ended { by, error });
    }

    /// Starts the timer again whenever something has moved since it was last looked at.
    fn arm(&self, timer: &mut Pin<&mut Sleep>, moved: &mut u64) {
        let now_moved = self.to_node.moved + self.to_client.moved;
        if *moved != now_moved {
            *moved = now_moved;
            timer.as_mut().reset(Instant::now() + HALF_CLOSED_IDLE);
        }
    }
}

/// One direction of the copy.
struct Direction {
    state: State,
    moved: u64,
}

enum State {
    /// Octets are read and written. What the destination has not taken yet is kept here, and nothing more is read.
    Open { rest: Vec<u8>, written: usize },
    /// The source has ended; the rest is written and the end passed on.
    Closing { rest: Vec<u8>, written: usize },
    /// The destination is gone; what comes is read and dropped until the source ends.
    Discarding,
    /// Nothing more will happen.
    Done,
}

/// What happened to a direction.
enum Event {
    /// The source closed, or failed. What came before will still be delivered.
    SourceEnded(Option<io::Error>),
    /// The destination failed; the direction is done.
    WriteFailed(io::Error),
}

impl Direction {
    fn new(rest: Vec<u8>) -> Self {
        Self { state: State::Open { rest, written: 0 }, moved: 0 }
    }

    fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the source is not read because the destination takes nothing.
    fn is_stalled(&self) -> bool {
        matches!(&self.state, State::Open { rest, .. } if !rest.is_empty())
    }

    /// Moves what can be moved now. Pending when that was all, also when the direction is done.
    fn poll<S, D>(&mut self, cx: &mut Context<'_>, scratch: &mut [u8], from: &mut S, to: &mut D) -> Poll<Event>
    where
        S: AsyncRead + Unpin,
        D: AsyncWrite + Unpin,
    {
        let moved = match &mut self.state {
            State::Done => return Poll::Pending,
            State::Discarding => {
                let mut buf = ReadBuf::new(scratch);
                while ready!(Pin::new(&mut *from).poll_read(cx, &mut buf)).is_ok() && !buf.filled().is_empty() {
                    buf.clear();
                }
                self.state = State::Done;
                return Poll::Pending;
            }
            State::Open { rest, written } => ready!(move_on(cx, scratch, from, to, rest, written, &mut self.moved)),
            State::Closing { rest, written } => {
                match ready!(write_rest(cx, to, rest, written, &mut self.moved)) {
                    // Whether the destination heard of the end or was gone already is the same to us.
                    Ok(()) => ready!(Pin::new(to).poll_shutdown(cx)).unwrap_or(()),
                    Err(error) => {
                        self.state = State::Done;
                        return Poll::Ready(Event::WriteFailed(error));
                    }
                }
                self.state = State::Done;
                return Poll::Pending;
            }
        };
        match moved {
            Event::SourceEnded(error) => {
                self.state = State::Closing { rest: Vec::new(), written: 0 };
                Poll::Ready(Event::SourceEnded(error))
            }
            Event::WriteFailed(error) => {
                self.state = State::Done;
                Poll::Ready(Event::WriteFailed(error))
            }
        }
    }
}

/// Reads and writes until one side would wait or has ended. Reads only while nothing is left to write.
fn move_on<S: AsyncRead + Unpin, D: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    scratch: &mut [u8],
    from: &mut S,
    to: &mut D,
    rest: &mut Vec<u8>,
    written: &mut usize,
    moved: &mut u64,
) -> Poll<Event> {
    loop {
        if let Err(error) = ready!(write_rest(cx, to, rest, written, moved)) {
            return Poll::Ready(Event::WriteFailed(error));
        }
        let mut buf = ReadBuf::new(scratch);
        match Pin::new(&mut *from).poll_read(cx, &mut buf) {
            Poll::Pending => {
                // TLS may hold encrypted octets back until it is told that no more will come now.
                return match ready!(Pin::new(to).poll_flush(cx)) {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Event::WriteFailed(error)),
                };
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Event::SourceEnded(Some(error))),
            Poll::Ready(Ok(())) if buf.filled().is_empty() => return Poll::Ready(Event::SourceEnded(None)),
            Poll::Ready(Ok(())) => match write_now(cx, to, buf.filled(), moved) {
                Ok(taken) => *rest = buf.filled().get(taken..).unwrap_or_default().to_vec(),
                Err(error) => return Poll::Ready(Event::WriteFailed(error)),
            },
        }
    }
}

/// Writes the rest; its memory is freed as soon as it is empty.
fn write_rest<D: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    to: &mut D,
    rest: &mut Vec<u8>,
    written: &mut usize,
    moved: &mut u64,
) -> Poll<io::Result<()>> {
    while let Some(left) = rest.get(*written..).filter(|left| !left.is_empty()) {
        match ready!(Pin::new(&mut *to).poll_write(cx, left)) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                *written += count;
                *moved += count as u64;
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    *rest = Vec::new();
    *written = 0;
    Poll::Ready(Ok(()))
}

/// Writes as much as is taken without waiting, and says how much that was.
fn write_now<D: AsyncWrite + Unpin>(
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
mod tests;
