//! The pump between two in-memory pipes.

use std::task::ready;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinHandle;

use super::*;

mod held;
mod rest;
#[cfg(target_os = "linux")]
mod sockets;
mod unsent;

impl Breakable for DuplexStream {
    fn broken(&self) -> Option<io::Error> {
        None
    }
}

impl Breakable for HoldsBack {
    fn broken(&self) -> Option<io::Error> {
        None
    }
}

/// A running pump: what the client and the node hold in hand, and how it will end.
struct Rig {
    client: DuplexStream,
    node: DuplexStream,
    pump: JoinHandle<(Ended, u64, u64)>,
}

fn start(to_node: &[u8], to_client: &[u8], pipe: usize) -> Rig {
    let (client, mut client_far) = duplex(pipe);
    let (node, mut node_far) = duplex(pipe);
    let mut pump = Pump::new(to_node.to_vec(), to_client.to_vec());
    let pump = tokio::spawn(async move {
        let ended = pump.run(&mut client_far, &mut node_far, |_| Duration::ZERO).await;
        (ended, pump.to_node(), pump.to_client())
    });
    Rig { client, node, pump }
}

async fn read_all(stream: &mut DuplexStream) -> Vec<u8> {
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).await.unwrap();
    octets
}

async fn read_some(stream: &mut DuplexStream, count: usize) -> Vec<u8> {
    let mut octets = vec![0; count];
    stream.read_exact(&mut octets).await.unwrap();
    octets
}

#[tokio::test(start_paused = true)]
async fn octets_received_before_go_first_in_both_directions() {
    let mut rig = start(b"held ", b"early ", 64);
    rig.client.write_all(b"command").await.unwrap();
    rig.node.write_all(b"answer").await.unwrap();
    assert_eq!(read_some(&mut rig.node, 12).await, b"held command");
    assert_eq!(read_some(&mut rig.client, 12).await, b"early answer");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closed_its_sending_side_still_gets_the_answers() {
    let mut rig = start(b"", b"", 64);
    rig.client.write_all(b"a LOGOUT\r\n").await.unwrap();
    rig.client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut rig.node).await, b"a LOGOUT\r\n");
    rig.node.write_all(b"* BYE\r\na OK\r\n").await.unwrap();
    drop(rig.node);
    assert_eq!(read_all(&mut rig.client).await, b"* BYE\r\na OK\r\n");
    let (ended, to_node, to_client) = rig.pump.await.unwrap();
    assert_eq!((ended.by, ended.error.is_none()), (Peer::Client, true));
    assert_eq!((to_node, to_client), (10, 13));
}

#[tokio::test(start_paused = true)]
async fn r_pipe_05_a_node_that_closes_mid_literal_is_delivered_to_the_last_octet_and_the_client_cut() {
    let mut rig = start(b"", b"", 16);
    let sent = vec![b'x'; 5000];
    let node = tokio::spawn({
        let sent = sent.clone();
        async move { rig.node.write_all(&sent).await }
    });
    assert_eq!(read_all(&mut rig.client).await, sent);
    node.await.unwrap().unwrap();
    // The client does not close; the pump ends all the same.
    assert_eq!(rig.pump.await.unwrap().0.by, Peer::Node);
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_left_a_minute_after_the_client_closed() {
    let mut rig = start(b"", b"", 64);
    let before = Instant::now();
    rig.client.shutdown().await.unwrap();
    assert_eq!(rig.pump.await.unwrap().0.by, Peer::Client);
    assert_eq!(before.elapsed().as_secs(), HALF_CLOSED_IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_stops_the_reading_from_the_node() {
    let mut rig = start(b"", b"", 16);
    let writer = tokio::spawn(async move {
        let mut taken = 0;
        while tokio::time::timeout(Duration::from_secs(1), rig.node.write_all(&[b'x'; 16])).await.is_ok() {
            taken += 16;
            assert!(taken < 1024, "the pump reads on although the client takes nothing");
        }
    });
    writer.await.unwrap();
    drop(rig.client);
    assert_eq!(rig.pump.await.unwrap().0.by, Peer::Client);
}

#[tokio::test(start_paused = true)]
async fn r_pipe_04_all_octets_pass_in_both_directions_whatever_the_chunks() {
    let octets: Vec<u8> = (0..=255u8).cycle().take(70_000).collect();
    for pipe in [1, 7, 4096, 100_000] {
        let Rig { client, node, pump } = start(b"", b"", pipe);
        let (mut client_in, client_out) = tokio::io::split(client);
        let (mut node_in, node_out) = tokio::io::split(node);
        let send = |mut out: tokio::io::WriteHalf<DuplexStream>, octets: Vec<u8>| async move {
            out.write_all(&octets).await.unwrap();
            out.shutdown().await.unwrap();
        };
        let (mut at_client, mut at_node) = (Vec::new(), Vec::new());
        let (_, _, from_node, from_client) = tokio::join!(
            send(client_out, octets.clone()),
            send(node_out, octets.clone()),
            client_in.read_to_end(&mut at_client),
            node_in.read_to_end(&mut at_node),
        );
        assert!(from_node.is_ok() && from_client.is_ok());
        assert!(at_client == octets && at_node == octets, "pipe of {pipe}");
        let (_, to_node, to_client) = pump.await.unwrap();
        assert_eq!((to_node, to_client), (70_000, 70_000));
    }
}

/// A stream that keeps what it is given until it is flushed, as TLS may.
struct HoldsBack {
    stream: DuplexStream,
    held: Vec<u8>,
}

impl AsyncRead for HoldsBack {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for HoldsBack {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.held.extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let Self { stream, held } = &mut *self;
            let taken = ready!(Pin::new(stream).poll_write(cx, held))?;
            held.drain(..taken);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_holds_back_is_flushed_before_the_pump_waits() {
    let (mut client, client_far) = duplex(16);
    let (mut node, mut node_far) = duplex(16);
    tokio::spawn(async move {
        let mut client_far = HoldsBack { stream: client_far, held: Vec::new() };
        Pump::new(Vec::new(), b"* early\r\n".to_vec()).run(&mut client_far, &mut node_far, |_| Duration::ZERO).await
    });
    assert_eq!(read_some(&mut client, 9).await, b"* early\r\n");
    node.write_all(b"* an answer longer than the pipe\r\n").await.unwrap();
    assert_eq!(read_some(&mut client, 34).await, b"* an answer longer than the pipe\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_leaves_a_slow_and_talking_client_every_octet() {
    let mut rig = start(b"", b"", 64);
    let sent = vec![b'x'; 4000];
    rig.client.write_all(b"a NOOP\r\n").await.unwrap();
    let node = tokio::spawn({
        let sent = sent.clone();
        async move { rig.node.write_all(&sent).await }
    });
    let (mut client_in, mut client_out) = tokio::io::split(rig.client);
    // The client talks on to a node that is gone, and takes a minute over each piece of what the node had said.
    let talking = tokio::spawn(async move { while client_out.write_all(b"b NOOP\r\n").await.is_ok() {} });
    let mut got = Vec::new();
    for _ in 0..4 {
        tokio::time::advance(HALF_CLOSED_IDLE - Duration::from_secs(1)).await;
        let mut piece = vec![0; 1000];
        client_in.read_exact(&mut piece).await.unwrap();
        got.extend_from_slice(&piece);
    }
    assert!(got == sent);
    node.await.unwrap().unwrap();
    assert_eq!(client_in.read(&mut [0; 8]).await.unwrap(), 0, "the end of the node is passed on");
    talking.abort();
}

/// A client whose connection breaks when the test says so, and which is never read meanwhile.
struct Breaks(DuplexStream, std::sync::Arc<std::sync::atomic::AtomicBool>);

impl AsyncRead for Breaks {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Breaks {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Breakable for Breaks {
    fn broken(&self) -> Option<io::Error> {
        let broken = self.1.load(std::sync::atomic::Ordering::SeqCst);
        broken.then(|| io::ErrorKind::ConnectionReset.into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_breaks_while_its_node_takes_nothing_is_noticed() {
    let (mut client, client_far) = duplex(64);
    let (_frozen, mut node_far) = duplex(64);
    let breaks = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut client_far = Breaks(client_far, std::sync::Arc::clone(&breaks));
    let pump = tokio::spawn(async move {
        Pump::new(Vec::new(), Vec::new()).run(&mut client_far, &mut node_far, |_| Duration::ZERO).await
    });
    while tokio::time::timeout(Duration::from_secs(10), client.write_all(&[b'x'; 64])).await.is_ok() {}
    assert!(!pump.is_finished());
    let before = Instant::now();
    breaks.store(true, std::sync::atomic::Ordering::SeqCst);
    let ended = pump.await.unwrap();
    assert_eq!((ended.by, ended.error.is_some()), (Peer::Client, true));
    assert!(before.elapsed() <= STALLED_LOOK, "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_a_node_sent_before_it_broke_reaches_a_client_that_takes_its_time() {
    let (mut client, mut client_far) = duplex(64);
    let (mut node, node_far) = duplex(4096);
    let breaks = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mut node_far = Breaks(node_far, breaks);
    node.write_all(&[b'x'; 4000]).await.unwrap();
    drop(node);
    let pump = tokio::spawn(async move {
        Pump::new(Vec::new(), Vec::new()).run(&mut client_far, &mut node_far, |_| Duration::ZERO).await
    });
    tokio::time::sleep(STALLED_LOOK * 5).await;
    assert_eq!(read_all(&mut client).await, [b'x'; 4000]);
    drop(client);
    assert_eq!(pump.await.unwrap().by, Peer::Node);
}
