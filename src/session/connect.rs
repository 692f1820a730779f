//! The nodes of the plan, in order, until one has judged the login.
//!
//! A node sees the credentials only after it has greeted over the protection that the configuration demands. They are
//! given to the next node only after the one before has failed for good.

use rustls::pki_types::ServerName;
use tokio::time::{Instant, timeout};

use super::Context;
use super::end::Stage;
use super::failure::Failure;
use super::locate::Destination;
use super::record::Record;
use super::wire::Wire;
use crate::proto::{HelloStep, NodeAcceptance, NodeAnswer, NodeFault, NodeHello, Protocol, ReplayStep};
use crate::routing::{Island, Node, NodeTls};
use crate::secret::Secret;

/// A node has accepted the login. Only this file can make one, and the relay cannot begin without it.
pub(super) struct LoginAccepted {
    /// The node, and what it said behind its answer.
    pub(super) node: Wire,
    /// Its answer.
    pub(super) acceptance: NodeAcceptance,
    _proof: (),
}

/// Tries the plan's nodes. The failure is that of the last node tried.
pub(super) async fn connect(
    context: &Context,
    protocol: Protocol,
    destination: &Destination,
    password: &Secret,
    record: &mut Record,
) -> Result<LoginAccepted, Failure> {
    let Destination { table, login } = destination;
    let island = table.island();
    let plan = table.plan(protocol, login, true, Instant::now().into_std());
    let mut failure = Failure::ConnectTimeout;
    for candidate in &plan.candidates {
        let node = candidate.port.node();
        record.trying(island, node);
        let tried = async {
            record.enter(Stage::Connect);
            let (wire, hello) = greet(context, island, node, protocol).await?;
            record.enter(Stage::Replay);
            let replay = hello.replay(login.clone(), password.clone()).map_err(Failure::BeforeLogin)?;
            replay_login(wire, replay, island).await
        };
        failure = match tried.await {
            Ok(accepted) => return Ok(accepted),
            Err(failure) => failure,
        };
        if !failure.verdict().next_node {
            break;
        }
        record.node_failed(&failure);
    }
    Err(failure)
}

/// Connects and talks up to the moment when credentials may be sent.
async fn greet(
    context: &Context,
    island: &Island,
    node: &Node,
    protocol: Protocol,
) -> Result<(Wire, NodeHello), Failure> {
    let dialled = context.dialer.connect(&node.host, node.port(protocol), island.connect_timeout).await;
    let stream = dialled.map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::Connect(error),
    })?;
    let hello = async {
        let mut wire = Wire::new(stream);
        if island.tls == NodeTls::Implicit {
            wire = secure(context, island, node, wire).await?;
        }
        let mut hello = NodeHello::new(protocol, island.tls == NodeTls::StartTls);
        loop {
            match hello.step(&mut wire.input).map_err(Failure::BeforeLogin)? {
                HelloStep::Wait => fill(&mut wire, Failure::ClosedBeforeLogin).await?,
                HelloStep::Send(octets) => wire.send(&octets).await.map_err(|_| Failure::ClosedBeforeLogin)?,
                HelloStep::StartTls => {
                    wire = secure(context, island, node, wire).await?;
                    hello = hello.secured();
                }
                HelloStep::Ready => return Ok((wire, hello)),
            }
        }
    };
    timeout(island.greeting_timeout, hello).await.unwrap_or(Err(Failure::GreetingTimeout))
}

/// TLS with the node, which must not have said anything in clear text that we have not asked for.
async fn secure(context: &Context, island: &Island, node: &Node, wire: Wire) -> Result<Wire, Failure> {
    if !wire.input.is_empty() {
        return Err(Failure::BeforeLogin(NodeFault::ClearTextInjected));
    }
    let invalid = |why: &str| Failure::Tls(std::io::Error::other(why.to_owned()));
    let Some(config) = context.node_tls.get(&island.name) else { return Err(invalid("no TLS configuration")) };
    let name = ServerName::try_from(node.tls_name.clone()).map_err(|_| invalid("tls_name is not a name"))?;
    let stream = wire.stream.connect_tls(config.clone(), name).await.map_err(Failure::Tls)?;
    Ok(Wire::new(stream))
}

/// Gives the login to a node that is ready for it, and waits for its decision.
async fn replay_login(
    mut wire: Wire,
    mut replay: crate::proto::Replay,
    island: &Island,
) -> Result<LoginAccepted, Failure> {
    let judged = async {
        loop {
            match replay.step(&mut wire.input).map_err(Failure::InsteadOfAnswer)? {
                ReplayStep::Wait => fill(&mut wire, Failure::ClosedBeforeAnswer).await?,
                ReplayStep::Send(octets) => {
                    wire.send(octets.expose()).await.map_err(|_| Failure::ClosedBeforeAnswer)?;
                }
                ReplayStep::Answer(answer) => return Ok(answer),
            }
        }
    };
    match timeout(island.login_timeout, judged).await.unwrap_or(Err(Failure::AnswerTimeout))? {
        NodeAnswer::Accepted(acceptance) => Ok(LoginAccepted { node: wire, acceptance, _proof: () }),
        NodeAnswer::Refused(refusal) => Err(Failure::Refused(refusal)),
    }
}

async fn fill(wire: &mut Wire, closed: Failure) -> Result<(), Failure> {
    match wire.fill().await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(closed),
    }
}
