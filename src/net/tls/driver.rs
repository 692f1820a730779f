//! One TLS connection without a socket: records in, plaintext and records out.
//!
//! Over rustls' unbuffered interface, because its other one keeps 4 KiB for each connection while that is idle. What
//! comes is decrypted where it lies, and what goes out is appended to an area of the caller's: nothing is kept here but
//! keys and the state of the protocol. Nothing outside this file names a record, so that another record layer could
//! stand in its place. Nobody may be asked to decrypt anything again after the first failure.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error};

/// Octets that an outgoing area has from the start: 64 KiB of plaintext in records of 16 KiB, and the overhead of more
/// than those. It grows if that is not enough, which no peer can bring about.
const OUTGOING: usize = 72 * 1024;

/// One of the two sides of a connection.
pub trait Side {
    /// What rustls keeps for this side.
    type Data;

    /// Whether this is the side that was called.
    const IS_SERVER: bool;

    /// Processes records at the front of `input` up to the next thing to be done.
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// What both sides know.
    fn common(&self) -> &CommonState;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    const IS_SERVER: bool = true;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        let common: &UnbufferedConnectionCommon<_> = self;
        common
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    const IS_SERVER: bool = false;

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        let common: &UnbufferedConnectionCommon<_> = self;
        common
    }
}

/// Records that are to be sent. It keeps its memory, so that many connections can use one area in turn.
pub struct Outgoing {
    octets: Vec<u8>,
    len: usize,
}

impl Outgoing {
    /// An empty area.
    pub fn new() -> Self {
        Self { octets: vec![0; OUTGOING], len: 0 }
    }

    /// Forgets what is in it.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// What is to be sent, in this order.
    pub fn filled(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    /// Appends octets that were encrypted before.
    pub fn put(&mut self, octets: &[u8]) {
        let end = self.len + octets.len();
        if end > self.octets.len() {
            self.octets.resize(end, 0);
        }
        if let Some(room) = self.octets.get_mut(self.len..end) {
            room.copy_from_slice(octets);
            self.len = end;
        }
    }

    /// Appends what `write` writes. It says how much it wrote, or how much room it needs.
    fn append(&mut self, mut write: impl FnMut(&mut [u8]) -> Result<usize, Refused>) -> Result<(), Error> {
        loop {
            match write(self.octets.get_mut(self.len..).unwrap_or_default()) {
                Ok(count) => {
                    self.len += count;
                    return Ok(());
                }
                Err(Refused::Needs(room)) if self.len + room > self.octets.len() => {
                    self.octets.resize(self.len + room, 0);
                }
                Err(Refused::Needs(_)) => return Err(unexpected("a record that fits nowhere")),
                Err(Refused::Never(why)) => return Err(unexpected(why)),
            }
        }
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::new()
    }
}

/// Why something was not written into an outgoing area.
enum Refused {
    /// It needs so much room.
    Needs(usize),
    /// It cannot be written at all.
    Never(&'static str),
}

impl From<EncodeError> for Refused {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(needs) => Self::Needs(needs.required_size),
            EncodeError::AlreadyEncoded => Self::Never("a record was encoded twice"),
        }
    }
}

impl From<EncryptError> for Refused {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(needs) => Self::Needs(needs.required_size),
            EncryptError::EncryptExhausted => Self::Never("the keys are used up"),
        }
    }
}

fn unexpected(what: &str) -> Error {
    Error::General(what.to_owned())
}

/// What we say as soon as the protocol allows it.
enum Say<'a> {
    Nothing,
    Octets(&'a [u8]),
    CloseNotify,
    #[cfg(feature = "testkit")]
    KeyUpdate,
}

impl Say<'_> {
    fn write<Data>(&mut self, mut traffic: WriteTraffic<'_, Data>, out: &mut Outgoing) -> Result<(), Error> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing | Self::Octets([]) => Ok(()),
            Self::Octets(plain) => out.append(|room| traffic.encrypt(plain, room).map_err(Refused::from)),
            Self::CloseNotify => out.append(|room| traffic.queue_close_notify(room).map_err(Refused::from)),
            #[cfg(feature = "testkit")]
            Self::KeyUpdate => traffic.refresh_traffic_keys(),
        }
    }

    fn is_said(&self) -> bool {
        matches!(self, Self::Nothing | Self::Octets([]))
    }
}

/// One side of a TLS connection.
pub struct Driver<S> {
    side: S,
    failure: Option<Box<Error>>,
    has_peer_closed: bool,
    is_closed: bool,
}

impl<S: Side> Driver<S> {
    /// A connection whose handshake begins. A client has something to say at once: see [`Driver::receive`].
    pub fn new(side: S) -> Self {
        Self { side, failure: None, has_peer_closed: false, is_closed: false }
    }

    /// Decrypts and uses up what is complete at the front of `input`, and says how many octets that was. The rest must
    /// come again, unchanged and in front of what arrives next; without anything new it need not come.
    ///
    /// Plaintext is given to `deliver`, in order. Everything that must be answered (handshake, KeyUpdate, alerts) is
    /// appended to `out`, and must be sent also after a failure. `first` is sent as early as the protocol allows
    /// application data, in the same flight, and is empty from then on.
    pub fn receive(
        &mut self,
        input: &mut [u8],
        first: &mut &[u8],
        deliver: &mut dyn FnMut(&[u8]),
        out: &mut Outgoing,
    ) -> usize {
        let mut say = Say::Octets(first);
        let used = self.run(input, &mut say, deliver, out);
        if say.is_said() {
            *first = &[];
        }
        used
    }

    /// Encrypts `plain` behind what is in `out`. `input` is what [`Driver::receive`] has left.
    ///
    /// # Errors
    /// The connection has failed or was closed; nothing of `plain` was encrypted.
    pub fn send(&mut self, input: &mut [u8], plain: &[u8], out: &mut Outgoing) -> Result<(), Error> {
        if self.is_closed {
            return Err(unexpected("closed by us"));
        }
        self.say(input, Say::Octets(plain), out)
    }

    /// Says close_notify, unless it was said or the connection has failed. `input` is what [`Driver::receive`] has left.
    /// The peer may still send.
    pub fn close(&mut self, input: &mut [u8], out: &mut Outgoing) {
        if !std::mem::replace(&mut self.is_closed, true) && self.failure.is_none() {
            // Whatever fails here, the peer hears of the end by the connection's.
            let _ = self.say(input, Say::CloseNotify, out);
        }
    }

    /// Renews the keys for what we send, and asks the peer to do the same.
    ///
    /// # Errors
    /// There is no such thing before TLS 1.3.
    #[cfg(feature = "testkit")]
    pub fn renew_keys(&mut self, input: &mut [u8], out: &mut Outgoing) -> Result<(), Error> {
        self.say(input, Say::KeyUpdate, out)
    }

    /// What ended the connection, if it has failed.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_deref()
    }

    /// Whether the handshake is not over. It is not if it has failed, either.
    pub fn is_handshaking(&self) -> bool {
        self.side.common().is_handshaking()
    }

    /// Whether the peer has said close_notify: no more will come.
    pub fn has_peer_closed(&self) -> bool {
        self.has_peer_closed
    }

    /// Whether [`Driver::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// What was agreed on.
    pub fn common(&self) -> &CommonState {
        self.side.common()
    }

    fn say(&mut self, input: &mut [u8], mut say: Say<'_>, out: &mut Outgoing) -> Result<(), Error> {
        let mut is_inert = true;
        let used = self.run(input, &mut say, &mut |_| is_inert = false, out);
        if self.failure.is_none() && (!is_inert || used > 0) {
            // What `receive` leaves has no end yet. Whoever gives something else here would lose octets.
            self.failure = Some(Box::new(unexpected("records were left behind")));
        }
        match &self.failure {
            Some(error) => Err(Error::clone(error)),
            None if !say.is_said() => Err(Error::HandshakeNotComplete),
            None => Ok(()),
        }
    }

    /// Goes on until nothing can be done without more input.
    fn run(
        &mut self,
        input: &mut [u8],
        say: &mut Say<'_>,
        deliver: &mut dyn FnMut(&[u8]),
        out: &mut Outgoing,
    ) -> usize {
        let mut used = 0;
        while self.failure.is_none() {
            let UnbufferedStatus { mut discard, state } = self.side.process(input.get_mut(used..).unwrap_or_default());
            let mut is_over = false;
            let done = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => {
                            discard += record.discard;
                            deliver(record.payload);
                        }
                        Some(Err(error)) => break Err(error),
                        None => break Ok(()),
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    out.append(|room| data.encode(room).map_err(Refused::from))
                }
                Ok(ConnectionState::TransmitTlsData(mut transmit)) => {
                    let said = transmit.may_encrypt_app_data().map_or(Ok(()), |traffic| say.write(traffic, out));
                    transmit.done();
                    said
                }
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    // What was said may have more behind it.
                    is_over = say.is_said();
                    say.write(traffic, out)
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.has_peer_closed = true;
                    // What comes behind close_notify is ignored (RFC 8446 §6.1).
                    discard = input.len() - used;
                    Ok(())
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                    is_over = true;
                    Ok(())
                }
                // Early data, which no configuration of ours takes, and what later versions may add.
                Ok(_) => Err(unexpected("a state that cannot be")),
                Err(error) => Err(error),
            };
            used = (used + discard).min(input.len());
            if let Err(error) = done {
                self.failure = Some(Box::new(error));
                self.last_words(out);
                used = input.len();
            }
            if is_over {
                break;
            }
        }
        used
    }

    /// Appends what is left to be said after a failure: the alert, and what stands before it. Input must not be given to
    /// rustls any more, and is not looked at as long as there is something to be encoded.
    fn last_words(&mut self, out: &mut Outgoing) {
        while self.side.common().wants_write() {
            let Ok(ConnectionState::EncodeTlsData(mut data)) = self.side.process(&mut []).state else { return };
            if out.append(|room| data.encode(room).map_err(Refused::from)).is_err() {
                return;
            }
        }
    }
}
