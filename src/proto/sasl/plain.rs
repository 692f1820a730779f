//! The message of PLAIN (RFC 4616), read and written.

use crate::names::UserName;
use crate::proto::{Declined, LoginRequest};
use crate::secret::Secret;

/// Reads the message of PLAIN: `[authzid] NUL authcid NUL passwd`. An authzid equal to the authcid counts as none. To
/// act as somebody else, the authcid must be one of `masters`, octet for octet.
///
/// # Errors
/// It is no login.
pub fn plain(message: &Secret, masters: &[UserName]) -> Result<LoginRequest, Declined> {
    let mut parts = message.expose().split(|&octet| octet == 0);
    let (Some(authzid), Some(authcid), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Declined::Credentials);
    };
    let login = super::by_password(authcid, password, "PLAIN")?;
    if authzid.is_empty() || authzid == authcid {
        return Ok(login);
    }
    if !masters.contains(&login.user) {
        return Err(Declined::ForeignAuthzid);
    }
    let user = UserName::new(authzid).ok_or(Declined::Credentials)?;
    Ok(LoginRequest { master: Some(login.user), user, ..login })
}

/// Writes the message of PLAIN, not yet encoded: whose mailbox it is, who proves himself where that is not the user, and
/// with what. Without a master, no authzid is said.
pub fn plain_message(user: &UserName, master: Option<&UserName>, password: &Secret) -> Secret {
    let (authzid, authcid) = match master {
        Some(master) => (user.as_bytes(), master.as_bytes()),
        None => (&b""[..], user.as_bytes()),
    };
    Secret::new([authzid, authcid, password.expose()].join(&0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whose mailbox, who proves himself if that is not the user, and with what.
    type Read = Result<(Vec<u8>, Option<Vec<u8>>, Vec<u8>), Declined>;

    fn read_with(masters: &[&[u8]], message: &[u8]) -> Read {
        let masters: Vec<UserName> = masters.iter().map(|name| UserName::new(name).unwrap()).collect();
        plain(&Secret::new(message.to_vec()), &masters).map(|login| {
            assert_eq!(login.mechanism, "PLAIN");
            let master = login.master.map(|master| master.as_bytes().to_vec());
            (login.user.as_bytes().to_vec(), master, login.credentials.secret().expose().to_vec())
        })
    }

    fn read(message: &[u8]) -> Read {
        read_with(&[], message)
    }

    fn login(user: &[u8], master: Option<&[u8]>) -> Read {
        Ok((user.to_vec(), master.map(<[u8]>::to_vec), b"secret".to_vec()))
    }

    #[test]
    fn r_sasl_01_an_authzid_is_empty_or_the_user_himself() {
        assert_eq!(read(b"\0bob\0secret"), login(b"bob", None));
        assert_eq!(read(b"bob\0bob\0secret"), login(b"bob", None));
        for foreign in [&b"root\0bob\0secret"[..], b"Bob\0bob\0secret", b"bob \0bob\0secret"] {
            assert_eq!(read(foreign), Err(Declined::ForeignAuthzid));
        }
    }

    #[test]
    fn r_sasl_01_a_master_acts_as_somebody_else_and_nobody_else_does() {
        let with_masters = |message: &[u8]| read_with(&[b"admin", b"root@x"], message);
        assert_eq!(with_masters(b"bob\0admin\0secret"), login(b"bob", Some(b"admin")));
        assert_eq!(with_masters(b"bob\0root@x\0secret"), login(b"bob", Some(b"root@x")));
        assert_eq!(with_masters(b"admin\0root@x\0secret"), login(b"admin", Some(b"root@x")));
        // Themselves.
        assert_eq!(with_masters(b"\0admin\0secret"), login(b"admin", None));
        assert_eq!(with_masters(b"admin\0admin\0secret"), login(b"admin", None));
        for foreign in ["bob\0Admin\0secret", "bob\0admin \0secret", "bob\0root\0secret", "admin\0bob\0secret"] {
            assert_eq!(with_masters(foreign.as_bytes()), Err(Declined::ForeignAuthzid), "{foreign:?}");
        }
        let long = [&[b'x'; 256][..], b"\0admin\0secret"].concat();
        for bad in [&b"b\rb\0admin\0secret"[..], b"bob\0admin\0", b"bob\0admin\0se\0", &long] {
            assert_eq!(with_masters(bad), Err(Declined::Credentials), "{bad:?}");
        }
    }

    #[test]
    fn r_sasl_02_malformed_plain_messages_are_no_login() {
        let long = [b"\0bob\0".as_slice(), &[b'x'; crate::proto::PASSWORD_MAX + 1]].concat();
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
            assert_eq!(read(bad), Err(Declined::Credentials), "{bad:?}");
        }
    }

    #[test]
    fn what_we_write_is_what_we_read() {
        let (bob, admin) = (UserName::new(b"bob@x").unwrap(), UserName::new(b"admin").unwrap());
        let password = Secret::new(b"p\xff w".to_vec());
        for master in [None, Some(&admin)] {
            let wire = super::super::encode(&plain_message(&bob, master, &password));
            let back = super::super::decode(wire.expose()).unwrap();
            let master = master.map(|master| master.as_bytes().to_vec());
            assert_eq!(read_with(&[b"admin"], back.expose()), Ok((b"bob@x".to_vec(), master, b"p\xff w".to_vec())));
        }
    }
}
