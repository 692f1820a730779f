//! Lines, and open descriptors beside them, between two processes over a unix socket (SCM_RIGHTS of unix(7)).
//!
//! What comes is bounded in octets and descriptors; how long it may take is the caller's. What was received and is not
//! taken is closed. Nothing here knows what a line says.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Octets of a line.
const LINE_MAX: usize = 16 * 1024;

/// Descriptors in one message; the kernel has 253.
const BATCH: usize = 32;

/// Descriptors that are kept for the caller.
const DESCRIPTORS_MAX: usize = 4096;

/// One end of a talk. A cancelled [`Self::line`] has lost nothing; a cancelled [`Self::send`] leaves half a line.
pub struct Courier {
    stream: UnixStream,
    unread: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Courier {
    /// Talks over this connection.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, unread: Vec::new(), descriptors: Vec::new() }
    }

    /// Talks over a connection that another process has passed. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// It is no unix socket.
    pub fn passed(descriptor: OwnedFd) -> io::Result<Self> {
        let stream = std::os::unix::net::UnixStream::from(descriptor);
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream).map(Self::new)
    }

    /// The same connection, for another process.
    ///
    /// # Errors
    /// There are no descriptors.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }

    /// The process at the other end, as it was when the connection was made; 0, if the system does not tell.
    pub fn peer(&self) -> u32 {
        self.stream.peer_cred().ok().and_then(|it| it.pid()).and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0)
    }

    /// From now on nothing can be sent to this end: the other one's attempt fails. What was sent before is heard still, and
    /// then that the other end is gone.
    ///
    /// # Errors
    /// The system's.
    pub fn close_ear(&self) -> io::Result<()> {
        SockRef::from(&self.stream).shutdown(Shutdown::Read)
    }

    /// Sends copies of descriptors, and then a line, which must not have a line end.
    ///
    /// # Errors
    /// The other end is gone.
    pub async fn send(&self, line: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        for batch in descriptors.chunks(BATCH) {
            // Descriptors need an octet that they go with.
            while self.write(b" ", batch).await? == 0 {}
        }
        let mut line = [line, b"\n"].concat();
        while !line.is_empty() {
            let sent = self.write(&line, &[]).await?;
            line.drain(..sent);
        }
        Ok(())
    }

    async fn write(&self, octets: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let send = || {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            Ok(sendmsg(&self.stream, &[IoSlice::new(octets)], &mut ancillary, SendFlags::NOSIGNAL)?)
        };
        self.stream.async_io(Interest::WRITABLE, send).await
    }

    /// The next line, without its end, and with the blanks that descriptors have left before it. `None`: the other end is
    /// gone.
    ///
    /// # Errors
    /// The line is too long, there are too many descriptors, or none are left for them in this process.
    pub async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.unread.iter().position(|octet| *octet == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if self.unread.len() > LINE_MAX || self.descriptors.len() > DESCRIPTORS_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the other end says too much"));
            }
            let (octets, mut descriptors) = self.read().await?;
            if octets.is_empty() {
                return Ok(None);
            }
            self.unread.extend(octets);
            self.descriptors.append(&mut descriptors);
        }
    }

    async fn read(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let receive = || {
            let mut octets = vec![0; 4096];
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let into = &mut [IoSliceMut::new(&mut octets)];
            let received = recvmsg(&self.stream, into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
            let mut descriptors = Vec::new();
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(some) = message {
                    descriptors.extend(some);
                }
            }
            if received.flags.contains(ReturnFlags::CTRUNC) {
                let lacks = "this process has no descriptors left for those of the other one";
                return Err(io::Error::other(lacks));
            }
            octets.truncate(received.bytes);
            Ok((octets, descriptors))
        };
        self.stream.async_io(Interest::READABLE, receive).await
    }

    /// The descriptors that have come with the lines so far.
    pub fn descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd as _;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn pair() -> (Courier, Courier) {
        let (one, other) = UnixStream::pair().unwrap();
        (Courier::new(one), Courier::new(other))
    }

    #[tokio::test]
    async fn lines_and_more_descriptors_than_fit_a_message_arrive_in_order() {
        let (one, mut other) = pair();
        let sockets: Vec<_> = (0..BATCH * 2 + 5).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let borrowed: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
        one.send(b"first", &[]).await.unwrap();
        one.send(b"with", &borrowed).await.unwrap();
        one.send(b"last", &[]).await.unwrap();
        drop(one);
        assert_eq!(other.line().await.unwrap().unwrap(), b"first");
        assert_eq!(other.line().await.unwrap().unwrap().trim_ascii(), b"with");
        let arrived: Vec<TcpListener> = other.descriptors().into_iter().map(Into::into).collect();
        let address = |socket: &TcpListener| socket.local_addr().unwrap();
        assert_eq!(arrived.iter().map(address).collect::<Vec<_>>(), sockets.iter().map(address).collect::<Vec<_>>());
        assert_eq!(other.line().await.unwrap().unwrap(), b"last");
        assert!(other.line().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn who_never_ends_a_line_is_not_heard_out() {
        let (mut one, mut other) = pair();
        let talking = tokio::spawn(async move { one.stream.write_all(&vec![b'x'; 16 << 20]).await });
        assert_eq!(other.line().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(other.unread.len() < 2 * LINE_MAX);
        drop(other);
        assert!(talking.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn what_nobody_takes_is_closed() {
        let (one, mut other) = pair();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        one.send(b"", &[socket.as_fd()]).await.unwrap();
        drop(socket);
        assert!(other.line().await.unwrap().is_some());
        assert!(std::net::TcpStream::connect(address).is_ok(), "it has arrived");
        drop(other);
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
