//! Why a login did not succeed, and the one table that says what follows from it.
//!
//! [`Failure::verdict`] is exhaustive: a new failure does not compile until somebody has decided whether the next node
//! is tried, what the client hears, and whether it counts against the client. No wildcard arm, ever.

#![warn(clippy::wildcard_enum_match_arm)]

use std::io;

use crate::directory::LookupError;
use crate::names::IslandName;
use crate::proto::{NodeFault, NodeRefusal, Refusal, RefusalKind};

/// Why one login, or one node's try at it, did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The directory has no route, for whichever of its three reasons.
    #[error("{0}")]
    Directory(#[from] LookupError),
    /// The directory named an island that the configuration does not have.
    #[error("the directory says island \"{0}\", which is not configured")]
    UnknownIsland(IslandName),
    /// The node could not be reached.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The node could not be reached in time.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// TLS with the node failed: its certificate, most often.
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    /// The node accepted the connection and was not ready for a login in time.
    #[error("no greeting in time")]
    GreetingTimeout,
    /// The node closed the connection, or it broke, before it was given a password.
    #[error("closed before the login")]
    ClosedBeforeLogin,
    /// The node misbehaved before it was given a password.
    #[error("{0}")]
    BeforeLogin(NodeFault),
    /// The node closed the connection, or it broke, without an answer to the login.
    #[error("closed without an answer to the login")]
    ClosedBeforeAnswer,
    /// The node did not answer the login in time.
    #[error("no answer to the login in time")]
    AnswerTimeout,
    /// The node misbehaved when it was to answer the login.
    #[error("{0}")]
    InsteadOfAnswer(NodeFault),
    /// The node refused the login in its own words.
    #[error("refused by the node")]
    Refused(NodeRefusal),
    /// The time for the whole login phase ran out.
    #[error("the login took too long")]
    LoginTimeout,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether the same login may be given to the next node of the plan.
    pub(super) next_node: bool,
    /// What the client hears when no node is left.
    pub(super) answer: Answer,
    /// Whether it looks like a wrong password: delayed, and counted against the connection.
    pub(super) guess: bool,
}

/// What the client hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The node's own words.
    Relay,
    /// Ours.
    Ours(Refusal),
}

const UNAVAILABLE: Answer = Answer::Ours(Refusal::Unavailable);
const SERVER_BUG: Answer = Answer::Ours(Refusal::ServerBug);

impl Failure {
    /// The table.
    pub(super) fn verdict(&self) -> Verdict {
        let verdict = |next_node, answer, guess| Verdict { next_node, answer, guess };
        match self {
            Self::Directory(LookupError::NotFound) => verdict(false, Answer::Ours(Refusal::AuthenticationFailed), true),
            // Never anything that makes a mail client ask its user for a new password.
            Self::Directory(LookupError::Ambiguous(_) | LookupError::Unavailable(_)) => {
                verdict(false, UNAVAILABLE, false)
            }
            Self::UnknownIsland(_) => verdict(false, UNAVAILABLE, false),
            Self::Connect(_) | Self::ConnectTimeout | Self::Tls(_) => verdict(true, UNAVAILABLE, false),
            Self::GreetingTimeout | Self::ClosedBeforeLogin => verdict(true, UNAVAILABLE, false),
            // Before the login there was nothing of the user's that could be misunderstood; the node is broken.
            Self::BeforeLogin(NodeFault::Bad) => verdict(true, UNAVAILABLE, false),
            Self::BeforeLogin(fault) | Self::InsteadOfAnswer(fault) => match fault {
                // Our own words were wrong, and would be wrong again: the island's nodes speak one dialect.
                NodeFault::Bad | NodeFault::Inexpressible => verdict(false, SERVER_BUG, false),
                NodeFault::Bye
                | NodeFault::Preauth
                | NodeFault::Garbage
                | NodeFault::TooLong
                | NodeFault::StartTlsRefused
                | NodeFault::ClearTextInjected
                | NodeFault::NoMechanism
                | NodeFault::RefusedUnseen
                | NodeFault::Referral => verdict(true, UNAVAILABLE, false),
            },
            Self::ClosedBeforeAnswer | Self::AnswerTimeout => verdict(true, UNAVAILABLE, false),
            Self::Refused(refusal) => match refusal.kind {
                RefusalKind::WrongPassword => verdict(false, Answer::Relay, true),
                RefusalKind::Temporary | RefusalKind::InUse => verdict(true, Answer::Relay, false),
                RefusalKind::Other => verdict(false, Answer::Relay, false),
            },
            Self::LoginTimeout => verdict(false, UNAVAILABLE, false),
        }
    }

    /// One word for the log's `outcome`.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Directory(LookupError::NotFound) => "unknown-user",
            Self::Directory(LookupError::Ambiguous(_)) | Self::UnknownIsland(_) => "ambiguous-route",
            Self::Directory(LookupError::Unavailable(_)) => "directory-unavailable",
            Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Tls(_)
            | Self::GreetingTimeout
            | Self::ClosedBeforeLogin
            | Self::BeforeLogin(_)
            | Self::ClosedBeforeAnswer
            | Self::AnswerTimeout
            | Self::InsteadOfAnswer(_) => "node-failed",
            Self::Refused(NodeRefusal { kind: RefusalKind::WrongPassword, .. }) => "wrong-password",
            Self::Refused(NodeRefusal { kind: RefusalKind::Temporary, .. }) => "node-unavailable",
            Self::Refused(NodeRefusal { kind: RefusalKind::InUse, .. }) => "in-use",
            Self::Refused(NodeRefusal { kind: RefusalKind::Other, .. }) => "refused",
            Self::LoginTimeout => "timeout",
        }
    }

    /// The response code of a node's refusal.
    pub(super) fn code(&self) -> Option<&'static str> {
        if let Self::Refused(refusal) = self { refusal.code() } else { None }
    }

    /// Whether the operator should act: data or configuration are wrong, or something is down.
    pub(super) fn is_operators_concern(&self) -> bool {
        !matches!(self, Self::Directory(LookupError::NotFound) | Self::Refused(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: RefusalKind) -> Failure {
        Failure::Refused(NodeRefusal { kind, text: b"no".to_vec() })
    }

    #[test]
    fn an_unknown_user_and_a_wrong_password_wait_and_count_alike_and_nothing_else_does() {
        let guesses = [Failure::Directory(LookupError::NotFound), refused(RefusalKind::WrongPassword)];
        assert!(guesses.iter().all(|failure| failure.verdict().guess && !failure.verdict().next_node));
        let no_guesses = [
            Failure::Directory(LookupError::Unavailable("down".into())),
            Failure::Directory(LookupError::Ambiguous("two".into())),
            Failure::UnknownIsland(IslandName::new("x")),
            Failure::ConnectTimeout,
            Failure::AnswerTimeout,
            Failure::LoginTimeout,
            refused(RefusalKind::Temporary),
            refused(RefusalKind::InUse),
            refused(RefusalKind::Other),
        ];
        assert!(no_guesses.iter().all(|failure| !failure.verdict().guess));
    }

    #[test]
    fn what_is_not_about_the_password_never_sounds_like_it() {
        for failure in [
            Failure::Directory(LookupError::Unavailable("down".into())),
            Failure::Directory(LookupError::Ambiguous("two".into())),
            Failure::UnknownIsland(IslandName::new("x")),
            Failure::ConnectTimeout,
            Failure::GreetingTimeout,
            Failure::ClosedBeforeLogin,
            Failure::BeforeLogin(NodeFault::Bad),
            Failure::ClosedBeforeAnswer,
            Failure::AnswerTimeout,
            Failure::InsteadOfAnswer(NodeFault::Bad),
            Failure::InsteadOfAnswer(NodeFault::Referral),
            Failure::LoginTimeout,
        ] {
            let answer = failure.verdict().answer;
            assert!(matches!(answer, Answer::Ours(Refusal::Unavailable | Refusal::ServerBug)), "{failure}");
        }
    }

    #[test]
    fn the_next_node_is_tried_unless_the_first_one_has_decided_or_we_were_wrong() {
        let next = |failure: Failure| failure.verdict().next_node;
        assert!(
            next(Failure::ConnectTimeout) && next(Failure::ClosedBeforeAnswer) && next(refused(RefusalKind::Temporary))
        );
        assert!(next(Failure::BeforeLogin(NodeFault::Bad)) && next(Failure::InsteadOfAnswer(NodeFault::Bye)));
        assert!(!next(refused(RefusalKind::WrongPassword)) && !next(refused(RefusalKind::Other)));
        assert!(!next(Failure::InsteadOfAnswer(NodeFault::Bad)) && !next(Failure::LoginTimeout));
    }
}
