//! What is known of one node's health for one protocol: in service → suspect → down → probation → in service.
//!
//! Logins and probes send [`Signal`]s; [`Health::signal`] is the whole machine. It is pure, `now` is an argument.
//!
//! Three rules shape it. A failure behind the connect may be one client's own fault (a banned address, a broken
//! mailbox), so it counts only when another address and another user have seen one too. A probe that ends at the
//! greeting says nothing of logins, so a node that went down over logins is brought back by a login: one at a time, as a
//! trial. And a login that was served is the best proof there is: it brings a node back at once, wherever it was.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::island::{FailBack, Probe};
use crate::names::UserName;

/// How long the first witness of a failure waits for a second one.
const WITNESS_KEPT: Duration = Duration::from_secs(60);

/// How long a node is only called slow, and not suspected for it, after a suspicion was refuted: some nodes are always
/// slower than the island's `hedge`.
const SLOWNESS_FORGIVEN: Duration = Duration::from_secs(60);

/// The longest pause between two trials of a node that keeps failing them.
const TRIAL_PAUSE_MAX: Duration = Duration::from_secs(60);

/// The states of a node, for one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It gets logins.
    InService,
    /// Something failed. If it was about reaching it, it is asked last until `rise` probes or logins in a row succeed.
    Suspect,
    /// It failed too often in a row. Only probes dial it, unless all nodes are down.
    Down,
    /// A probe passed after it was down; more must pass before it gets logins.
    Probation,
}

/// What somebody has seen of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It refused the connection, or there was none in time.
    Unreachable,
    /// It took too long, so that somebody went to the next node or keeps waiting.
    Slow(Witness),
    /// It failed behind the connect, before there was a login.
    NotReady(Witness),
    /// It failed a login.
    LoginFailed(Witness),
    /// It has not answered a login for so long that somebody doubts that it will.
    Unanswered {
        /// Whose.
        witness: Witness,
        /// When it got the login. If it has judged another one since, it is only slow with this one.
        sent: Instant,
    },
    /// It judged a login, whichever way.
    Served,
    /// A probe failed.
    ProbeFailed,
    /// A probe passed.
    ProbePassed {
        /// Whether the probe has logged in.
        logged_in: bool,
    },
    /// Sessions on it ended in a way that may mean nothing; a probe should look.
    Doubt,
}

/// For whom a login failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The client's address.
    pub client: IpAddr,
    /// Who wanted to log in.
    pub user: UserName,
}

/// One node's health for one protocol.
#[derive(Clone, Debug)]
pub struct Health {
    state: State,
    /// When it entered the state.
    since: Instant,
    /// Counted failures in a row.
    failures: u32,
    /// Passed probes in a row, where they are counted.
    passes: u32,
    /// Whether the failures were about logins, of which a probe may know nothing.
    over_logins: bool,
    witness: Option<(Witness, Instant)>,
    forgiven_until: Option<Instant>,
    /// When it judged a login, and when a probe failed, the last time.
    served: Option<Instant>,
    probe_failed: Option<Instant>,
    /// Whether a login is finding out if the node serves again.
    on_trial: bool,
    /// Until when it is left alone after a trial that failed, and whose that was.
    no_trial_until: Option<Instant>,
    failed_trial_of: Option<UserName>,
    failed_trials: u32,
    /// When it returned from being down; forgotten when it has got its users back.
    returned: Option<Instant>,
}

/// What a signal led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The state before, if it changed.
    pub was: Option<State>,
    /// Whether a probe should look soon.
    pub probe: bool,
}

impl Health {
    /// A node of which nothing is known is in service: mailferry starts at once.
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::InService,
            since: now,
            failures: 0,
            passes: 0,
            over_logins: false,
            witness: None,
            forgiven_until: None,
            served: None,
            probe_failed: None,
            on_trial: false,
            no_trial_until: None,
            failed_trial_of: None,
            failed_trials: 0,
            returned: None,
        }
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether other nodes should be asked first although it is not down.
    pub fn is_asked_last(&self) -> bool {
        self.state == State::Suspect && !self.over_logins
    }

    /// Whether it has returned and does not have its users back yet.
    pub fn is_held_back(&self, fail_back: FailBack, now: Instant) -> bool {
        match (self.returned, fail_back) {
            (None, _) | (Some(_), FailBack::Now) => false,
            (Some(returned), FailBack::After(time)) => now.saturating_duration_since(returned) < time,
            (Some(_), FailBack::Manual) => true,
        }
    }

    /// It gets its users back, whatever `fail_back` says: the operator wants it, or no other node has them.
    pub fn release(&mut self) {
        self.returned = None;
    }

    /// Whether a login of this user should find out if it serves again. Not the one whose trial failed last: it may be
    /// the mailbox that is broken.
    pub fn is_trial_due(&self, user: &UserName, probe: &Probe, now: Instant) -> bool {
        self.state == State::Probation
            && self.passes >= probe.rise
            && !self.on_trial
            && self.failed_trial_of.as_ref() != Some(user)
            && self.no_trial_until.is_none_or(|until| until <= now)
    }

    /// A login begins to find out. Whoever hears yes is the only one, until [`Self::end_trial`].
    pub fn begin_trial(&mut self) -> bool {
        !std::mem::replace(&mut self.on_trial, true)
    }

    /// The trial is over, or nothing came of it.
    pub fn end_trial(&mut self) {
        self.on_trial = false;
    }

    /// Whether a probe has failed since then.
    pub fn has_failed_probe_since(&self, then: Instant) -> bool {
        self.probe_failed.is_some_and(|failed| failed >= then)
    }

    /// Takes one signal.
    pub fn signal(&mut self, signal: Signal, probe: &Probe, now: Instant) -> Outcome {
        let before = self.state;
        let wants_probe = match signal {
            Signal::Unreachable => {
                self.fail(false, probe, now);
                true
            }
            Signal::NotReady(witness) => {
                if self.has_second_witness(witness, now) {
                    self.fail(false, probe, now);
                }
                true
            }
            // A wrong password may be answered late on purpose, and others are served meanwhile.
            Signal::Unanswered { sent, .. } if self.served.is_some_and(|served| served >= sent) => true,
            Signal::LoginFailed(witness) | Signal::Unanswered { witness, .. } => {
                if self.state == State::Probation {
                    // It can be reached, and is not back. Whose fault this one is will be seen at the next trial.
                    self.put_trials_off(&witness, probe, now);
                } else if self.has_second_witness(witness, now) {
                    self.fail(true, probe, now);
                }
                true
            }
            Signal::Slow(witness) => {
                let is_forgiven = self.forgiven_until.is_some_and(|until| now < until);
                if self.state == State::InService && !is_forgiven && self.has_second_witness(witness, now) {
                    self.passes = 0;
                    self.enter(State::Suspect, now);
                }
                true
            }
            Signal::ProbeFailed => {
                self.probe_failed = Some(now);
                self.fail(false, probe, now);
                false
            }
            Signal::Served => {
                self.served = Some(now);
                self.serve(probe, now);
                false
            }
            Signal::ProbePassed { logged_in } => {
                self.pass(logged_in, probe, now);
                false
            }
            Signal::Doubt => true,
        };
        Outcome { was: (before != self.state).then_some(before), probe: wants_probe }
    }

    /// A failure that counts.
    fn fail(&mut self, over_logins: bool, probe: &Probe, now: Instant) {
        self.passes = 0;
        match self.state {
            // What was under way when it went down adds nothing.
            State::Down => {}
            State::Probation => self.enter(State::Down, now),
            State::InService | State::Suspect => {
                self.failures = self.failures.saturating_add(1);
                self.over_logins |= over_logins;
                self.enter(if self.failures >= probe.fall { State::Down } else { State::Suspect }, now);
            }
        }
    }

    /// Another trial has failed: the next one comes later than the one before did.
    fn put_trials_off(&mut self, witness: &Witness, probe: &Probe, now: Instant) {
        if self.no_trial_until.is_some_and(|until| now < until) {
            return;
        }
        self.failed_trial_of = Some(witness.user.clone());
        self.failed_trials = self.failed_trials.saturating_add(1);
        let pause = probe.interval.saturating_mul(1 << self.failed_trials.min(16)).min(TRIAL_PAUSE_MAX);
        self.no_trial_until = Some(now + pause);
    }

    /// A login was served. No better proof for a node that was down; one that fails every second login stays suspect.
    fn serve(&mut self, probe: &Probe, now: Instant) {
        self.failures = 0;
        self.passes = self.passes.saturating_add(1);
        if self.state != State::Suspect || self.passes >= probe.rise {
            self.recover(now);
        }
    }

    fn recover(&mut self, now: Instant) {
        match self.state {
            State::Down | State::Probation => self.returned = Some(now),
            State::Suspect => self.forgiven_until = Some(now + SLOWNESS_FORGIVEN),
            State::InService => {}
        }
        self.witness = None;
        (self.failures, self.passes, self.failed_trials) = (0, 0, 0);
        (self.no_trial_until, self.failed_trial_of) = (None, None);
        self.over_logins = false;
        self.enter(State::InService, now);
    }

    fn pass(&mut self, logged_in: bool, probe: &Probe, now: Instant) {
        let is_proof = logged_in || !self.over_logins;
        self.passes = self.passes.saturating_add(1);
        if is_proof && matches!(self.state, State::InService | State::Suspect) {
            self.failures = 0;
        }
        match self.state {
            State::Suspect if self.passes >= probe.rise => self.recover(now),
            State::Down | State::Probation if is_proof && self.passes >= probe.rise => self.recover(now),
            State::Down => self.enter(State::Probation, now),
            State::InService | State::Suspect | State::Probation => {}
        }
    }

    fn enter(&mut self, state: State, now: Instant) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }

    /// Whether another address *and* another user have seen a failure lately. If not, this one is remembered.
    fn has_second_witness(&mut self, witness: Witness, now: Instant) -> bool {
        match &self.witness {
            Some((first, at)) if now.saturating_duration_since(*at) < WITNESS_KEPT => {
                first.client != witness.client && first.user != witness.user
            }
            _ => {
                self.witness = Some((witness, now));
                false
            }
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InService => "in service",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Probation => "probation",
        })
    }
}

#[cfg(test)]
mod tests;
