//! One question to a running mailferry, over its admin socket or by HTTPS (`remote`), and its answer.
//!
//! The answer is printed as it came with `--json`. What fails ends with the exit code that the help promises.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, HOST};
use clap::Args;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::print::{complain, say};
use super::remote::{Remote, Wire};
use super::{DEFAULT_CONFIG, EXIT_NOT_FOUND, EXIT_UNAVAILABLE, EXIT_USAGE, runtime};
use crate::admin::view::{Problem, Unreached};
use crate::config;

/// EX_NOPERM of sysexits.h: the socket is not for this user.
const EXIT_NOT_PERMITTED: u8 = 77;

/// EX_SOFTWARE of sysexits.h: mailferry could not do it.
const EXIT_FAILED: u8 = 70;

/// Until the last octet of the answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait when the queue of the socket is full.
const QUEUE_PAUSE: Duration = Duration::from_millis(50);

/// Octets of an answer: a hundred thousand sessions have some 30 MB.
const ANSWER_MAX: usize = 256 * 1024 * 1024;

/// What stands for `--admin`, where neither that nor another socket is named.
const ADMIN_VARIABLE: &str = "MAILFERRY_ADMIN";

/// What stands for `--token-file`.
const TOKEN_VARIABLE: &str = "MAILFERRY_TOKEN_FILE";

/// What stands for `--ca`.
const CA_VARIABLE: &str = "MAILFERRY_CA";

/// Where mailferry listens for commands, and how its answer is shown.
#[derive(Args)]
pub(super) struct Asking {
    /// The socket; without it, the one that the configuration names.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Another machine's mailferry instead: its `address`, as https://mail.example.net:8443. Or in MAILFERRY_ADMIN.
    #[arg(long, value_name = "URL", conflicts_with = "socket")]
    admin: Option<String>,
    /// The file with your token for it. Or in MAILFERRY_TOKEN_FILE.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authority of its certificate, as PEM; without it, the system's. Or in MAILFERRY_CA.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The configuration that names the socket.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The answer as JSON, for programs; docs/openapi.json describes it.
    #[arg(long)]
    json: bool,
}

impl Asking {
    /// Whether the answer goes to a program.
    pub(super) fn wants_json(&self) -> bool {
        self.json
    }

    /// Asks for something, and shows the answer.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        show: impl FnOnce(T),
    ) -> Result<ExitCode, ExitCode> {
        self.get_of_all(path, query, |_| &[], show)
    }

    /// The same where a part may be missing, of processes that were taken over: each is complained of, and the exit code tells.
    pub(super) fn get_of_all<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        missing: impl FnOnce(&T) -> &[Unreached],
        show: impl FnOnce(T),
    ) -> Result<ExitCode, ExitCode> {
        let given = query.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))));
        let query = given.collect::<Vec<_>>().join("&");
        let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let (answered, is_shown) = self.ask(Request::builder().method(Method::GET).uri(uri), Vec::new())?;
        let code = code_without(missing(&answered));
        if is_shown {
            show(answered);
        }
        Ok(code)
    }

    /// Orders something, and shows the answer.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        order: &impl Serialize,
        show: impl FnOnce(T),
    ) -> Result<ExitCode, ExitCode> {
        self.post_to_all(path, order, |_| &[], show)
    }

    /// The same where a part may be missing, as in [`Self::get_of_all`].
    pub(super) fn post_to_all<T: DeserializeOwned>(
        &self,
        path: &str,
        order: &impl Serialize,
        missing: impl FnOnce(&T) -> &[Unreached],
        show: impl FnOnce(T),
    ) -> Result<ExitCode, ExitCode> {
        let body = serde_json::to_vec(order).map_err(|error| failed(&error))?;
        let request = Request::builder().method(Method::POST).uri(path).header("content-type", "application/json");
        let (answered, is_shown) = self.ask(request, body)?;
        let code = code_without(missing(&answered));
        if is_shown {
            show(answered);
        }
        Ok(code)
    }

    /// Gives an order of no words whose answer has the exit code in it.
    pub(super) fn order<T: DeserializeOwned>(
        &self,
        path: &str,
        show: impl FnOnce(&T),
        code: impl FnOnce(&T) -> ExitCode,
    ) -> Result<ExitCode, ExitCode> {
        let (answered, is_shown) = self.ask(Request::builder().method(Method::POST).uri(path), Vec::new())?;
        if is_shown {
            show(&answered);
        }
        Ok(code(&answered))
    }

    /// The answer, and whether it is still to be shown: with `--json` it is printed here.
    fn ask<T: DeserializeOwned>(
        &self,
        request: hyper::http::request::Builder,
        body: Vec<u8>,
    ) -> Result<(T, bool), ExitCode> {
        let socket = self.socket()?;
        let request = request.body(Body::from(body)).map_err(|error| failed(&error))?;
        let asked = runtime()?.block_on(async { timeout(TIMEOUT, exchange(&socket, request)).await });
        let (status, answer) = match asked {
            Ok(Ok(answered)) => answered,
            Ok(Err(Trouble::NoSocket(error))) => return Err(no_socket(&socket, &error)),
            Ok(Err(Trouble::NoAnswer(error))) => {
                complain(&format!("{socket}: no answer: {error}"));
                return Err(ExitCode::from(EXIT_UNAVAILABLE));
            }
            Err(_) => {
                complain(&format!("{socket}: no answer within {TIMEOUT:?}"));
                return Err(ExitCode::from(EXIT_UNAVAILABLE));
            }
        };
        if status != StatusCode::OK {
            return Err(self.refused(status, &answer));
        }
        let answered: T = serde_json::from_slice(&answer).map_err(|error| failed(&error))?;
        if self.json {
            say(&String::from_utf8_lossy(&answer));
        }
        Ok((answered, !self.json))
    }

    fn refused(&self, status: StatusCode, answer: &[u8]) -> ExitCode {
        if self.json {
            say(&String::from_utf8_lossy(answer));
        }
        match serde_json::from_slice::<Problem>(answer) {
            Ok(Problem { error, meant }) if meant.is_empty() => complain(&error),
            Ok(Problem { error, meant }) => complain(&format!("{error}; did you mean {}?", meant.join(" or "))),
            Err(_) => complain(&format!("mailferry answered {status}")),
        }
        ExitCode::from(code_of(status))
    }

    /// Asks for something, and prints nothing: for those who ask more than once.
    pub(super) fn try_get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, Unanswered> {
        let query = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>();
        let uri = format!("{path}?{}", query.join("&"));
        self.try_ask(Request::builder().method(Method::GET).uri(uri), Vec::new())
    }

    /// Orders something, and prints nothing.
    pub(super) fn try_post<T: DeserializeOwned>(&self, path: &str, order: &impl Serialize) -> Result<T, Unanswered> {
        let body = serde_json::to_vec(order).map_err(|error| Unanswered::lost(&error))?;
        let request = Request::builder().method(Method::POST).uri(path).header("content-type", "application/json");
        self.try_ask(request, body)
    }

    fn try_ask<T: DeserializeOwned>(
        &self,
        request: hyper::http::request::Builder,
        body: Vec<u8>,
    ) -> Result<T, Unanswered> {
        let place = self.socket().map_err(Unanswered::Told)?;
        let request = request.body(Body::from(body)).map_err(|error| Unanswered::lost(&error))?;
        let asking = async { timeout(TIMEOUT, exchange(&place, request)).await };
        let asked = runtime().map_err(Unanswered::Told)?.block_on(asking);
        let (status, answer) = match asked {
            Ok(Ok(answered)) => answered,
            Ok(Err(Trouble::NoSocket(error))) => return Err(Unanswered::NoSocket(Box::new(place), error)),
            Ok(Err(Trouble::NoAnswer(error))) => return Err(Unanswered::lost(&error)),
            Err(_) => return Err(Unanswered::lost(&format!("no answer within {TIMEOUT:?}"))),
        };
        if status == StatusCode::OK {
            return serde_json::from_slice(&answer).map_err(|error| Unanswered::lost(&error));
        }
        let problem = serde_json::from_slice(&answer)
            .unwrap_or_else(|_| Problem { error: format!("mailferry answered {status}"), meant: Vec::new() });
        Err(Unanswered::Refused(status, problem))
    }

    /// The socket that was named, or that the configuration names, whatever else is wrong there. A configuration that cannot
    /// be read, as by an operator who may not see it, says what the default says.
    /// Instead of all that, the address that was named, or that the environment names where nothing else is.
    fn socket(&self) -> Result<Place, ExitCode> {
        if let Some(socket) = &self.socket {
            return Ok(Place::Here(socket.clone()));
        }
        let is_elsewhere = self.config != Path::new(DEFAULT_CONFIG);
        let named = || std::env::var(ADMIN_VARIABLE).ok().filter(|it| !it.is_empty() && !is_elsewhere);
        if let Some(address) = self.admin.clone().or_else(named) {
            let path = |given: &Option<PathBuf>, variable| {
                let named = || std::env::var_os(variable).filter(|it| !it.is_empty()).map(PathBuf::from);
                given.clone().or_else(named)
            };
            let (token, ca) = (path(&self.token_file, TOKEN_VARIABLE), path(&self.ca, CA_VARIABLE));
            return Remote::new(&address, token.as_deref(), ca.as_deref()).map(Place::Remote).map_err(|error| {
                complain(&error);
                ExitCode::from(EXIT_USAGE)
            });
        }
        let default = || Place::Here(PathBuf::from("/run/mailferry/admin.sock"));
        let text = match std::fs::read_to_string(&self.config) {
            Ok(text) => text,
            Err(_) if self.config == Path::new(DEFAULT_CONFIG) => return Ok(default()),
            Err(error) => {
                complain(&format!("{}: {error}", self.config.display()));
                return Err(ExitCode::from(EXIT_USAGE));
            }
        };
        let Some(admin) = config::admin(&self.config.display().to_string(), &text) else { return Ok(default()) };
        admin.socket.map(|socket| Place::Here(socket.path)).ok_or_else(|| {
            complain(&format!("{}: `socket` in [admin] is \"off\"", self.config.display()));
            ExitCode::from(EXIT_UNAVAILABLE)
        })
    }
}

/// Why there is no answer, for those who go on without one.
pub(super) enum Unanswered {
    /// mailferry refuses: its status, and its words.
    Refused(StatusCode, Problem),
    /// Nobody listens there, or may be asked.
    NoSocket(Box<Place>, io::Error),
    /// It broke off.
    Lost(String),
    /// What was wrong has been told.
    Told(ExitCode),
}

impl Unanswered {
    fn lost(error: &dyn fmt::Display) -> Self {
        Self::Lost(error.to_string())
    }

    /// Whether it may be another time.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::NoSocket(..))
    }

    /// Tells it, and says with which code to end.
    pub(super) fn tell(self) -> ExitCode {
        match self {
            Self::Refused(status, Problem { error, meant }) => {
                let meant =
                    if meant.is_empty() { String::new() } else { format!("; did you mean {}?", meant.join(" or ")) };
                complain(&format!("{error}{meant}"));
                ExitCode::from(code_of(status))
            }
            Self::NoSocket(place, error) => no_socket(&place, &error),
            Self::Lost(error) => {
                complain(&format!("no answer: {error}"));
                ExitCode::from(EXIT_UNAVAILABLE)
            }
            Self::Told(code) => code,
        }
    }
}

/// The exit code for a refusal. Tells where the token is, if that is what it is about.
pub(super) fn code_of(status: StatusCode) -> u8 {
    match status {
        StatusCode::NOT_FOUND => EXIT_NOT_FOUND,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
            complain("your token is in the file of --token-file, or of MAILFERRY_TOKEN_FILE");
            EXIT_NOT_PERMITTED
        }
        // What stands against it is not in the arguments.
        StatusCode::CONFLICT => EXIT_FAILED,
        // An older process that still has sessions.
        StatusCode::BAD_GATEWAY => EXIT_UNAVAILABLE,
        status if status.is_client_error() => EXIT_USAGE,
        _ => EXIT_FAILED,
    }
}

/// Where a mailferry listens for commands.
pub(super) enum Place {
    /// Its socket.
    Here(PathBuf),
    /// Its address.
    Remote(Remote),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(socket) => socket.display().fmt(f),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

enum Trouble {
    NoSocket(io::Error),
    NoAnswer(String),
}

/// Where so many wait already that the kernel takes no more, asks again until somebody has made place.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_PAUSE).await,
            connected => return connected,
        }
    }
}

async fn exchange(place: &Place, mut request: Request<Body>) -> Result<(StatusCode, Vec<u8>), Trouble> {
    let no_answer = |error: &dyn fmt::Display| Trouble::NoAnswer(error.to_string());
    let mut host = "mailferry".to_owned();
    let stream: Box<dyn Wire> = match place {
        Place::Here(socket) => Box::new(connect(socket).await.map_err(Trouble::NoSocket)?),
        Place::Remote(remote) => {
            if let Some(field) = remote.authorization() {
                request.headers_mut().insert(AUTHORIZATION, field.map_err(Trouble::NoAnswer)?);
            }
            host = remote.authority();
            remote.connect().await.map_err(Trouble::NoSocket)?
        }
    };
    let host = host.parse().map_err(|error: axum::http::header::InvalidHeaderValue| no_answer(&error))?;
    request.headers_mut().insert(HOST, host);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| no_answer(&error))?;
    let asking = async move {
        let answer = sender.send_request(request).await.map_err(|error| no_answer(&error))?;
        let (head, body) = answer.into_parts();
        let body = to_bytes(Body::new(body), ANSWER_MAX).await.map_err(|error| no_answer(&error))?;
        Ok((head.status, body.to_vec()))
    };
    // The connection is driven beside it, and ends with it.
    let (answered, _) = tokio::join!(asking, connection);
    answered
}

fn no_socket(place: &Place, error: &io::Error) -> ExitCode {
    match (place, error.kind()) {
        (Place::Here(_), io::ErrorKind::PermissionDenied) => {
            complain(&format!("{place}: not permitted: only root, mailferry's user and its group may give commands"));
            ExitCode::from(EXIT_NOT_PERMITTED)
        }
        (Place::Here(_), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            complain(&format!("{place}: no mailferry listens there; name another socket with --socket"));
            ExitCode::from(EXIT_UNAVAILABLE)
        }
        (Place::Remote(_), io::ErrorKind::ConnectionRefused) => {
            complain(&format!("{place}: no mailferry listens there: it does at `address` in its [admin]"));
            ExitCode::from(EXIT_UNAVAILABLE)
        }
        (Place::Here(_) | Place::Remote(_), _) => {
            complain(&format!("{place}: {error}"));
            ExitCode::from(EXIT_UNAVAILABLE)
        }
    }
}

/// Says which processes have no part in an answer.
fn code_without(unreached: &[Unreached]) -> ExitCode {
    unreached.iter().for_each(|it| complain(&it.to_string()));
    if unreached.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_UNAVAILABLE) }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    complain(&format!("mailferry: {error}"));
    ExitCode::from(EXIT_FAILED)
}

/// Everything but letters, digits and four marks, as RFC 3986 §2.1 has it.
fn encoded(text: &str) -> String {
    let one = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    text.bytes().map(one).collect()
}
