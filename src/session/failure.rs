//! Why a login did not succeed, and the one table that says what follows from it.
//!
//! [`Failure::verdict`] is exhaustive: a new failure does not compile until somebody has decided whether the next node
//! is tried, whether the login waits for a node to return, what it says of the node's health, what the client hears, and
//! whether it counts against the client. No wildcard arm, ever. docs/failure-modes.md shows the table; a test prints it.

#![warn(clippy::wildcard_enum_match_arm)]

use std::io;

use tokio::time::Instant;

use crate::directory::LookupError;
use crate::limits::Limits;
use crate::metrics::{Outcome, Word as _};
use crate::names::IslandName;
use crate::proto::{Credentials, NodeFault, NodeRefusal, Refusal, RefusalKind};

/// Longest token, in octets, at which a node's failure is held against the node. Dovecot hangs up without a word on a
/// response of more than 8 KiB of base64, and a token need not be valid to be long: with two of them and the names of two
/// users a stranger could take every node down.
const TOKEN_HARMLESS_MAX: usize = 5 * 1024;

/// Why one login, or one node's try at it, did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The directory has no route, for whichever of its three reasons.
    #[error("{0}")]
    Directory(#[from] LookupError),
    /// The directory named an island that the configuration does not have.
    #[error("the directory says island \"{0}\", which is not configured")]
    UnknownIsland(IslandName),
    /// The site has no such names.
    #[error("the site's rules allow no such name")]
    ForbiddenName,
    /// Too many logins of the client's network were refused.
    #[error("too many failed logins of the client's network")]
    TooManyFailures,
    /// A node would let the user in, who has as many sessions as one may.
    #[error("too many sessions of the user")]
    TooManySessions,
    /// The operator holds the user, and the login has waited as long as it may, or too many wait, or mailferry stops.
    #[error("the operator holds the user")]
    Held,
    /// The login has come through too many proxies.
    #[error("the login goes in a circle from proxy to proxy")]
    Loop,
    /// Nobody is left to ask: every node is down or taken out by the operator.
    #[error("no node of the island is in service")]
    NoNode,
    /// The node's queue is longer than the login may wait.
    #[error("too many logins wait for the node")]
    NotAdmitted,
    /// This process or machine lacks something; it says nothing of the node.
    #[error("cannot connect from here: {0}")]
    OurOwn(io::Error),
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
    /// The login's patience was over before the node was ready for it, which may need longer.
    #[error("no greeting while the login could wait")]
    Silent,
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
    /// The node did not answer in the little time that the login had left.
    #[error("no time left for an answer to the login")]
    OutOfTime,
    /// Probes or other logins found the node down while this login waited for it.
    #[error("the node went down")]
    WentDown,
    /// The node misbehaved when it was to answer the login.
    #[error("{0}")]
    InsteadOfAnswer(NodeFault),
    /// The node refused the login in its own words.
    #[error("refused by the node")]
    Refused(NodeRefusal),
    /// The time for the whole login phase ran out.
    #[error("the login took too long")]
    LoginTimeout,
    /// The client went away, or was told goodbye because mailferry stops, before there was an answer.
    #[error("the client is gone")]
    Abandoned,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether the same login may be given to the next node of the plan.
    pub(crate) next_node: bool,
    /// Whether, with no node left, the login waits for one (`patience`) before the client hears anything.
    pub(crate) waits: bool,
    /// Whether a route from the cache is doubted when the login has failed for good: the user may have been moved.
    pub(crate) ask_again: bool,
    /// What it says of the node's health.
    pub(crate) mark: Mark,
    /// What the client hears when no node is left.
    pub(crate) answer: Answer,
    /// Whether it looks like a wrong password: delayed, and counted against the connection.
    pub(crate) guess: bool,
}

/// What a failure says of the node's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing.
    None,
    /// It cannot be reached: counts at once.
    Unreachable,
    /// It failed behind the connect and before the login: counts when another client and user see one too.
    NotReady,
    /// It failed at the login: counts likewise, and a probe that ends at the greeting cannot refute it.
    LoginFailed,
    /// It works: it has judged a login.
    Served,
}

/// What the client hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The node's own words.
    Relay,
    /// Ours.
    Ours(Refusal),
    /// Nothing: it is gone, or was told already.
    Told,
}

/// Nothing to be done elsewhere: final.
const FINAL: Verdict = Verdict {
    next_node: false,
    waits: false,
    ask_again: false,
    mark: Mark::None,
    answer: Answer::Ours(Refusal::Unavailable),
    guess: false,
};

/// One node could not do it, the next one may; if none can, the users of the island may have been moved off it.
const NEXT: Verdict = Verdict { next_node: true, waits: true, ask_again: true, ..FINAL };

impl Failure {
    /// The table.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Directory(LookupError::NotFound) => {
                Verdict { answer: Answer::Ours(Refusal::AuthenticationFailed), guess: true, ..FINAL }
            }
            Self::ForbiddenName => {
                Verdict { answer: Answer::Ours(Refusal::AuthenticationFailed), guess: true, ..FINAL }
            }
            Self::TooManyFailures => Verdict { answer: Answer::Ours(Refusal::TooManyFailures), ..FINAL },
            Self::TooManySessions => Verdict { answer: Answer::Ours(Refusal::TooManySessions), ..FINAL },
            Self::Loop => Verdict { answer: Answer::Ours(Refusal::ServerBug), ..FINAL },
            // Never anything that makes a mail client ask its user for a new password.
            Self::Held => FINAL,
            Self::Directory(LookupError::Ambiguous(_) | LookupError::Unavailable(_)) => FINAL,
            Self::UnknownIsland(_) => FINAL,
            // The time was short by our own reckoning, or the node's state is known already.
            Self::NoNode | Self::NotAdmitted | Self::OurOwn(_) | Self::Silent | Self::OutOfTime | Self::WentDown => {
                NEXT
            }
            Self::Connect(_) | Self::ConnectTimeout => Verdict { mark: Mark::Unreachable, ..NEXT },
            Self::Tls(_) | Self::GreetingTimeout | Self::ClosedBeforeLogin => Verdict { mark: Mark::NotReady, ..NEXT },
            // Before the login there was nothing of the user's that could be misunderstood; the node is broken.
            Self::BeforeLogin(NodeFault::Bad) => Verdict { mark: Mark::NotReady, ..NEXT },
            Self::BeforeLogin(fault) | Self::InsteadOfAnswer(fault) => match fault {
                // Our own words were wrong, and would be wrong again: the island's nodes speak one dialect.
                NodeFault::Bad | NodeFault::Inexpressible => {
                    Verdict { answer: Answer::Ours(Refusal::ServerBug), ..FINAL }
                }
                // A stranger can cause it with any token.
                NodeFault::TokenUnwanted => Verdict { waits: false, ask_again: false, ..NEXT },
                NodeFault::Bye
                | NodeFault::IntroductionRefused
                | NodeFault::Preauth
                | NodeFault::Garbage
                | NodeFault::TooLong
                | NodeFault::StartTlsRefused
                | NodeFault::ClearTextInjected
                | NodeFault::NoMechanism
                | NodeFault::RefusedUnseen
                | NodeFault::Referral => {
                    let is_before = matches!(self, Self::BeforeLogin(_));
                    Verdict { mark: if is_before { Mark::NotReady } else { Mark::LoginFailed }, ..NEXT }
                }
            },
            Self::ClosedBeforeAnswer | Self::AnswerTimeout => Verdict { mark: Mark::LoginFailed, ..NEXT },
            Self::Refused(refusal) => {
                let refused = Verdict { ask_again: true, answer: Answer::Relay, ..FINAL };
                match refusal.kind {
                    RefusalKind::WrongPassword => Verdict { mark: Mark::Served, guess: true, ..refused },
                    RefusalKind::Temporary => {
                        Verdict { next_node: true, waits: true, mark: Mark::LoginFailed, ..refused }
                    }
                    // Another device of the user's has it; seconds will not change that.
                    RefusalKind::InUse => Verdict { next_node: true, mark: Mark::Served, ..refused },
                    RefusalKind::Other => Verdict { mark: Mark::Served, ..refused },
                }
            }
            Self::LoginTimeout => FINAL,
            Self::Abandoned => Verdict { answer: Answer::Told, ..FINAL },
        }
    }

    /// What it says of the node's health, when the login was this.
    pub(crate) fn mark(&self, credentials: &Credentials) -> Mark {
        match (self.verdict().mark, credentials) {
            (Mark::LoginFailed, Credentials::Token(_, token)) if token.expose().len() > TOKEN_HARMLESS_MAX => {
                Mark::None
            }
            (mark, _) => mark,
        }
    }

    /// The log's `outcome`, and that of the numbers.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Directory(LookupError::NotFound) => Outcome::UnknownUser,
            Self::ForbiddenName => Outcome::ForbiddenName,
            Self::TooManyFailures => Outcome::TooManyFailures,
            Self::TooManySessions => Outcome::TooManySessions,
            Self::Held => Outcome::Held,
            Self::Loop => Outcome::Loop,
            Self::Directory(LookupError::Ambiguous(_)) | Self::UnknownIsland(_) => Outcome::AmbiguousRoute,
            Self::Directory(LookupError::Unavailable(_)) => Outcome::DirectoryUnavailable,
            Self::NoNode
            | Self::NotAdmitted
            | Self::OurOwn(_)
            | Self::Silent
            | Self::OutOfTime
            | Self::WentDown
            | Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Tls(_)
            | Self::GreetingTimeout
            | Self::ClosedBeforeLogin
            | Self::BeforeLogin(_)
            | Self::ClosedBeforeAnswer
            | Self::AnswerTimeout
            | Self::InsteadOfAnswer(_) => Outcome::NodeFailed,
            Self::Refused(NodeRefusal { kind: RefusalKind::WrongPassword, .. }) => Outcome::WrongPassword,
            Self::Refused(NodeRefusal { kind: RefusalKind::Temporary, .. }) => Outcome::NodeUnavailable,
            Self::Refused(NodeRefusal { kind: RefusalKind::InUse, .. }) => Outcome::InUse,
            Self::Refused(NodeRefusal { kind: RefusalKind::Other, .. }) => Outcome::Refused,
            Self::LoginTimeout => Outcome::Timeout,
            Self::Abandoned => Outcome::Abandoned,
        }
    }

    /// The response code of a node's refusal.
    pub(crate) fn code(&self) -> Option<&'static str> {
        if let Self::Refused(refusal) = self { refusal.code() } else { None }
    }

    /// Whether its line in the log is to be a warning, and how many were not for which it was due. Strangers can cause
    /// many of these, and every login does while something is down: a few of each kind are heard as well as all.
    pub(crate) fn alarm(&self, limits: &Limits) -> Option<u64> {
        let is_due = self.is_operators_concern();
        is_due.then(|| limits.alarm(self.outcome().word(), Instant::now().into_std())).flatten()
    }

    /// Whether the operator should act: data or configuration are wrong, or something is down.
    fn is_operators_concern(&self) -> bool {
        !matches!(
            self,
            Self::Directory(LookupError::NotFound)
                | Self::ForbiddenName
                | Self::TooManyFailures
                | Self::TooManySessions
                | Self::Held
                | Self::Refused(_)
                | Self::Abandoned
        )
    }
}

#[cfg(test)]
mod tests;
