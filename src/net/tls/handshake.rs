//! The part of a connection that is rustls' own: the handshake, and all of TLS 1.2.
//!
//! Over rustls' unbuffered interface, because its other one keeps 4 KiB for each connection while that is idle. Of
//! TLS 1.3 it is never shown a record that stands behind the handshake: those are `traffic.rs`'s, and records that
//! rustls has decrypted cannot be taken back. Nobody may be asked to decrypt anything again after the first failure.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error, ExtractedSecrets, HandshakeType, ProtocolVersion};

use super::outgoing::Outgoing;
use super::records;

/// One of the two sides of a connection.
pub trait Side: Sized {
    /// What rustls keeps for this side.
    type Data;

    /// Whether this is the side that was called.
    const IS_SERVER: bool;

    /// What the other side may say of the handshake protocol when that is over (RFC 8446 §4.6).
    const EXPECTED: &[HandshakeType];

    /// Processes records at the front of `input` up to the next thing to be done.
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// What both sides know.
    fn common(&self) -> &CommonState;

    /// The keys, and what makes new ones of them.
    ///
    /// # Errors
    /// The handshake is not over, or there is something left to be sent.
    fn part(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error>;

    /// Keeps a ticket for the next connection.
    ///
    /// # Errors
    /// It is none.
    fn keep_ticket(kernel: &mut KernelConnection<Self::Data>, ticket: &[u8]) -> Result<(), Error>;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    const IS_SERVER: bool = true;
    const EXPECTED: &[HandshakeType] = &[HandshakeType::KeyUpdate];

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        let common: &UnbufferedConnectionCommon<_> = self;
        common
    }

    fn part(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error> {
        self.dangerous_into_kernel_connection()
    }

    fn keep_ticket(_: &mut KernelConnection<Self::Data>, _: &[u8]) -> Result<(), Error> {
        Err(inappropriate::<Self>(HandshakeType::NewSessionTicket))
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    const IS_SERVER: bool = false;
    const EXPECTED: &[HandshakeType] = &[HandshakeType::NewSessionTicket, HandshakeType::KeyUpdate];

    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn common(&self) -> &CommonState {
        let common: &UnbufferedConnectionCommon<_> = self;
        common
    }

    fn part(self) -> Result<(ExtractedSecrets, KernelConnection<Self::Data>), Error> {
        self.dangerous_into_kernel_connection()
    }

    fn keep_ticket(kernel: &mut KernelConnection<Self::Data>, ticket: &[u8]) -> Result<(), Error> {
        kernel.handle_new_session_ticket(ticket)
    }
}

/// A message of the handshake protocol that has no business here.
pub(super) fn inappropriate<S: Side>(got_type: HandshakeType) -> Error {
    Error::InappropriateHandshakeMessage { expect_types: S::EXPECTED.to_vec(), got_type }
}

/// What we say as soon as the protocol allows it.
pub(super) enum Say<'a> {
    /// Nothing, or nothing any more.
    Nothing,
    /// Plaintext.
    Octets(&'a [u8]),
    /// That nothing more will come.
    CloseNotify,
}

impl Say<'_> {
    fn write<Data>(&mut self, mut traffic: WriteTraffic<'_, Data>, out: &mut Outgoing) -> Result<(), Error> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing | Self::Octets([]) => Ok(()),
            Self::Octets(plain) => append(out, |room| traffic.encrypt(plain, room).map_err(Refused::from)),
            Self::CloseNotify => append(out, |room| traffic.queue_close_notify(room).map_err(Refused::from)),
        }
    }

    /// Whether nothing is left to be said.
    pub(super) fn is_said(&self) -> bool {
        matches!(self, Self::Nothing | Self::Octets([]))
    }
}

/// What rustls made of what it was shown.
pub(super) struct Progress {
    /// So many octets at the front are used up.
    pub(super) used: usize,
    /// The peer has said close_notify.
    pub(super) has_peer_closed: bool,
    /// What ended the connection. The last words are written.
    pub(super) failure: Option<Error>,
}

/// A connection in rustls' hands.
pub(super) struct Handshake<S> {
    side: S,
    /// Octets at the front of the next input, in whole records, that rustls has seen and wants to see again.
    seen: usize,
}

impl<S: Side> Handshake<S> {
    /// A connection whose handshake begins.
    pub(super) fn new(side: S) -> Self {
        Self { side, seen: 0 }
    }

    /// What was agreed on.
    pub(super) fn common(&self) -> &CommonState {
        self.side.common()
    }

    /// Whether rustls is not needed any more.
    pub(super) fn is_over(&self) -> bool {
        let common = self.side.common();
        let is_tls13 = common.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        is_tls13 && !common.is_handshaking() && !common.wants_write() && self.seen == 0
    }

    /// The keys, and what makes new ones of them: see [`Self::is_over`].
    ///
    /// # Errors
    /// It is not over.
    pub(super) fn part(self) -> Result<(ExtractedSecrets, KernelConnection<S::Data>), Error> {
        self.side.part()
    }

    /// Goes on until nothing can be done without more input, or the handshake of TLS 1.3 is over.
    pub(super) fn run(
        &mut self,
        input: &mut [u8],
        say: &mut Say<'_>,
        deliver: &mut dyn FnMut(&[u8]),
        out: &mut Outgoing,
    ) -> Progress {
        let mut progress = Progress { used: 0, has_peer_closed: false, failure: None };
        // Whole records, and what is shown of the input: them, or everything.
        let mut whole = self.seen.min(input.len());
        let mut shown = whole;
        loop {
            let used = progress.used;
            let UnbufferedStatus { mut discard, state } =
                self.side.process(input.get_mut(used..shown).unwrap_or_default());
            let mut is_blocked = false;
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
                    append(out, |room| data.encode(room).map_err(Refused::from))
                }
                Ok(ConnectionState::TransmitTlsData(mut transmit)) => {
                    let said = transmit.may_encrypt_app_data().map_or(Ok(()), |traffic| say.write(traffic, out));
                    transmit.done();
                    said
                }
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    // What was said may have more behind it.
                    is_blocked = say.is_said();
                    say.write(traffic, out)
                }
                Ok(ConnectionState::PeerClosed) => {
                    progress.has_peer_closed = true;
                    // What comes behind close_notify is ignored (RFC 8446 §6.1).
                    discard = input.len() - used;
                    Ok(())
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                    is_blocked = true;
                    Ok(())
                }
                // Early data, which no configuration of ours takes, and what later versions may add.
                Ok(_) => Err(unexpected("a state that cannot be")),
                Err(error) => Err(error),
            };
            progress.used = (used + discard).min(input.len());
            self.seen = whole.saturating_sub(progress.used);
            if let Err(error) = done {
                progress.failure = Some(error);
                progress.used = input.len();
                self.last_words(out);
                return progress;
            }
            if is_blocked && (self.is_over() || shown == input.len()) {
                return progress;
            }
            if is_blocked {
                (whole, shown) = self.next(input, whole);
            }
        }
    }

    /// One record more, as long as it is not known whether rustls will decrypt the one behind it. One that is not whole
    /// is shown, so that it is refused as early as can be; but none is shown whole and not counted, because rustls wants
    /// to see again what it has kept of it. It takes longer ones than it should.
    fn next(&self, input: &[u8], whole: usize) -> (usize, usize) {
        if !self.side.common().is_handshaking() {
            return (input.len(), input.len());
        }
        let behind = input.get(whole..).unwrap_or_default();
        match records::length(behind) {
            Some(length) if length <= behind.len() => (whole + length, whole + length),
            _ => (whole, input.len()),
        }
    }

    /// Appends what is left to be said after a failure: the alert, and what stands before it. Input must not be given to
    /// rustls any more, and is not looked at as long as there is something to be encoded.
    fn last_words(&mut self, out: &mut Outgoing) {
        while self.side.common().wants_write() {
            let Ok(ConnectionState::EncodeTlsData(mut data)) = self.side.process(&mut []).state else { return };
            if append(out, |room| data.encode(room).map_err(Refused::from)).is_err() {
                return;
            }
        }
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

/// Appends what `write` writes. It says how much it wrote, or how much room it needs.
fn append(out: &mut Outgoing, mut write: impl FnMut(&mut [u8]) -> Result<usize, Refused>) -> Result<(), Error> {
    loop {
        match write(out.all_room()) {
            Ok(count) => {
                out.keep(count);
                return Ok(());
            }
            Err(Refused::Needs(room)) if room > out.all_room().len() => drop(out.room(room)),
            Err(Refused::Needs(_)) => return Err(unexpected("a record that fits nowhere")),
            Err(Refused::Never(why)) => return Err(unexpected(why)),
        }
    }
}

fn unexpected(what: &str) -> Error {
    Error::General(what.to_owned())
}
