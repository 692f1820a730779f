//! What nodes say of a token that they refuse, so that a user who does not exist can hear the same.
//!
//! A node explains itself in a challenge before its NO (RFC 7628 §3.2.2), and the client of an unknown user, of whom no
//! node was asked, would hear the NO alone. So what the nodes always say is learned. Only what two users heard in the same
//! octets is ever said to a third: a challenge must not carry something of one user's to another.

use std::sync::{Mutex, PoisonError};

use crate::names::UserName;
use crate::proto::{Protocol, TokenMechanism};

/// The usual challenges. There are four: for each protocol and mechanism one.
#[derive(Default)]
pub struct Challenges([[Mutex<Usual>; 2]; 2]);

#[derive(Default)]
struct Usual {
    /// What two users have heard.
    known: Option<Vec<u8>>,
    /// What one user has heard last.
    heard: Option<(Vec<u8>, UserName)>,
}

impl Challenges {
    /// A node has said this of a user's token, in base64.
    pub(super) fn learn(&self, protocol: Protocol, mechanism: TokenMechanism, user: &UserName, challenge: &[u8]) {
        let mut usual = self.usual_of(protocol, mechanism).lock().unwrap_or_else(PoisonError::into_inner);
        match &usual.heard {
            _ if usual.known.as_deref() == Some(challenge) => {}
            Some((heard, by)) if heard == challenge && by != user => usual.known = Some(challenge.to_vec()),
            _ => usual.heard = Some((challenge.to_vec(), user.clone())),
        }
    }

    /// What the nodes say of any token that they refuse; nothing as long as that is not known.
    pub(super) fn usual(&self, protocol: Protocol, mechanism: TokenMechanism) -> Option<Vec<u8>> {
        self.usual_of(protocol, mechanism).lock().unwrap_or_else(PoisonError::into_inner).known.clone()
    }

    fn usual_of(&self, protocol: Protocol, mechanism: TokenMechanism) -> &Mutex<Usual> {
        let [[imap_xoauth2, imap_bearer], [pop3_xoauth2, pop3_bearer]] = &self.0;
        match (protocol, mechanism) {
            (Protocol::Imap, TokenMechanism::XOAuth2) => imap_xoauth2,
            (Protocol::Imap, TokenMechanism::OAuthBearer) => imap_bearer,
            (Protocol::Pop3, TokenMechanism::XOAuth2) => pop3_xoauth2,
            (Protocol::Pop3, TokenMechanism::OAuthBearer) => pop3_bearer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_users_heard_is_usual_and_what_one_heard_is_his_own() {
        let challenges = Challenges::default();
        let [alice, bob] = [b"alice", b"bob00"].map(|name| UserName::new(name).unwrap());
        let (imap, xoauth2) = (Protocol::Imap, TokenMechanism::XOAuth2);
        let after = |user: &UserName, challenge: &[u8]| {
            challenges.learn(imap, xoauth2, user, challenge);
            challenges.usual(imap, xoauth2)
        };
        assert_eq!(after(&alice, b"one"), None);
        assert_eq!(after(&alice, b"one"), None, "the same user again");
        assert_eq!(after(&bob, b"bobs"), None);
        assert_eq!(after(&alice, b"one"), None);
        assert_eq!(after(&bob, b"one"), Some(b"one".to_vec()));
        assert_eq!(after(&alice, b"alices"), Some(b"one".to_vec()), "what only one heard changes nothing");
        assert_eq!(after(&alice, b"new"), Some(b"one".to_vec()));
        assert_eq!(after(&bob, b"new"), Some(b"new".to_vec()));
        for (protocol, mechanism) in [
            (imap, TokenMechanism::OAuthBearer),
            (Protocol::Pop3, xoauth2),
            (Protocol::Pop3, TokenMechanism::OAuthBearer),
        ] {
            assert_eq!(challenges.usual(protocol, mechanism), None);
        }
    }
}
