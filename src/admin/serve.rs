//! Connections of operators: a few at once, each for one question, bounded in size and time.
//!
//! Whoever may open the socket may give any order, and can still not make us wait for ever or take our memory: what
//! keeps a place without asking is cut, and the next one gets it.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::socket::Bound;
use crate::drain::Drain;

/// Connections at once; others wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16;

/// From the connect to the end of the question's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// From the connect to the last octet of the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Octets of a header.
const HEADER_MAX: usize = 16 * 1024;

/// Fields of a header.
const HEADERS_MAX: usize = 32;

/// How long a connection may keep its place while others wait for one.
const PATIENCE: Duration = Duration::from_secs(1);

/// From the end of the header to that of the body.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Octets of a body.
pub(super) const BODY_MAX: usize = 16 * 1024;

/// How long accepting pauses when there are no descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// Who asks, by the kernel's word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator {
    /// The user's number, if the system tells.
    pub(super) uid: Option<u32>,
    /// The process, if the system tells.
    pub(super) pid: Option<i32>,
}

/// Accepts until told to stop. The socket's name is removed then.
pub(super) async fn serve(bound: Bound, router: Router, drain: Drain) {
    let mut places = Places::default();
    loop {
        let accepted = tokio::select! {
            accepted = bound.socket.accept() => accepted,
            () = drain.signalled() => return,
        };
        let Ok((stream, _)) = accepted else {
            sleep(EXHAUSTED_PAUSE).await;
            continue;
        };
        let place = places.free().await;
        let (router, drain) = (router.clone(), drain.clone());
        let mut given_up = places.take();
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                // Whatever ends it, there is nobody to tell.
                _ = timeout(CONNECTION_TIMEOUT, talk(stream, router)) => {}
                _ = &mut given_up => {}
                () = drain.signalled() => {}
            }
        });
    }
}

/// The connections that there are. Where there is no place, the oldest makes one, but never before its patience is over:
/// every question but a long reload is answered in less, and that one comes to its end without its asker.
struct Places {
    all: Arc<Semaphore>,
    /// In the order of their beginning. Dropping the word ends the connection.
    taken: VecDeque<(Instant, oneshot::Sender<()>)>,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(CONNECTIONS_MAX)), taken: VecDeque::new() }
    }
}

impl Places {
    async fn free(&mut self) -> Option<OwnedSemaphorePermit> {
        self.taken.retain(|(_, word)| !word.is_closed());
        let place = Arc::clone(&self.all).acquire_owned();
        let oldest = self.taken.front().filter(|_| self.all.available_permits() == 0).map(|(began, _)| *began);
        let mut place = pin!(place);
        if let Some(oldest) = oldest {
            tokio::select! {
                biased;
                place = &mut place => return place.ok(),
                () = sleep_until(oldest + PATIENCE) => drop(self.taken.pop_front()),
            }
        }
        // Never closed.
        place.await.ok()
    }

    fn take(&mut self) -> oneshot::Receiver<()> {
        let (word, given_up) = oneshot::channel();
        self.taken.push_back((Instant::now(), word));
        given_up
    }
}

async fn talk(stream: UnixStream, router: Router) -> Result<(), hyper::Error> {
    let credentials = stream.peer_cred().ok();
    let operator = Operator {
        uid: credentials.as_ref().map(tokio::net::unix::UCred::uid),
        pid: credentials.as_ref().and_then(tokio::net::unix::UCred::pid),
    };
    let service = TowerToHyperService::new(router.layer(Extension(operator)));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
