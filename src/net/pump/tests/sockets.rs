//! The pump between real sockets: both ways to move a burst, and what a client that takes nothing makes us keep.

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, MutexGuard};

use super::super::direction::Rest;
use super::super::pipe;
use super::*;
use crate::net::listen;

/// Much more than the kernel takes for somebody who reads nothing.
const MUCH: usize = 12 * 1024 * 1024;

/// More than the kernel keeps of a transfer that stands, in all buffers on its way together (tcp_rmem and tcp_wmem, which some
/// systems let grow to 32 MiB and 4 MiB for each socket).
const ENDLESS: usize = 128 * 1024 * 1024;

/// For everything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(60);

/// How bursts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Copy,
    Splice,
}

const BOTH: [Way; 2] = [Way::Copy, Way::Splice];

/// A socket that goes one way.
struct Socket(TcpStream, Way);

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
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

impl Breakable for Socket {
    fn broken(&self) -> Option<io::Error> {
        self.0.peer_addr().err()
    }

    fn socket(&self) -> Option<&TcpStream> {
        (self.1 == Way::Splice).then_some(&self.0)
    }
}

/// Pipes are the whole process's: one test at a time counts them.
async fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::const_new(());
    ONE.lock().await
}

/// A connection with our options on our side, which is the second one.
async fn connection() -> (TcpStream, TcpStream) {
    let listener: TcpListener = listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let (accepted, peer) = tokio::join!(listener.accept(), TcpStream::connect(listener.local_addr().unwrap()));
    (peer.unwrap(), accepted.unwrap().0)
}

/// A running pump between two connections.
struct Rig {
    client: TcpStream,
    node: TcpStream,
    pump: JoinHandle<(Ended, u64, u64)>,
}

async fn start(way: Way, to_node: &[u8], to_client: &[u8]) -> Rig {
    let (client, client_far) = connection().await;
    let (node, node_far) = connection().await;
    let (mut client_far, mut node_far) = (Socket(client_far, way), Socket(node_far, way));
    let mut pump = Pump::new(to_node.to_vec(), to_client.to_vec());
    let pump = tokio::spawn(async move {
        let ended = pump.run(&mut client_far, &mut node_far, |_| Duration::ZERO).await;
        (ended, pump.to_node(), pump.to_client())
    });
    Rig { client, node, pump }
}

/// No two places of it look alike.
fn octets(count: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..count).map(|_| rng.u8(..)).collect()
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("not in time")
}

#[tokio::test]
async fn r_pipe_04_all_octets_pass_in_both_directions_on_both_ways() {
    let _alone = alone().await;
    let octets = octets(MUCH);
    for way in BOTH {
        for window in [usize::MAX, 300_000, 5_000] {
            let octets = &octets[..MUCH.min(window.saturating_mul(500))];
            let went_before = pipe::octets_spliced();
            let Rig { mut client, mut node, pump } = start(way, b"held ", b"early ").await;
            let (mut client_in, mut client_out) = client.split();
            let (mut node_in, mut node_out) = node.split();
            let (mut at_client, mut at_node) = (Vec::new(), Vec::new());
            in_time(async {
                tokio::join!(
                    send(&mut client_out, octets, window),
                    send(&mut node_out, octets, window),
                    async { client_in.read_to_end(&mut at_client).await.unwrap() },
                    async { node_in.read_to_end(&mut at_node).await.unwrap() },
                )
            })
            .await;
            assert!(at_client == [b"early ", octets].concat(), "{way:?} {window}");
            assert!(at_node == [b"held ", octets].concat(), "{way:?} {window}");
            let (ended, to_node, to_client) = in_time(pump).await.unwrap();
            assert!(ended.error.is_none());
            assert_eq!((to_node, to_client), (octets.len() as u64 + 5, octets.len() as u64 + 6));
            let went = pipe::octets_spliced() - went_before;
            assert_eq!(went > 0, way == Way::Splice && window > 64 * 1024, "{way:?} {window}: {went} octets spliced");
            assert_eq!(pipe::in_use(), 0, "every pipe is given back");
        }
    }
}

/// Sends pieces of this size, and lets others do something in between.
async fn send(out: &mut (impl AsyncWrite + Unpin), octets: &[u8], piece: usize) {
    for piece in octets.chunks(piece.min(octets.len())) {
        out.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    out.shutdown().await.unwrap();
}

#[tokio::test]
async fn r_pipe_05_a_node_that_closes_after_a_burst_is_delivered_to_the_last_octet() {
    let _alone = alone().await;
    let octets = octets(MUCH);
    for way in BOTH {
        let Rig { mut client, mut node, pump } = start(way, b"", b"").await;
        let sent = &octets;
        let node = async move { node.write_all(sent).await };
        let mut got = Vec::new();
        let (sent, read) = in_time(async { tokio::join!(node, client.read_to_end(&mut got)) }).await;
        assert!(sent.is_ok() && read.is_ok() && got == octets, "{way:?}");
        drop(client);
        let (ended, _, to_client) = in_time(pump).await.unwrap();
        assert_eq!((ended.by, to_client), (Peer::Node, MUCH as u64), "{way:?}");
        assert_eq!(pipe::in_use(), 0);
    }
}

#[tokio::test]
async fn a_client_that_closed_its_sending_side_still_gets_a_burst() {
    let _alone = alone().await;
    let octets = octets(MUCH);
    for way in BOTH {
        let Rig { mut client, mut node, pump } = start(way, b"", b"").await;
        client.write_all(b"a FETCH 1 RFC822\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let node = async {
            let mut heard = Vec::new();
            node.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"a FETCH 1 RFC822\r\n");
            node.write_all(&octets).await.unwrap();
            node.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (_, read) = in_time(async { tokio::join!(node, client.read_to_end(&mut got)) }).await;
        assert!(read.is_ok() && got == octets, "{way:?}");
        assert_eq!(in_time(pump).await.unwrap().0.by, Peer::Client, "{way:?}");
    }
}

#[tokio::test]
async fn a_peer_that_resets_in_a_burst_ends_the_copy_and_leaves_no_pipe() {
    let _alone = alone().await;
    for way in BOTH {
        for who in [Peer::Client, Peer::Node] {
            let Rig { mut client, mut node, pump } = start(way, b"", b"").await;
            let (burst, mut taken) = (vec![b'x'; 4 * MUCH], vec![0; 512 * 1024]);
            tokio::select! {
                _ = node.write_all(&burst) => panic!("nobody took so much"),
                read = in_time(client.read_exact(&mut taken)) => { read.unwrap(); }
            }
            let (resets, mut other) = if who == Peer::Client { (client, node) } else { (node, client) };
            SockRef::from(&resets).set_linger(Some(Duration::ZERO)).unwrap();
            drop(resets);
            // It may hear a reset as well.
            let heard = in_time(other.read_to_end(&mut Vec::new())).await;
            drop(other);
            let (ended, ..) = in_time(pump).await.unwrap();
            assert_eq!((ended.by, ended.error.is_some()), (who, true), "{way:?} {heard:?}");
            assert_eq!(pipe::in_use(), 0, "{way:?}");
        }
    }
}

/// Octets that wait in the kernel to be read from this socket.
fn unread(socket: &impl std::os::fd::AsFd) -> usize {
    usize::try_from(rustix::io::ioctl_fionread(socket).unwrap()).unwrap()
}

#[tokio::test]
async fn a_client_that_takes_nothing_pins_no_more_than_300_kib_and_no_pipe() {
    let _alone = alone().await;
    for way in BOTH {
        // Also one that has taken a burst before.
        for takes in [0, 8 * 1024 * 1024] {
            let (mut client, client_far) = connection().await;
            // A fixed one: where the kernel lets it grow, it may drop what does not fit yet, and that is sent once more, later.
            SockRef::from(&client).set_recv_buffer_size(256 * 1024).unwrap();
            let (mut node, node_far) = connection().await;
            let (mut client_far, mut node_far) = (Socket(client_far, way), Socket(node_far, way));
            let mut pump = Pump::new(Vec::new(), Vec::new());
            let until_it_stalls = async {
                let (burst, mut taken, mut sent) = (vec![b'x'; 64 * 1024], vec![0; takes], 0);
                let send = async {
                    while sent < takes {
                        sent += node.write(&burst).await.unwrap();
                    }
                };
                let (read, ()) = tokio::join!(client.read_exact(&mut taken), send);
                read.unwrap();
                // The kernel takes nothing more, and the time is over after which a pipe must be left.
                while let Ok(more) = tokio::time::timeout(STALLED_LOOK * 3, node.write(&burst)).await {
                    sent += more.unwrap();
                    assert!(sent < takes + ENDLESS, "the pump reads on and on");
                }
            };
            tokio::select! {
                _ = pump.run(&mut client_far, &mut node_far, |_| Duration::ZERO) => panic!("it has ended"),
                () = in_time(until_it_stalls) => {}
            }
            let State::Open { rest: Some(rest) } = &pump.to_client.state else { panic!("not stalled") };
            let Rest::Octets { octets, written } = &**rest else { panic!("a pipe is held") };
            let in_kernel = usize::try_from(pump.to_client()).unwrap() - takes - unread(&client);
            let pinned = in_kernel + octets.len() - written;
            assert!(pinned > 64 * 1024, "{way:?} {takes}: {pinned} is too little to be believed");
            assert!(pinned <= 300 * 1024, "{way:?} {takes}: {pinned} octets pinned");
            assert_eq!(pipe::in_use(), 0, "{way:?} {takes}");
        }
    }
}

/// A copy with octets in its pipe, because its client takes none, and what the node has sent by then.
struct Stalled {
    client: TcpStream,
    client_far: Socket,
    node: TcpStream,
    node_far: Socket,
    pump: Pump,
    sent: Vec<u8>,
}

async fn stalled() -> Stalled {
    let (client, client_far) = connection().await;
    let (node, node_far) = connection().await;
    let (client_far, node_far) = (Socket(client_far, Way::Splice), Socket(node_far, Way::Splice));
    let mut stalled =
        Stalled { client, client_far, node, node_far, pump: Pump::new(Vec::new(), Vec::new()), sent: octets(MUCH) };
    // All that the kernel takes, so that it is a burst from the first look on.
    let mut sent = 0;
    stalled.node.writable().await.unwrap();
    while let Ok(count) = stalled.node.try_write(&stalled.sent[sent..]) {
        sent += count;
    }
    stalled.sent.truncate(sent);
    stalled.until(Stalled::is_in_pipe).await;
    assert_eq!(pipe::in_use(), 1);
    stalled
}

impl Stalled {
    fn is_in_pipe(&self) -> bool {
        matches!(&self.pump.to_client.state, State::Open { rest: Some(rest) } if matches!(**rest, Rest::InPipe(_)))
    }

    /// Lets the copy go on until this is so, before it is over.
    async fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        let going_on = std::future::poll_fn(|cx| {
            let Self { pump, client_far, node_far, .. } = self;
            assert!(pump.poll(cx, client_far, node_far, |_| Duration::ZERO).is_pending(), "it is over");
            if is_so(self) { Poll::Ready(()) } else { Poll::Pending }
        });
        in_time(going_on).await;
    }

    /// What is ours to be written to the client still.
    fn kept(&self) -> usize {
        let State::Open { rest: Some(rest) } = &self.pump.to_client.state else { return 0 };
        let Rest::Octets { octets, written } = &**rest else { panic!("a pipe is held") };
        octets.len() - written
    }

    /// Lets the copy end, and gives back how, with all that the client hears by then.
    async fn end(self) -> (Ended, Vec<u8>) {
        let mut heard = Vec::new();
        let Self { mut client, node: _node, mut client_far, mut node_far, mut pump, .. } = self;
        // Both are closed as soon as it has ended, as whoever has a pump must do.
        let run = async move { pump.run(&mut client_far, &mut node_far, |_| Duration::ZERO).await };
        let hear = async {
            client.read_to_end(&mut heard).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let (ended, ()) = in_time(async { tokio::join!(run, hear) }).await;
        assert_eq!(pipe::in_use(), 0);
        (ended, heard)
    }
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_while_octets_wait_in_a_pipe_gets_them_and_the_rest() {
    let _alone = alone().await;
    let mut stalled = stalled().await;
    stalled.client.shutdown().await.unwrap();
    stalled.until(|it| it.pump.ended().is_some()).await;
    assert_eq!(pipe::in_use(), 0, "a pipe is held for a client that may take its time");
    assert!(stalled.kept() > 0);
    assert_eq!(in_time(stalled.node.read(&mut [0])).await.unwrap(), 0, "the end is passed on");
    stalled.node.shutdown().await.unwrap();
    let sent = stalled.sent.clone();
    let (ended, heard) = stalled.end().await;
    assert!(heard == sent, "{} of {}", heard.len(), sent.len());
    assert_eq!((ended.by, ended.error.is_none()), (Peer::Client, true));
}

#[tokio::test]
async fn what_waits_in_a_pipe_reaches_the_client_of_a_node_that_was_reset() {
    let _alone = alone().await;
    let mut stalled = stalled().await;
    SockRef::from(&stalled.node).set_linger(Some(Duration::ZERO)).unwrap();
    drop(std::mem::replace(&mut stalled.node, connection().await.0));
    // The node's side is not read now: it is this that meets the reset.
    stalled.client.write_all(b"a NOOP\r\n").await.unwrap();
    stalled.until(|it| it.pump.ended().is_some()).await;
    assert_eq!(pipe::in_use(), 0, "a pipe is held for a client that may take its time");
    let all = usize::try_from(stalled.pump.to_client()).unwrap() + stalled.kept();
    assert!(stalled.kept() > 0, "what was in the pipe is lost");
    let sent = stalled.sent.clone();
    let (ended, heard) = stalled.end().await;
    // And what had arrived here, which a reset does not take back.
    assert!(heard.len() >= all && heard == sent[..heard.len()], "{} of {all}", heard.len());
    assert_eq!((ended.by, ended.error.is_some()), (Peer::Node, true));
}

#[tokio::test]
async fn a_client_that_is_reset_while_octets_wait_in_a_pipe_leaves_no_pipe() {
    let _alone = alone().await;
    let mut stalled = stalled().await;
    SockRef::from(&stalled.client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(std::mem::replace(&mut stalled.client, connection().await.0));
    let Stalled { client_far, node_far, pump, .. } = &mut stalled;
    let ended = in_time(pump.run(client_far, node_far, |_| Duration::ZERO)).await;
    assert_eq!((ended.by, ended.error.is_some()), (Peer::Client, true));
    assert_eq!(pipe::in_use(), 0, "the session may live on in its last record");
}
