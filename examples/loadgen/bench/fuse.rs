//! A connection that stops at a given octet, read or written, as clients do whose train enters a tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Passes so many octets, both ways together, and then nothing.
pub(super) struct Fuse<W> {
    wire: W,
    rest: usize,
    end: End,
}

/// What becomes of the octet behind the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// An error.
    Fails,
    /// It waits for ever, and what the other side sends stays in the kernel; somebody else has to end it.
    Stalls,
}

impl<W> Fuse<W> {
    pub(super) fn new(wire: W, octets: usize, end: End) -> Self {
        Self { wire, rest: octets, end }
    }

    fn blown<T>(&self) -> Poll<io::Result<T>> {
        match self.end {
            End::Fails => Poll::Ready(Err(io::Error::other("the fuse has blown"))),
            End::Stalls => Poll::Pending,
        }
    }
}

impl<W: AsyncRead + Unpin> AsyncRead for Fuse<W> {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.rest == 0 {
            return self.blown();
        }
        let most = self.rest.min(into.remaining());
        let mut part = ReadBuf::new(into.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.wire).poll_read(task, &mut part))?;
        let read = part.filled().len();
        into.advance(read);
        self.rest -= read;
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Fuse<W> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if self.rest == 0 {
            return self.blown();
        }
        let most = self.rest.min(octets.len());
        let written = ready!(Pin::new(&mut self.wire).poll_write(task, &octets[..most]))?;
        self.rest -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn so_many_octets_pass_both_ways_together() {
        let (near, mut far) = duplex(100);
        let mut near = Fuse::new(near, 7, End::Fails);
        near.write_all(b"abc").await.unwrap();
        far.write_all(b"defghi").await.unwrap();
        let mut read = [0; 4];
        near.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"defg");
        assert!(near.read(&mut read).await.is_err());
        assert!(near.write(b"x").await.is_err());
    }
}
