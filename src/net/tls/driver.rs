//! One TLS connection without a socket: records in, plaintext and records out.
//!
//! What comes is decrypted where it lies, and what goes out is appended to an area of the caller's: nothing is kept here
//! but keys and the state of the protocol. rustls shakes hands; behind that, TLS 1.3 is `traffic.rs`'s, and the
//! kilobytes that rustls needed are gone. Nobody may be asked to decrypt anything again after the first failure.

use rustls::{Error, ProtocolVersion, SupportedCipherSuite};

pub use super::handshake::Side;
use super::handshake::{Handshake, Say};
pub use super::outgoing::Outgoing;
use super::traffic::{Hearing, Traffic};

/// Who knows the keys.
enum Layer<S: Side> {
    /// rustls: the handshake, and TLS 1.2. In a box of its own, which is gone when this is over.
    Handshake(Box<Handshake<S>>),
    /// We: TLS 1.3.
    Traffic(Traffic<S>),
    /// Nobody: they were lost on the way from the one to the other.
    Lost,
}

/// One side of a TLS connection.
pub struct Driver<S: Side> {
    layer: Layer<S>,
    failure: Option<Box<Error>>,
    has_peer_closed: bool,
    is_closed: bool,
}

impl<S: Side> Driver<S> {
    /// A connection whose handshake begins. A client has something to say at once: see [`Driver::receive`].
    pub fn new(side: S) -> Self {
        let layer = Layer::Handshake(Box::new(Handshake::new(side)));
        Self { layer, failure: None, has_peer_closed: false, is_closed: false }
    }

    /// Decrypts and uses up what is complete at the front of `input`, and says how many octets that was. The rest must
    /// come again, unchanged and in front of what arrives next; without anything new it need not come.
    ///
    /// Plaintext is given to `deliver`, in order. Everything that must be answered at once (handshake, alerts) is
    /// appended to `out`, and must be sent also after a failure. `first` is sent as early as the protocol allows
    /// application data, in the same flight, and is empty from then on.
    pub fn receive(
        &mut self,
        input: &mut [u8],
        first: &mut &[u8],
        deliver: &mut dyn FnMut(&[u8]),
        out: &mut Outgoing,
    ) -> usize {
        let mut used = 0;
        if let Layer::Handshake(_) = self.layer {
            let mut say = Say::Octets(first);
            used = self.shake(input, &mut say, deliver, out);
            if say.is_said() {
                *first = &[];
            }
            self.part(out);
        }
        let Layer::Traffic(traffic) = &mut self.layer else { return used };
        if self.failure.is_some() || self.has_peer_closed {
            return input.len();
        }
        let mut heard = 0;
        let behind = input.get_mut(used..).unwrap_or_default();
        match traffic.send(first, out).and_then(|()| traffic.receive(behind, &mut heard, deliver)) {
            Ok(Hearing::GoesOn) => used += heard,
            // What comes behind close_notify is ignored (RFC 8446 §6.1).
            Ok(Hearing::IsOver) => {
                self.has_peer_closed = true;
                used = input.len();
            }
            Err(error) => {
                self.fail(error, out);
                used = input.len();
            }
        }
        *first = &[];
        used
    }

    /// Encrypts `plain` behind what is in `out`. `input` is what [`Driver::receive`] has left.
    ///
    /// # Errors
    /// The connection has failed or was closed, or the handshake is not over; nothing of `plain` may be sent again.
    pub fn send(&mut self, input: &mut [u8], plain: &[u8], out: &mut Outgoing) -> Result<(), Error> {
        if self.is_closed {
            return Err(Error::General("closed by us".to_owned()));
        }
        self.check()?;
        match &mut self.layer {
            Layer::Handshake(_) => self.say(input, Say::Octets(plain), out),
            Layer::Traffic(traffic) => {
                let sent = traffic.send(plain, out);
                self.take_failure(sent, out)
            }
            Layer::Lost => Err(lost()),
        }
    }

    /// Says close_notify, unless it was said or the connection has failed. `input` is what [`Driver::receive`] has left.
    /// The peer may still send.
    pub fn close(&mut self, input: &mut [u8], out: &mut Outgoing) {
        if std::mem::replace(&mut self.is_closed, true) || self.failure.is_some() {
            return;
        }
        // Whatever fails here, the peer hears of the end by the connection's.
        let _ = match &mut self.layer {
            Layer::Handshake(_) => self.say(input, Say::CloseNotify, out),
            Layer::Traffic(traffic) => traffic.close(out),
            Layer::Lost => Ok(()),
        };
    }

    /// Renews the keys for what we send, and asks the peer to do the same.
    ///
    /// # Errors
    /// There is no such thing before TLS 1.3, nor in its handshake.
    #[cfg(feature = "testkit")]
    pub fn renew_keys(&mut self, out: &mut Outgoing) -> Result<(), Error> {
        match &mut self.layer {
            Layer::Traffic(traffic) => traffic.renew_keys(true, out),
            Layer::Handshake(_) | Layer::Lost => Err(Error::HandshakeNotComplete),
        }
    }

    /// What stands behind the handshake of TLS 1.3.
    #[cfg(test)]
    pub(super) fn traffic(&mut self) -> Option<&mut Traffic<S>> {
        match &mut self.layer {
            Layer::Traffic(traffic) => Some(traffic),
            Layer::Handshake(_) | Layer::Lost => None,
        }
    }

    /// What ended the connection, if it has failed.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_deref()
    }

    /// Whether the handshake is not over. It is not if it has failed, either.
    pub fn is_handshaking(&self) -> bool {
        match &self.layer {
            Layer::Handshake(shaking) => shaking.common().is_handshaking(),
            Layer::Traffic(_) => false,
            Layer::Lost => true,
        }
    }

    /// Whether the peer has said close_notify: no more will come.
    pub fn has_peer_closed(&self) -> bool {
        self.has_peer_closed
    }

    /// Whether [`Driver::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The version that was agreed on.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        match &self.layer {
            Layer::Handshake(shaking) => shaking.common().protocol_version(),
            Layer::Traffic(traffic) => Some(traffic.protocol_version()),
            Layer::Lost => None,
        }
    }

    /// The suite that was agreed on.
    pub fn cipher_suite(&self) -> Option<SupportedCipherSuite> {
        match &self.layer {
            Layer::Handshake(shaking) => shaking.common().negotiated_cipher_suite(),
            Layer::Traffic(traffic) => Some(traffic.cipher_suite()),
            Layer::Lost => None,
        }
    }

    /// Lets rustls go on, and takes down what came of it.
    fn shake(
        &mut self,
        input: &mut [u8],
        say: &mut Say<'_>,
        deliver: &mut dyn FnMut(&[u8]),
        out: &mut Outgoing,
    ) -> usize {
        let Layer::Handshake(shaking) = &mut self.layer else { return 0 };
        if self.failure.is_some() {
            return 0;
        }
        let progress = shaking.run(input, say, deliver, out);
        self.has_peer_closed |= progress.has_peer_closed;
        self.failure = progress.failure.map(Box::new);
        progress.used
    }

    /// Takes the keys as soon as rustls is not needed any more.
    fn part(&mut self, out: &mut Outgoing) {
        if self.failure.is_some() || !matches!(&self.layer, Layer::Handshake(shaking) if shaking.is_over()) {
            return;
        }
        if let Layer::Handshake(shaking) = std::mem::replace(&mut self.layer, Layer::Lost) {
            match shaking.part() {
                Ok(keys) => self.layer = Layer::Traffic(Traffic::new(keys)),
                Err(error) => self.fail(error, out),
            }
        }
    }

    fn say(&mut self, input: &mut [u8], mut say: Say<'_>, out: &mut Outgoing) -> Result<(), Error> {
        let mut is_inert = true;
        let used = self.shake(input, &mut say, &mut |_| is_inert = false, out);
        if self.failure.is_none() && (!is_inert || used > 0) {
            // What `receive` leaves has no end yet. Whoever gives something else here would lose octets.
            self.failure = Some(Box::new(Error::General("records were left behind".to_owned())));
        }
        self.check()?;
        if say.is_said() { Ok(()) } else { Err(Error::HandshakeNotComplete) }
    }

    fn check(&self) -> Result<(), Error> {
        self.failure.as_deref().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn take_failure(&mut self, done: Result<(), Error>, out: &mut Outgoing) -> Result<(), Error> {
        if let Err(error) = &done {
            self.fail(error.clone(), out);
        }
        done
    }

    fn fail(&mut self, error: Error, out: &mut Outgoing) {
        // Behind our close_notify nothing may stand.
        if let Layer::Traffic(traffic) = &mut self.layer
            && !self.is_closed
        {
            traffic.last_words(&error, out);
        }
        self.failure = Some(Box::new(error));
    }
}

fn lost() -> Error {
    Error::General("the keys were lost".to_owned())
}
