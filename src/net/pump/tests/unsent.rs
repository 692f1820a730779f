//! A destination that takes octets and does not send them on, as TLS does when its socket takes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A client that takes everything, and sends on what its peer has room for.
struct Client {
    stream: DuplexStream,
    unsent: Vec<u8>,
    is_broken: Arc<AtomicBool>,
}

impl AsyncRead for Client {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Client {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        assert!(self.unsent.is_empty(), "more is written than was sent on");
        self.unsent.extend_from_slice(octets);
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, unsent, .. } = &mut *self;
        while !unsent.is_empty() {
            let taken = ready!(Pin::new(&mut *stream).poll_write(cx, unsent))?;
            unsent.drain(..taken);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Breakable for Client {
    fn broken(&self) -> Option<io::Error> {
        self.is_broken.load(Ordering::SeqCst).then(|| io::ErrorKind::ConnectionReset.into())
    }
}

/// The client's end, the node's, what makes the client's connection a broken one, and the pump.
fn start() -> (DuplexStream, DuplexStream, Arc<AtomicBool>, JoinHandle<Ended>) {
    let (client, stream) = duplex(16);
    let (node, mut node_far) = duplex(64);
    let is_broken = Arc::new(AtomicBool::new(false));
    let mut client_far = Client { stream, unsent: Vec::new(), is_broken: Arc::clone(&is_broken) };
    let pump = tokio::spawn(async move {
        Pump::new(Vec::new(), Vec::new()).run(&mut client_far, &mut node_far, |_| Duration::ZERO).await
    });
    (client, node, is_broken, pump)
}

/// Writes until nothing more is taken, and says how much was.
async fn write_until_it_stalls(node: &mut DuplexStream) -> usize {
    let mut written = 0;
    while let Ok(count) = tokio::time::timeout(Duration::from_secs(10), node.write(&[b'x'; 8])).await {
        written += count.expect("the pump has ended");
    }
    written
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_before_all_that_was_taken_is_sent_on() {
    let (mut client, mut node, _, _pump) = start();
    let written = write_until_it_stalls(&mut node).await;
    assert!(written <= 16 + 64 + 64, "{written} octets were taken for a client that takes 16");
    assert_eq!(read_some(&mut client, written).await.len(), written);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_breaks_while_something_is_not_sent_on_is_noticed() {
    let (_client, mut node, is_broken, pump) = start();
    write_until_it_stalls(&mut node).await;
    assert!(!pump.is_finished());
    let before = Instant::now();
    is_broken.store(true, Ordering::SeqCst);
    let ended = tokio::time::timeout(HALF_CLOSED_IDLE, pump).await.expect("it is not noticed").unwrap();
    assert_eq!((ended.by, ended.error.is_some()), (Peer::Client, true));
    assert!(before.elapsed() <= STALLED_LOOK, "{:?}", before.elapsed());
}
