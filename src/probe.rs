//! Probes: finding out whether a node serves before a login has to. One task for each node and protocol.
//!
//! What is seen goes to the node's health, whose machine decides. A probe must never count against a node what is our
//! own fault or the operator's, must never become a flood, however many clients give cause for one, and must never show
//! a password or what a node said.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;

use crate::drain::Drain;
use crate::names::UserName;
use crate::proto::{CommandStep, NodeAnswer, NodeFault, NodeHello, NodeLogin, RefusalKind, ReplayStep};
use crate::routing::{Check, Island, NodePort, OperatorState, Signal, State};
use crate::secret::{Secret, read_password};
use crate::session::failure::Failure;
use crate::session::greet::{fill, greet};
use crate::session::signal::tell;
use crate::session::wire::Wire;
use crate::session::{Context, Site};

/// The longest time between two probes of a node that is not in service, and between two looks at one in maintenance.
const RESTLESS_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two probes, whoever wants them.
const GAP_MIN: Duration = Duration::from_millis(200);

/// How long a node may take over the goodbye.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest interval with which a node is looked at soon after the start. Whoever sets a longer one wants few probes.
const EARLY_LOOK_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// Within which time after the start that is.
const EARLY_LOOK_MAX: Duration = Duration::from_secs(1);

/// Probes one node for one protocol until the stop signal.
///
/// A first look comes within a second of the start, because clients cannot be told what the nodes can do before each has
/// been heard. The regular probes begin within one interval, as if there had been others before the start: mailferries
/// that start together do not ask together for ever after, and a login that finds the node out of order earlier has it
/// probed at once.
pub async fn watch(context: Arc<Context>, port: NodePort, drain: Drain) {
    let mut watch = Watch { context, port, told: Told::default() };
    tokio::select! {
        () = watch.run() => {}
        () = drain.signalled() => {}
    }
}

/// Whether its first look is over, or is not to be waited for.
pub fn has_looked(port: &NodePort) -> bool {
    let is_looked_at = port.table().island().probe.interval <= EARLY_LOOK_INTERVAL_MAX
        && port.operator_state() != OperatorState::Maintenance;
    let notes = port.notes();
    !is_looked_at || notes.greeted_in.is_some() || notes.reason.is_some() || port.state() != State::InService
}

/// One node, watched for one protocol.
struct Watch {
    context: Arc<Context>,
    port: NodePort,
    told: Told,
}

/// Of which troubles that are not the node's the operator knows, so that each is one line in the log and not one for
/// each probe. Forgotten when the trouble is over.
#[derive(Default)]
struct Told {
    of_file: bool,
    of_refusal: bool,
    of_ourselves: bool,
}

/// What a probe does behind the greeting: [`Check`], with the password.
enum Depth {
    Nothing,
    Command,
    Login(UserName, Secret),
}

/// What a node that passed has shown.
enum Shown {
    /// It answers.
    Answers,
    /// It has judged the login well, or would have.
    Serves,
    /// It has judged the login, or cannot be told it, and the fault is the configuration's.
    Refuses(Failure),
}

impl Watch {
    async fn run(&mut self) {
        let interval = self.island().probe.interval;
        if interval <= EARLY_LOOK_INTERVAL_MAX {
            self.wait(first_pause(interval.min(EARLY_LOOK_MAX), fastrand::f64())).await;
            self.look_unless_in_maintenance().await;
        }
        self.wait(self.pause().min(first_pause(interval, fastrand::f64()))).await;
        loop {
            self.look_unless_in_maintenance().await;
            self.wait(self.pause()).await;
        }
    }

    async fn look_unless_in_maintenance(&mut self) {
        if self.port.operator_state() != OperatorState::Maintenance {
            self.probe().await;
        }
    }

    fn island(&self) -> &Island {
        self.port.table().island()
    }

    /// The time until the next probe is due.
    fn pause(&self) -> Duration {
        let interval = self.island().probe.interval;
        let is_at_ease = self.port.operator_state() != OperatorState::Maintenance;
        match self.port.state() {
            State::InService if is_at_ease => with_jitter(interval, fastrand::f64()),
            State::InService | State::Suspect | State::Down | State::Probation => {
                with_jitter(interval.min(RESTLESS_INTERVAL), fastrand::f64())
            }
        }
    }

    /// Waits until the next probe is due, or somebody wants one.
    async fn wait(&self, pause: Duration) {
        let wanted = async {
            sleep(GAP_MIN).await;
            self.port.probe_wanted().await;
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = wanted => {}
        }
    }

    /// One probe, and what it says of the node.
    async fn probe(&mut self) {
        let depth = self.depth().await;
        // A goodbye is a command, at which a DBMail without its database freezes.
        let is_silent = matches!(depth, Depth::Nothing);
        let farewell = if is_silent { b"" } else { NodeHello::farewell(self.port.protocol) };
        let deadline = Instant::now() + self.island().probe.timeout;
        let site = self.context.site();
        let probed = timeout_at(deadline, Box::pin(look(&site, &self.port, depth))).await;
        if !matches!(probed, Ok(Err(Failure::OurOwn(_)))) {
            self.told.of_ourselves = false;
        }
        match probed {
            Ok(Ok((mut wire, shown))) => {
                let passed = self.passed(shown);
                self.port.tally().probes_passed.count();
                tell(&self.port, passed, &"");
                let farewell = wire.close(farewell);
                // The node has passed; whatever happens here, the connection is over.
                let _ = timeout_at(deadline.min(Instant::now() + FAREWELL_TIMEOUT), farewell).await;
            }
            Ok(Err(Failure::OurOwn(reason))) => {
                if !std::mem::replace(&mut self.told.of_ourselves, true) {
                    self.warn(&reason, "cannot probe from here");
                }
            }
            Ok(Err(failure)) => self.failed(&failure),
            Err(_) => self.failed(&"the probe took longer than probe.timeout"),
        }
    }

    fn failed(&self, reason: &dyn std::fmt::Display) {
        self.port.tally().probes_failed.count();
        tell(&self.port, Signal::ProbeFailed, reason);
    }

    /// How far the probe goes: without its password no further than the greeting.
    async fn depth(&mut self) -> Depth {
        let (user, file) = match &self.island().probe.check {
            Check::Greeting => return Depth::Nothing,
            Check::Command => return Depth::Command,
            Check::Login { user, password_file } => (user.clone(), password_file.clone()),
        };
        let reading = spawn_blocking(move || read_password(&file));
        let reason = match timeout(self.island().probe.timeout, reading).await {
            Ok(Ok(Ok(password))) => {
                self.told.of_file = false;
                return Depth::Login(user, password);
            }
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) | Err(_) => "the file cannot be read in time".to_owned(),
        };
        if !std::mem::replace(&mut self.told.of_file, true) {
            self.warn(&reason, "probe login impossible: check probe.password_file; greetings are checked meanwhile");
        }
        Depth::Nothing
    }

    /// The signal of a node that passed. Tells the operator if it refuses the login, once until it does not.
    fn passed(&mut self, shown: Shown) -> Signal {
        let logged_in = match shown {
            Shown::Answers => false,
            Shown::Serves => {
                self.told.of_refusal = false;
                true
            }
            Shown::Refuses(failure) => {
                if !std::mem::replace(&mut self.told.of_refusal, true) {
                    let reason =
                        failure.code().map_or_else(|| failure.to_string(), |code| format!("{failure}: {code}"));
                    self.warn(&reason, "probe login refused: check probe.user and probe.password_file");
                }
                matches!(failure, Failure::Refused(_))
            }
        };
        Signal::ProbePassed { logged_in }
    }

    fn warn(&self, reason: &dyn std::fmt::Display, message: &'static str) {
        let (island, node, protocol) = (&self.island().name, &self.port.node().name, self.port.protocol);
        warn!(%island, %node, %protocol, %reason, "{message}");
    }
}

/// Connects, greets, and does what else the probe is to do. The connection is given back for a goodbye.
async fn look(site: &Site, port: &NodePort, depth: Depth) -> Result<(Wire, Shown), Failure> {
    let began = Instant::now();
    let (mut wire, hello) = greet(site, port, None).await?;
    port.note_greeting(began.elapsed());
    let shown = match depth {
        Depth::Nothing => Shown::Answers,
        Depth::Command => command(&mut wire, hello).await?,
        Depth::Login(user, password) => log_in(&mut wire, hello, port, user, password).await?,
    };
    Ok((wire, shown))
}

/// One command that needs no login. A node that does not answer it is as good as one that does not greet.
async fn command(wire: &mut Wire, hello: NodeHello) -> Result<Shown, Failure> {
    let mut command = hello.command();
    loop {
        match command.step(&mut wire.input).map_err(Failure::BeforeLogin)? {
            CommandStep::Wait => fill(wire, Failure::ClosedBeforeLogin).await?,
            CommandStep::Send(octets) => wire.send(&octets).await.map_err(|_| Failure::ClosedBeforeLogin)?,
            CommandStep::Done => return Ok(Shown::Answers),
        }
    }
}

/// A login, which passes when it was judged, whichever way: a wrong password in our configuration is no fault of the
/// node's, and would otherwise take the whole island down.
async fn log_in(
    wire: &mut Wire,
    hello: NodeHello,
    port: &NodePort,
    user: UserName,
    password: Secret,
) -> Result<Shown, Failure> {
    let login = NodeLogin::by_password(user, password);
    let mut replay = match hello.replay(login) {
        Ok(replay) => replay,
        Err(fault @ NodeFault::Inexpressible) => return Ok(Shown::Refuses(Failure::BeforeLogin(fault))),
        Err(fault) => return Err(Failure::BeforeLogin(fault)),
    };
    let answer = loop {
        match replay.step(&mut wire.input).map_err(Failure::InsteadOfAnswer)? {
            ReplayStep::Wait => fill(wire, Failure::ClosedBeforeAnswer).await?,
            ReplayStep::Send(octets) => wire.send(octets.expose()).await.map_err(|_| Failure::ClosedBeforeAnswer)?,
            ReplayStep::Answer(answer) => break answer,
        }
    };
    match answer {
        NodeAnswer::Accepted(acceptance) => {
            port.hear_behind(&acceptance);
            Ok(Shown::Serves)
        }
        NodeAnswer::Refused(refusal) => match refusal.kind {
            RefusalKind::WrongPassword | RefusalKind::Other => Ok(Shown::Refuses(Failure::Refused(refusal))),
            // The password was right.
            RefusalKind::InUse => Ok(Shown::Serves),
            RefusalKind::Temporary => Err(Failure::Refused(refusal)),
        },
    }
}

/// An interval ± 10 %; `random` is from 0 to 1.
fn with_jitter(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random)
}

/// From a tenth of the interval to all of it; `random` is from 0 to 1.
fn first_pause(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.1 + 0.9 * random)
}

#[cfg(test)]
mod tests;
