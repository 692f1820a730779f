//! One direction of a TLS 1.3 connection: records under the keys of one epoch (RFC 8446 §5).
//!
//! What is sent is sealed from where it lies into the outgoing area, and what came is opened where it lies: no octet is
//! copied beside that. Keys are kept as they were agreed on, in some ninety octets, and expanded for as long as one call
//! of the driver lasts: that takes a fraction of a microsecond, and an idle session keeps nothing expanded. The AEAD is
//! the provider's, nonces and padding are rustls'. A sequence number must never be used twice.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::cipher::{self, InboundOpaqueMessage, InboundPlainMessage, make_tls13_aad};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, PeerMisbehaved, ProtocolVersion};

/// Octets before the ciphertext: type, version and length.
pub(super) const HEADER: usize = 5;

/// The longest plaintext of a record, in octets (RFC 8446 §5.1).
pub(super) const LONGEST: usize = 1 << 14;

/// The longest ciphertext (RFC 8446 §5.2).
const LONGEST_SEALED: usize = LONGEST + 256;

/// Octets of the tag, with each of the suites.
const TAG: usize = 16;

/// Octets that a record has beside its plaintext: the header, the inner type and the tag.
pub(super) const OVERHEAD: usize = HEADER + 1 + TAG;

/// Sequence numbers do not wrap (RFC 8446 §5.3). No connection lives that long.
const SEQUENCE_MAX: u64 = u64::MAX - 1;

/// How many octets the record at the front claims to have, with its header; nothing as long as the header is not
/// complete. Whether it may have so many is for its reader to say.
pub(super) fn length(input: &[u8]) -> Option<usize> {
    let &[_, _, _, high, low] = input.first_chunk()?;
    Some(HEADER + usize::from(u16::from_be_bytes([high, low])))
}

/// The same of a protected record. One of another kind is refused as soon as its first octet is there.
///
/// # Errors
/// It is none, or longer than one can be.
pub(super) fn protected_length(input: &[u8]) -> Result<Option<usize>, Error> {
    match input.first().map(|kind| ContentType::from(*kind)) {
        None | Some(ContentType::ApplicationData) => match length(input) {
            Some(length) if length > HEADER + LONGEST_SEALED => Err(Error::PeerSentOversizedRecord),
            length => Ok(length),
        },
        Some(ContentType::ChangeCipherSpec) => Err(PeerMisbehaved::IllegalMiddleboxChangeCipherSpec.into()),
        Some(got_type) => {
            Err(Error::InappropriateMessage { expect_types: vec![ContentType::ApplicationData], got_type })
        }
    }
}

/// The keys of one direction, and how often they were used.
pub(super) struct Keys {
    secrets: ConnectionTrafficSecrets,
    sequence: u64,
}

/// Keys that are ready to be used, for as long as one call lasts.
pub(super) struct Expanded {
    key: LessSafeKey,
    iv: cipher::Iv,
}

impl Keys {
    /// Keys, and the number of the next record under them.
    pub(super) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        Self { secrets, sequence }
    }

    /// How many records were sealed or opened with them.
    pub(super) fn used(&self) -> u64 {
        self.sequence
    }

    /// As if so many records were sealed or opened with them.
    #[cfg(test)]
    pub(super) fn wear(&mut self, used: u64) {
        self.sequence = used;
    }

    /// # Errors
    /// A suite that rustls learns of before we do.
    pub(super) fn expand(&self) -> Result<Expanded, Error> {
        let (algorithm, key, iv) = match &self.secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Error::General("keys of an unknown kind".to_owned())),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| Error::EncryptError)?;
        Ok(Expanded { key: LessSafeKey::new(key), iv: cipher::Iv::copy(iv.as_ref()) })
    }

    /// Seals a record of at most [`LONGEST`] octets. `room` is for it and [`OVERHEAD`] exactly.
    ///
    /// # Errors
    /// The sequence numbers are used up, or `room` has another size.
    pub(super) fn seal(
        &mut self,
        with: &Expanded,
        kind: ContentType,
        plain: &[u8],
        room: &mut [u8],
    ) -> Result<(), Error> {
        let nonce = self.next(with)?;
        let header = make_tls13_aad(plain.len() + 1 + TAG);
        let (front, body) = room.split_first_chunk_mut::<HEADER>().ok_or(Error::EncryptError)?;
        let (sealed, tail) = body.split_at_mut_checked(plain.len()).ok_or(Error::EncryptError)?;
        *front = header;
        let kind = [u8::from(kind)];
        with.key
            .seal_out_of_place_scatter(nonce, Aad::from(header), plain, sealed, &kind, tail)
            .map_err(|_| Error::EncryptError)
    }

    /// Opens a whole record where it lies (see [`protected_length`]), and says what is in it.
    ///
    /// # Errors
    /// It was not sealed with these keys under this number, or is not padded as it must be.
    pub(super) fn open<'i>(&mut self, with: &Expanded, record: &'i mut [u8]) -> Result<InboundPlainMessage<'i>, Error> {
        let (_, body) = record.split_first_chunk_mut::<HEADER>().ok_or(Error::DecryptError)?;
        let nonce = self.next(with)?;
        let aad = Aad::from(make_tls13_aad(body.len()));
        let opened = with.key.open_in_place(nonce, aad, body).map_err(|_| Error::DecryptError)?;
        InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, opened)
            .into_tls13_unpadded_message()
    }

    fn next(&mut self, with: &Expanded) -> Result<Nonce, Error> {
        if self.sequence >= SEQUENCE_MAX {
            return Err(Error::EncryptError);
        }
        let nonce = cipher::Nonce::new(&with.iv, self.sequence).0;
        self.sequence += 1;
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}
