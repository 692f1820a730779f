//! Before the first mail octet: implicit TLS, then the greeting.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::budget::Budget;
use super::end::{End, Stage, Who, Why};
use super::login::{Client, handshake_result};
use super::origin::Origin;
use super::record::Record;
use super::wire::Wire;
use super::{Accepted, Context, Door};
use crate::proto::{Channel, ClientDialogue, Extensions, Farewell, Offer, Protocol};

/// From the accepted connection to a client that was greeted.
pub(super) async fn open(
    context: &Context,
    door: &Door,
    accepted: Accepted,
    budget: &Budget,
    record: &mut Record,
) -> Result<Client, End> {
    let Accepted { socket: mut stream, client, connected, mut slot } = accepted;
    let mut origin = Origin::of_socket(client, connected);
    let refused = slot.identify(origin.client.ip()).err();
    if door.channel == Channel::Tls {
        record.enter(Stage::Tls);
        let Some(config) = door.tls.clone() else { return Err(End::new(Who::Proxy, Why::TlsFailed)) };
        let handshake = timeout_at(budget.handshake_deadline(), stream.accept_tls(config, Vec::new()));
        stream = handshake_result(handshake.await, record)?;
        origin.secured(&stream);
    }
    record.enter(Stage::Login);
    let offer = Offer {
        hostname: context.settings.hostname.clone(),
        auth_failed_text: context.settings.auth_failed_text.clone(),
        channel: door.channel,
        cleartext_login: door.cleartext_login,
        extensions: extensions(context, door.protocol),
        master_users: context.settings.master_users.clone(),
        is_trusted: door.trusted_networks.iter().any(|network| network.contains(&origin.client.ip())),
    };
    let dialogue = ClientDialogue::new(door.protocol, offer);
    let mut greeting = dialogue.greeting();
    let mut client = Client { wire: Wire::new(stream), dialogue, origin: Arc::new(origin), slot };
    if refused.is_some() {
        return Err(client.dismiss(Farewell::TooManyConnections, Who::Proxy, Why::TooManyConnections).await);
    }
    client.send(&mut greeting, budget.command_deadline()).await?;
    Ok(client)
}

/// What clients are told that they can do behind the login.
fn extensions(context: &Context, protocol: Protocol) -> Arc<Extensions> {
    let configured = match protocol {
        Protocol::Imap => &context.settings.imap_capabilities,
        Protocol::Pop3 => &context.settings.pop3_capabilities,
    };
    configured.clone().unwrap_or_else(|| context.islands.extensions(protocol, Instant::now().into_std()))
}
