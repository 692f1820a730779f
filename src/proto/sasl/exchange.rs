//! Which mechanisms a client may use, and what its responses come to.
//!
//! Every protocol frames a SASL exchange in its own way; what is in the frames is here.

use super::{LOGIN_PASSWORD_CHALLENGE, LOGIN_USER_CHALLENGE, by_password, plain, token};
use crate::names::UserName;
use crate::proto::{Declined, LoginRequest, Offer, TokenMechanism};
use crate::secret::Secret;

/// A mechanism whose outcome can be replayed on a node. What challenges the password cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Never standardised.
    Login,
    /// One that carries a token.
    Token(TokenMechanism),
}

impl Mechanism {
    /// Every one, in the order in which they are announced. Clients without a preference of their own take the first.
    pub const ALL: [Self; 4] =
        [Self::Plain, Self::Login, Self::Token(TokenMechanism::XOAuth2), Self::Token(TokenMechanism::OAuthBearer)];

    /// As it is written in capability lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::Token(mechanism) => mechanism.name(),
        }
    }

    /// The one of this name, in whatever case.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether a client is told of it and may use it. A password can be said to every node; a token only to those that
    /// take it in the same mechanism.
    pub fn is_offered(self, offer: &Offer) -> bool {
        offer.passwords_allowed()
            && match self {
                Self::Plain | Self::Login => true,
                Self::Token(mechanism) => offer.extensions.has(mechanism.announced()),
            }
    }

    /// All that are offered.
    pub fn offered(offer: &Offer) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|mechanism| mechanism.is_offered(offer))
    }
}

/// What the next response means.
pub enum Exchange {
    /// The message of PLAIN.
    Plain,
    /// The user name of LOGIN.
    LoginName,
    /// The password of LOGIN, for this user name.
    LoginPassword(Secret),
    /// The message with a token.
    Token(TokenMechanism),
}

/// What a response came to.
pub enum Answered {
    /// Another response is needed.
    GoesOn(Exchange),
    /// A login, or why it is none.
    Login(Result<LoginRequest, Declined>),
}

impl Exchange {
    /// Before the first response.
    pub fn new(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Plain => Self::Plain,
            Mechanism::Login => Self::LoginName,
            Mechanism::Token(mechanism) => Self::Token(mechanism),
        }
    }

    /// What asks for the response, in base64.
    pub fn challenge(&self) -> &'static [u8] {
        match self {
            Self::Plain | Self::Token(_) => b"",
            Self::LoginName => LOGIN_USER_CHALLENGE,
            Self::LoginPassword(_) => LOGIN_PASSWORD_CHALLENGE,
        }
    }

    /// Takes a response, decoded.
    pub fn answered(self, message: Secret, masters: &[UserName]) -> Answered {
        match self {
            Self::Plain => Answered::Login(plain(&message, masters)),
            Self::LoginName => Answered::GoesOn(Self::LoginPassword(message)),
            Self::LoginPassword(user) => Answered::Login(by_password(user.expose(), message.expose(), "AUTH-LOGIN")),
            Self::Token(mechanism) => Answered::Login(token(mechanism, &message)),
        }
    }
}
