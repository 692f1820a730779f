//! The end of a node, and how long it is held from its client.

use super::*;

/// What a test's `hold` says, and what it was asked.
#[derive(Clone)]
struct Holds(Duration, std::sync::Arc<std::sync::Mutex<Vec<Option<Duration>>>>);

impl Holds {
    fn secs(time: u64) -> Self {
        Self(Duration::from_secs(time), std::sync::Arc::default())
    }

    fn asked(&self) -> Vec<Option<Duration>> {
        self.1.lock().unwrap().clone()
    }
}

/// A pump with this `hold` over any two streams.
fn pump<C, N>(mut client: C, mut node: N, to_node: &[u8], holds: &Holds) -> JoinHandle<Ended>
where
    C: AsyncRead + AsyncWrite + Breakable + Unpin + Send + 'static,
    N: AsyncRead + AsyncWrite + Breakable + Unpin + Send + 'static,
{
    let (holds, to_node) = (holds.clone(), to_node.to_vec());
    tokio::spawn(async move {
        let hold = |ago| {
            holds.1.lock().unwrap().push(ago);
            holds.0
        };
        Pump::new(to_node, Vec::new()).run(&mut client, &mut node, hold).await
    })
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_end_of_a_node_is_held_from_its_client_and_what_it_said_before_is_not() {
    let (mut client, client_far) = duplex(64);
    let (mut node, node_far) = duplex(64);
    let holds = Holds::secs(7);
    let pump = pump(client_far, node_far, b"sent ahead", &holds);
    client.write_all(b"a NOO").await.unwrap();
    tokio::time::sleep(SECOND * 5).await;
    client.write_all(b"P\r\n").await.unwrap();
    read_some(&mut node, 18).await;
    tokio::time::sleep(SECOND * 3).await;
    let end = Instant::now();
    node.write_all(b"* BYE\r\n").await.unwrap();
    drop(node);
    assert_eq!(read_some(&mut client, 7).await, b"* BYE\r\n");
    assert_eq!(end.elapsed(), Duration::ZERO);
    client.write_all(b"b NOOP\r\n").await.unwrap();
    assert_eq!(read_all(&mut client).await, b"");
    assert_eq!(end.elapsed(), SECOND * 7);
    assert_eq!(holds.asked(), [Some(SECOND * 3)]);
    drop(client);
    assert_eq!(pump.await.unwrap().by, Peer::Node);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_sent_anything_in_the_relay_is_told_apart() {
    for (to_node, from_client, ago) in [("", "", None), ("a NOOP\r\n", "", None), ("", "x", Some(SECOND))] {
        let (mut client, client_far) = duplex(64);
        let (mut node, node_far) = duplex(64);
        let holds = Holds::secs(1);
        let _pump = pump(client_far, node_far, to_node.as_bytes(), &holds);
        node.write_all(b"* 1 EXISTS\r\n").await.unwrap();
        client.write_all(from_client.as_bytes()).await.unwrap();
        tokio::time::sleep(SECOND).await;
        drop(node);
        read_all(&mut client).await;
        assert_eq!(holds.asked(), [ago], "{to_node:?} {from_client:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_of_zero_passes_the_end_on_at_once() {
    let (mut client, client_far) = duplex(64);
    let (node, node_far) = duplex(64);
    let holds = Holds::secs(0);
    let _pump = pump(client_far, node_far, b"", &holds);
    let before = Instant::now();
    drop(node);
    assert_eq!(read_all(&mut client).await, b"");
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(holds.asked(), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_held_client_that_ends_is_let_go_at_once() {
    for is_half_closed in [false, true] {
        let (mut client, client_far) = duplex(64);
        let (node, node_far) = duplex(64);
        let holds = Holds::secs(7);
        let pump = pump(client_far, node_far, b"", &holds);
        drop(node);
        tokio::time::sleep(SECOND).await;
        assert!(!pump.is_finished());
        let before = Instant::now();
        if is_half_closed {
            client.shutdown().await.unwrap();
            assert_eq!(read_all(&mut client).await, b"");
        } else {
            drop(client);
        }
        assert_eq!(pump.await.unwrap().by, Peer::Node, "who began it stays");
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(holds.asked(), [None]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_client_began_is_never_held() {
    let (mut client, client_far) = duplex(64);
    let (mut node, node_far) = duplex(64);
    let holds = Holds::secs(7);
    let pump = pump(client_far, node_far, b"", &holds);
    let before = Instant::now();
    client.write_all(b"a LOGOUT\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut node).await, b"a LOGOUT\r\n");
    tokio::time::sleep(SECOND).await;
    node.write_all(b"* BYE\r\n").await.unwrap();
    drop(node);
    assert_eq!(read_all(&mut client).await, b"* BYE\r\n");
    assert_eq!(pump.await.unwrap().by, Peer::Client);
    assert_eq!(before.elapsed(), SECOND);
    assert!(holds.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_nothing_more_is_held_too_and_its_rest_delivered() {
    let (mut client, client_far) = duplex(64);
    let (mut node, node_far) = duplex(4096);
    node.write_all(&[b'x'; 4000]).await.unwrap();
    let holds = Holds::secs(7);
    let _pump = pump(client_far, node_far, b"", &holds);
    client.write_all(b"a NOOP\r\n").await.unwrap();
    tokio::task::yield_now().await;
    // Its connection breaks while the client has taken next to nothing of what it said.
    drop(node);
    let end = Instant::now();
    client.write_all(b"b NOOP\r\n").await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(holds.asked(), [Some(Duration::ZERO)]);
    assert_eq!(read_some(&mut client, 4000).await, [b'x'; 4000]);
    assert_eq!(end.elapsed(), SECOND);
    assert_eq!(read_all(&mut client).await, b"");
    assert_eq!(end.elapsed(), SECOND * 7);
}

#[tokio::test(start_paused = true)]
async fn a_held_client_may_talk_but_not_for_ever() {
    let (mut client, client_far) = duplex(64 * 1024);
    let (node, node_far) = duplex(64);
    let holds = Holds::secs(3600);
    let _pump = pump(client_far, node_far, b"", &holds);
    drop(node);
    let mut taken = 0;
    while tokio::time::timeout(SECOND, client.write_all(&[b'x'; 1024])).await.is_ok() {
        taken += 1024;
        assert!(taken < 2 * HELD_READ_MAX, "the pump reads on and on");
    }
    assert!(taken >= HELD_READ_MAX, "{taken}");
    // When the time is over it is read again, so that its end is seen.
    assert_eq!(read_all(&mut client).await, b"");
    client.write_all(&[b'x'; 200 * 1024]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_holds_back_is_flushed_when_the_end_is_held() {
    let (mut client, client_far) = duplex(16);
    let (mut node, node_far) = duplex(64);
    node.write_all(b"* an answer longer than the pipe\r\n").await.unwrap();
    drop(node);
    let _pump = pump(HoldsBack { stream: client_far, held: Vec::new() }, node_far, b"", &Holds::secs(7));
    let before = Instant::now();
    assert_eq!(read_some(&mut client, 34).await, b"* an answer longer than the pipe\r\n");
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(read_all(&mut client).await, b"");
    assert_eq!(before.elapsed(), SECOND * 7);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_dropped_while_it_holds_an_end_still_knows_who_ended_it() {
    let (mut client, mut client_far) = duplex(64);
    let (mut node, mut node_far) = duplex(64);
    node.write_all(b"* BYE\r\n").await.unwrap();
    drop(node);
    let mut pump = Pump::new(Vec::new(), Vec::new());
    let run = pump.run(&mut client_far, &mut node_far, |_| SECOND * 7);
    assert!(tokio::time::timeout(SECOND, run).await.is_err());
    assert_eq!(pump.ended().map(|ended| ended.by), Some(Peer::Node));
    assert_eq!(pump.to_client(), 7);
    assert_eq!(read_some(&mut client, 7).await, b"* BYE\r\n");
}
