//! Before the first mail octet: implicit TLS, then the greeting.

use tokio::time::timeout_at;

use super::budget::Budget;
use super::end::{End, Stage, Who, Why};
use super::login::{Client, handshake_result};
use super::record::Record;
use super::wire::Wire;
use super::{Context, Door};
use crate::net::Stream;
use crate::proto::{Channel, ClientDialogue, Offer};

/// From the accepted connection to a client that was greeted.
pub(super) async fn open(
    context: &Context,
    door: &Door,
    mut stream: Stream,
    budget: &Budget,
    record: &mut Record,
) -> Result<Client, End> {
    if door.channel == Channel::Tls {
        record.enter(Stage::Tls);
        let Some(config) = door.tls.clone() else { return Err(End::new(Who::Proxy, Why::TlsFailed)) };
        let handshake = timeout_at(budget.handshake_deadline(), stream.accept_tls(config, Vec::new()));
        stream = handshake_result(handshake.await, record)?;
    }
    record.enter(Stage::Login);
    let offer = Offer {
        hostname: context.settings.hostname.clone(),
        auth_failed_text: context.settings.auth_failed_text.clone(),
        channel: door.channel,
        cleartext_login: door.cleartext_login,
    };
    let dialogue = ClientDialogue::new(door.protocol, offer);
    let mut greeting = dialogue.greeting();
    let mut client = Client { wire: Wire::new(stream), dialogue };
    client.send(&mut greeting, budget.command_deadline()).await?;
    Ok(client)
}
