//! The island's nodes, until one has judged the login.
//!
//! A node sees the credentials only after it has greeted over the protection that the configuration demands. They are
//! given to the next node only after the one before has failed for good and its connection is closed. When no node is
//! left, the login waits for one to return.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::Site;
use super::end::Stage;
use super::failure::{Failure, Mark};
use super::greet::fill;
use super::locate::Destination;
use super::origin::Login;
use super::patience::Patience;
use super::race::{News, Ready, race};
use super::record::Record;
use super::signal::tell;
use super::wire::Wire;
use crate::limits::{Limits, UserSeat};
use crate::metrics::{self, Limit};
use crate::names::UserName;
use crate::proto::{LoginRequest, NodeAcceptance, NodeAnswer, NodeHello, NodeLogin, Protocol, Replay, ReplayStep};
use crate::routing::{Candidate, Forward, NodePort, Seat, Signal, Table, Witness};

/// A node that has not answered a login for so long is doubted. Dovecot takes two seconds over a wrong password.
const ANSWER_DOUBT: Duration = Duration::from_secs(3);

/// How long a node that is not in service may take over the login that finds out whether it serves again: as long as the
/// login's patience is, within these limits.
const TEST_TIMEOUT_MIN: Duration = Duration::from_secs(1);
const TEST_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// A node has accepted the login. Only this file can make one, and the relay cannot begin without it.
pub(super) struct LoginAccepted {
    /// The node, and what it said behind its answer.
    pub(super) node: Wire,
    /// Its answer.
    pub(super) acceptance: NodeAcceptance,
    /// Which node it is, and the session as its load.
    pub(super) seat: Seat,
    /// The session as one of its user's.
    pub(super) user_seat: UserSeat,
    _proof: (),
}

/// Tries the island's nodes, and waits for one if there is none. The failure is that of the last node tried.
pub(super) async fn connect(
    site: &Site,
    limits: &Limits,
    destination: &Destination,
    protocol: Protocol,
    login: &Login<'_>,
    record: &mut Record,
) -> Result<LoginAccepted, Failure> {
    let Destination { table, login: user, counted, .. } = destination;
    let mut patience = Patience::new(table);
    let (mut may_guess, mut failure) = (true, Failure::NoNode);
    loop {
        patience.begin_round();
        let plan = table.plan(protocol, user, may_guess, Instant::now().into_std());
        if plan.candidates.iter().all(|candidate| !candidate.reason.is_in_service()) {
            patience.begin();
        }
        if !plan.candidates.is_empty() {
            may_guess = false;
            let mut attempt = Attempt { site, limits, table, user, counted, login, record };
            failure = match attempt.try_each(plan.candidates.into(), &mut patience).await {
                Ok(accepted) => return Ok(accepted),
                Err(failure) => failure,
            };
        }
        if !failure.verdict().waits {
            return Err(failure);
        }
        if patience.would_end() > Instant::now() {
            record.waits();
        }
        if !patience.wait().await {
            return Err(failure);
        }
    }
}

/// One round through a plan.
struct Attempt<'a> {
    site: &'a Site,
    limits: &'a Limits,
    table: &'a Table,
    user: &'a UserName,
    /// See [`Destination::counted`].
    counted: &'a UserName,
    login: &'a Login<'a>,
    record: &'a mut Record,
}

impl Attempt<'_> {
    /// The candidates in order, until one has judged the login.
    async fn try_each(
        &mut self,
        mut candidates: VecDeque<Candidate>,
        patience: &mut Patience,
    ) -> Result<LoginAccepted, Failure> {
        let wants_introduction = self.table.island().forward != Forward::Off;
        let introduction = wants_introduction.then(|| self.login.origin.introduction(self.record.id()));
        let mut last = Failure::NoNode;
        loop {
            self.record.enter(Stage::Connect);
            let (site, table) = (self.site, self.table);
            let ready = race(site, table, introduction.as_ref(), &mut candidates, patience, |news| {
                if let Some(failure) = self.hear(news) {
                    last = failure;
                }
            });
            let Some(ready) = ready.await else { return Err(last) };
            let port = ready.port.clone();
            match self.replay(ready, candidates.len(), patience).await {
                Ok(accepted) => {
                    tell(&port, Signal::Served, &"");
                    port.tally().accepted.count();
                    return Ok(accepted);
                }
                Err(failure) => {
                    let is_final = !failure.verdict().next_node;
                    last = self.failed(&port, failure);
                    if is_final {
                        return Err(last);
                    }
                }
            }
        }
    }

    /// What a race says. Returns a failure.
    fn hear(&mut self, news: News) -> Option<Failure> {
        match news {
            News::Dialled { is_hedge } => {
                self.record.dialling(is_hedge);
                None
            }
            News::Slow(port) => {
                tell(&port, Signal::Slow(self.witness()), &"slow to greet");
                None
            }
            News::Failed(port, failure) => Some(self.failed(&port, failure)),
        }
    }

    fn witness(&self) -> Witness {
        NodePort::witness(self.login.origin.client.ip(), self.user)
    }

    /// Tells health and the record of a node's failure.
    fn failed(&mut self, port: &NodePort, failure: Failure) -> Failure {
        match failure.mark(&self.login.request.credentials) {
            Mark::None => {}
            Mark::Unreachable => tell(port, Signal::Unreachable, &failure),
            Mark::NotReady => tell(port, Signal::NotReady(self.witness()), &failure),
            Mark::LoginFailed => tell(port, Signal::LoginFailed(self.witness()), &failure),
            Mark::Served => tell(port, Signal::Served, &""),
        }
        count(port.tally(), &failure);
        if failure.verdict().next_node {
            self.record.node_failed(port.node(), &failure);
        }
        if matches!(failure, Failure::NotAdmitted) {
            self.limits.tally().hits.of(Limit::MaxLoginRate).count();
        }
        failure
    }

    /// How long a node may take over the login, and what it is if it takes longer. What is left of the login phase is
    /// shared with the nodes behind it; that may be too little for the best of nodes.
    fn share(&self, now: Instant, behind: usize, test_until: Option<Instant>) -> (Duration, Failure) {
        let left = self.login.deadline.saturating_duration_since(now);
        let share = left / u32::try_from(behind + 1).unwrap_or(u32::MAX);
        let limit = self.table.island().login_timeout;
        let (limit, time) = match test_until {
            None => (limit, share),
            Some(until) => {
                let patience = until.saturating_duration_since(now);
                (limit.min(TEST_TIMEOUT_MAX), share.min(patience.max(TEST_TIMEOUT_MIN)))
            }
        };
        if limit <= time { (limit, Failure::AnswerTimeout) } else { (time, Failure::OutOfTime) }
    }

    /// Gives the login to a node that is ready for it, and waits for its decision. `behind`: nodes that are left.
    async fn replay(&mut self, ready: Ready, behind: usize, patience: &Patience) -> Result<LoginAccepted, Failure> {
        let Ready { port, mut wire, hello, seat, is_test, trial: _trial } = ready;
        let sent = Instant::now();
        let (limit, late) = self.share(sent, behind, is_test.then(|| patience.would_end()));
        self.record.asking(port.node());
        self.record.enter(Stage::Replay);
        let LoginRequest { master, credentials, .. } = self.login.request;
        let login = NodeLogin { user: self.user.clone(), master: master.clone(), credentials: credentials.clone() };
        let mut replay = hello.replay(login).map_err(Failure::BeforeLogin)?;
        let answer = tokio::select! {
            biased;
            judged = judge(&mut wire, &mut replay) => judged?,
            // It may have gone down in the moment in which it greeted.
            () = port.is_down(), if !is_test => return Err(Failure::WentDown),
            is_down = is_silent(&port, || self.witness(), sent, limit) => {
                if is_down {
                    return Err(Failure::WentDown);
                }
                if is_test {
                    // However little the time was, the next one that finds out comes later.
                    tell(&port, Signal::Unanswered { witness: self.witness(), sent: sent.into_std() }, &late);
                }
                return Err(late);
            }
        };
        match answer {
            NodeAnswer::Accepted(acceptance) => {
                port.hear_behind(&acceptance);
                // Only now: whoever does not know the password must not learn how many sessions there are, nor use
                // them up.
                let (island, client) = (&self.table.island().name, self.login.origin.client.ip());
                let Ok(user_seat) = self.limits.seat(island, self.counted, client) else {
                    wire.leave(NodeHello::farewell(port.protocol)).await;
                    return Err(Failure::TooManySessions);
                };
                Ok(LoginAccepted { node: wire, acceptance, seat, user_seat, _proof: () })
            }
            NodeAnswer::Refused(refusal) => Err(Failure::Refused(refusal)),
        }
    }
}

/// Counts a try at the node that came to nothing, if the node had anything to do with that.
fn count(tally: &metrics::NodePort, failure: &Failure) {
    if matches!(failure, Failure::OurOwn(_) | Failure::NotAdmitted) {
        return;
    }
    if failure.verdict().next_node {
        tally.failed.count();
    } else if matches!(failure, Failure::TooManySessions) {
        tally.accepted.count();
    } else if matches!(failure, Failure::Refused(_)) {
        tally.refused.count();
    }
}

/// Talks until the node has decided.
async fn judge(wire: &mut Wire, replay: &mut Replay) -> Result<NodeAnswer, Failure> {
    loop {
        match replay.step(&mut wire.input).map_err(Failure::InsteadOfAnswer)? {
            ReplayStep::Wait => fill(wire, Failure::ClosedBeforeAnswer).await?,
            ReplayStep::Send(octets) => {
                wire.send(octets.expose()).await.map_err(|_| Failure::ClosedBeforeAnswer)?;
            }
            ReplayStep::Answer(answer) => return Ok(answer),
        }
    }
}

/// Returns `true` when the node has been silent for long and a probe finds it silent too. (A DBMail whose database is gone
/// freezes at the login.) `false`: it has been for `limit`. One timer runs at a time, because most nodes answer at once.
async fn is_silent(port: &NodePort, witness: impl Fn() -> Witness, sent: Instant, limit: Duration) -> bool {
    sleep_until(sent + limit.min(ANSWER_DOUBT)).await;
    if limit <= ANSWER_DOUBT {
        return false;
    }
    let since = Instant::now().into_std();
    tell(port, Signal::Unanswered { witness: witness(), sent: sent.into_std() }, &"no answer to logins");
    timeout_at(sent + limit, port.fails_probe_since(since)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::proto::{NodeFault, NodeRefusal, RefusalKind};

    #[test]
    fn a_node_is_counted_for_what_it_did_and_not_for_what_we_lack() {
        let refused = |kind| Failure::Refused(NodeRefusal { kind, text: Vec::new(), challenge: None });
        // Whether it counts as accepted, refused, failed.
        for (failure, expected) in [
            (Failure::OurOwn(io::Error::other("no port is left")), [0, 0, 0]),
            (Failure::NotAdmitted, [0, 0, 0]),
            (Failure::InsteadOfAnswer(NodeFault::Inexpressible), [0, 0, 0]),
            (Failure::TooManySessions, [1, 0, 0]),
            (refused(RefusalKind::WrongPassword), [0, 1, 0]),
            (refused(RefusalKind::Other), [0, 1, 0]),
            (refused(RefusalKind::Temporary), [0, 0, 1]),
            (Failure::ConnectTimeout, [0, 0, 1]),
            (Failure::ClosedBeforeAnswer, [0, 0, 1]),
        ] {
            let tally = metrics::NodePort::default();
            count(&tally, &failure);
            let counted = [&tally.accepted, &tally.refused, &tally.failed].map(metrics::Counter::get);
            assert_eq!(counted, expected, "{failure}");
        }
    }
}
