//! SASL: the messages of PLAIN (RFC 4616), of the LOGIN that was never standardised, of XOAUTH2 and OAUTHBEARER (RFC
//! 7628), and their base64 (RFC 4648 §4).
//!
//! Every login by password, in whatever form, passes through [`by_password`], and every token through [`token`], so what
//! holds there holds for all: no empty part, no octet that a node's line protocol could take for the end of a command.
//! What may be a secret is wiped wherever it was.

mod exchange;
mod oauth;
mod plain;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

pub use exchange::{Answered, Exchange, Mechanism};
pub use oauth::{token, token_message};
pub use plain::{plain, plain_message};

use super::{Credentials, Declined, LoginRequest, PASSWORD_MAX};
use crate::names::UserName;
use crate::secret::Secret;

/// Longest line of base64 that a client may send as a SASL response, in octets without its line end.
pub const RESPONSE_MAX: usize = 16 * 1024;

/// The first challenge of LOGIN: `Username:`.
const LOGIN_USER_CHALLENGE: &[u8] = b"VXNlcm5hbWU6";

/// The second challenge of LOGIN: `Password:`.
const LOGIN_PASSWORD_CHALLENGE: &[u8] = b"UGFzc3dvcmQ6";

/// Not base64: a foreign octet, a wrong length, misplaced padding, or non-zero bits behind the last octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBase64;

/// Decodes one response. A lone `=` is the empty response where an initial response is meant (RFC 4959 §3, RFC 5034 §4):
/// the caller knows.
pub fn decode(response: &[u8]) -> Result<Secret, BadBase64> {
    // The buffer is ours, because the library would leave what it has decoded of a bad response unwiped.
    let mut octets = Zeroizing::new(vec![0; base64::decoded_len_estimate(response.len())]);
    let length = STANDARD.decode_slice(response, &mut octets).map_err(|_| BadBase64)?;
    octets.truncate(length);
    Ok(Secret::new(std::mem::take(&mut *octets)))
}

/// Encodes one response.
pub fn encode(message: &Secret) -> Secret {
    Secret::new(STANDARD.encode(message.expose()).into_bytes())
}

/// A login by a name and a password that may be sent to a node, whatever its protocol. `mechanism` is for the log.
///
/// # Errors
/// An empty or over-long part, or NUL, CR or LF in one.
pub fn by_password(user: &[u8], password: &[u8], mechanism: &'static str) -> Result<LoginRequest, Declined> {
    let lawful =
        (1..=PASSWORD_MAX).contains(&password.len()) && !password.iter().any(|o| matches!(o, 0 | b'\r' | b'\n'));
    match UserName::new(user) {
        Some(user) if lawful => {
            let credentials = Credentials::Password(Secret::new(password.to_vec()));
            Ok(LoginRequest { user, master: None, credentials, mechanism })
        }
        _ => Err(Declined::Credentials),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_sasl_03_base64_is_strict() {
        for bad in [
            &b"*"[..],
            b"=",
            b"YQ",
            b"YQ=",
            b"YQ= =",
            b" YQ==",
            b"YQ==\r",
            b"YR==",
            b"Y=Q=",
            b"YQ==YQ==",
            b"-_-_",
            b"\xff",
        ] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
        assert_eq!(decode(b"").unwrap().expose(), b"");
        assert_eq!(decode(b"YQ==").unwrap().expose(), b"a");
        assert_eq!(decode(b"AGJvYgBzZWNyZXQ=").unwrap().expose(), b"\0bob\0secret");
    }
}
