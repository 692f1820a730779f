//! A relay over two pipes in memory: what it holds, and the one line that it leaves however it ends.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::super::quiet::CALM;
use super::super::registry::Session;
use super::*;
use crate::drain;
use crate::limits::Limits;
use crate::names::{IslandName, Protocol, SessionId, UserName};
use crate::routing::{Islands, NodePort};
use crate::session::{Connection, Registry};
use crate::testkit::{log::Log, settings};

#[test]
fn a_session_in_the_relay_is_small() {
    // tokio's own part of a task is about 100 octets, and the sum is rounded up to 128.
    assert!(size_of::<Connection>() <= 264, "{}", size_of::<Connection>());
    // The allocator has sizes of 128 and 160, the shared part has two counters before it.
    assert!(size_of::<After>() <= 128, "{}", size_of::<After>());
    assert!(size_of::<Session>() + 16 <= 160, "{}", size_of::<Session>());
}

/// A session as the login hands it over, what the peers hold of it, and where it is counted.
struct Rig {
    client: DuplexStream,
    node: DuplexStream,
    stop: drain::Signal,
    relay: Option<Relay>,
    port: NodePort,
    limits: Limits,
    registry: Registry,
    log: Log,
}

fn rig() -> Rig {
    rig_of(Protocol::Imap, b"a OK\r\n")
}

/// Of this protocol; the node has answered the login so.
fn rig_of(protocol: Protocol, answer: &[u8]) -> Rig {
    let (client, client_far) = duplex(64);
    let (node, node_far) = duplex(64);
    let islands = Islands::new(vec![settings::island(1)], None, Instant::now().into_std());
    let name = IslandName::new("a");
    let port = islands.find(&name).unwrap().ports(protocol).next().unwrap();
    let one = NonZeroU32::new(1);
    let limits = Limits::new(
        crate::limits::Settings { connections: one, sessions_per_user: one, ..settings::limits() },
        u32::MAX,
    );
    let from = SocketAddr::from(([192, 0, 2, 1], 1000));
    let mut slot = limits.enter().unwrap();
    slot.authenticated();
    let user_seat = seat(&limits).unwrap();
    let handoff = Handoff {
        client: Stream::Memory(client_far),
        node: Stream::Memory(node_far),
        pump: Pump::new(Vec::new(), answer.to_vec()),
        seat: port.seat(),
        places: (user_seat, slot),
    };
    let (stop, drain) = drain::channel();
    let registry = Registry::default();
    let record = Record::new(SessionId { run: 1, number: 2 }, protocol, from, &registry);
    let relay = Some(relay(handoff, record, drain.ear()));
    Rig { client, node, stop, relay, port, limits, registry, log: Log::default() }
}

fn seat(limits: &Limits) -> Option<UserSeat> {
    let alice = UserName::new(b"alice").unwrap();
    limits.seat(&IslandName::new("a"), &alice, IpAddr::from([192, 0, 2, 1])).ok()
}

impl Rig {
    /// Whether the session is counted, everywhere alike.
    fn is_counted(&self) -> bool {
        let (places, is_seated) = (self.limits.enter().is_err(), seat(&self.limits).is_none());
        let counted = [self.port.sessions() == 1, self.registry.len() == 1, is_seated, places];
        assert!(counted == [true; 4] || counted == [false; 4], "{counted:?}");
        counted[0]
    }

    fn assert_line(&self, words: &str) {
        let said = self.log.text();
        assert_eq!(said.matches("session ended").count(), 1, "{said}");
        assert!(said.contains(words), "{words}: {said}");
        assert!(said.contains("island=\"a\" node=\"node0\""), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_leaves_one_line_and_its_places() {
    let mut rig = rig();
    let _listening = rig.log.start();
    let relay = tokio::spawn(rig.relay.take().unwrap());
    rig.client.write_all(b"b LOGOUT\r\n").await.unwrap();
    rig.client.read_exact(&mut [0; 6]).await.unwrap();
    assert!(rig.is_counted() && !rig.log.text().contains("session ended"));
    rig.client.shutdown().await.unwrap();
    rig.node.read_exact(&mut [0; 10]).await.unwrap();
    rig.node.shutdown().await.unwrap();
    relay.await.unwrap();
    assert!(!rig.is_counted());
    rig.assert_line("who=client stage=relay why=closed");
    rig.assert_line("to_node=10 to_client=6");
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_task_dies_leaves_one_line_and_its_places() {
    let mut rig = rig();
    let _listening = rig.log.start();
    let relay = tokio::spawn(rig.relay.take().unwrap());
    rig.client.read_exact(&mut [0; 6]).await.unwrap();
    assert!(rig.is_counted());
    relay.abort();
    assert!(relay.await.unwrap_err().is_cancelled());
    assert!(!rig.is_counted());
    rig.assert_line("who=proxy stage=relay why=defect");
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_in_order_when_mailferry_stops() {
    let mut rig = rig();
    let _listening = rig.log.start();
    tokio::spawn(rig.relay.take().unwrap());
    rig.client.read_exact(&mut [0; 6]).await.unwrap();
    let before = Instant::now();
    rig.stop.stop().await;
    assert!(before.elapsed() <= CLOSE_TIMEOUT, "{:?}", before.elapsed());
    let mut rest = Vec::new();
    rig.client.read_to_end(&mut rest).await.unwrap();
    let said = rig.log.text();
    assert_eq!(said.matches("session ended").count(), 1, "{said}");
    assert!(said.contains("who=operator stage=relay why=shutdown"), "{said}");
}

const BYE: &str = "* BYE [UNAVAILABLE] Shutting down, please reconnect\r\n";

impl Rig {
    /// In a task, with its login's answer delivered, some time ago.
    async fn idle(&mut self, answer: usize) -> tokio::task::JoinHandle<()> {
        let relay = tokio::spawn(self.relay.take().unwrap());
        self.client.read_exact(&mut vec![0; answer]).await.unwrap();
        sleep(CALM * 2).await;
        relay
    }

    fn leave(&self) {
        let session = self.registry.find(SessionId { run: 1, number: 2 }).unwrap().upgrade().unwrap();
        session.leave();
    }

    /// What the client still hears.
    async fn last_words(&mut self) -> String {
        let mut rest = String::new();
        self.client.read_to_string(&mut rest).await.unwrap();
        rest
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_session_is_told_that_mailferry_stops_and_the_node_hears_the_end() {
    for by_signal in [false, true] {
        let mut rig = rig();
        let _listening = rig.log.start();
        let relay = rig.idle(6).await;
        let ends = if by_signal {
            let stop = std::mem::replace(&mut rig.stop, drain::channel().0);
            tokio::spawn(stop.stop())
        } else {
            rig.leave();
            tokio::spawn(async {})
        };
        assert_eq!(rig.last_words().await, BYE);
        rig.node.read_to_end(&mut Vec::new()).await.unwrap();
        // What it says then is for nobody, and makes no reset.
        rig.client.write_all(b"DONE\r\n").await.unwrap();
        assert!(!relay.is_finished(), "the client's end is waited for");
        rig.client.shutdown().await.unwrap();
        timeout(CLOSE_TIMEOUT / 2, relay).await.expect("the client has ended").unwrap();
        ends.await.unwrap();
        rig.assert_line("who=operator stage=relay why=drained");
        rig.assert_line("to_node=0 to_client=59");
        assert_eq!(rig.registry.ends().told, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_told_and_does_not_go_is_not_waited_for() {
    let mut rig = rig();
    let relay = rig.idle(6).await;
    rig.leave();
    let before = Instant::now();
    relay.await.unwrap();
    assert!(before.elapsed() <= CLOSE_TIMEOUT, "{:?}", before.elapsed());
    assert_eq!(rig.last_words().await, BYE);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_told_after_its_node_has_ended_is_read_on_too() {
    let mut rig = rig();
    let _listening = rig.log.start();
    let mut relay = rig.relay.take().unwrap();
    rig.node.shutdown().await.unwrap();
    std::future::poll_fn(|cx| {
        let held = relay.pump.poll(cx, &mut relay.client, &mut relay.node, |_| CALM * 9);
        assert!(held.is_pending() && relay.pump.is_at_rest());
        relay.take_leave(cx, Why::Drained);
        relay.close_timeout = Some(Box::pin(sleep(CLOSE_TIMEOUT)));
        Poll::Ready(())
    })
    .await;
    let relay = tokio::spawn(relay);
    assert_eq!(rig.last_words().await, format!("a OK\r\n{BYE}"));
    rig.client.write_all(b"DONE\r\n").await.unwrap();
    sleep(CLOSE_TIMEOUT / 4).await;
    assert!(!relay.is_finished(), "the client's end is waited for");
    rig.client.shutdown().await.unwrap();
    timeout(CLOSE_TIMEOUT / 2, relay).await.expect("the client has ended").unwrap();
    rig.assert_line("stage=relay");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_pop3_session_is_closed_without_a_word() {
    let mut rig = rig_of(Protocol::Pop3, b"+OK\r\n");
    let _listening = rig.log.start();
    let relay = rig.idle(5).await;
    rig.leave();
    assert_eq!(rig.last_words().await, "");
    rig.client.shutdown().await.unwrap();
    relay.await.unwrap();
    rig.assert_line("who=operator stage=relay why=drained");
}

#[tokio::test(start_paused = true)]
async fn a_busy_session_stays_until_it_is_quiet() {
    let mut rig = rig();
    let relay = rig.idle(6).await;
    rig.client.write_all(b"b NOOP\r\n").await.unwrap();
    sleep(CALM * 2).await;
    rig.leave();
    sleep(CALM * 2).await;
    rig.node.write_all(b"b OK\r\n").await.unwrap();
    rig.client.read_exact(&mut [0; 6]).await.unwrap();
    rig.leave();
    sleep(CALM / 2).await;
    assert!(!relay.is_finished(), "that may not be all of the answer");
    sleep(CALM).await;
    rig.leave();
    assert_eq!(rig.last_words().await, BYE);
}

#[tokio::test(start_paused = true)]
async fn at_the_cut_a_session_is_quiet_that_would_have_been_let_go_and_no_other() {
    // The time of the stop, the silence before its end, and whether that is enough.
    for (time, silence, is_told) in [(4, 2, true), (20, 4, false), (20, 6, true)] {
        let mut rig = rig();
        let _listening = rig.log.start();
        rig.registry.calm().for_stop(Duration::from_secs(time));
        let relay = rig.idle(6).await;
        rig.node.write_all(b"* 1 EXISTS\r\n").await.unwrap();
        rig.client.read_exact(&mut [0; 12]).await.unwrap();
        sleep(Duration::from_secs(silence)).await;
        let stop = std::mem::replace(&mut rig.stop, drain::channel().0);
        timeout(CLOSE_TIMEOUT * 2, stop.stop()).await.expect("it does not end");
        relay.await.unwrap();
        assert_eq!(rig.last_words().await == BYE, is_told, "{time} {silence}");
        rig.assert_line(if is_told { "why=drained" } else { "why=shutdown" });
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_in_the_middle_of_a_literal_is_cut_at_the_end_and_never_told() {
    let (to_client, to_node) = ("* 1 FETCH (BODY[] {1000}\r\nhalf of i", "b APPEND x {1000}\r\nhalf of it\r\n");
    for (literal, is_clients) in [(to_client, false), (to_node, true)] {
        let mut rig = rig();
        let _listening = rig.log.start();
        let relay = rig.idle(6).await;
        let (from, to) = match is_clients {
            true => (&mut rig.client, &mut rig.node),
            false => (&mut rig.node, &mut rig.client),
        };
        from.write_all(literal.as_bytes()).await.unwrap();
        to.read_exact(&mut vec![0; literal.len()]).await.unwrap();
        sleep(CALM * 100).await;
        rig.leave();
        sleep(CALM * 100).await;
        assert!(!relay.is_finished());
        let stop = std::mem::replace(&mut rig.stop, drain::channel().0);
        timeout(CLOSE_TIMEOUT * 2, stop.stop()).await.expect("it does not end");
        assert_eq!(rig.last_words().await, "", "{literal}");
        rig.assert_line("who=operator stage=relay why=shutdown");
        assert_eq!(rig.registry.ends().cut, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_operator_ends_ends_in_order_and_its_line_says_so() {
    let mut rig = rig();
    let _listening = rig.log.start();
    let relay = tokio::spawn(rig.relay.take().unwrap());
    rig.client.write_all(b"b NOOP\r\n").await.unwrap();
    rig.client.read_exact(&mut [0; 6]).await.unwrap();
    rig.node.read_exact(&mut [0; 8]).await.unwrap();
    let session = rig.registry.find(SessionId { run: 1, number: 2 }).unwrap();
    let kick = || session.upgrade().is_some_and(|session| session.kick());
    assert!(kick() && !kick(), "once");
    let mut rest = Vec::new();
    let ends = async {
        rig.client.read_to_end(&mut rest).await.unwrap();
        rig.node.read_to_end(&mut rest).await.unwrap();
        relay.await.unwrap();
    };
    timeout(CLOSE_TIMEOUT, ends).await.expect("it does not end");
    assert!(rest.is_empty());
    assert!(!rig.is_counted() && session.upgrade().is_none());
    rig.assert_line("who=operator stage=relay why=kicked");
    rig.assert_line("to_node=8 to_client=6");
}

#[tokio::test(start_paused = true)]
async fn a_client_hears_that_the_operator_ends_its_session_where_a_line_can_stand() {
    let literal = "* 1 FETCH (BODY[] {1000}\r\nhalf of i";
    for (answer, told) in [("", BYE), (literal, "")] {
        let mut rig = rig();
        let _listening = rig.log.start();
        let relay = rig.idle(6).await;
        rig.node.write_all(answer.as_bytes()).await.unwrap();
        rig.client.read_exact(&mut vec![0; answer.len()]).await.unwrap();
        sleep(CALM * 2).await;
        let session = rig.registry.find(SessionId { run: 1, number: 2 }).unwrap();
        assert!(session.upgrade().is_some_and(|session| session.kick()));
        assert_eq!(rig.last_words().await, told, "{answer}");
        rig.client.shutdown().await.unwrap();
        timeout(CLOSE_TIMEOUT * 2, relay).await.expect("the client has ended").unwrap();
        rig.assert_line("who=operator stage=relay why=kicked");
        assert_eq!(rig.registry.ends().told, 0, "mailferry does not stop");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_ended_before_it_began_ends_at_once() {
    let mut rig = rig();
    let _listening = rig.log.start();
    let session = rig.registry.find(SessionId { run: 1, number: 2 }).unwrap();
    assert!(session.upgrade().is_some_and(|session| session.kick()));
    timeout(CLOSE_TIMEOUT, rig.relay.take().unwrap()).await.expect("it does not end");
    rig.assert_line("who=operator stage=relay why=kicked");
}

/// How many lines the log has when whoever stops mailferry need not wait any more, and may end the process.
struct Stopped {
    log: Log,
    lines: AtomicUsize,
}

impl Wake for Stopped {
    fn wake(self: Arc<Self>) {
        self.lines.store(self.log.count("session ended"), Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_waited_for_until_its_line_is_written() {
    let Rig { stop, relay, log, .. } = rig();
    let _listening = log.start();
    let stopped = Arc::new(Stopped { log, lines: AtomicUsize::new(usize::MAX) });
    let mut stop = std::pin::pin!(stop.stop());
    let waker = Arc::clone(&stopped).into();
    assert!(stop.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(relay);
    assert_eq!(stopped.lines.load(Ordering::Relaxed), 1);
}
