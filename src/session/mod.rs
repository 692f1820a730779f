//! One client connection from accept to end: the way of a login, one stage a file.
//!
//! `preface` (TLS, greeting) → `login` (the client's dialogue) → `locate` (directory, island) → `connect` (nodes in
//! order, replay) → `handoff` (what goes first) → `relay` (octets) → `end` (the one record). Only this file calls stages;
//! stages know each other's results, not each other. `connect` is the largest and has steps of its own: `race` (who
//! greets first), `admit` (the queue into a node), `greet`, `patience` (waiting for a node). Nothing here branches on
//! the protocol, but for the choice of what is announced (`preface`) and the usual refusal of a token (`challenge`), and
//! no stage holds a text that goes on the wire.

mod admit;
mod budget;
mod challenge;
mod connect;
mod context;
mod end;
pub(crate) mod failure;
pub mod frequent;
pub(crate) mod greet;
mod handoff;
pub mod holds;
pub mod leave;
mod locate;
mod login;
pub mod minutes;
mod origin;
mod patience;
mod preface;
mod quiet;
mod race;
pub mod recent;
mod record;
pub mod registry;
mod relay;
pub(crate) mod signal;
pub mod spread;
mod standing;
pub mod tally;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;

use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::time::{Instant, sleep};

pub use self::challenge::Challenges;
use self::connect::LoginAccepted;
pub use self::context::{Context, Site};
use self::end::{End, Stage, Who, Why};
use self::failure::Failure;
use self::handoff::Handoff;
pub use self::holds::Holds;
use self::holds::Way;
use self::origin::Login;
use self::record::Record;
pub use self::registry::Registry;
use self::relay::Relay;
pub use self::standing::{Standing, StopSettings};
use crate::drain::{Drain, Ear};
use crate::limits::{Eviction, Guess, Limits, Slot};
use crate::names::UserName;
use crate::net::Stream;
use crate::proto::{Channel, Extensions, Protocol};
use crate::usernames;

/// How long a client in the login phase may take to be told that mailferry stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long a client that must make place for another one may take to be told.
const EVICTION_GRACE: Duration = Duration::from_millis(250);

/// What all sessions share.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Shown in greetings.
    pub hostname: Arc<str>,
    /// From accept to the accepted login, whatever happens in between.
    pub login_timeout: Duration,
    /// How long a login waits for a user who is held, at most.
    pub hold_timeout: Duration,
    /// Refused logins are answered at whole multiples of this time after they were received, so that the time tells
    /// nothing about whether the user exists. Zero: as soon as possible.
    pub auth_failure_delay: Duration,
    /// See [`crate::proto::Offer::auth_failed_text`].
    pub auth_failed_text: Arc<str>,
    /// Who may log in as somebody else.
    pub master_users: Arc<[UserName]>,
    /// The site's rules for user names.
    pub usernames: usernames::Rules,
    /// What IMAP clients are told before the login that they can do behind it; `None`: what all nodes in service can.
    pub imap_capabilities: Option<Arc<Extensions>>,
    /// The same for POP3.
    pub pop3_capabilities: Option<Arc<Extensions>>,
}

/// What a listener tells its sessions.
#[derive(Clone)]
pub struct Door {
    /// What is spoken.
    pub protocol: Protocol,
    /// What protects the connection after the accept.
    pub channel: Channel,
    /// Whether passwords are accepted without TLS.
    pub cleartext_login: bool,
    /// For implicit TLS and STARTTLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Networks of balancers: from there, every connection begins with a PROXY header; from elsewhere, none may.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Whether TLS that such a balancer says it has ended protects the connection, although it comes in clear text.
    pub proxy_protocol_tls: bool,
    /// Networks of proxies that may say who their client is, by ID or XCLIENT.
    pub trusted_networks: Vec<IpNet>,
    /// The domain of names without one; see [`usernames::DomainRule::Add`].
    pub default_domain: Option<Arc<str>>,
}

/// A connection that was accepted.
pub struct Accepted {
    /// The connection.
    pub socket: Stream,
    /// Where it comes from.
    pub client: SocketAddr,
    /// Which address it came to.
    pub connected: SocketAddr,
    /// Its place among all of them.
    pub slot: Slot,
}

/// Serves one connection to its end, and leaves exactly one end record, whatever happens.
pub fn run(context: Arc<Context>, door: Arc<Door>, accepted: Accepted, drain: Drain) -> Connection {
    Connection(Phase::Login(Box::pin(login_phase(context, door, accepted, drain.ear()))))
}

/// One connection. Its task has room for the relay and for nothing else: what the login takes is elsewhere, and is given
/// back at its end.
#[must_use = "a connection is served by a task"]
pub struct Connection(Phase);

#[expect(clippy::large_enum_variant, reason = "it is what the room is for")]
enum Phase {
    Login(Pin<Box<dyn Future<Output = Option<Relay>> + Send>>),
    Relay(Relay),
    Over,
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        loop {
            self.0 = match &mut self.0 {
                Phase::Login(login) => ready!(login.as_mut().poll(cx)).map_or(Phase::Over, Phase::Relay),
                Phase::Relay(relay) => return Pin::new(relay).poll(cx),
                Phase::Over => return Poll::Ready(()),
            };
        }
    }
}

/// From accept to the relay, if it comes to that.
async fn login_phase(context: Arc<Context>, door: Arc<Door>, accepted: Accepted, ear: Ear) -> Option<Relay> {
    let mut record = Record::new(context.next_id(), door.protocol, accepted.client, &context.registry);
    let eviction = accepted.slot.eviction();
    // Until the session is in the registry, so that whoever moves a user sees it in the one place or the other.
    let mut way = context.holds.way(record.id());
    let login = tokio::select! {
        biased;
        login = log_in(&context, &door, accepted, (&mut record, &mut way), &ear) => login,
        () = overdue(&ear) => Err(End::new(Who::Operator, Why::Shutdown)),
        () = in_the_way(eviction) => Err(End::new(Who::Proxy, Why::TooManyConnections)),
    };
    match login {
        Ok(handoff) => Some(relay::relay(handoff, record, ear)),
        Err(end) => {
            if end.why == Why::Shutdown && record.is_trying() {
                context.standing.login_broken_off();
            }
            record.finish(end);
            None
        }
    }
}

/// Returns some time after the stop signal. Most stages hear it themselves and say goodbye; this is for those that wait
/// for a peer which does nothing.
async fn overdue(ear: &Ear) {
    ear.signalled().await;
    sleep(STOP_GRACE).await;
}

/// Returns when the client has not made place in time for the one that took it. The stages in which it can be told so
/// hear the word themselves.
async fn in_the_way(eviction: Option<Eviction>) {
    match eviction {
        Some(eviction) => eviction.given().await,
        None => std::future::pending().await,
    }
    sleep(EVICTION_GRACE).await;
}

/// From the accepted socket to a node that has accepted the login.
async fn log_in(
    context: &Context,
    door: &Door,
    accepted: Accepted,
    (record, way): (&mut Record, &mut Way<'_>),
    ear: &Ear,
) -> Result<Handoff, End> {
    let mut site = context.site();
    let mut budget = budget::Budget::new(site.settings.login_timeout);
    let mut client = preface::open(&site, door, accepted, &budget, record).await?;
    loop {
        record.enter(Stage::Login);
        let (waiting, request, reply_to) = login::request(client, door, &budget, record, ear).await?;
        client = waiting;
        let received = budget.login_received();
        site = context.site();
        record.login_begins(&request, received);
        let origin = Arc::clone(&client.origin);
        let login = Login { request: &request, origin: &origin, deadline: budget.deadline() };
        let mut guess = context.limits.guess(origin.client.ip());
        let tried = {
            let attempt = pin!(budget.within_login(async {
                if budget.is_last_beat(site.settings.auth_failure_delay) {
                    // Its answer is that of a login for which the time was too short.
                    std::future::pending::<()>().await;
                }
                attempt(&site, &context.limits, door, &login, &mut guess, (record, way, ear)).await
            }));
            client.unless_gone(attempt, ear).await
        };
        match tried {
            Err(end) => {
                // Nodes take their time over a wrong password, and none over a right one: who does not wait for the
                // answer has most likely heard it. Nobody was heard by those whom no node has judged.
                if !record.is_being_judged() {
                    guess.take_back(Instant::now().into_std());
                }
                record.login_failed(&Failure::Abandoned, None);
                return Err(end);
            }
            Ok(Ok(accepted)) => {
                guess.take_back(Instant::now().into_std());
                record.login_succeeded();
                return Ok(handoff::handoff(client, reply_to, accepted));
            }
            Ok(Err(failure)) => {
                way.leave();
                record.login_failed(&failure, failure.alarm(&context.limits));
                record.enter(Stage::Login);
                let failed = (failure, guess);
                client = login::refuse(client, &request, reply_to, failed, &mut budget, (context, &site), ear).await?;
            }
        }
    }
}

/// One login: where does the user live, and does a node there take the password?
async fn attempt(
    site: &Site,
    limits: &Limits,
    door: &Door,
    login: &Login<'_>,
    guess: &mut Guess,
    (record, way, ear): (&mut Record, &mut Way<'_>, &Ear),
) -> Result<LoginAccepted, Failure> {
    record.enter(Stage::Directory);
    let names = locate::names(site, door, login, guess, record).await?;
    let destination = locate::locate(site, &names, login, guess, (record, way), ear).await?;
    let failure = match connect::connect(site, limits, &destination, door.protocol, login, record).await {
        Err(failure) if destination.is_old && failure.verdict().ask_again => failure,
        judged => return judged,
    };
    let failed_in = record.stage();
    record.enter(Stage::Directory);
    match locate::moved(site, &names, &destination, guess, (record, way), ear).await {
        Some(new) => connect::connect(site, limits, &new?, door.protocol, login, record).await,
        None => {
            record.back_to(failed_in);
            Err(failure)
        }
    }
}

#[cfg(test)]
mod tests;
