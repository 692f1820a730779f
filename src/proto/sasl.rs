//! SASL messages: PLAIN (RFC 4616), the LOGIN that was never standardised, and their base64 (RFC 4648 §4).
//!
//! Every login, in whatever form, passes through [`credentials`], so what holds there holds for all: no empty part, no
//! octet that a node's line protocol could take for the end of a command.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::PASSWORD_MAX;
use crate::names::UserName;
use crate::secret::Secret;

/// Longest line of base64 that a client may send as a SASL response, in octets without its line end.
pub const RESPONSE_MAX: usize = 16 * 1024;

/// The first challenge of LOGIN: `Username:`.
pub const LOGIN_USER_CHALLENGE: &[u8] = b"VXNlcm5hbWU6";

/// The second challenge of LOGIN: `Password:`.
pub const LOGIN_PASSWORD_CHALLENGE: &[u8] = b"UGFzc3dvcmQ6";

/// Not base64: a foreign octet, a wrong length, misplaced padding, or non-zero bits behind the last octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBase64;

/// Why a well-formed exchange is no login. No node is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Empty or over-long parts, or NUL, CR or LF among them: the same answer as for a wrong password.
    Credentials,
    /// The client wants to act as somebody else (RFC 4616 §2: authzid).
    ForeignAuthzid,
}

/// Decodes one response. A lone `=` is the empty response where an initial response is meant (RFC 4959 §3, RFC 5034 §4):
/// the caller knows.
pub fn decode(response: &[u8]) -> Result<Secret, BadBase64> {
    STANDARD.decode(response).map(Secret::new).map_err(|_| BadBase64)
}

/// Encodes one response.
pub fn encode(message: &Secret) -> Secret {
    Secret::new(STANDARD.encode(message.expose()).into_bytes())
}

/// A name and a password that may be sent to a node, whatever its protocol.
pub fn credentials(user: &[u8], password: &[u8]) -> Result<(UserName, Secret), Rejected> {
    let lawful =
        (1..=PASSWORD_MAX).contains(&password.len()) && !password.iter().any(|o| matches!(o, 0 | b'\r' | b'\n'));
    match UserName::new(user) {
        Some(user) if lawful => Ok((user, Secret::new(password.to_vec()))),
        _ => Err(Rejected::Credentials),
    }
}

/// Reads the message of PLAIN: `[authzid] NUL authcid NUL passwd`. An authzid equal to the authcid counts as none.
pub fn plain(message: &Secret) -> Result<(UserName, Secret), Rejected> {
    let mut parts = message.expose().split(|&octet| octet == 0);
    let (Some(authzid), Some(authcid), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Rejected::Credentials);
    };
    let login = credentials(authcid, password)?;
    if authzid.is_empty() || authzid == authcid { Ok(login) } else { Err(Rejected::ForeignAuthzid) }
}

/// Writes the message of PLAIN, without an authzid and not yet encoded.
pub fn plain_message(user: &UserName, password: &Secret) -> Secret {
    let mut message = Vec::with_capacity(2 + user.as_bytes().len() + password.expose().len());
    message.push(0);
    message.extend_from_slice(user.as_bytes());
    message.push(0);
    message.extend_from_slice(password.expose());
    Secret::new(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Rejected> {
        plain(&Secret::new(message.to_vec())).map(|(user, pass)| (user.as_bytes().to_vec(), pass.expose().to_vec()))
    }

    #[test]
    fn r_sasl_01_an_authzid_is_empty_or_the_user_himself() {
        let bob = Ok((b"bob".to_vec(), b"secret".to_vec()));
        assert_eq!(read(b"\0bob\0secret"), bob);
        assert_eq!(read(b"bob\0bob\0secret"), bob);
        assert_eq!(read(b"root\0bob\0secret"), Err(Rejected::ForeignAuthzid));
        assert_eq!(read(b"Bob\0bob\0secret"), Err(Rejected::ForeignAuthzid));
    }

    #[test]
    fn r_sasl_02_malformed_plain_messages_are_no_login() {
        let long = [b"\0bob\0".as_slice(), &[b'x'; PASSWORD_MAX + 1]].concat();
        for bad in [
            &b""[..],
            b"bob",
            b"bob\0secret",
            b"\0bob\0sec\0ret",
            b"\0\0secret",
            b"\0bob\0",
            b"\0b\rb\0x",
            b"\0bob\0x\n",
            &long,
        ] {
            assert_eq!(read(bad), Err(Rejected::Credentials), "{bad:?}");
        }
    }

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
        assert_eq!(decode(b"AGJvYgBzZWNyZXQ=").unwrap().expose(), b"\0bob\0secret");
    }

    #[test]
    fn what_we_write_is_what_we_read() {
        let user = UserName::new(b"bob@x").unwrap();
        let message = plain_message(&user, &Secret::new(b"p\xff w".to_vec()));
        let wire = encode(&message);
        let back = decode(wire.expose()).unwrap();
        assert_eq!(read(back.expose()), Ok((b"bob@x".to_vec(), b"p\xff w".to_vec())));
    }
}
