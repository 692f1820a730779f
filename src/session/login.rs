//! The dialogue with the client: until a login is complete, and after it was refused.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::warn;

use super::budget::Budget;
use super::end::{End, Stage, Who, Why};
use super::failure::{Answer, Failure};
use super::origin::Origin;
use super::record::Record;
use super::wire::Wire;
use super::{Context, Door, Site};
use crate::drain::Ear;
use crate::limits::{Guess, Slot};
use crate::metrics::Limit;
use crate::net::pump::Breakable;
use crate::proto::{
    ClientDialogue, Credentials, Farewell, LoginRequest, NodeRefusal, Refusal, RefusalKind, ReplyTo, Step,
};

/// Octets that a client may send ahead of the answer to its login. The rest waits in the kernel, which costs an honest
/// client nothing; and with what TLS holds, and a token as large as may be, a connection must keep below 128 KiB.
const HELD_MAX: usize = 16 * 1024;

/// How often a client that is not read any more is asked whether it is still there.
const HELD_LOOK: Duration = Duration::from_millis(500);

/// Octets of answers that gather before they are sent; a segment full of CAPABILITY must not become a megabyte.
const REPLIES_MAX: usize = 8 * 1024;

/// While mailferry stops: a client that says nothing for so long is not about to log in. It loses nothing by another
/// connection.
const SILENCE: Duration = Duration::from_secs(5);

/// A client in the login phase.
pub(super) struct Client {
    pub(super) wire: Wire,
    pub(super) dialogue: ClientDialogue,
    /// What is believed of the client.
    pub(super) origin: Arc<Origin>,
    /// What was known before it said anything; STARTTLS goes back to it.
    pub(super) seen: Arc<Origin>,
    pub(super) slot: Slot,
}

/// Talks until the client has sent a complete login. What it sent behind that stays in the input.
pub(super) async fn request(
    mut client: Client,
    door: &Door,
    budget: &Budget,
    record: &mut Record,
    ear: &Ear,
) -> Result<(Client, LoginRequest, ReplyTo), End> {
    let mut out = Vec::new();
    let mut deadline = budget.command_deadline();
    loop {
        if out.len() > REPLIES_MAX {
            client.send(&mut out, deadline).await?;
        }
        match client.dialogue.step(&mut client.wire.input) {
            Step::Wait => {
                client.send(&mut out, deadline).await?;
                client.wait(deadline, ear).await?;
            }
            Step::Reply(reply) => {
                out.extend_from_slice(&reply);
                deadline = budget.command_deadline();
            }
            Step::Introduced(reply, claim) => {
                out.extend_from_slice(&reply);
                Arc::make_mut(&mut client.origin).believe(&claim, record);
                client.identified().await?;
                deadline = budget.command_deadline();
            }
            Step::Decline(reply, why) => {
                out.extend_from_slice(&reply);
                record.login_declined(why);
                deadline = budget.command_deadline();
            }
            Step::StartTls(reply) => {
                out.extend_from_slice(&reply);
                client.send(&mut out, deadline).await?;
                record.enter(Stage::Tls);
                client = client.upgrade(door, budget, record).await?;
                record.enter(Stage::Login);
                deadline = budget.command_deadline();
            }
            Step::Login(request, reply_to) => {
                client.send(&mut out, deadline).await?;
                return Ok((client, request, reply_to));
            }
            Step::Close(reply, goodbye) => {
                out.extend_from_slice(&reply);
                client.wire.close(&out).await;
                return Err(End::goodbye(goodbye));
            }
        }
    }
}

/// Answers a login that failed. The client may try again, unless it has tried too often.
pub(super) async fn refuse(
    mut client: Client,
    request: &LoginRequest,
    to: ReplyTo,
    (mut failure, guess): (Failure, Guess),
    budget: &mut Budget,
    (context, site): (&Context, &Site),
    ear: &Ear,
) -> Result<Client, End> {
    let verdict = failure.verdict();
    let mut last = budget.login_failed() || matches!(failure, Failure::TooManyFailures);
    let now = Instant::now().into_std();
    if verdict.guess {
        let delay = site.settings.auth_failure_delay;
        let due = budget.refusal_due(delay, guess.refused(now));
        if !delay.is_zero() && budget.is_late(delay) && !context.late_refusal_told.swap(true, Ordering::Relaxed) {
            warn!("a refusal took longer than auth_failure_delay: set it higher, or unknown users can be told apart");
        }
        client.unless_gone(pin!(sleep_until(due)), ear).await?;
        if budget.login_refused(context.limits.failed_logins_max()) {
            context.limits.tally().hits.of(Limit::FailedLogins).count();
            last = true;
        }
    } else {
        guess.take_back(now);
    }
    let token = match request.credentials {
        Credentials::Token(mechanism, _) => Some((client.dialogue.protocol(), mechanism)),
        Credentials::Password(_) => None,
    };
    if let (Failure::Refused(refusal), Some((protocol, mechanism))) = (&mut failure, token) {
        let challenge = if last { refusal.challenge.take() } else { refusal.challenge.clone() };
        challenge.iter().for_each(|it| context.challenges.learn(protocol, mechanism, &request.user, it));
    }
    let usual = token.and_then(|(protocol, mechanism)| context.challenges.usual(protocol, mechanism));
    let mut out = match (verdict.answer, &failure) {
        (Answer::Relay, Failure::Refused(refusal)) => client.dialogue.relay_refusal(to, refusal),
        (Answer::Relay, _) => client.dialogue.refuse(to, Refusal::Unavailable),
        (Answer::Ours(Refusal::AuthenticationFailed), _) if !last && usual.is_some() => {
            // As a node would refuse the token of a user whom it knows.
            let refusal = NodeRefusal { kind: RefusalKind::WrongPassword, text: Vec::new(), challenge: usual };
            client.dialogue.relay_refusal(to, &refusal)
        }
        (Answer::Ours(refusal), _) => client.dialogue.refuse(to, refusal),
        (Answer::Told, _) => Vec::new(),
    };
    if last {
        out.extend_from_slice(&client.dialogue.farewell(Farewell::TooManyFailures));
        client.wire.close(&out).await;
        return Err(End::new(Who::Proxy, Why::RefusedLogins));
    }
    if matches!(failure, Failure::Held) && ear.is_asked() {
        // Its next try would be refused here as well, and be let in elsewhere.
        out.extend_from_slice(&client.dialogue.farewell(Farewell::Shutdown));
        client.wire.close(&out).await;
        return Err(End::new(Who::Operator, Why::Shutdown));
    }
    client.send(&mut out, budget.command_deadline()).await?;
    Ok(client)
}

impl Client {
    /// Sends what has gathered, in one write.
    pub(super) async fn send(&mut self, out: &mut Vec<u8>, deadline: Instant) -> Result<(), End> {
        if out.is_empty() {
            return Ok(());
        }
        match timeout_at(deadline, self.wire.send(out)).await {
            Ok(Ok(())) => out.clear(),
            Ok(Err(error)) => return Err(End::client_gone(Some(&error))),
            // A client that does not read its answers.
            Err(_) => return Err(End::new(Who::Proxy, Why::Timeout)),
        }
        Ok(())
    }

    /// Waits for more from the client.
    async fn wait(&mut self, deadline: Instant, ear: &Ear) -> Result<(), End> {
        // Whoever sends without end must hear the rest as well.
        let filled = tokio::select! {
            biased;
            () = sleep_until(deadline) => return Err(self.dismiss(Farewell::Timeout, Who::Proxy, Why::Timeout).await),
            () = self.slot.evicted() => return Err(self.make_place().await),
            () = ear.signalled() => return Err(self.dismiss(Farewell::Shutdown, Who::Operator, Why::Shutdown).await),
            () = asked_and_silent(ear) => return Err(self.dismiss(Farewell::Shutdown, Who::Operator, Why::Shutdown).await),
            filled = self.wire.fill() => filled,
        };
        match filled {
            Ok(true) => Ok(()),
            Ok(false) => {
                // It has ended in order, so it hears our end too.
                self.wire.close(&[]).await;
                Err(End::client_gone(None))
            }
            Err(error) => Err(End::client_gone(Some(&error))),
        }
    }

    /// Ends the connection because its place is another one's. It holds a descriptor that the other one may need, so
    /// nothing is waited for.
    pub(super) async fn make_place(&mut self) -> End {
        self.wire.leave(&self.dialogue.farewell(Farewell::TooManyConnections)).await;
        End::new(Who::Proxy, Why::TooManyConnections)
    }

    /// Ends the connection with a last line of ours.
    pub(super) async fn dismiss(&mut self, farewell: Farewell, who: Who, why: Why) -> End {
        let last = self.dialogue.farewell(farewell);
        self.wire.close(&last).await;
        End::new(who, why)
    }

    /// STARTTLS: what arrived behind the command goes into the handshake, and the dialogue begins anew.
    async fn upgrade(self, door: &Door, budget: &Budget, record: &mut Record) -> Result<Self, End> {
        let Self { wire: Wire { stream, mut input }, dialogue, seen, slot, .. } = self;
        let Some(config) = door.tls.clone() else { return Err(End::new(Who::Proxy, Why::TlsFailed)) };
        let handshake = timeout_at(budget.handshake_deadline(), stream.accept_tls(config, input.take(), &[]));
        let stream = handshake_result(handshake.await, record)?;
        let mut origin = Arc::clone(&seen);
        Arc::make_mut(&mut origin).secured(&stream);
        record.comes_from(origin.client);
        let mut client = Self { wire: Wire::new(stream), dialogue: dialogue.upgraded(), origin, seen, slot };
        client.identified().await?;
        Ok(client)
    }

    /// It counts for the network that it is believed to come from, if there is a place.
    async fn identified(&mut self) -> Result<(), End> {
        match self.slot.identify(self.origin.client.ip()) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.make_place().await),
        }
    }

    /// Does something that the client waits for. If the client closes meanwhile, it is dropped at once, and with it
    /// every connection that it holds. What the client sends ahead is held, up to [`HELD_MAX`].
    pub(super) async fn unless_gone<T>(
        &mut self,
        work: Pin<&mut impl Future<Output = T>>,
        ear: &Ear,
    ) -> Result<T, End> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            gone = gone(&mut self.wire) => {
                self.wire.close(&[]).await;
                Err(gone)
            }
            () = self.slot.evicted() => Err(self.make_place().await),
            () = ear.signalled() => {
                // The client waits for an answer to its login; a BYE is the last thing that it can be told.
                self.wire.close(&self.dialogue.farewell(Farewell::Shutdown)).await;
                Err(End::new(Who::Operator, Why::Shutdown))
            }
        }
    }
}

/// Returns when the client is gone: its connection broke, or it closed and nothing that it sent ahead waits for an
/// answer. (A script that sends LOGIN and LOGOUT at once and closes its sending side is still there.)
async fn gone(wire: &mut Wire) -> End {
    while wire.input.len() < HELD_MAX {
        match wire.fill().await {
            Ok(true) => {}
            Ok(false) if wire.input.is_empty() => return End::client_gone(None),
            Ok(false) => break,
            Err(error) => return End::client_gone(Some(&error)),
        }
    }
    // It is not read any more, so its end must be looked for.
    loop {
        sleep(HELD_LOOK).await;
        if let Some(error) = wire.stream.broken() {
            return End::client_gone(Some(&error));
        }
    }
}

/// Returns when mailferry takes no new clients any more, and some time has gone by since.
async fn asked_and_silent(ear: &Ear) {
    ear.asked().await;
    sleep(SILENCE).await;
}

/// What a TLS handshake with the client came to.
pub(super) fn handshake_result(
    result: Result<io::Result<crate::net::Stream>, tokio::time::error::Elapsed>,
    record: &mut Record,
) -> Result<crate::net::Stream, End> {
    match result {
        Ok(Ok(stream)) => {
            record.secured(stream.tls_version());
            Ok(stream)
        }
        Ok(Err(error)) => {
            record.tls_failed(&error);
            Err(End::new(Who::Client, Why::TlsFailed))
        }
        Err(_) => Err(End::new(Who::Proxy, Why::Timeout)),
    }
}
