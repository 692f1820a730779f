//! Before the first mail octet: a balancer's PROXY header, implicit TLS, then the greeting.
//!
//! Where a header is wanted is known before an octet is read: from the networks of `proxy_protocol_from` there must be
//! one, from elsewhere none is looked for, or any client could choose its address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::budget::Budget;
use super::end::{End, Stage, Who, Why};
use super::login::{Client, handshake_result};
use super::origin::Origin;
use super::record::Record;
use super::signal::tell_turnover;
use super::wire::Wire;
use super::{Accepted, Door, Site};
use crate::limits::Slot;
use crate::proto::proxy_header::{self, Header};
use crate::proto::{Channel, ClientDialogue, Extensions, Offer, Protocol};

/// For a PROXY header, from the accept to its last octet. Dovecot's time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(3);

/// From the accepted connection to a client that was greeted.
pub(super) async fn open(
    site: &Site,
    door: &Door,
    accepted: Accepted,
    budget: &Budget,
    record: &mut Record,
) -> Result<Client, End> {
    let Accepted { socket, client, connected, mut slot } = accepted;
    let mut wire = Wire::new(socket);
    let mut origin = Origin::of_socket(client, connected);
    let mut channel = door.channel;
    let mut speaks_for_nobody = false;
    if door.wants_header(origin.client.ip()) {
        let header = header(&mut wire, &slot, record).await?;
        // Where we speak TLS ourselves, with whomever, that is the TLS that counts.
        let believes_tls = door.proxy_protocol_tls && channel != Channel::Tls;
        origin.passed_on(&header, believes_tls, record);
        speaks_for_nobody = header.peers.is_none();
        if believes_tls && header.tls.is_some() {
            channel = Channel::Tls;
        }
    }
    let refused = slot.identify(origin.client.ip()).err();
    if refused.is_some() && door.channel == Channel::Tls {
        // A handshake for the sake of a refusal would cost us more than the client.
        return Err(End::new(Who::Proxy, Why::TooManyConnections));
    }
    let offer = Offer {
        hostname: site.settings.hostname.clone(),
        auth_failed_text: site.settings.auth_failed_text.clone(),
        channel,
        cleartext_login: door.cleartext_login,
        extensions: extensions(site, door.protocol),
        master_users: site.settings.master_users.clone(),
        // A balancer that does not say who its client is must not lend it its own good name.
        is_trusted: !speaks_for_nobody && contains(&door.trusted_networks, origin.client.ip()),
    };
    let dialogue = ClientDialogue::new(door.protocol, offer);
    let mut greeting = dialogue.greeting();
    if door.channel == Channel::Tls {
        record.enter(Stage::Tls);
        let Some(config) = door.tls.clone() else { return Err(End::new(Who::Proxy, Why::TlsFailed)) };
        let Wire { stream, mut input } = wire;
        // The greeting goes with the handshake: a round trip less.
        let handshake = timeout_at(budget.handshake_deadline(), stream.accept_tls(config, input.take(), &greeting));
        let stream = handshake_result(handshake.await, record)?;
        greeting.clear();
        origin.secured(&stream);
        wire = Wire::new(stream);
    }
    record.enter(Stage::Login);
    let seen = Arc::new(origin);
    let mut client = Client { wire, dialogue, origin: Arc::clone(&seen), seen, slot };
    if refused.is_some() {
        return Err(client.make_place().await);
    }
    client.send(&mut greeting, budget.command_deadline()).await?;
    Ok(client)
}

impl Door {
    /// Whether a connection from this address must begin with a header, so that its client is not known before.
    pub fn wants_header(&self, from: IpAddr) -> bool {
        contains(&self.proxy_protocol_from, from.to_canonical())
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// The header with which a balancer's connection must begin. Whoever sends none is cut without an answer: there is
/// nobody to understand one.
async fn header(wire: &mut Wire, slot: &Slot, record: &mut Record) -> Result<Header, End> {
    let deadline = Instant::now() + HEADER_TIMEOUT;
    loop {
        match proxy_header::read(&mut wire.input) {
            Ok(Some(header)) => return Ok(header),
            Ok(None) => {}
            Err(bad) => {
                record.header_refused(&bad);
                return Err(End::new(Who::Proxy, Why::BadProxyHeader));
            }
        }
        let filled = tokio::select! {
            biased;
            () = slot.evicted() => return Err(End::new(Who::Proxy, Why::TooManyConnections)),
            () = sleep_until(deadline) => {
                record.header_refused(&"no PROXY header in time");
                return Err(End::new(Who::Proxy, Why::BadProxyHeader));
            }
            filled = wire.fill() => filled,
        };
        if matches!(filled, Ok(true)) {
            continue;
        }
        if wire.input.is_empty() {
            record.is_of_balancer();
        }
        return Err(End::client_gone(filled.err().as_ref()));
    }
}

/// What clients are told that they can do behind the login.
fn extensions(site: &Site, protocol: Protocol) -> Arc<Extensions> {
    let configured = match protocol {
        Protocol::Imap => &site.settings.imap_capabilities,
        Protocol::Pop3 => &site.settings.pop3_capabilities,
    };
    configured.clone().unwrap_or_else(|| {
        let now = Instant::now().into_std();
        let common = site.islands.extensions(protocol, now);
        site.islands.turnover(protocol, now).iter().for_each(|turnover| tell_turnover(protocol, turnover));
        common
    })
}

#[cfg(test)]
mod tests;
