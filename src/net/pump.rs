//! The two-way copy between a client and a node: every octet once, in order, until both sides are done.
//!
//! No buffer is held while nothing moves: octets are read into one scratch area per worker, inside a single poll, and
//! written at once; bursts between two sockets in clear text go through a pipe, without a copy. Only what the other side
//! would not take is kept, and that side's source is not read until it is gone. An end of stream is passed on as such (half-close); a node's may be held back for a while, so that the clients
//! of a node that died do not all come back at once. This file must not know what the octets mean.

mod direction;
mod pipe;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use self::direction::{Direction, Event, Line, State, write_now};
pub use self::pipe::{MOST as PIPES_MAX, allow as allow_pipes};
use super::AT_ONCE;

/// How long nothing may move after one side has ended: for a node that still answers a client which closed its sending
/// side, and for a client that takes its time over the last octets and the end of its node.
const HALF_CLOSED_IDLE: Duration = Duration::from_secs(60);

/// How often a peer that is not read, because the other one takes nothing, is asked whether it is still there.
const STALLED_LOOK: Duration = Duration::from_millis(500);

/// How much a client may send to a node that has ended, while the end is held back from it. It is read into nothing, so
/// that the client's own end is seen; but a client that sends a whole message then waits, rather than to keep us busy.
const HELD_READ_MAX: usize = 256 * 1024;

thread_local! {
    static SCRATCH_AREA: RefCell<Vec<u8>> = RefCell::new(vec![0; AT_ONCE]);
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

    /// The socket, if the stream's octets are the socket's. Between two of them the kernel moves bursts by itself.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

/// A running copy. It may be dropped at any time; the counters stay readable until then.
pub struct Pump {
    to_node: Direction,
    to_client: Direction,
    ended: Option<Ended>,
    /// When the client's last octets were read.
    client_sent: Option<Instant>,
    phase: Phase,
    /// Of the phase. Boxed, because every session has room for it, and few need it.
    timer: Option<Pin<Box<Sleep>>>,
}

/// How far a copy is.
enum Phase {
    /// Nobody has ended.
    Copying,
    /// The node has, and its client is not told yet.
    Held,
    /// One side has ended. So many octets had moved when the timer was last set.
    Ending { moved: Option<u64> },
}

impl Pump {
    /// `to_node` and `to_client` are octets that were received before and go first.
    pub fn new(to_node: Vec<u8>, to_client: Vec<u8>) -> Self {
        let mut to_client = Direction::new(to_client);
        to_client.is_held = true;
        to_client.is_due = !to_node.is_empty();
        let mut to_node = Direction::new(to_node);
        if to_node.line == Line::Unseen {
            // What comes first is a command.
            to_node.line = Line::Ended;
        }
        Self { to_node, to_client, ended: None, client_sent: None, phase: Phase::Copying, timer: None }
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

    /// Whether nothing is under way, as far as octets tell: everything was delivered, the client has heard a line since it
    /// last spoke that may be the answer (not only such that begin with `*`), and what it heard has not ended inside a
    /// line. Whether it was the whole answer only time tells.
    pub fn is_at_rest(&self) -> bool {
        let is_line_over = matches!(self.to_client.line, Line::Ended | Line::Unseen);
        is_line_over
            && match self.phase {
                Phase::Copying => self.to_node.is_empty() && self.to_client.is_empty() && !self.to_client.is_due,
                // Nobody is there any more who could say something.
                Phase::Held => matches!(self.to_client.state, State::Closing),
                Phase::Ending { .. } => false,
            }
    }

    /// Ends the copy at rest. These are the last words to the client, if a line of ours can stand there: if it is not
    /// known that the line before has ended, nothing is said. They have room in the system, or are lost. Both streams
    /// are to be closed then, and the client to be read on: see [`Self::poll_client_gone`].
    pub fn take_leave<C: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, client: &mut C, words: &[u8]) {
        if self.to_client.line == Line::Ended && !words.is_empty() {
            let _ = write_now(cx, client, words, &mut self.to_client.moved);
        }
        self.to_client.state = State::Done;
        if !self.to_node.is_done() {
            self.to_node.state = State::Discarding { most: usize::MAX };
        }
    }

    /// Reads the client into nothing: a socket closed over unread octets is reset, and the reset can overtake the last
    /// words. Ready when it has ended.
    pub fn poll_client_gone<C, N>(&mut self, cx: &mut Context<'_>, client: &mut C, node: &mut N) -> Poll<()>
    where
        C: AsyncRead + Breakable + Unpin,
        N: AsyncWrite + Breakable + Unpin,
    {
        SCRATCH_AREA.with_borrow_mut(|scratch| {
            let _ = self.to_node.poll(cx, scratch, client, node);
        });
        if self.to_node.is_done() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Copies until both directions are done, or one is and the other has been silent for too long. Both streams are to
    /// be closed then: the last end is left to that where it is the same.
    ///
    /// If the node's side ends first, orderly or not, `hold` is asked once. It is told how long ago the client last sent
    /// an octet here, or that it never did, and says for how long the client is kept as it is before the end is passed
    /// on to it. What the node had sent before is delivered at once, and a client that ends meanwhile is let go at once.
    pub fn poll<C, N>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        node: &mut N,
        hold: impl FnOnce(Option<Duration>) -> Duration,
    ) -> Poll<Ended>
    where
        C: AsyncRead + AsyncWrite + Breakable + Unpin,
        N: AsyncRead + AsyncWrite + Breakable + Unpin,
    {
        if matches!(self.phase, Phase::Copying) {
            if self.drive(cx, client, node, |pump| pump.ended.is_some()).is_pending() {
                ready!(self.look_for_breaks(cx, client, node));
            }
            self.settle();
            let is_nodes = self.ended.as_ref().is_some_and(|ended| ended.by == Peer::Node);
            let time = if is_nodes { hold(self.client_sent.map(|at| at.elapsed())) } else { Duration::ZERO };
            if time.is_zero() {
                self.end();
            } else {
                self.hold(time);
            }
        }
        if matches!(self.phase, Phase::Held) {
            if self.drive(cx, client, node, |pump| pump.to_node.is_done()).is_pending()
                && let Some(over) = &mut self.timer
            {
                ready!(over.as_mut().poll(cx));
            }
            if let State::Discarding { most } = &mut self.to_node.state {
                *most = usize::MAX;
            }
            self.end();
        }
        if self.drive(cx, client, node, |_| false).is_pending() {
            ready!(self.arm().poll(cx));
        }
        Poll::Ready(self.ended.take().unwrap_or(Ended { by: Peer::Client, error: None }))
    }

    /// [`Self::poll`] to its end.
    #[cfg(test)]
    async fn run<C, N>(
        &mut self,
        client: &mut C,
        node: &mut N,
        hold: impl FnOnce(Option<Duration>) -> Duration,
    ) -> Ended
    where
        C: AsyncRead + AsyncWrite + Breakable + Unpin,
        N: AsyncRead + AsyncWrite + Breakable + Unpin,
    {
        let mut hold = Some(hold);
        let hold = &mut hold;
        std::future::poll_fn(|cx| self.poll(cx, client, node, |ago| hold.take().expect("asked twice")(ago))).await
    }

    /// Somebody has ended: from now on octets may wait for long, and nothing that others want may wait with them.
    fn settle(&mut self) {
        self.timer = None;
        self.to_node.may_splice = false;
        self.to_client.may_splice = false;
        self.leave_pipes();
    }

    /// Keeps the node's end from the client for this time, or until the client ends.
    fn hold(&mut self, time: Duration) {
        if !self.to_node.is_done() {
            self.to_node.state = State::Discarding { most: HELD_READ_MAX };
        }
        self.timer = Some(Box::pin(sleep(time)));
        self.phase = Phase::Held;
    }

    /// The first end is passed on, and the other side's is waited for.
    fn end(&mut self) {
        self.to_client.is_held = false;
        self.timer = None;
        self.phase = Phase::Ending { moved: None };
    }

    /// Drives both directions. Ready when nothing is left to do, or when it is `enough`.
    fn drive<C, N>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        node: &mut N,
        enough: impl Fn(&Self) -> bool,
    ) -> Poll<()>
    where
        C: AsyncRead + AsyncWrite + Breakable + Unpin,
        N: AsyncRead + AsyncWrite + Breakable + Unpin,
    {
        SCRATCH_AREA.with_borrow_mut(|scratch| {
            self.to_node.is_last = self.to_client.is_done();
            while let Poll::Ready(event) = self.to_node.poll(cx, scratch, client, node) {
                self.on_the_way_to_node(event);
            }
            if std::mem::take(&mut self.to_node.has_read) {
                self.client_sent = Some(Instant::now());
                self.to_client.is_due = true;
                self.to_client.due_tag = self.to_node.tag;
            }
            // An answer in the same look: the node was faster than we, or spoke of something else, which time tells.
            self.to_client.is_last = self.to_node.is_done();
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
                self.to_node.state = State::Discarding { most: usize::MAX };
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
    fn look_for_breaks<C: Breakable, N: Breakable>(&mut self, cx: &mut Context<'_>, client: &C, node: &N) -> Poll<()> {
        if !self.to_node.is_stalled() && !self.to_client.is_stalled() {
            self.timer = None;
            return Poll::Pending;
        }
        let looks = || Box::pin(sleep_until(Instant::now() + STALLED_LOOK));
        while self.timer.get_or_insert_with(looks).as_mut().poll(cx).is_ready() {
            if let Some(error) = client.broken() {
                self.on_the_way_to_node(Event::SourceEnded(Some(error)));
                return Poll::Ready(());
            }
            if let Some(error) = node.broken() {
                // It takes nothing more. What it sent before is still there to be read.
                self.on_the_way_to_node(Event::WriteFailed(error));
                return Poll::Ready(());
            }
            // Who takes that long is slow or stalled.
            self.leave_pipes();
            self.timer = None;
        }
        Poll::Pending
    }

    /// No octets wait in a pipe any more: there are few, and others want them.
    fn leave_pipes(&mut self) {
        if let Err(error) = self.to_node.leave_pipe() {
            self.on_the_way_to_node(Event::WriteFailed(error));
        }
        if let Err(error) = self.to_client.leave_pipe() {
            self.on_the_way_to_client(Event::WriteFailed(error));
        }
    }

    fn note(&mut self, by: Peer, error: Option<io::Error>) {
        if self.ended.is_none() && by == Peer::Client {
            self.to_client.is_held = false;
        }
        self.ended.get_or_insert(Ended { by, error });
    }

    /// The time that is left; it starts again whenever something has moved since it was last looked at.
    fn arm(&mut self) -> Pin<&mut Sleep> {
        let now_moved = self.to_node.moved + self.to_client.moved;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now())));
        if let Phase::Ending { moved } = &mut self.phase
            && *moved != Some(now_moved)
        {
            *moved = Some(now_moved);
            timer.as_mut().reset(Instant::now() + HALF_CLOSED_IDLE);
        }
        timer.as_mut()
    }
}

#[cfg(test)]
mod tests;
