//! Connections of operators: a few at once, each for one question, bounded in size and time.
//!
//! Whoever may open the socket may give any order, whoever reaches the address is nobody before his token says more, and
//! neither can make us wait for ever or take our memory: what keeps a place without asking is cut, and the next one gets
//! it. A stream of events leaves its place to the questions, and has one among the streams, for as long as its token is good. The
//! two doors have places of their own, so that whoever fills the one does not close the other.

use std::collections::{HashMap, VecDeque};
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::access::{Entrance, Pass};
use super::operator::Operator;
use super::socket::Bound;
use super::take_over::{FIRST_OCTET, Stand, TakeOver};
use crate::drain::Drain;
use crate::net::courier::Courier;
use crate::session::frequent::Network;

/// Connections at once over the socket; others wait in the kernel's queue.
const LOCAL_MAX: usize = 16;

/// Connections at once over the address.
pub(super) const REMOTE_MAX: usize = 64;

/// For a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// From the connect, or the end of the handshake, to the end of the question's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// From the connect to the last octet of the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Octets of a header.
const HEADER_MAX: usize = 16 * 1024;

/// Fields of a header.
const HEADERS_MAX: usize = 32;

/// How long a connection may keep its place while others wait for one.
const LOCAL_PATIENCE: Duration = Duration::from_secs(1);

/// The same over the address, where strangers come: whoever fills all places again and again must not make others wait.
const REMOTE_PATIENCE: Duration = Duration::from_millis(200);

/// From the end of the header to that of the body.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a question of an operator on this machine is answered on when mailferry ends: he may have ended its last session.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Octets of a body.
pub(super) const BODY_MAX: usize = 16 * 1024;

/// Streams of events at once, beside the questions. Whoever comes then is told so.
const STREAMS_MAX: usize = 16;

/// How long a stream may last; its listener asks again. So nobody keeps a place who has gone without a word.
const STREAM_TIMEOUT: Duration = Duration::from_secs(600);

/// How long accepting pauses when there are no descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// Where connections come in.
pub(super) enum Door {
    /// Over the socket, and where those go who want to take over. Who comes while another one waits there is turned away.
    Local(Arc<Bound>, mpsc::Sender<TakeOver>),
    /// Over the address.
    Remote(Arc<TcpListener>, Entrance),
    /// From the process that has taken this one's place: each descriptor is a connection; those that wait.
    Successor(Courier, VecDeque<OwnedFd>),
}

/// A connection that nobody has heard yet.
enum Caller {
    Local(UnixStream, mpsc::Sender<TakeOver>),
    Successor(UnixStream),
    Remote(TcpStream, SocketAddr),
}

impl Door {
    /// Nobody, from the moment in which the `stand` says so. Loses nothing where it is dropped.
    async fn accept(&mut self, stand: &watch::Receiver<Stand>) -> io::Result<Caller> {
        let Self::Successor(bell, waiting) = self else {
            return poll_fn(|cx| {
                // Held until somebody is accepted: who changes it waits for that, and nobody is behind his back.
                let now = stand.borrow();
                if self.takes(*now) == Some(true) { self.poll_accept(cx) } else { Poll::Pending }
            })
            .await;
        };
        loop {
            if let Some(descriptor) = waiting.pop_front() {
                let stream = std::os::unix::net::UnixStream::from(descriptor);
                stream.set_nonblocking(true)?;
                return UnixStream::from_std(stream).map(Caller::Successor);
            }
            if bell.line().await?.is_none() {
                // It is gone, and so is everybody who had this one's bell from it.
                return pending().await;
            }
            waiting.extend(bell.descriptors());
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Caller>> {
        match self {
            Self::Local(bound, take_overs) => {
                let accepted = ready!(bound.socket.poll_accept(cx));
                Poll::Ready(accepted.map(|(stream, _)| Caller::Local(stream, take_overs.clone())))
            }
            Self::Remote(socket, _) => {
                let accepted = ready!(socket.poll_accept(cx));
                Poll::Ready(accepted.map(|(stream, client)| Caller::Remote(stream, client)))
            }
            Self::Successor(..) => Poll::Pending,
        }
    }

    /// Whether it takes anybody now; `None`: never again.
    fn takes(&self, stand: Stand) -> Option<bool> {
        match (self, stand) {
            (Self::Successor(..), _) | (Self::Local(..), Stand::Left { socket: false }) => Some(true),
            (Self::Local(..) | Self::Remote(..), Stand::Open) => Some(true),
            (Self::Local(..) | Self::Remote(..), Stand::Waiting) => Some(false),
            (Self::Local(..), Stand::Left { socket: true }) | (Self::Remote(..), Stand::Left { .. }) => None,
        }
    }

    fn tls(&self) -> Option<TlsAcceptor> {
        match self {
            Self::Local(..) | Self::Successor(..) => None,
            Self::Remote(_, entrance) => entrance.tls().map(TlsAcceptor::from),
        }
    }
}

/// Accepts until told to stop, as far as it is the `stand`.
pub(super) async fn serve(mut door: Door, mut stand: watch::Receiver<Stand>, router: Router, drain: Drain) {
    let streams = Arc::new(Semaphore::new(STREAMS_MAX));
    let mut places = match door {
        Door::Local(..) | Door::Successor(..) => Places::new(LOCAL_MAX, LOCAL_PATIENCE),
        Door::Remote(..) => Places::new(REMOTE_MAX, REMOTE_PATIENCE),
    };
    let looked = stand.clone();
    loop {
        let now = *stand.borrow_and_update();
        let Some(may_accept) = door.takes(now) else {
            // Whoever is heard here comes to his end.
            drop(door);
            return drain.signalled().await;
        };
        let accepted = tokio::select! {
            accepted = door.accept(&looked), if may_accept => accepted,
            Ok(()) = stand.changed() => continue,
            () = drain.signalled() => return,
        };
        let Ok(caller) = accepted else {
            sleep(EXHAUSTED_PAUSE).await;
            continue;
        };
        let place = places.free().await;
        let network = match &caller {
            Caller::Local(..) | Caller::Successor(_) => None,
            Caller::Remote(_, client) => Some(Network::of(client.ip())),
        };
        let mut given_up = places.take(network);
        let last_answer = if network.is_none() { LAST_ANSWER } else { Duration::ZERO };
        let (streaming, streams_now) = oneshot::channel();
        let streaming = Streaming { places: Arc::clone(&streams), word: Arc::new(Mutex::new(Some(streaming))) };
        let talk = hear(caller, door.tls(), router.clone().layer(Extension(streaming)));
        let drain = drain.clone();
        tokio::spawn(async move {
            let mut talk = pin!(talk);
            let (_place_among_streams, pass) = tokio::select! {
                // Whatever ends it, there is nobody to tell.
                _ = timeout(CONNECTION_TIMEOUT, &mut talk) => return,
                Ok(()) = &mut given_up => return,
                () = drain.signalled() => {
                    let _ = timeout(last_answer, talk).await;
                    return;
                }
                Ok(stream) = streams_now => stream,
            };
            drop((place, given_up));
            tokio::select! {
                _ = timeout(STREAM_TIMEOUT, talk) => {}
                // Also of one who does not read.
                () = pass.over() => {}
                () = drain.signalled() => {}
            }
        });
    }
}

/// A place among the streams, and how long it may be kept.
type Stream = (OwnedSemaphorePermit, Pass);

/// A connection's way out of the bounds of a question, into those of a stream.
#[derive(Clone)]
pub(super) struct Streaming {
    places: Arc<Semaphore>,
    word: Arc<Mutex<Option<oneshot::Sender<Stream>>>>,
}

impl Streaming {
    /// The answer will be a stream, for as long as this pass is good. `false`: there are too many.
    pub(super) fn begin(&self, pass: Pass) -> bool {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return false };
        let word = self.word.lock().unwrap_or_else(PoisonError::into_inner).take();
        word.is_some_and(|word| word.send((place, pass)).is_ok())
    }
}

/// The connections that there are. Where there is no place, the oldest of the network that has the most makes one, but
/// never before its patience is over: every question but a long reload is answered in less, and that one comes to its end
/// without its asker.
struct Places {
    all: Arc<Semaphore>,
    patience: Duration,
    /// In the order of their beginning.
    taken: VecDeque<Taken>,
}

struct Taken {
    began: Instant,
    network: Option<Network>,
    /// Ends the connection. Dropping it does not: when nobody is accepted any more, those who are there have their answers.
    word: oneshot::Sender<()>,
}

impl Places {
    fn new(most: usize, patience: Duration) -> Self {
        Self { all: Arc::new(Semaphore::new(most)), patience, taken: VecDeque::new() }
    }

    async fn free(&mut self) -> Option<OwnedSemaphorePermit> {
        self.taken.retain(|it| !it.word.is_closed());
        let place = Arc::clone(&self.all).acquire_owned();
        let leaving = if self.all.available_permits() == 0 { self.leaving() } else { None };
        let mut place = pin!(place);
        if let Some(leaving) = leaving {
            let began = self.taken.get(leaving).map_or_else(Instant::now, |it| it.began);
            tokio::select! {
                biased;
                place = &mut place => return place.ok(),
                () = sleep_until(began + self.patience) => self.give_up(leaving),
            }
        }
        // Never closed.
        place.await.ok()
    }

    fn give_up(&mut self, leaving: usize) {
        if let Some(taken) = self.taken.remove(leaving) {
            // Whoever does not hear it has ended.
            let _ = taken.word.send(());
        }
    }

    /// The first one of the network that has the most.
    fn leaving(&self) -> Option<usize> {
        let mut counts: HashMap<Option<Network>, usize> = HashMap::new();
        self.taken.iter().for_each(|it| *counts.entry(it.network).or_default() += 1);
        let most = counts.values().max()?;
        self.taken.iter().position(|it| counts.get(&it.network) == Some(most))
    }

    fn take(&mut self, network: Option<Network>) -> oneshot::Receiver<()> {
        let (word, given_up) = oneshot::channel();
        self.taken.push_back(Taken { began: Instant::now(), network, word });
        given_up
    }
}

async fn hear(caller: Caller, tls: Option<TlsAcceptor>, router: Router) {
    let began = Instant::now();
    match (caller, tls) {
        (Caller::Local(stream, take_overs), _) => {
            let Ok(Ok(first)) = timeout(HEADER_TIMEOUT, first_octet(&stream)).await else { return };
            let operator = peer(&stream);
            if first == Some(FIRST_OCTET) {
                // Where there is no place for it, it sees that nobody talks to it.
                let _ = take_overs.try_send(TakeOver { stream, uid: operator.uid, pid: operator.pid });
                return;
            }
            talk(stream, router, operator, began).await;
        }
        (Caller::Successor(stream), _) => {
            let operator = peer(&stream);
            talk(stream, router, operator, began).await;
        }
        (Caller::Remote(stream, client), tls) => {
            let client = SocketAddr::new(client.ip().to_canonical(), client.port());
            let operator = Operator { uid: None, pid: None, remote: Some(client) };
            let Some(tls) = tls else { return talk(stream, router, operator, began).await };
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                talk(stream, router, operator, Instant::now()).await;
            }
        }
    }
}

fn peer(stream: &UnixStream) -> Operator {
    let credentials = stream.peer_cred().ok();
    Operator {
        uid: credentials.as_ref().map(tokio::net::unix::UCred::uid),
        pid: credentials.as_ref().and_then(tokio::net::unix::UCred::pid),
        remote: None,
    }
}

/// `began`: since when it may send its header.
async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin + Send, router: Router, operator: Operator, began: Instant) {
    let service = TowerToHyperService::new(router.layer(Extension(operator)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT.saturating_sub(began.elapsed()).max(Duration::from_millis(1)))
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // There is nobody to tell.
    drop(served);
}

/// What it begins with, which is read again by whoever hears it out. `None`: it ends.
async fn first_octet(stream: &UnixStream) -> io::Result<Option<u8>> {
    let look = || {
        let mut octet = [0];
        let (_, count) = recv(stream, &mut octet, RecvFlags::PEEK)?;
        Ok((count > 0).then_some(octet[0]))
    };
    stream.async_io(Interest::READABLE, look).await
}
