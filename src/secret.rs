//! The one type that holds a password or anything made from it.
//!
//! It is wiped when dropped and implements neither `Debug` nor `Display`, in any build: a secret in a log line does
//! not compile. Whoever needs the octets says so with [`Secret::expose`].

use zeroize::Zeroizing;

/// Octets that must never be printed: a password, a SASL response, a command that carries one.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the octets over; they are wiped when the secret is dropped.
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets, for the one place that puts them on the wire.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}
