//! TLS on a TCP connection: the driver, and what the socket would not take or has not brought yet.
//!
//! No buffer is held while nothing moves. Inside of one poll, records are read into one area for each worker, decrypted
//! there all together, and encrypted into another one, from which they go out in one write. Kept are only: a record whose
//! end has not come, plaintext for which the reader had no room, and records that the socket did not take. This file
//! must never read on while it could grow by that, nor take plaintext while records wait to be written.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ProtocolVersion, ServerConfig, SupportedCipherSuite};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use zeroize::{Zeroize, Zeroizing};

use super::driver::{Driver, Outgoing, Side};
use crate::net::AT_ONCE;

/// Octets read at once during the handshake, and the least that is read at any time: a reader with little room must not
/// make us read a record in a hundred parts.
const AT_LEAST: usize = 4 * 1024;

/// Octets of a message that can be waited for without its end. Only a message of the handshake becomes longer than one
/// record, and this is what rustls allows those; in records of one octet it is their overhead that counts.
const UNFINISHED_MAX: usize = 0xffff;

/// Readers with at most so much room are in the login, where there are passwords in what they read.
const LOGIN_READ: usize = 8 * 1024;

/// Reads in one poll that bring no plaintext, before others get their turn.
const FRUITLESS_READS: usize = 8;

thread_local! {
    /// What is read stands behind what was kept of the read before.
    static INCOMING: RefCell<Vec<u8>> = RefCell::new(vec![0; UNFINISHED_MAX + AT_ONCE]);
    static OUTGOING: RefCell<Outgoing> = RefCell::new(Outgoing::new());
}

/// TLS towards a client.
pub type ServerStream = TlsStream<UnbufferedServerConnection>;

/// TLS towards a node.
pub type ClientStream = TlsStream<UnbufferedClientConnection>;

/// A connection under TLS. It lives in a box of its own, because allocators round large tasks up generously.
pub struct TlsStream<S: Side> {
    socket: TcpStream,
    driver: Driver<S>,
    /// Most of the time there is nothing.
    rest: Option<Box<Rest>>,
    /// The name that the client asked for, if this is a server.
    server_name: Option<Box<str>>,
    /// Whether what waits to be sent is in no hurry: it goes with the next write.
    is_lazy: bool,
}

/// What could not be passed on at once.
#[derive(Default)]
struct Rest {
    /// Received, and without an end yet.
    unfinished: Vec<u8>,
    /// Decrypted, and not read yet behind the first so many.
    plain: Zeroizing<Vec<u8>>,
    plain_read: usize,
    /// Encrypted, and not sent yet behind the first so many.
    unsent: Vec<u8>,
    sent: usize,
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.unfinished.is_empty() && self.plain.is_empty() && self.unsent.is_empty()
    }

    fn to_send(&self) -> &[u8] {
        self.unsent.get(self.sent..).unwrap_or_default()
    }
}

impl ServerStream {
    /// Answers a handshake. `unread` is what already arrived of it. `first` is what we say first under TLS: it goes out
    /// together with the first flight in which it may.
    ///
    /// # Errors
    /// The handshake's failure, after the alert was sent.
    pub async fn accept(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        unread: Vec<u8>,
        first: &[u8],
    ) -> io::Result<Box<Self>> {
        let side = UnbufferedServerConnection::new(config).map_err(invalid)?;
        Self::new(socket, side, unread).handshake(first).await
    }

    /// The name that the client asked for in its hello, in its own spelling.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

impl ClientStream {
    /// Begins a handshake, in which the peer must prove that it is `name`.
    ///
    /// # Errors
    /// The handshake's failure, after the alert was sent.
    pub async fn connect(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Box<Self>> {
        let side = UnbufferedClientConnection::new(config, name).map_err(invalid)?;
        Self::new(socket, side, Vec::new()).handshake(&[]).await
    }
}

impl<S: Side> TlsStream<S> {
    fn new(socket: TcpStream, side: S, unread: Vec<u8>) -> Box<Self> {
        let rest = Rest { unfinished: unread, ..Rest::default() };
        let rest = (!rest.is_empty()).then(|| Box::new(rest));
        Box::new(Self { socket, driver: Driver::new(side), rest, server_name: None, is_lazy: false })
    }

    /// The connection below.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The version that was agreed on.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.driver.protocol_version()
    }

    /// The suite that was agreed on.
    pub fn cipher_suite(&self) -> Option<SupportedCipherSuite> {
        self.driver.cipher_suite()
    }

    async fn handshake(mut self: Box<Self>, mut first: &[u8]) -> io::Result<Box<Self>> {
        if self.unfinished_len() > UNFINISHED_MAX {
            return Err(too_long());
        }
        let mut has_begun = false;
        std::future::poll_fn(|cx| self.poll_handshake(cx, &mut has_begun, &mut first)).await?;
        Ok(self)
    }

    /// One round after the other: what is there is answered, in one write, and more is waited for.
    fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
        has_begun: &mut bool,
        first: &mut &[u8],
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(error) = self.driver.failure() {
                return Poll::Ready(Err(invalid(error.clone())));
            }
            if !self.is_lazy {
                ready!(self.poll_send_rest(cx))?;
            }
            if *has_begun && !self.driver.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            // The first round is for what came before, or for a client's hello.
            let room = if *has_begun { AT_LEAST } else { 0 };
            let mut surplus = Zeroizing::new(Vec::new());
            let received = self.poll_receive(cx, room, first, &mut |plain| surplus.extend_from_slice(plain));
            self.keep_plain(&surplus);
            let count = ready!(received)?;
            if *has_begun && count == 0 {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof")));
            }
            *has_begun = true;
        }
    }

    /// Reads once, at most `room` octets, and processes everything that is there. What we have to say to it goes out, as
    /// far as the socket takes it.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        first: &mut &[u8],
        deliver: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        INCOMING.with_borrow_mut(|incoming| {
            let kept = self.unfinished_len();
            let mut count = 0;
            if room > 0 {
                let mut buf = ReadBuf::new(incoming.get_mut(kept..kept + room).unwrap_or_default());
                ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buf))?;
                count = buf.filled().len();
                if count == 0 {
                    return Poll::Ready(Ok(0));
                }
            }
            let unfinished = self.rest.as_mut().map(|rest| std::mem::take(&mut rest.unfinished)).unwrap_or_default();
            let input = incoming.get_mut(..kept + count).unwrap_or_default();
            input.get_mut(..kept).unwrap_or_default().copy_from_slice(&unfinished);
            drop(unfinished);
            let used = self.process(cx, input, first, deliver);
            let left = input.get(used..).unwrap_or_default();
            if !left.is_empty() {
                self.rest_mut().unfinished = left.to_vec();
            }
            if room <= LOGIN_READ {
                // What was decrypted stands where it was read. In a relay the next read of a busy worker does this. The
                // rest is not decrypted, and is met again with each octet that comes of a long message.
                input.get_mut(..used).unwrap_or_default().zeroize();
            }
            self.forget_empty_rest();
            if kept + count - used > UNFINISHED_MAX {
                return Poll::Ready(Err(too_long()));
            }
            Poll::Ready(Ok(count))
        })
    }

    /// Decrypts, and answers in one write.
    fn process(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut [u8],
        first: &mut &[u8],
        deliver: &mut dyn FnMut(&[u8]),
    ) -> usize {
        OUTGOING.with_borrow_mut(|out| {
            out.clear();
            let was_handshaking = self.driver.is_handshaking();
            let had_said = first.is_empty();
            super::take_asked_name();
            let used = self.driver.receive(input, first, deliver, out);
            if S::IS_SERVER && was_handshaking {
                self.server_name = super::take_asked_name().or(self.server_name.take());
            }
            if !out.filled().is_empty() {
                // A server of TLS 1.3 has nothing more to say behind the client's Finished but tickets, and an alert.
                self.is_lazy = S::IS_SERVER
                    && was_handshaking
                    && !self.driver.is_handshaking()
                    && self.driver.failure().is_none()
                    && had_said
                    && self.protocol_version() == Some(ProtocolVersion::TLSv1_3);
                // The socket's error is met again by whoever reads or writes next.
                let _ = self.send_out(cx, out);
            }
            used
        })
    }

    /// Sends this behind what waits, as far as the socket takes it.
    fn send_out(&mut self, cx: &mut Context<'_>, out: &Outgoing) -> io::Result<()> {
        let has_rest = self.rest.as_ref().is_some_and(|rest| !rest.unsent.is_empty());
        if self.is_lazy || has_rest {
            self.rest_mut().unsent.extend_from_slice(out.filled());
            if !self.is_lazy
                && let Poll::Ready(sent) = self.poll_send_rest(cx)
            {
                return sent;
            }
            return Ok(());
        }
        let sent = match Pin::new(&mut self.socket).poll_write(cx, out.filled()) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        if let Some(left) = out.filled().get(sent..).filter(|left| !left.is_empty()) {
            self.rest_mut().unsent = left.to_vec();
        }
        Ok(())
    }

    /// Puts what waits to be sent in front of what will be sent now.
    fn take_unsent(&mut self, out: &mut Outgoing) {
        if let Some(rest) = &mut self.rest {
            out.put(rest.to_send());
            (rest.unsent, rest.sent) = (Vec::new(), 0);
        }
        self.is_lazy = false;
        self.forget_empty_rest();
    }

    /// Ready when nothing waits to be sent.
    fn poll_send_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(rest) = self.rest.as_mut().filter(|rest| !rest.unsent.is_empty()) else { return Poll::Ready(Ok(())) };
        while !rest.to_send().is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, rest.to_send()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => rest.sent += count,
            }
        }
        (rest.unsent, rest.sent) = (Vec::new(), 0);
        self.is_lazy = false;
        self.forget_empty_rest();
        Poll::Ready(Ok(()))
    }

    fn unfinished_len(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.unfinished.len())
    }

    fn rest_mut(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    fn forget_empty_rest(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.is_empty()) {
            self.rest = None;
        }
    }

    fn keep_plain(&mut self, plain: &[u8]) {
        if !plain.is_empty() {
            self.rest_mut().plain.extend_from_slice(plain);
        }
    }

    /// Gives what was decrypted before to the reader, and says whether there was anything.
    fn read_kept(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Some(rest) = self.rest.as_mut().filter(|rest| !rest.plain.is_empty()) else { return false };
        let kept = rest.plain.get(rest.plain_read..).unwrap_or_default();
        let count = kept.len().min(buf.remaining());
        buf.put_slice(kept.get(..count).unwrap_or_default());
        rest.plain_read += count;
        if rest.plain_read == rest.plain.len() {
            (rest.plain, rest.plain_read) = (Zeroizing::default(), 0);
            self.forget_empty_rest();
        }
        true
    }
}

impl<S: Side + Unpin> AsyncRead for TlsStream<S> {
    /// The end of the connection without close_notify is an error of the kind `UnexpectedEof`.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 || this.read_kept(buf) {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        for _ in 0..FRUITLESS_READS {
            if let Some(error) = this.driver.failure() {
                return Poll::Ready(Err(invalid(error.clone())));
            }
            if this.driver.has_peer_closed() {
                return Poll::Ready(Ok(()));
            }
            let room = buf.remaining().min(AT_ONCE).saturating_sub(this.unfinished_len()).max(AT_LEAST);
            let mut surplus = Zeroizing::new(Vec::new());
            let received = this.poll_receive(cx, room, &mut &[][..], &mut |plain| {
                let (now, later) = plain.split_at(plain.len().min(buf.remaining()));
                buf.put_slice(now);
                surplus.extend_from_slice(later);
            });
            this.keep_plain(&surplus);
            let count = ready!(received)?;
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if count == 0 {
                let error = "the peer closed the connection without TLS' close_notify";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)));
            }
        }
        // Others may have something to do that bears fruit.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: Side + Unpin> AsyncWrite for TlsStream<S> {
    /// Takes up to 128 KiB, which are then on their way or kept encrypted; and nothing while anything is kept.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.driver.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !this.is_lazy {
            ready!(this.poll_send_rest(cx))?;
        }
        // Nothing is encrypted for a socket that would not take it.
        ready!(this.socket.poll_write_ready(cx))?;
        let plain = buf.get(..AT_ONCE).unwrap_or(buf);
        OUTGOING.with_borrow_mut(|out| {
            out.clear();
            this.take_unsent(out);
            this.driver
                .send(this.rest.as_mut().map_or(&mut [], |rest| &mut rest.unfinished), plain, out)
                .map_err(invalid)?;
            this.send_out(cx, out)
        })?;
        Poll::Ready(Ok(plain.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send_rest(cx)
    }

    /// close_notify goes first.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.driver.is_closed() {
            OUTGOING.with_borrow_mut(|out| {
                out.clear();
                this.take_unsent(out);
                this.driver.close(this.rest.as_mut().map_or(&mut [], |rest| &mut rest.unfinished), out);
                this.send_out(cx, out)
            })?;
        }
        ready!(this.poll_send_rest(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

/// A peer that does not keep to TLS, and rustls' words for how.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message of the handshake is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every session pays for hours: one box, in which two keys are most, beside what rustls has on the heap to make
    /// new ones. The handshake's part is gone then.
    #[test]
    fn a_connection_is_small() {
        assert_eq!((size_of::<ServerStream>(), size_of::<ClientStream>()), (256, 256));
        assert!(size_of::<crate::net::Stream>() <= 48, "{}", size_of::<crate::net::Stream>());
    }
}
