//! What the log says of a session: one line for each login, and exactly one end record, even if the task dies.
//!
//! The record is carried through all stages and collects what they find out. No octet that a client or node sent gets
//! into a line, but for the user name, which is escaped, and the names in a node's certificate that rustls quotes.

mod line;
mod relayed;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, trace, warn};

use self::line::{Line, milliseconds};
pub(super) use self::relayed::RelayRecord;
use super::end::{End, Stage, Who, Why};
use super::failure::Failure;
use super::recent::Whose;
use super::registry::{Beginning, Registry};
use super::tally::{Step, Stopwatch};
use crate::directory::{Found, Located, LookupError};
use crate::metrics::{self, Outcome, Word as _};
use crate::names::{IslandName, NodeName, SessionId, UserName};
use crate::proto::{Declined, LoginRequest, Protocol};
use crate::routing::{Node, Seat, Table};
use crate::usernames::Names;

/// Everything that the lines of one session say.
pub(super) struct Record {
    id: SessionId,
    protocol: Protocol,
    client: SocketAddr,
    began: Instant,
    stage: Stage,
    stopwatch: Stopwatch,
    tls: Option<&'static str>,
    /// Why a TLS handshake or a PROXY header was refused.
    refused: Option<String>,
    /// Nobody's connection but a balancer's own, as far as is known: one that looks whether we are there.
    is_of_balancer: bool,
    login: Option<Login>,
    finished: bool,
    registry: Registry,
}

/// The login that is being tried, or was tried last.
struct Login {
    /// Who it is by the site's rules; as it was typed where they have not said it.
    user: UserName,
    typed: UserName,
    /// Who proved himself, where that is somebody else.
    master: Option<UserName>,
    mechanism: &'static str,
    began: Instant,
    /// The furthest stage that it came to: a doubt goes back to the directory.
    furthest: Stage,
    /// How the route was found: "asked", "cached", "stale".
    route: Option<&'static str>,
    /// How long it has waited because the operator holds the user.
    held: Option<Duration>,
    directory_took: Option<Duration>,
    island: Option<IslandName>,
    /// The island's.
    tally: Option<Arc<metrics::Island>>,
    node: Option<NodeName>,
    attempts: u32,
    /// The nodes that failed this login, and how they did the last time.
    failed: Vec<(NodeName, String)>,
}

impl Login {
    /// `left: no greeting in time; right: …`, or nothing.
    fn failed(&self) -> Option<String> {
        let each = self.failed.iter().map(|(node, reason)| format!("{node}: {reason}"));
        Some(each.collect::<Vec<_>>().join("; ")).filter(|failed| !failed.is_empty())
    }
}

impl Record {
    pub(super) fn new(id: SessionId, protocol: Protocol, client: SocketAddr, registry: &Registry) -> Self {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let (began, stage) = (Instant::now(), Stage::Login);
        Self {
            id,
            protocol,
            client,
            began,
            stage,
            stopwatch: Stopwatch::default(),
            tls: None,
            refused: None,
            is_of_balancer: false,
            login: None,
            finished: false,
            registry: registry.clone(),
        }
    }

    /// The session's name.
    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    /// The client comes from elsewhere than the socket says.
    pub(super) fn comes_from(&mut self, client: SocketAddr) {
        self.client = client;
    }

    /// The session is now in this stage.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.turn(Step::of(stage));
        self.stage = stage;
        if let Some(login) = self.login.as_mut().filter(|login| login.furthest.index() < stage.index()) {
            login.furthest = stage;
        }
        trace!(session = %self.id, %stage, "stage");
    }

    /// Where the session is.
    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// The session is where it was, and nothing begins there.
    pub(super) fn back_to(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// The login waits for a node to return.
    pub(super) fn waits(&mut self) {
        // It may have woken up and found nothing.
        if self.stopwatch.runs() != Some(Step::Wait) {
            self.turn(Some(Step::Wait));
        }
    }

    fn turn(&mut self, next: Option<Step>) {
        if let Some((step, took)) = self.stopwatch.turn(next) {
            let island = self.login.as_ref().and_then(|login| login.tally.as_deref());
            self.registry.tally().took(self.protocol, island, step, took);
        }
    }

    /// The relay begins, at this node. All that the end record does not need is forgotten.
    pub(super) fn relay(mut self, seat: Seat) -> RelayRecord {
        self.enter(Stage::Relay);
        self.finished = true;
        let user = self.login.take().map(|login| login.user);
        let (id, client, began, tls) = (self.id, self.client, self.began, self.tls);
        RelayRecord::new(self.registry.enter(Beginning { id, client, began, tls, user, seat }))
    }

    /// TLS with the client is in use.
    pub(super) fn secured(&mut self, version: Option<&'static str>) {
        self.tls = version;
    }

    /// The client's TLS handshake failed. The reason is rustls' or the system's own words, which quote nothing.
    pub(super) fn tls_failed(&mut self, reason: &io::Error) {
        self.refused = Some(reason.to_string());
    }

    /// A PROXY header was wanted, and this is why there is none. The reason quotes nothing.
    pub(super) fn header_refused(&mut self, reason: &dyn fmt::Display) {
        self.refused = Some(reason.to_string());
    }

    /// A balancer has sent no octet, or a header that tells of nobody but itself: it looks whether we are there, every
    /// second or two, and need not be heard of.
    pub(super) fn is_of_balancer(&mut self) {
        self.is_of_balancer = true;
    }

    /// A complete login has arrived.
    pub(super) fn login_begins(&mut self, request: &LoginRequest, began: Instant) {
        self.login = Some(Login {
            user: request.user.clone(),
            typed: request.user.clone(),
            master: request.master.clone(),
            mechanism: request.mechanism,
            began,
            furthest: Stage::Login,
            route: None,
            held: None,
            directory_took: None,
            island: None,
            tally: None,
            node: None,
            attempts: 0,
            failed: Vec::new(),
        });
    }

    /// The site's rules say who the user is.
    pub(super) fn looks_up(&mut self, names: &Names) {
        if let Some(login) = &mut self.login {
            login.user = names.looked_up.clone();
        }
    }

    /// The operator holds the user, and the login has waited so long.
    pub(super) fn was_held(&mut self, time: Duration) {
        if let Some(login) = &mut self.login {
            login.held = Some(login.held.unwrap_or_default() + time);
        }
    }

    /// The directory has answered, whatever it said.
    pub(super) fn looked_up(&mut self, answer: &Result<Located, LookupError>, took: Duration) {
        self.registry.tally().looked_up(answer, took);
        if let Some(login) = &mut self.login {
            login.directory_took = Some(login.directory_took.unwrap_or_default() + took);
        }
    }

    /// The login goes this way. What failed before was on another one.
    pub(super) fn routed(&mut self, found: &Found, table: &Table) {
        if let Some(login) = &mut self.login {
            login.route = Some(match found {
                Found::Asked(_) => "asked",
                Found::Cached { .. } => "cached",
                Found::Stale { .. } => "stale",
            });
            login.island = Some(table.island().name.clone());
            login.tally = Some(Arc::clone(table.tally()));
            login.failed.clear();
        }
    }

    /// A node is being dialled; beside another one, or not.
    pub(super) fn dialling(&mut self, is_hedge: bool) {
        if let Some(login) = &mut self.login {
            login.tally.iter().for_each(|tally| tally.dialled(is_hedge, login.attempts == 0));
            login.attempts += 1;
        }
    }

    /// A node gets the credentials.
    pub(super) fn asking(&mut self, node: &Node) {
        if let Some(login) = &mut self.login {
            login.node = Some(node.name.clone());
        }
    }

    /// Whether a node has the credentials and has not answered, or has refused them and the directory is asked whether
    /// it is still the right one.
    pub(super) fn is_being_judged(&self) -> bool {
        let was_asked = self.login.as_ref().is_some_and(|login| login.node.is_some());
        self.stage == Stage::Replay || (self.stage == Stage::Directory && was_asked)
    }

    /// Whether a login is being tried.
    pub(super) fn is_trying(&self) -> bool {
        matches!(self.stage, Stage::Directory | Stage::Connect | Stage::Replay)
    }

    /// A node failed. The login's line will say how; health has its own lines.
    pub(super) fn node_failed(&mut self, node: &Node, reason: &Failure) {
        if self.stopwatch.runs() == Some(Step::Replay) {
            self.turn(None);
        }
        let Some(login) = &mut self.login else { return };
        let reason = reason.to_string();
        debug!(
            island = login.island.as_ref().map(IslandName::as_str),
            node = %node.name,
            protocol = %self.protocol,
            stage = %self.stage,
            reason,
            session = %self.id,
            "node failed"
        );
        login.node = Some(node.name.clone());
        login.failed.retain(|(name, _)| *name != node.name);
        login.failed.push((node.name.clone(), reason));
    }

    /// A node has accepted the login.
    pub(super) fn login_succeeded(&mut self) {
        self.log_login(Outcome::Accepted, None, None);
    }

    /// The login failed for good. A warning, where so many of its kind as `alarm` were none since the last one.
    pub(super) fn login_failed(&mut self, failure: &Failure, alarm: Option<u64>) {
        self.log_login(failure.outcome(), Some(failure), alarm);
        let Some(login) = &self.login else { return };
        let reason = login.failed().unwrap_or_else(|| failure.to_string());
        let whose = Whose::login(failure, login.began.elapsed());
        self.line().keep(&self.registry, whose, failure.outcome().to_string(), Some(reason));
    }

    /// The client tried to log in, and no node was asked.
    pub(super) fn login_declined(&self, why: Declined) {
        let outcome = match why {
            Declined::Privacy => Outcome::PrivacyRequired,
            Declined::Mechanism => Outcome::UnknownMechanism,
            Declined::Credentials => Outcome::Malformed,
            Declined::ForeignAuthzid => Outcome::ForeignAuthzid,
        };
        self.registry.tally().logins.count(self.protocol, outcome, self.stage);
        info!(
            %outcome,
            client = %self.client,
            protocol = %self.protocol,
            tls = self.tls.map(tracing::field::display),
            session = %self.id,
            "login"
        );
    }

    fn log_login(&mut self, outcome: Outcome, failure: Option<&Failure>, alarm: Option<u64>) {
        self.turn(None);
        let Some(login) = &self.login else { return };
        let took = login.began.elapsed();
        let tally = login.tally.as_ref();
        tally.map_or(&self.registry.tally().logins, |it| &it.logins).count(self.protocol, outcome, login.furthest);
        if let (Some(tally), Outcome::Accepted) = (tally, outcome) {
            tally.took.observe(took);
        }
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    outcome = %outcome,
                    user = login.user.to_string(),
                    typed = (login.typed != login.user).then(|| login.typed.to_string()),
                    master = login.master.as_ref().map(UserName::to_string),
                    client = %self.client,
                    protocol = %self.protocol,
                    mechanism = %login.mechanism,
                    tls = self.tls.map(tracing::field::display),
                    island = login.island.as_ref().map(IslandName::as_str),
                    node = login.node.as_ref().map(NodeName::as_str),
                    attempts = login.attempts,
                    route = login.route.map(tracing::field::display),
                    held_ms = login.held.map(milliseconds),
                    directory_ms = login.directory_took.map(milliseconds),
                    login_ms = milliseconds(took),
                    failed = login.failed(),
                    reason = failure.map(Failure::to_string),
                    code = failure.and_then(Failure::code),
                    untold = alarm.filter(|untold| *untold > 0),
                    session = %self.id,
                    "login"
                )
            };
        }
        if alarm.is_some() { line!(warn) } else { line!(info) }
    }

    /// The session is over.
    pub(super) fn finish(mut self, end: End) {
        self.log_end(&end);
    }

    fn log_end(&mut self, end: &End) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let line = self.line();
        let is_a_look = self.is_of_balancer && self.login.is_none() && end.why != Why::Defect;
        match is_a_look {
            true => self.registry.tally().looks.of(self.protocol).count(),
            false => self.registry.tally().ended(self.protocol, self.stage, end),
        }
        line.log(end, is_a_look);
        if let Some(whose) = Whose::end(end).filter(|_| !is_a_look) {
            line.keep(&self.registry, whose, end.why.to_string(), self.refused.clone());
        }
    }

    fn line(&self) -> Line<'_> {
        let login = self.login.as_ref();
        Line {
            id: self.id,
            protocol: self.protocol,
            client: self.client,
            began: self.began,
            stage: self.stage,
            tls: self.tls,
            refused: self.refused.as_deref(),
            user: login.map(|login| &login.user),
            island: login.and_then(|login| login.island.as_ref()),
            node: login.and_then(|login| login.node.as_ref()),
            relay: None,
        }
    }
}

/// A session whose task died must not vanish without a line.
impl Drop for Record {
    fn drop(&mut self) {
        self.log_end(&End::new(Who::Proxy, Why::Defect));
    }
}

#[cfg(test)]
mod tests;
