//! TLS 1.3 behind the handshake: application data, alerts, new keys and tickets (RFC 8446 §4.6, §5, §6).
//!
//! rustls could do this too, but keeps twice the memory for it and copies each octet that is sent twice more. The keys
//! and whatever is made of them stay rustls' (`rustls::kernel`). Whatever is not expected here ends the connection with
//! an alert; a peer must not get us to keep or to do much by what carries nothing.

use rustls::kernel::KernelConnection;
use rustls::{
    AlertDescription, ContentType, Error, ExtractedSecrets, HandshakeType, InvalidMessage, PeerMisbehaved,
    ProtocolVersion, SupportedCipherSuite,
};

use super::handshake::{Side, inappropriate};
use super::outgoing::Outgoing;
use super::records::{Expanded, Keys, LONGEST, OVERHEAD, protected_length};

/// Messages in a row that carry no application data: rustls' own limit for new keys and for records with nothing in
/// them, and BoringSSL's.
const FUTILE_MAX: u8 = 32;

/// The longest ticket, in octets: more than any server's, and what rustls takes.
const TICKET_MAX: usize = 0xffff;

/// Octets before the body of a handshake message: its type and its length.
const MESSAGE_HEADER: usize = 4;

/// A connection whose handshake is over.
pub(super) struct Traffic<S: Side> {
    receiving: Keys,
    sending: Keys,
    /// Makes new keys, and keeps tickets.
    kernel: Box<KernelConnection<S::Data>>,
    /// A handshake message without its end, of a peer that spreads it over records.
    begun: Vec<u8>,
    /// Messages that carried nothing, since the last one that did.
    futile: u8,
    /// Whether the peer has asked for new keys of ours.
    owes_keys: bool,
}

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// It may.
    GoesOn,
    /// The peer has said close_notify.
    IsOver,
}

impl<S: Side> Traffic<S> {
    /// Goes on with these keys.
    pub(super) fn new((secrets, kernel): (ExtractedSecrets, KernelConnection<S::Data>)) -> Self {
        let (receiving, sending) = (Keys::new(secrets.rx), Keys::new(secrets.tx));
        Self { receiving, sending, kernel: Box::new(kernel), begun: Vec::new(), futile: 0, owes_keys: false }
    }

    /// The suite that was agreed on.
    pub(super) fn cipher_suite(&self) -> SupportedCipherSuite {
        self.kernel.negotiated_cipher_suite()
    }

    /// The version that was agreed on.
    pub(super) fn protocol_version(&self) -> ProtocolVersion {
        self.kernel.protocol_version()
    }

    /// Opens the whole records at the front of `input` and gives plaintext to `deliver`. `used` becomes the number of
    /// octets that are not needed again.
    ///
    /// # Errors
    /// The peer's failure, or ours. Nothing may be opened after that.
    pub(super) fn receive(
        &mut self,
        input: &mut [u8],
        used: &mut usize,
        deliver: &mut dyn FnMut(&[u8]),
    ) -> Result<Hearing, Error> {
        let mut expanded: Option<Expanded> = None;
        *used = 0;
        loop {
            let behind = input.get_mut(*used..).unwrap_or_default();
            let Some(length) = protected_length(behind)? else { return Ok(Hearing::GoesOn) };
            let Some(record) = behind.get_mut(..length) else { return Ok(Hearing::GoesOn) };
            let keys = match &mut expanded {
                Some(keys) => keys,
                none => none.insert(self.receiving.expand()?),
            };
            let message = self.receiving.open(keys, record)?;
            *used += length;
            if !self.begun.is_empty() && message.typ != ContentType::Handshake {
                return Err(PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into());
            }
            match message.typ {
                // There may be nothing in it, to hide when something is said.
                ContentType::ApplicationData if message.payload.is_empty() => {
                    self.note_futile(PeerMisbehaved::TooManyEmptyFragments)?;
                }
                ContentType::ApplicationData => {
                    self.futile = 0;
                    deliver(message.payload);
                }
                ContentType::Handshake => {
                    if self.hear_handshake(message.payload)? {
                        expanded = None;
                    }
                }
                ContentType::Alert => {
                    if self.hear_alert(message.payload)? == Hearing::IsOver {
                        return Ok(Hearing::IsOver);
                    }
                }
                got_type => {
                    let expect_types = vec![ContentType::ApplicationData, ContentType::Handshake];
                    return Err(Error::InappropriateMessage { expect_types, got_type });
                }
            }
        }
    }

    /// Seals `plain` behind what is in `out`.
    ///
    /// # Errors
    /// Ours. A part may have been sealed: nothing may be sent any more.
    pub(super) fn send(&mut self, plain: &[u8], out: &mut Outgoing) -> Result<(), Error> {
        if plain.is_empty() {
            return Ok(());
        }
        if self.owes_keys {
            self.renew_keys(false, out)?;
        }
        let mut keys = self.sending.expand()?;
        for part in plain.chunks(LONGEST) {
            if self.sending.used().saturating_add(1) >= self.limit() {
                self.renew_keys(false, out)?;
                keys = self.sending.expand()?;
            }
            seal(&mut self.sending, &keys, ContentType::ApplicationData, part, out)?;
        }
        Ok(())
    }

    /// Says that nothing more will come.
    ///
    /// # Errors
    /// Ours.
    pub(super) fn close(&mut self, out: &mut Outgoing) -> Result<(), Error> {
        self.alert(WARNING, AlertDescription::CloseNotify, out)
    }

    /// Says why the connection has failed, if the peer does not know it.
    pub(super) fn last_words(&mut self, error: &Error, out: &mut Outgoing) {
        if let Some(description) = alert_for(error) {
            // Who hears no reason hears the end.
            let _ = self.alert(FATAL, description, out);
        }
    }

    /// Renews the keys for what we send (RFC 8446 §4.6.3), and asks the peer to do the same.
    ///
    /// # Errors
    /// Ours.
    pub(super) fn renew_keys(&mut self, is_asking: bool, out: &mut Outgoing) -> Result<(), Error> {
        let message = [u8::from(HandshakeType::KeyUpdate), 0, 0, 1, u8::from(is_asking)];
        let keys = self.sending.expand()?;
        seal(&mut self.sending, &keys, ContentType::Handshake, &message, out)?;
        self.sending = Keys::new(self.kernel.update_tx_secret()?);
        self.owes_keys = false;
        Ok(())
    }

    /// How many records may be sealed with the same keys.
    fn limit(&self) -> u64 {
        self.cipher_suite().tls13().map_or(0, |suite| suite.common.confidentiality_limit)
    }

    fn alert(&mut self, level: u8, description: AlertDescription, out: &mut Outgoing) -> Result<(), Error> {
        let keys = self.sending.expand()?;
        seal(&mut self.sending, &keys, ContentType::Alert, &[level, u8::from(description)], out)
    }

    /// RFC 8446 §6: whatever level an alert claims, all but two are fatal.
    fn hear_alert(&mut self, alert: &[u8]) -> Result<Hearing, Error> {
        let description = match alert {
            [] => return Err(InvalidMessage::InvalidEmptyPayload.into()),
            [_] => return Err(InvalidMessage::MissingData("AlertDescription").into()),
            &[_, description] => description,
            _ => return Err(InvalidMessage::TrailingData("AlertMessagePayload").into()),
        };
        match AlertDescription::from(description) {
            AlertDescription::CloseNotify => Ok(Hearing::IsOver),
            AlertDescription::UserCanceled => {
                self.note_futile(PeerMisbehaved::TooManyWarningAlertsReceived).map(|()| Hearing::GoesOn)
            }
            description => Err(Error::AlertReceived(description)),
        }
    }

    /// Says whether the peer has new keys.
    fn hear_handshake(&mut self, payload: &[u8]) -> Result<bool, Error> {
        if payload.is_empty() {
            return Err(InvalidMessage::InvalidEmptyPayload.into());
        }
        let mut has_new_keys = false;
        if self.begun.is_empty() {
            let heard = self.hear_messages(payload, &mut has_new_keys)?;
            self.begun = payload.get(heard..).unwrap_or_default().to_vec();
        } else {
            let mut joined = std::mem::take(&mut self.begun);
            joined.extend_from_slice(payload);
            let heard = self.hear_messages(&joined, &mut has_new_keys)?;
            self.begun = if heard == 0 { joined } else { joined.split_off(heard) };
        }
        Ok(has_new_keys)
    }

    /// Says how many octets the whole messages at the front have.
    fn hear_messages(&mut self, messages: &[u8], has_new_keys: &mut bool) -> Result<usize, Error> {
        let mut heard = 0;
        loop {
            let behind = messages.get(heard..).unwrap_or_default();
            let Some(&kind) = behind.first() else { return Ok(heard) };
            let kind = HandshakeType::from(kind);
            if !S::EXPECTED.contains(&kind) {
                return Err(inappropriate::<S>(kind));
            }
            let Some((&[_, a, b, c], behind)) = behind.split_first_chunk::<MESSAGE_HEADER>() else { return Ok(heard) };
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            let is_key_update = kind == HandshakeType::KeyUpdate;
            match is_key_update {
                true if length == 0 => return Err(InvalidMessage::MissingData("KeyUpdateRequest").into()),
                true if length > 1 => return Err(InvalidMessage::TrailingData("HandshakeMessagePayload").into()),
                false if length > TICKET_MAX => return Err(InvalidMessage::HandshakePayloadTooLarge.into()),
                _ => {}
            }
            let Some((body, behind)) = behind.split_at_checked(length) else { return Ok(heard) };
            self.note_futile(PeerMisbehaved::TooManyKeyUpdateRequests)?;
            if is_key_update {
                // What stands behind it in the record would be under the old keys (RFC 8446 §5.1).
                if !behind.is_empty() {
                    return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
                }
                self.hear_key_update(body)?;
                *has_new_keys = true;
            } else {
                S::keep_ticket(&mut self.kernel, body)?;
            }
            heard += MESSAGE_HEADER + length;
        }
    }

    /// RFC 8446 §4.6.3. Ours go out before the next octet that we send, once for however many requests.
    fn hear_key_update(&mut self, body: &[u8]) -> Result<(), Error> {
        match body {
            [0] => {}
            [1] => self.owes_keys = true,
            _ => return Err(InvalidMessage::InvalidKeyUpdate.into()),
        }
        self.receiving = Keys::new(self.kernel.update_rx_secret()?);
        Ok(())
    }

    fn note_futile(&mut self, too_many: PeerMisbehaved) -> Result<(), Error> {
        if self.futile == FUTILE_MAX {
            return Err(too_many.into());
        }
        self.futile += 1;
        Ok(())
    }
}

/// The level of close_notify. Nobody looks at levels any more (RFC 8446 §6).
const WARNING: u8 = 1;

/// The level of all others.
const FATAL: u8 = 2;

fn seal(keys: &mut Keys, with: &Expanded, kind: ContentType, plain: &[u8], out: &mut Outgoing) -> Result<(), Error> {
    let length = plain.len() + OVERHEAD;
    keys.seal(with, kind, plain, out.room(length))?;
    out.keep(length);
    Ok(())
}

/// What the peer is told of an error (RFC 8446 §6.2). One that came from the peer is known to it.
fn alert_for(error: &Error) -> Option<AlertDescription> {
    Some(match error {
        Error::AlertReceived(_) => return None,
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        // RFC 8446 §5.4.
        Error::InvalidMessage(InvalidMessage::InvalidEmptyPayload)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(
            PeerMisbehaved::IllegalMiddleboxChangeCipherSpec
            | PeerMisbehaved::KeyEpochWithPendingFragment
            | PeerMisbehaved::MessageInterleavedWithHandshakeMessage
            | PeerMisbehaved::TooManyEmptyFragments
            | PeerMisbehaved::TooManyKeyUpdateRequests
            | PeerMisbehaved::TooManyWarningAlertsReceived
            | PeerMisbehaved::IllegalTlsInnerPlaintext,
        ) => AlertDescription::UnexpectedMessage,
        // RFC 8446 §4.6.3.
        Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate) | Error::PeerMisbehaved(_) => {
            AlertDescription::IllegalParameter
        }
        Error::InvalidMessage(other) => AlertDescription::from(*other),
        _ => AlertDescription::InternalError,
    })
}

#[cfg(test)]
mod tests;
