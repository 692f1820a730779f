//! The last failures, for the operator who looks at the status page at three in the morning.
//!
//! Of a fixed size, whatever strangers do: who guesses passwords pushes out other guesses, and never what is the site's own
//! trouble. The same once more is counted, not listed again. Nothing here holds a secret, or an octet of a peer but for
//! the user's name, which whoever shows it escapes.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::end::{End, Who, Why};
use super::failure::Failure;
use crate::names::{IslandName, NodeName, Protocol, SessionId, UserName};
use crate::proto::RefusalKind;

/// Failures that are kept of each kind.
pub const KEPT: usize = 50;

/// A client that goes away earlier says nothing of how mailferry or a node did: a stranger can do so as often as he likes.
const IMPATIENT: Duration = Duration::from_secs(3);

/// Octets of a reason: it may name each node of an island.
const REASON_MAX: usize = 300;

/// The last failures, newest first.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Goes up with each failure.
    version: u64,
    sites: VecDeque<Failed>,
    clients: VecDeque<Failed>,
}

/// Whose trouble a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A node, the directory or mailferry did not do what it should.
    Site,
    /// A wrong password, or a client that is none.
    Client,
}

/// A login that failed, or a session that ended as it should not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// When it happened last.
    pub last: SystemTime,
    /// When it happened first.
    pub first: SystemTime,
    /// How often in between, these two counted.
    pub times: u64,
    /// Whose trouble it is.
    pub whose: Whose,
    /// The last session that had it.
    pub session: SessionId,
    /// Who wanted to log in, as far as it is known.
    pub user: Option<UserName>,
    /// Where the client is.
    pub client: IpAddr,
    /// What was spoken.
    pub protocol: Protocol,
    /// The stage in which it happened, in the word of the end record.
    pub stage: String,
    /// One word for it: the `outcome` of a login, or the `why` of an end.
    pub why: String,
    /// In more words, as the log has them; 300 octets at most.
    pub reason: Option<String>,
    /// Where it was to go, as far as it is known.
    pub island: Option<IslandName>,
    /// The node that was tried last.
    pub node: Option<NodeName>,
}

impl Failed {
    /// Whether it is the same trouble once more.
    fn is_as(&self, other: &Self) -> bool {
        self.user == other.user
            && self.client == other.client
            && self.protocol == other.protocol
            && self.stage == other.stage
            && self.why == other.why
            && self.island == other.island
            && self.node == other.node
    }
}

impl Recent {
    /// Goes up with each failure: as long as it is the same, so are they.
    pub fn version(&self) -> u64 {
        self.kept().version
    }

    /// All of them, newest first, and their version.
    pub fn all(&self) -> (u64, Vec<Failed>) {
        let kept = self.kept();
        let mut all: Vec<Failed> = kept.sites.iter().chain(&kept.clients).cloned().collect();
        let version = kept.version;
        drop(kept);
        all.sort_by_key(|failed| std::cmp::Reverse(failed.last));
        (version, all)
    }

    pub(super) fn put(&self, mut failed: Failed) {
        if let Some(reason) = &mut failed.reason {
            reason.truncate(reason.floor_char_boundary(REASON_MAX));
        }
        let mut kept = self.kept();
        kept.version += 1;
        let ring = match failed.whose {
            Whose::Site => &mut kept.sites,
            Whose::Client => &mut kept.clients,
        };
        let same = ring.iter().position(|other| other.is_as(&failed));
        if let Some(before) = same.and_then(|place| ring.remove(place)) {
            failed.times = before.times.saturating_add(failed.times);
            failed.first = before.first;
        }
        ring.truncate(KEPT - 1);
        ring.push_front(failed);
    }

    /// No method can panic between two changes that belong together.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Whose {
    /// Of a login that failed after so long a time.
    #[warn(clippy::wildcard_enum_match_arm)]
    pub(super) fn login(failure: &Failure, took: Duration) -> Self {
        if failure.verdict().guess {
            return Self::Client;
        }
        match failure {
            Failure::TooManyFailures | Failure::TooManySessions => Self::Client,
            // Who waits long enough for a directory or a node goes away.
            Failure::Abandoned => {
                if took < IMPATIENT {
                    Self::Client
                } else {
                    Self::Site
                }
            }
            Failure::Refused(refusal) => match refusal.kind {
                RefusalKind::WrongPassword | RefusalKind::InUse | RefusalKind::Other => Self::Client,
                RefusalKind::Temporary => Self::Site,
            },
            // An unknown user or a forbidden name is a guess.
            Failure::Directory(_)
            | Failure::ForbiddenName
            | Failure::UnknownIsland(_)
            | Failure::Loop
            | Failure::Held
            | Failure::NoNode
            | Failure::NotAdmitted
            | Failure::OurOwn(_)
            | Failure::Connect(_)
            | Failure::ConnectTimeout
            | Failure::Tls(_)
            | Failure::GreetingTimeout
            | Failure::Silent
            | Failure::ClosedBeforeLogin
            | Failure::BeforeLogin(_)
            | Failure::ClosedBeforeAnswer
            | Failure::AnswerTimeout
            | Failure::OutOfTime
            | Failure::WentDown
            | Failure::InsteadOfAnswer(_)
            | Failure::LoginTimeout => Self::Site,
        }
    }

    /// Of a session's end; `None`: it ended as sessions do.
    pub(super) fn end(end: &End) -> Option<Self> {
        match (end.why, end.who) {
            (Why::Closed | Why::Logout | Why::Shutdown | Why::Drained | Why::Kicked, _) => None,
            // Clients lose their network all day.
            (Why::Broken, Who::Client) => None,
            (Why::Broken, Who::Node | Who::Proxy | Who::Operator) => Some(Self::Site),
            (Why::BadProxyHeader | Why::Defect, _) => Some(Self::Site),
            (
                Why::TlsFailed
                | Why::Timeout
                // Whoever holds many connections open causes it.
                | Why::TooManyConnections
                | Why::BadCommands
                | Why::RefusedLogins
                | Why::TooLong
                | Why::OtherProtocol,
                _,
            ) => Some(Self::Client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(whose: Whose, user: &str, at: u64) -> Failed {
        let last = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        Failed {
            last,
            first: last,
            times: 1,
            whose,
            session: SessionId { run: 1, number: at },
            user: UserName::new(user.as_bytes()),
            client: IpAddr::from([192, 0, 2, 1]),
            protocol: Protocol::Imap,
            stage: "replay".to_owned(),
            why: "node-failed".to_owned(),
            reason: None,
            island: Some(IslandName::new("a")),
            node: None,
        }
    }

    #[test]
    fn guesses_push_out_guesses_and_never_the_sites_trouble() {
        let recent = Recent::default();
        recent.put(failed(Whose::Site, "alice", 1));
        for at in 2..1000 {
            recent.put(failed(Whose::Client, &format!("guess{at}"), at));
        }
        let (version, all) = recent.all();
        assert_eq!((version, all.len()), (999, KEPT + 1));
        assert_eq!((all[0].session.number, all[KEPT].session.number), (999, 1), "newest first");
    }

    #[test]
    fn the_same_once_more_is_counted_and_comes_to_the_front() {
        let recent = Recent::default();
        for at in 1..=3 {
            recent.put(failed(Whose::Site, "alice", 10 * at));
            recent.put(Failed { node: Some(NodeName::new("left")), ..failed(Whose::Site, "alice", 10 * at + 1) });
        }
        recent.put(failed(Whose::Site, "alice", 100));
        let (_, all) = recent.all();
        let told: Vec<_> = all.iter().map(|it| (it.session.number, it.times, it.first)).collect();
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        assert_eq!(told, [(100, 4, at(10)), (31, 3, at(11))]);
    }

    #[test]
    fn a_reason_has_a_longest_length() {
        let recent = Recent::default();
        recent.put(Failed { reason: Some("ä".repeat(1000)), ..failed(Whose::Site, "alice", 1) });
        let (_, all) = recent.all();
        assert_eq!(all[0].reason.as_ref().map(String::len), Some(REASON_MAX));
    }

    #[test]
    fn what_clients_do_all_day_is_no_failure() {
        for (who, why, expected) in [
            (Who::Client, Why::Closed, None),
            (Who::Client, Why::Broken, None),
            (Who::Node, Why::Closed, None),
            (Who::Operator, Why::Kicked, None),
            (Who::Node, Why::Broken, Some(Whose::Site)),
            (Who::Proxy, Why::Defect, Some(Whose::Site)),
            (Who::Proxy, Why::Timeout, Some(Whose::Client)),
            (Who::Proxy, Why::TooManyConnections, Some(Whose::Client)),
        ] {
            assert_eq!(Whose::end(&End::new(who, why)), expected, "{who} {why}");
        }
    }

    #[test]
    fn what_strangers_can_cause_at_will_is_not_the_sites_trouble() {
        for (failure, seconds, expected) in [
            (Failure::NoNode, 0, Whose::Site),
            (Failure::ForbiddenName, 60, Whose::Client),
            (Failure::TooManyFailures, 60, Whose::Client),
            (Failure::Abandoned, 0, Whose::Client),
            (Failure::Abandoned, 2, Whose::Client),
            (Failure::Abandoned, 3, Whose::Site),
        ] {
            assert_eq!(Whose::login(&failure, Duration::from_secs(seconds)), expected, "{failure} {seconds}");
        }
    }
}
