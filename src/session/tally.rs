//! What is counted of all sessions together, and the clock of a login's steps.
//!
//! What belongs to an island or a node is counted there, by `routing`. Nothing here takes more than a few atomic
//! additions.

use std::time::Duration;

use tokio::time::Instant;

use super::end::{End, Who, Why};
use crate::directory::{Found, Located, LookupError};
use crate::metrics::{ByWord, Counter, Histogram, Island, Logins, Lookup, Stage, Word};
use crate::names::Protocol;

/// Of all sessions, as long as the process lives.
#[derive(Default)]
pub struct Tally {
    /// Logins for which no island is known.
    pub logins: Logins,
    /// TLS handshakes with clients.
    pub handshakes: ByWord<Protocol, Histogram>,
    /// Look-ups of logins, the cache included.
    pub lookups: ByWord<Lookup, Histogram>,
    /// Connections of balancers that only looked.
    pub looks: ByWord<Protocol, Counter>,
    #[expect(clippy::type_complexity, reason = "a level for each label, and nothing else")]
    ends: ByWord<Protocol, ByWord<Who, ByWord<Stage, ByWord<Why, Counter>>>>,
}

impl Tally {
    /// The directory has answered a login, whatever it said, or its cache has.
    pub(super) fn looked_up(&self, answer: &Result<Located, LookupError>, took: Duration) {
        let lookup = match answer {
            Ok(Located { found: Found::Asked(_), .. }) => Lookup::Asked,
            Ok(Located { found: Found::Cached { .. }, .. }) => Lookup::Cached,
            Ok(Located { found: Found::Stale { .. }, .. }) => Lookup::Stale,
            Err(LookupError::NotFound) => Lookup::UnknownUser,
            Err(LookupError::Ambiguous(_)) => Lookup::AmbiguousRoute,
            Err(LookupError::Unavailable(_)) => Lookup::DirectoryUnavailable,
        };
        self.lookups.of(lookup).observe(took);
    }

    /// A session is over.
    pub(super) fn ended(&self, protocol: Protocol, stage: Stage, end: &End) {
        self.ends.of(protocol).of(end.who).of(stage).of(end.why).count();
    }

    /// All ends that there were: protocol, who, stage, why.
    pub fn ends(&self) -> Vec<([&'static str; 4], u64)> {
        let mut ends = Vec::new();
        for (protocol, of_protocol) in self.ends.iter() {
            for (who, of_who) in of_protocol.iter() {
                for (stage, of_stage) in of_who.iter() {
                    let each = of_stage.iter().map(|(why, count)| (why.word(), count.get())).filter(|(_, it)| *it > 0);
                    ends.extend(each.map(|(why, count)| ([protocol.word(), who.word(), stage.word(), why], count)));
                }
            }
        }
        ends
    }

    /// A step is over. Those of a login belong to its island.
    pub(super) fn took(&self, protocol: Protocol, island: Option<&Island>, step: Step, took: Duration) {
        let histogram = match step {
            Step::Handshake => Some(self.handshakes.of(protocol)),
            Step::Connect => island.map(|island| &island.connect),
            Step::Replay => island.map(|island| &island.replay),
            Step::Wait => island.map(|island| &island.waits),
        };
        histogram.into_iter().for_each(|histogram| histogram.observe(took));
    }
}

/// What takes its time before the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The TLS handshake with the client.
    Handshake,
    /// Nodes are dialled.
    Connect,
    /// A node judges the login.
    Replay,
    /// The login waits for a node to return.
    Wait,
}

impl Step {
    /// Which one begins with a stage.
    pub(super) fn of(stage: Stage) -> Option<Self> {
        match stage {
            Stage::Tls => Some(Self::Handshake),
            Stage::Connect => Some(Self::Connect),
            Stage::Replay => Some(Self::Replay),
            Stage::Login | Stage::Directory | Stage::Relay => None,
        }
    }
}

/// One step at a time. The clock is read only where one begins or ends.
#[derive(Default)]
pub(super) struct Stopwatch(Option<(Step, Instant)>);

impl Stopwatch {
    /// Which one runs.
    pub(super) fn runs(&self) -> Option<Step> {
        self.0.map(|(step, _)| step)
    }

    /// Another step begins, or none. Returns the one that is over.
    pub(super) fn turn(&mut self, next: Option<Step>) -> Option<(Step, Duration)> {
        if next.is_none() && self.0.is_none() {
            return None;
        }
        let now = Instant::now();
        let over = std::mem::replace(&mut self.0, next.map(|step| (step, now)));
        over.map(|(step, began)| (step, now.saturating_duration_since(began)))
    }
}
