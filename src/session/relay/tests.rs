//! A relay over two pipes in memory: what it holds, and the one line that it leaves however it ends.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::super::registry::Session;
use super::*;
use crate::drain;
use crate::limits::Limits;
use crate::names::{IslandName, Protocol, SessionId, UserName};
use crate::routing::{Islands, NodePort};
use crate::session::Connection;
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
    let (client, client_far) = duplex(64);
    let (node, node_far) = duplex(64);
    let islands = Islands::new(vec![settings::island(1)], None, Instant::now().into_std());
    let name = IslandName::new("a");
    let port = islands.find(&name).unwrap().ports(Protocol::Imap).next().unwrap();
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
        pump: Pump::new(Vec::new(), b"a OK\r\n".to_vec()),
        seat: port.seat(),
        places: (user_seat, slot),
    };
    let (stop, drain) = drain::channel();
    let record = Record::new(SessionId { run: 1, number: 2 }, Protocol::Imap, from);
    let registry = Registry::default();
    let relay = Some(relay(handoff, record, &registry, drain.ear()));
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
