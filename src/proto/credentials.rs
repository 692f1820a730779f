//! What a login proves itself with, and the form in which a node may get it.
//!
//! A password can be said to a node in any dialect. A token can only be said in the mechanism that it came in, because
//! it was made for it. Neither is ever shown.

use crate::names::UserName;
use crate::secret::Secret;

/// What a login proves itself with.
#[derive(Clone)]
pub enum Credentials {
    /// 1 to 1024 octets without NUL, CR or LF.
    Password(Secret),
    /// What stands behind `auth=` in the client's message, the word `Bearer` included: printable ASCII.
    Token(TokenMechanism, Secret),
}

impl Credentials {
    /// The password or the token.
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Password(secret) | Self::Token(_, secret) => secret,
        }
    }
}

/// A mechanism that carries a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenMechanism {
    /// Google's and Microsoft's, never standardised.
    XOAuth2,
    /// RFC 7628.
    OAuthBearer,
}

impl TokenMechanism {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::XOAuth2, Self::OAuthBearer];

    /// As it is written in capability lists and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XOAuth2 => "XOAUTH2",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// As nodes announce it.
    pub(super) const fn announced(self) -> &'static str {
        match self {
            Self::XOAuth2 => "AUTH=XOAUTH2",
            Self::OAuthBearer => "AUTH=OAUTHBEARER",
        }
    }
}

/// One login as a node gets it.
#[derive(Clone)]
pub struct NodeLogin {
    /// The mailbox's name on the node.
    pub user: UserName,
    /// Who proves himself, where that is not the user (a master user; RFC 4616 §2: authcid).
    pub master: Option<UserName>,
    /// With what.
    pub credentials: Credentials,
}

impl NodeLogin {
    /// A user's own, by password.
    pub fn by_password(user: UserName, password: Secret) -> Self {
        Self { user, master: None, credentials: Credentials::Password(password) }
    }
}
