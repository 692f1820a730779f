//! The closed lists of words that the log and the labels share, and one counter for each word.
//!
//! Whoever sees a number here finds its lines in the log; docs/connection.md explains each word.

use std::marker::PhantomData;

/// A word of a closed list.
pub trait Word: Copy + 'static {
    /// All of them, each at its [`Self::index`].
    const ALL: &'static [Self];

    /// Its place in the list.
    fn index(self) -> usize;

    /// As it stands in labels and in the log.
    fn word(self) -> &'static str;
}

/// One of something for each word.
#[derive(Debug)]
pub struct ByWord<W, T>(Box<[T]>, PhantomData<W>);

impl<W: Word, T: Default> Default for ByWord<W, T> {
    fn default() -> Self {
        Self(W::ALL.iter().map(|_| T::default()).collect(), PhantomData)
    }
}

impl<W: Word, T> ByWord<W, T> {
    /// That of this word.
    #[expect(clippy::indexing_slicing, reason = "there is one for each word of the list")]
    pub fn of(&self, word: W) -> &T {
        &self.0[word.index()]
    }

    /// Each word with its own.
    pub fn iter(&self) -> impl Iterator<Item = (W, &T)> {
        W::ALL.iter().copied().zip(&self.0)
    }
}

/// A closed list, with its words.
macro_rules! words {
    ($(#[$about:meta])* $vis:vis $name:ident { $($(#[$doc:meta])* $variant:ident => $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $crate::metrics::Word for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn index(self) -> usize {
                self as usize
            }

            fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::metrics::Word::word(*self))
            }
        }
    };
}
pub(crate) use words;

words! {
    /// The stages of a session, in order.
    pub Stage {
        /// The TLS handshake, implicit or after STARTTLS.
        Tls => "tls",
        /// The dialogue before a login.
        Login => "login",
        /// The route is being looked up.
        Directory => "directory",
        /// A node is dialled and greets.
        Connect => "connect",
        /// A node judges the login.
        Replay => "replay",
        /// Octets are moved.
        Relay => "relay",
    }
}

words! {
    /// What came of a login. docs/connection.md explains them.
    pub Outcome {
        /// A node took it.
        Accepted => "accepted",
        /// A node refused the password.
        WrongPassword => "wrong-password",
        /// A node refused for another final reason.
        Refused => "refused",
        /// Another client has the mailbox.
        InUse => "in-use",
        /// The last node asked said that it cannot serve now.
        NodeUnavailable => "node-unavailable",
        /// No node could be reached, or none decided.
        NodeFailed => "node-failed",
        /// The site has no such names.
        ForbiddenName => "forbidden-name",
        /// The directory knows no such user.
        UnknownUser => "unknown-user",
        /// The directory does not say one island that there is.
        AmbiguousRoute => "ambiguous-route",
        /// The directory does not answer, and there is no old route.
        DirectoryUnavailable => "directory-unavailable",
        /// Too many logins of the client's network were refused.
        TooManyFailures => "too-many-failures",
        /// The user has as many sessions as one may.
        TooManySessions => "too-many-sessions",
        /// The operator holds the user, and did not release it in time.
        Held => "held",
        /// It goes in a circle from proxy to proxy.
        Loop => "loop",
        /// `server.login_timeout` ran out.
        Timeout => "timeout",
        /// The client is gone.
        Abandoned => "abandoned",
        /// A password in clear text, where that is not allowed.
        PrivacyRequired => "privacy-required",
        /// A mechanism that is not offered.
        UnknownMechanism => "unknown-mechanism",
        /// Name or password cannot be any.
        Malformed => "malformed",
        /// The client wants to act as somebody else.
        ForeignAuthzid => "foreign-authzid",
    }
}

words! {
    /// What a look-up in the directory came to, the cache included.
    pub Lookup {
        /// The directory was asked, and knows the user.
        Asked => "asked",
        /// The cache knew the user.
        Cached => "cached",
        /// The directory is unavailable, and the cache had an old route.
        Stale => "stale",
        /// No such user, whoever said so.
        UnknownUser => "unknown-user",
        /// Not one island that there is.
        AmbiguousRoute => "ambiguous-route",
        /// Nobody answered, and there is no old route.
        DirectoryUnavailable => "directory-unavailable",
    }
}
