//! The messages of XOAUTH2 and OAUTHBEARER (RFC 7628), read and written.
//!
//! A token is carried to the node as it came. What a client says beside it, where it thinks it is for one, is not: it
//! knows us and not the node.

use crate::names::UserName;
use crate::proto::{Credentials, Declined, LoginRequest, TokenMechanism};
use crate::secret::Secret;

/// Ends each field, and the message (RFC 7628 §3.1: kvsep).
const END: u8 = 1;

/// Reads the message of a mechanism that carries a token.
///
/// # Errors
/// It is malformed, names nobody, or wants the TLS channel bound (RFC 5801 §5), which ends here and not at the node.
pub fn token(mechanism: TokenMechanism, message: &Secret) -> Result<LoginRequest, Declined> {
    let fields = match mechanism {
        TokenMechanism::XOAuth2 => xoauth2(message.expose()),
        TokenMechanism::OAuthBearer => oauthbearer(message.expose()),
    };
    let (name, token) = fields.filter(|(_, token)| is_bearer(token)).ok_or(Declined::Credentials)?;
    let user = UserName::new(&name).ok_or(Declined::Credentials)?;
    let credentials = Credentials::Token(mechanism, Secret::new(token.to_vec()));
    Ok(LoginRequest { user, master: None, credentials, mechanism: mechanism.name() })
}

/// Writes the message of a mechanism that carries a token, not yet encoded. `token` is what stands behind `auth=`.
/// `None`: the name cannot be said, because it holds the octet that ends a field.
pub fn token_message(mechanism: TokenMechanism, user: &UserName, token: &Secret) -> Option<Secret> {
    if user.as_bytes().contains(&END) {
        return None;
    }
    let (before, name, behind) = match mechanism {
        TokenMechanism::XOAuth2 => (&b"user="[..], user.as_bytes().to_vec(), &b"\x01auth="[..]),
        TokenMechanism::OAuthBearer => (&b"n,a="[..], escaped(user.as_bytes()), &b",\x01auth="[..]),
    };
    Some(Secret::new([before, &name, behind, token.expose(), &[END, END]].concat()))
}

/// `user=U ^A auth=T ^A ^A`, and nothing else: what is not in Google's description has no meaning.
fn xoauth2(message: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let fields = message.strip_prefix(b"user=")?.strip_suffix(&[END, END])?;
    let (name, token) = split_at_octet(fields, END)?;
    Some((name.to_vec(), token.strip_prefix(b"auth=")?))
}

/// `n,a=U, ^A (key=value ^A)* ^A`. Keys that we do not know are ignored, and so are those that we do not need; but two
/// tokens are one too many.
fn oauthbearer(message: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let behind_flag = [&b"n,"[..], b"y,"].into_iter().find_map(|flag| message.strip_prefix(flag))?;
    let (name, rest) = split_at_octet(behind_flag.strip_prefix(b"a=")?, b',')?;
    let fields = rest.strip_prefix(&[END])?.strip_suffix(&[END, END])?;
    let mut tokens = Vec::new();
    for field in fields.split(|&octet| octet == END) {
        let (key, value) = split_at_octet(field, b'=')?;
        let lawful = !key.is_empty() && key.iter().all(u8::is_ascii_alphabetic) && value.iter().all(is_value_octet);
        match key.to_ascii_lowercase().as_slice() {
            _ if !lawful => return None,
            b"auth" => tokens.push(value),
            _ => {}
        }
    }
    let [token] = tokens.as_slice() else { return None };
    // Where it could be taken for the end of a field by somebody.
    if name.contains(&END) {
        return None;
    }
    Some((unescaped(name)?, token))
}

/// `Bearer`, spaces, and a token of printable ASCII. Nodes know no other kind.
fn is_bearer(value: &[u8]) -> bool {
    let Some((scheme, token)) = split_at_octet(value, b' ') else { return false };
    let spaces = token.iter().take_while(|&&octet| octet == b' ').count();
    let token = token.get(spaces..).unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"Bearer") && !token.is_empty() && token.iter().all(u8::is_ascii_graphic)
}

fn split_at_octet(octets: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let end = octets.iter().position(|&octet| octet == at)?;
    Some((octets.get(..end)?, octets.get(end + 1..)?))
}

/// RFC 7628 §3.1: value.
fn is_value_octet(octet: &u8) -> bool {
    matches!(octet, b' '..=b'~' | b'\t' | b'\r' | b'\n')
}

/// The two octets that end a name and begin an escape (RFC 5801 §4: saslname).
fn escaped(name: &[u8]) -> Vec<u8> {
    let octet = |&octet: &u8| match octet {
        b',' => b"=2C".to_vec(),
        b'=' => b"=3D".to_vec(),
        octet => vec![octet],
    };
    name.iter().flat_map(octet).collect()
}

/// `None` where an `=` begins no escape.
fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, behind)) = rest.split_first() {
        let (octet, behind) = match (first, behind) {
            (b'=', [b'2', b'C' | b'c', behind @ ..]) => (b',', behind),
            (b'=', [b'3', b'D' | b'd', behind @ ..]) => (b'=', behind),
            (b'=', _) => return None,
            (octet, behind) => (octet, behind),
        };
        octets.push(octet);
        rest = behind;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use TokenMechanism::{OAuthBearer, XOAuth2};

    const TOKEN: &str = "Bearer abc.def-_~+/==";

    /// The user and the token as it was sent.
    fn read(mechanism: TokenMechanism, message: &[u8]) -> Result<(String, String), Declined> {
        token(mechanism, &Secret::new(message.to_vec())).map(|login| {
            assert!(login.master.is_none() && login.mechanism == mechanism.name());
            let Credentials::Token(carried_in, token) = login.credentials else { panic!("a password") };
            assert_eq!(carried_in, mechanism);
            let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            (text(login.user.as_bytes()), text(token.expose()))
        })
    }

    #[track_caller]
    fn reads(mechanism: TokenMechanism, message: &str, user: &str, token: &str) {
        assert_eq!(read(mechanism, message.as_bytes()), Ok((user.to_owned(), token.to_owned())), "{message:?}");
    }

    #[track_caller]
    fn refuses(mechanism: TokenMechanism, message: &str) {
        assert_eq!(read(mechanism, message.as_bytes()), Err(Declined::Credentials), "{message:?}");
    }

    #[test]
    fn xoauth2_is_a_user_and_a_token_and_nothing_else() {
        reads(XOAuth2, &format!("user=bob@x\x01auth={TOKEN}\x01\x01"), "bob@x", TOKEN);
        reads(XOAuth2, "user=a=b,c \u{fc}\x01auth=bEARER   x\x01\x01", "a=b,c \u{fc}", "bEARER   x");
        for bad in [
            "",
            "\x01",
            "user=bob",
            "user=bob\x01auth=Bearer x",
            "user=bob\x01auth=Bearer x\x01",
            "user=bob\x01auth=Bearer x\x01\x01\x01",
            "user=bob\x01auth=Bearer x\x01\x01 ",
            "user=\x01auth=Bearer x\x01\x01",
            "auth=Bearer x\x01\x01",
            "auth=Bearer x\x01user=bob\x01\x01",
            "User=bob\x01auth=Bearer x\x01\x01",
            "user=bob\x01auth=Bearer x\x01host=y\x01\x01",
            "user=bob\x01\x01auth=Bearer x\x01\x01",
            "user=b\0b\x01auth=Bearer x\x01\x01",
            "user=b\rb\x01auth=Bearer x\x01\x01",
            "n,a=bob,\x01auth=Bearer x\x01\x01",
        ] {
            refuses(XOAuth2, bad);
        }
        refuses(XOAuth2, &format!("user={}\x01auth=Bearer x\x01\x01", "u".repeat(256)));
    }

    #[test]
    fn oauthbearer_is_a_header_with_the_user_and_fields_in_any_order() {
        for (header, user) in [("n,a=bob@x,", "bob@x"), ("y,a=bob,", "bob"), ("n,a=a=2Cb=3Dc=2c,", "a,b=c,")] {
            for fields in [
                format!("auth={TOKEN}\x01"),
                format!("host=imap.example.net\x01port=993\x01auth={TOKEN}\x01"),
                format!("auth={TOKEN}\x01port=143\x01host=\x01"),
                format!("future=a\t=b \r\nc\x01AUTH={TOKEN}\x01"),
            ] {
                reads(OAuthBearer, &format!("{header}\x01{fields}\x01"), user, TOKEN);
            }
        }
        for header in
            ["", "n,,", "n,a=,", "n,bob,", "n,a=bob", "N,a=bob,", "p=tls-exporter,a=bob,", "F,n,a=bob,", "a=bob,", ","]
        {
            refuses(OAuthBearer, &format!("{header}\x01auth={TOKEN}\x01\x01"));
        }
        for name in ["a=b", "a=2", "a=", "a=2D", "=", "a,b", "a\x01b", "a=0D", "a\rb", "a\0b"] {
            refuses(OAuthBearer, &format!("n,a={name},\x01auth={TOKEN}\x01\x01"));
        }
        for fields in [
            "",
            "\x01",
            "auth=Bearer x",
            "auth=Bearer x\x01",
            "auth=Bearer x\x01\x01\x01",
            "auth=Bearer x\x01auth=Bearer x\x01\x01",
            "host=y\x01\x01",
            "host\x01auth=Bearer x\x01\x01",
            "=y\x01auth=Bearer x\x01\x01",
            "h-t=y\x01auth=Bearer x\x01\x01",
            "host=\u{fc}\x01auth=Bearer x\x01\x01",
            "host=\x02\x01auth=Bearer x\x01\x01",
            " auth=Bearer x\x01\x01",
        ] {
            refuses(OAuthBearer, &format!("n,a=bob,\x01{fields}"));
        }
    }

    #[test]
    fn a_token_is_bearers_and_printable() {
        for bad in ["", "Bearer", "Bearer ", "Bearer  ", "Bearerx", "Basic x", " Bearer x", "Bearer x y", "Bearer x "] {
            refuses(XOAuth2, &format!("user=bob\x01auth={bad}\x01\x01"));
            refuses(OAuthBearer, &format!("n,a=bob,\x01auth={bad}\x01\x01"));
        }
        for bad in ["Bearer x\r\ny", "Bearer \r\nx", "Bearer \tx", "Bearer\tx", "Bearer \u{fc}", "Bearer x\x7f"] {
            refuses(XOAuth2, &format!("user=bob\x01auth={bad}\x01\x01"));
            refuses(OAuthBearer, &format!("n,a=bob,\x01auth={bad}\x01\x01"));
        }
        let long = format!("Bearer {}", "x".repeat(12_000));
        reads(XOAuth2, &format!("user=bob\x01auth={long}\x01\x01"), "bob", &long);
        reads(OAuthBearer, &format!("n,a=bob,\x01auth={long}\x01\x01"), "bob", &long);
    }

    #[test]
    fn what_we_write_is_what_the_specifications_show() {
        let write = |mechanism, user: &[u8]| {
            let user = UserName::new(user).unwrap();
            token_message(mechanism, &user, &Secret::new(b"Bearer T".to_vec())).map(|it| it.expose().to_vec())
        };
        assert_eq!(write(XOAuth2, b"bob@x").unwrap(), b"user=bob@x\x01auth=Bearer T\x01\x01");
        assert_eq!(write(OAuthBearer, b"bob@x").unwrap(), b"n,a=bob@x,\x01auth=Bearer T\x01\x01");
        assert_eq!(write(OAuthBearer, b"a,b=c").unwrap(), b"n,a=a=2Cb=3Dc,\x01auth=Bearer T\x01\x01");
        for mechanism in TokenMechanism::ALL {
            assert_eq!(write(mechanism, b"a\x01b"), None);
            for user in ["bob@x", "a,b=c==,", "\u{fc} %\"\\"] {
                let message = write(mechanism, user.as_bytes()).unwrap();
                assert_eq!(read(mechanism, &message), Ok((user.to_owned(), "Bearer T".to_owned())));
            }
        }
    }
}
