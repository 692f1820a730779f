//! One direction of the copy: octets are read into the scratch area and written at once; what is not taken is kept.
//!
//! Nothing is read while something is left to write, and nothing is kept but that rest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One direction of the copy.
pub(super) struct Direction {
    pub(super) state: State,
    pub(super) count: Count,
    /// Whether the source's end is not to be passed on yet.
    pub(super) is_held: bool,
}

/// Octets since the copy began.
#[derive(Default)]
pub(super) struct Count {
    /// Read from the source, to be passed on.
    pub(super) read: u64,
    /// Delivered to the destination, with what was received before.
    pub(super) moved: u64,
}

pub(super) enum State {
    /// Octets are read and written. What the destination has not taken yet is kept here, and nothing more is read.
    Open { rest: Vec<u8>, written: usize },
    /// The source has ended and everything is written; the end is passed on.
    Closing,
    /// The destination is gone; what comes is read and dropped until the source ends, or there was too much.
    Discarding { most: usize },
    /// Nothing more will happen.
    Done,
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
        Self { state: State::Open { rest, written: 0 }, count: Count::default(), is_held: false }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the source is not read because the destination takes nothing.
    pub(super) fn is_stalled(&self) -> bool {
        matches!(&self.state, State::Open { rest, .. } if !rest.is_empty())
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
        S: AsyncRead + Unpin,
        D: AsyncWrite + Unpin,
    {
        let moved = match &mut self.state {
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
            State::Open { rest, written } => ready!(move_on(cx, scratch, from, to, rest, written, &mut self.count)),
            // What was written must not wait for the end in some buffer of TLS.
            State::Closing if self.is_held => match ready!(Pin::new(to).poll_flush(cx)) {
                Ok(()) => return Poll::Pending,
                Err(error) => Event::WriteFailed(error),
            },
            State::Closing => {
                // Whether the destination heard of the end or was gone already is the same to us.
                ready!(Pin::new(to).poll_shutdown(cx)).unwrap_or(());
                self.state = State::Done;
                return Poll::Pending;
            }
        };
        match moved {
            Event::SourceEnded(error) => {
                self.state = State::Closing;
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
    count: &mut Count,
) -> Poll<Event> {
    loop {
        if let Err(error) = ready!(write_rest(cx, to, rest, written, &mut count.moved)) {
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
            Poll::Ready(Ok(())) => {
                count.read += buf.filled().len() as u64;
                match write_now(cx, to, buf.filled(), &mut count.moved) {
                    Ok(taken) => *rest = buf.filled().get(taken..).unwrap_or_default().to_vec(),
                    Err(error) => return Poll::Ready(Event::WriteFailed(error)),
                }
            }
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
