//! A stream together with what arrived on it and was not used yet.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::{Duration, timeout};
use zeroize::Zeroize;

use crate::net::Stream;
use crate::proto::Input;

/// Octets taken from the socket at once.
const READ: usize = 4096;

/// How long a peer that is being sent away may take to read its last line.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a peer that must make place at once may take to take its last line.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(100);

/// How often such a peer is read, so that what it sent ahead does not make the close a reset.
const LEAVE_READS: usize = 16;

/// One side of a session during the login phase.
pub(crate) struct Wire {
    pub(crate) stream: Stream,
    pub(crate) input: Input,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, input: Input::new() }
    }

    /// Waits for more octets and says whether there were any (`false`: end of stream). Cancel-safe.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        // The buffer lives inside a poll, so that a waiting connection holds none; a password may have been in it.
        poll_fn(|cx| {
            let mut octets = [const { MaybeUninit::uninit() }; READ];
            let mut buf = ReadBuf::uninit(&mut octets);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            self.input.push(buf.filled());
            let is_more = !buf.filled().is_empty();
            // Only what arrived: most polls find nothing, and wiping it all costs more than the rest of them.
            buf.filled_mut().zeroize();
            Poll::Ready(Ok(is_more))
        })
        .await
    }

    /// Writes everything and flushes it. Most often the system takes it at once, and nothing waits.
    pub(crate) async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        let taken = self.stream.write_at_once(octets);
        let rest = octets.get(taken..).unwrap_or_default();
        if !rest.is_empty() {
            self.stream.write_all(rest).await?;
        }
        self.stream.flush().await
    }

    /// Says a last line, closes in order (close_notify, FIN) and waits a moment for the peer to do the same: a socket
    /// closed over unread input is reset, and the reset can overtake the last line.
    pub(crate) async fn close(&mut self, last: &[u8]) {
        let orderly = async {
            self.send(last).await?;
            self.stream.shutdown().await?;
            while self.fill().await? {
                self.input.consume(usize::MAX);
            }
            io::Result::Ok(())
        };
        // Whatever fails here, the connection is over.
        let _ = timeout(CLOSE_TIMEOUT, orderly).await;
    }

    /// Says a last line and closes in order, without waiting for the peer. What is there of the peer's is read.
    pub(crate) async fn leave(&mut self, last: &[u8]) {
        let orderly = async {
            self.send(last).await?;
            self.stream.shutdown().await?;
            for _ in 0..LEAVE_READS {
                match self.fill().now_or_never() {
                    Some(Ok(true)) => self.input.consume(usize::MAX),
                    Some(Ok(false) | Err(_)) | None => break,
                }
            }
            io::Result::Ok(())
        };
        let _ = timeout(LEAVE_TIMEOUT, orderly).await;
    }
}
