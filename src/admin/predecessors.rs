//! Processes whose place this one has taken, and which still have sessions: asking them what an operator asks here.
//!
//! The connection over which a process was taken over stays open for its remaining life, and is its bell: whoever asks sends one end
//! of a fresh pair of sockets over it, and speaks HTTP over the other one, as an operator at its socket (`serve`). So no question waits
//! behind another one, and the bell's end is that process's end. Every question has an absolute deadline, and every answer a
//! bound: nothing is ever taken for an answer that is none. Those who follow this process get the bells, and it asks nobody any more.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Method, Request, StatusCode};
use futures_util::future::join_all;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::view::Problem;
use crate::net::courier::Courier;

/// From the question to the last octet of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How much longer the bell of a process may live than a connection to it, when it ends.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Octets of an answer: a hundred thousand sessions have some 30 MB.
pub(super) const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// All of them. Clones share everything.
#[derive(Clone, Default)]
pub(super) struct Predecessors(Arc<Mutex<Vec<Arc<Predecessor>>>>);

struct Predecessor {
    process: u32,
    bell: tokio::sync::Mutex<Courier>,
}

/// Why a process has not done what it was asked for, or may have done it without a word.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// It does not answer in time.
    #[error("it does not answer within {ANSWER_TIMEOUT:?}, and may do it later")]
    Late,
    /// It cannot be asked.
    #[error("it cannot be asked: {0}")]
    Broken(String),
    /// It refuses.
    #[error("it refuses: {1}")]
    Refused(StatusCode, String),
}

/// What each of them has said, by its number. Those that are gone are left out.
pub(super) type Answers<T> = Vec<(u32, Result<T, Unanswered>)>;

impl Predecessors {
    /// One more.
    pub(super) fn add(&self, bell: Courier) {
        self.all().push(Arc::new(Predecessor { process: bell.peer(), bell: tokio::sync::Mutex::new(bell) }));
    }

    /// The bells of all of them, for a process that follows this one.
    pub(super) async fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        let mut copies = Vec::new();
        for one in self.now() {
            copies.push(one.bell.lock().await.copy()?);
        }
        Ok(copies)
    }

    /// Another process asks them from now on.
    pub(super) fn leave(&self) {
        self.all().clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Asks for something. `query`: with its percent signs, as it came.
    pub(super) async fn look<T: DeserializeOwned>(&self, path: &str, query: Option<&str>) -> Answers<T> {
        let uri = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        self.ask(&Method::GET, &uri, &[]).await
    }

    /// Orders something.
    pub(super) async fn order<T: DeserializeOwned>(&self, path: &str, order: &impl Serialize) -> Answers<T> {
        match serde_json::to_vec(order) {
            Ok(body) => self.ask(&Method::POST, path, &body).await,
            Err(error) => self.now().iter().map(|it| (it.process, Err(broken(&error)))).collect(),
        }
    }

    async fn ask<T: DeserializeOwned>(&self, method: &Method, uri: &str, body: &[u8]) -> Answers<T> {
        let all = self.now();
        let answers = join_all(all.iter().map(|one| one.ask(method, uri, body))).await;
        let mut heard = Vec::new();
        for (one, answer) in all.iter().zip(answers) {
            match answer {
                Some(answer) => heard.push((one.process, answer)),
                None => self.all().retain(|it| !Arc::ptr_eq(it, one)),
            }
        }
        heard
    }

    fn now(&self) -> Vec<Arc<Predecessor>> {
        self.all().clone()
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Predecessor>>> {
        // No method can panic between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Predecessor {
    /// Nothing, if it is gone, and with it all that it had.
    async fn ask<T: DeserializeOwned>(&self, method: &Method, uri: &str, body: &[u8]) -> Option<Result<T, Unanswered>> {
        let answer = match timeout(ANSWER_TIMEOUT, self.exchange(method, uri, body)).await {
            Ok(Ok((StatusCode::OK, octets))) => serde_json::from_slice(&octets).map_err(|error| broken(&error)),
            Ok(Ok((status, octets))) => {
                let problem = serde_json::from_slice::<Problem>(&octets);
                Err(Unanswered::Refused(status, problem.map_or_else(|_| status.to_string(), |it| it.error)))
            }
            Ok(Err(_)) if self.is_gone().await => return None,
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err(Unanswered::Late),
        };
        Some(answer)
    }

    async fn exchange(&self, method: &Method, uri: &str, body: &[u8]) -> Result<(StatusCode, Vec<u8>), Unanswered> {
        let request = Request::builder().method(method).uri(uri).header(HOST, "mailferry");
        let request = request.header(CONTENT_TYPE, "application/json").body(Body::from(body.to_vec()));
        let request = request.map_err(|error| broken(&error))?;
        let (ours, theirs) = UnixStream::pair().map_err(|error| broken(&error))?;
        self.bell.lock().await.send(b"", &[theirs.as_fd()]).await.map_err(|error| broken(&error))?;
        drop(theirs);
        let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.map_err(|error| broken(&error))?;
        let asking = async move {
            let (head, body) = sender.send_request(request).await.map_err(|error| broken(&error))?.into_parts();
            let body = to_bytes(Body::new(body), ANSWER_MAX).await.map_err(|error| broken(&error))?;
            Ok((head.status, body.to_vec()))
        };
        // The connection is driven beside it, and ends with it.
        let (answered, _) = tokio::join!(asking, connection);
        answered
    }

    /// Whether its bell is. It says nothing as long as it lives.
    async fn is_gone(&self) -> bool {
        let mut bell = self.bell.lock().await;
        matches!(timeout(END_TIMEOUT, bell.line()).await, Ok(Ok(None) | Err(_)))
    }
}

fn broken(error: &dyn std::fmt::Display) -> Unanswered {
    Unanswered::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;

    /// A process that was taken over, and does this with its first caller.
    fn who<F: Future<Output = ()> + Send>(
        does: impl FnOnce(UnixStream, Courier) -> F + Send + 'static,
    ) -> (Predecessors, JoinHandle<()>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let predecessors = Predecessors::default();
        predecessors.add(Courier::new(ours));
        let there = tokio::spawn(async move {
            let mut bell = Courier::new(theirs);
            bell.line().await.unwrap().unwrap();
            let caller = bell.descriptors().pop().unwrap();
            let caller = std::os::unix::net::UnixStream::from(caller);
            caller.set_nonblocking(true).unwrap();
            does(UnixStream::from_std(caller).unwrap(), bell).await;
        });
        (predecessors, there)
    }

    async fn hears(caller: &mut UnixStream) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            heard.push(caller.read_u8().await.unwrap());
        }
        String::from_utf8(heard).unwrap()
    }

    async fn says(status: &str, body: &str) -> Answers<Value> {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (predecessors, there) = who(async move |mut caller: UnixStream, bell| {
            assert!(hears(&mut caller).await.starts_with("GET /v1/x?a=b HTTP/1.1\r\n"));
            caller.write_all(answer.as_bytes()).await.unwrap();
            drop(caller);
            // Its bell lives longer than its answer.
            std::future::pending::<()>().await;
            drop(bell);
        });
        let answers = predecessors.look("/v1/x", Some("a=b")).await;
        there.abort();
        answers
    }

    #[tokio::test]
    async fn an_answer_is_one_and_everything_else_says_what_it_is() {
        let [(process, Ok(answer))] = &says("200 OK", "{\"a\":1}").await[..] else { panic!("an answer") };
        assert_eq!((*process, answer), (std::process::id(), &serde_json::json!({"a": 1})));
        for (status, body, expected) in [
            ("404 Not Found", "{\"error\":\"no such user\",\"meant\":[]}", "it refuses: no such user"),
            ("503 Busy", "x", "it refuses: 503"),
            ("200 OK", "{\"a\":", "it cannot be asked: EOF"),
            ("HTTP 1", "", "it cannot be asked: invalid HTTP"),
        ] {
            let [(_, Err(reason))] = &says(status, body).await[..] else { panic!("{status}: no reason") };
            assert!(reason.to_string().starts_with(expected), "{reason}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_waited_for_and_told_of() {
        let (predecessors, there) = who(async |_caller, _bell| std::future::pending().await);
        let answers: Answers<Value> = predecessors.look("/v1/x", None).await;
        assert!(matches!(answers[..], [(_, Err(Unanswered::Late))]), "{answers:?}");
        assert!(!predecessors.is_empty(), "it lives");
        there.abort();
    }

    #[tokio::test]
    async fn who_is_gone_has_nothing_and_is_asked_no_more() {
        let (predecessors, there) = who(async |mut caller: UnixStream, bell| {
            hears(&mut caller).await;
            drop((caller, bell));
        });
        let answers: Answers<Value> = predecessors.look("/v1/x", None).await;
        assert!(answers.is_empty() && predecessors.is_empty(), "{answers:?}");
        there.await.unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        predecessors.add(Courier::new(ours));
        assert_eq!(predecessors.copies().await.unwrap().len(), 1);
        drop(theirs);
        let answers: Answers<Value> = predecessors.order("/v1/x", &1).await;
        assert!(answers.is_empty() && predecessors.is_empty(), "{answers:?}");
    }
}
