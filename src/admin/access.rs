//! Who may ask: what a route demands, what a token gives, and the gate between the two.
//!
//! Over the socket everybody is an operator, by the word of the kernel that let him open it. Over the address nobody is
//! anybody before he shows a token, in the one field of the header that no browser sends by itself: there is no cookie, so
//! that no page of somebody else can order anything in an operator's name, whatever name it has given our address. No token
//! is kept or logged: what is kept and compared is its SHA-256, without a word about where two of them differ.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use super::guesses::{Guesses, News};
use super::operator::Operator;
use super::refusal::Refusal;
use crate::net::listen::Passed;
use crate::secret::{PasswordError, Secret, read_password};
use crate::session::frequent::Network;

/// Shortest token, in octets: 192 bits, where it is made as the remedy says. No guessing comes near.
const TOKEN_MIN: usize = 32;

/// What RFC 6750 §3 wants where nothing was shown.
const NO_TOKEN: &str = "Bearer realm=\"mailferry\"";

/// The same where a token was shown that is none of ours.
const WRONG_TOKEN: &str = "Bearer realm=\"mailferry\", error=\"invalid_token\"";

/// The same where it is for less.
const WEAK_TOKEN: &str = "Bearer realm=\"mailferry\", error=\"insufficient_scope\"";

/// What a route demands, and what somebody has. Whoever has more may do what is for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Whoever can connect.
    Anybody,
    /// Looks.
    ReadOnly,
    /// Looks and orders.
    Operator,
}

/// Why a file is no token. Nothing of it is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read, or is no text.
    #[error("{0}")]
    File(#[from] PasswordError),
    /// It could be guessed.
    #[error("{} is shorter than {TOKEN_MIN} characters", .0.display())]
    Short(PathBuf),
    /// It cannot stand in a header.
    #[error("{} has other characters than letters, digits and -._~+/=", .0.display())]
    Strange(PathBuf),
    /// Whoever may look could order.
    #[error("both tokens are the same")]
    Same,
}

/// What is kept of a token.
#[derive(Clone, PartialEq, Eq)]
struct Print([u8; 32]);

impl Print {
    fn of(token: &[u8]) -> Self {
        let mut print = [0; 32];
        print.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(print)
    }

    /// Takes as long wherever they differ.
    fn is(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// The tokens that are taken.
#[derive(Clone, Default)]
pub struct Tokens {
    operator: Option<Print>,
    read_only: Option<Print>,
}

impl Tokens {
    /// Reads them. Blocks for a moment.
    ///
    /// # Errors
    /// A file cannot be read or is no token, or both are the same.
    pub fn load(operator: Option<&Path>, read_only: Option<&Path>) -> Result<Self, TokenError> {
        let (operator, read_only) = (operator.map(read).transpose()?, read_only.map(read).transpose()?);
        if operator.is_some() && operator == read_only {
            return Err(TokenError::Same);
        }
        Ok(Self { operator, read_only })
    }

    /// Looks at both, whichever it is.
    fn role(&self, shown: &Print) -> Option<Role> {
        let is = |kept: &Option<Print>| kept.as_ref().is_some_and(|kept| kept.is(shown));
        match (is(&self.operator), is(&self.read_only)) {
            (true, _) => Some(Role::Operator),
            (false, true) => Some(Role::ReadOnly),
            (false, false) => None,
        }
    }
}

/// Whether a file holds a token. Blocks for a moment.
///
/// # Errors
/// It does not.
pub fn check_token(path: &Path) -> Result<(), TokenError> {
    read(path).map(drop)
}

fn read(path: &Path) -> Result<Print, TokenError> {
    let token = read_password(path)?;
    match token.expose() {
        octets if octets.len() < TOKEN_MIN => Err(TokenError::Short(path.to_owned())),
        octets if !is_lawful(octets) => Err(TokenError::Strange(path.to_owned())),
        octets => Ok(Print::of(octets)),
    }
}

/// `b64token` of RFC 6750 §2.1.
fn is_lawful(token: &[u8]) -> bool {
    let end = token.iter().rposition(|octet| *octet != b'=').map_or(0, |last| last + 1);
    let (text, _) = token.split_at(end);
    !text.is_empty() && text.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-._~+/".contains(octet))
}

/// What stands behind the address: what connections that are accepted from now on find there. A clone is the same.
#[derive(Clone)]
pub struct Entrance(Arc<watch::Sender<Keys>>);

/// See [`Entrance`].
#[derive(Clone, Default)]
pub struct Keys {
    /// `None`: plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who gets in.
    pub tokens: Tokens,
}

impl Entrance {
    pub(super) fn new(keys: Keys) -> Self {
        Self(Arc::new(watch::Sender::new(keys)))
    }

    /// Whoever asks from now on finds these, and whoever listens with a token that gives something else now hears no more.
    pub fn replace(&self, keys: Keys) {
        self.0.send_replace(keys);
    }

    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.0.borrow().tls.clone()
    }
}

/// What somebody has who was let in, and how long.
#[derive(Clone)]
pub(super) struct Pass {
    role: Role,
    /// The token that gave it, and what tokens give; `None`: it was no token.
    token: Option<(Print, watch::Receiver<Keys>)>,
}

impl Pass {
    /// Of somebody who needs no token for what he asks.
    pub(super) fn without_token(role: Role) -> Self {
        Self { role, token: None }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Waits until the token gives something else, or nothing any more. For ever where it was no token.
    pub(super) async fn over(self) {
        let Self { role, token: Some((print, mut keys)) } = self else { return pending().await };
        // An error means that nobody can ask any more.
        let _ = keys.wait_for(|keys| keys.tokens.role(&print) != Some(role)).await;
    }
}

/// Every question comes by here before anything of it but its header is read. A clone is the same.
#[derive(Clone)]
pub(super) struct Gate {
    entrance: Entrance,
    guesses: Arc<Mutex<Guesses>>,
}

/// What stood in the header.
enum Shown {
    Nothing,
    /// Something that is no token.
    Unusable,
    Token(Print),
}

impl Gate {
    pub(super) fn new(entrance: Entrance) -> Self {
        Self { entrance, guesses: Arc::default() }
    }

    /// Whether whoever asks has the role. His pass goes with the question, his token does not.
    pub(super) fn admit(&self, role: Role, request: &mut Request) -> Result<(), Refusal> {
        let shown = take_token(request.headers_mut());
        let pass = match request.extensions().get::<Operator>() {
            Some(Operator { remote: None, .. }) => Pass::without_token(Role::Operator),
            Some(Operator { remote: Some(_), .. }) | None if role == Role::Anybody => Pass::without_token(role),
            Some(Operator { remote: Some(client), .. }) => self.judge(*client, &shown)?,
            None => return Err(Refusal::stranger("nobody asks", NO_TOKEN)),
        };
        if pass.role < role {
            return Err(Refusal::forbidden("this token may look, and not order: use the operator's", WEAK_TOKEN));
        }
        request.extensions_mut().insert(pass);
        Ok(())
    }

    /// What a token gives. Whoever has shown too many that give nothing must wait, unless this one is right: no guessing comes
    /// near one, and whoever shares a network with strangers, as behind a reverse proxy, must not be locked out by them.
    fn judge(&self, client: SocketAddr, shown: &Shown) -> Result<Pass, Refusal> {
        let shown = match shown {
            Shown::Nothing => {
                let error = "a token is needed: send it as `Authorization: Bearer …`";
                return Err(Refusal::stranger(error, NO_TOKEN));
            }
            Shown::Unusable => None,
            Shown::Token(print) => Some(print),
        };
        let gives = |shown: &Print| {
            let keys = self.entrance.0.subscribe();
            let role = keys.borrow().tokens.role(shown)?;
            Some(Pass { role, token: Some((shown.clone(), keys)) })
        };
        if let Some(pass) = shown.and_then(gives) {
            return Ok(pass);
        }
        let (network, now) = (Network::of(client.ip()), Instant::now().into_std());
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = guesses.must_wait(network, now) {
            let error = "this token is not taken, and too many wrong ones came from this network: wait with the next";
            return Err(Refusal::too_often(error, wait.as_secs() + 1));
        }
        match guesses.wrong(network, now) {
            Some(News { untold, is_last: false }) => warn!(%client, untold, "operator: a wrong token"),
            Some(News { untold, is_last: true }) => {
                warn!(%client, %network, untold, "operator: too many wrong tokens: this network hears no more but to wait, until a right one");
            }
            None => {}
        }
        Err(Refusal::stranger("this token is not taken: it is wrong, or was replaced", WRONG_TOKEN))
    }
}

/// The token, which nobody behind here sees: what is logged of a question cannot have it.
fn take_token(headers: &mut HeaderMap) -> Shown {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let shown = match (fields.next(), fields.next()) {
        (None, _) => Shown::Nothing,
        (Some(_), Some(_)) => Shown::Unusable,
        (Some(field), None) => bearer(field.as_bytes()).map_or(Shown::Unusable, Shown::Token),
    };
    headers.remove(AUTHORIZATION);
    shown
}

/// `Bearer`, in any case (RFC 9110 §11.1), and a token.
fn bearer(field: &[u8]) -> Option<Print> {
    let (scheme, token) = field.split_at_checked("Bearer ".len())?;
    let token = Secret::new(token.trim_ascii().to_vec());
    (scheme.eq_ignore_ascii_case(b"Bearer ") && is_lawful(token.expose())).then(|| Print::of(token.expose()))
}

/// The listening socket of the address: one that was passed, or a new one.
pub(super) fn open(address: SocketAddr, passed: &mut Passed) -> io::Result<(TcpListener, SocketAddr)> {
    let (socket, _) = crate::net::listen::open(address, passed)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests;
