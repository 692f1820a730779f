//! One node, from the connect to the moment when credentials may be sent. For logins and for probes.
//!
//! What is configured happens, or the node has failed: there is no opportunistic TLS.

use rustls::pki_types::ServerName;
use tokio::time::timeout;

use super::Site;
use super::failure::Failure;
use super::wire::Wire;
use crate::net::dial;
use crate::proto::{HelloStep, Introduction, NodeFault, NodeHello, proxy_header};
use crate::routing::{Forward, Island, Node, NodePort, NodeTls};

/// Connects and talks up to the moment when credentials may be sent. The node is told of the client as the island wants
/// it; a probe has none to introduce.
pub(crate) async fn greet(
    site: &Site,
    port: &NodePort,
    introduction: Option<&Introduction>,
) -> Result<(Wire, NodeHello), Failure> {
    let (island, node, protocol) = (port.table().island(), port.node(), port.protocol);
    let dialled = site.dialer.connect(&node.host, node.port(protocol), island.connect_timeout).await;
    let stream = dialled.map_err(|error| match error.kind() {
        _ if dial::is_our_own(&error) => Failure::OurOwn(error),
        std::io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::Connect(error),
    })?;
    let hello = async {
        let mut wire = Wire::new(stream);
        let introduction = match island.forward {
            Forward::Off => None,
            Forward::Id => introduction.cloned(),
            Forward::Proxy => {
                // In front of everything, TLS too.
                let header = introduction.map_or_else(proxy_header::local, proxy_header::introducing);
                wire.send(&header).await.map_err(|_| Failure::ClosedBeforeLogin)?;
                None
            }
        };
        if island.tls == NodeTls::Implicit {
            wire = secure(site, island, node, wire).await?;
        }
        let mut hello = NodeHello::new(protocol, island.tls == NodeTls::StartTls, introduction);
        loop {
            match hello.step(&mut wire.input).map_err(Failure::BeforeLogin)? {
                HelloStep::Wait => fill(&mut wire, Failure::ClosedBeforeLogin).await?,
                HelloStep::Send(octets) => wire.send(&octets).await.map_err(|_| Failure::ClosedBeforeLogin)?,
                HelloStep::StartTls => {
                    wire = secure(site, island, node, wire).await?;
                    hello = hello.secured();
                }
                HelloStep::Ready => {
                    port.hear(&hello);
                    return Ok((wire, hello));
                }
            }
        }
    };
    timeout(island.greeting_timeout, hello).await.unwrap_or(Err(Failure::GreetingTimeout))
}

/// TLS with the node, which must not have said anything in clear text that we have not asked for.
async fn secure(site: &Site, island: &Island, node: &Node, wire: Wire) -> Result<Wire, Failure> {
    if !wire.input.is_empty() {
        return Err(Failure::BeforeLogin(NodeFault::ClearTextInjected));
    }
    let invalid = |why: &str| Failure::Tls(std::io::Error::other(why.to_owned()));
    let Some(config) = site.node_tls.get(&island.name) else { return Err(invalid("no TLS configuration")) };
    let name = ServerName::try_from(node.tls_name.clone()).map_err(|_| invalid("tls_name is not a name"))?;
    let stream = wire.stream.connect_tls(config.clone(), name).await.map_err(Failure::Tls)?;
    Ok(Wire::new(stream))
}

/// Waits for more from the node, whose end is this failure.
pub(crate) async fn fill(wire: &mut Wire, closed: Failure) -> Result<(), Failure> {
    match wire.fill().await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(closed),
    }
}
