//! What the two processes say to each other: a line of JSON for each word, and sockets beside the offer.
//!
//! A word has a version where two mailferries of different ages meet first; fields that are not known are passed over.
//! Every wait has an end.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::TakeOverError;
use crate::net::courier::Courier;

/// The version of all this.
pub(super) const VERSION: u32 = 1;

/// For the last words, which nobody waits for.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// In the order in which they are said; the new process begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub(super) enum Word {
    /// New: give me your sockets.
    Ask {
        /// See [`VERSION`].
        version: u32,
    },
    /// Old: here they are, the operator's behind the others.
    Offer {
        /// Sockets of listeners.
        listeners: usize,
        /// The operator's socket, if there is one: device and file of its name.
        control: Option<(u64, u64)>,
        /// Connections to processes whose place the old one has taken, behind all those.
        #[serde(default)]
        predecessors: usize,
        /// Its start, in seconds since 1970, with which the names of its sessions begin.
        #[serde(default)]
        run: u32,
    },
    /// New: I could serve.
    Ready,
    /// Old: I write nothing any more.
    Yielded,
    /// New: I have read what you wrote, and will serve at your next word.
    Confirm {
        /// Whether the operator's socket is taken.
        control: bool,
    },
    /// Old: I accept nobody any more. From now on the connection is the operators', who ask over it what I have left.
    Done,
    /// Either: I will not.
    No {
        /// For the operator.
        why: String,
    },
}

/// One end of the talk.
pub(super) struct Talk(Courier);

impl Talk {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(Courier::new(stream))
    }

    pub(super) async fn say(&self, word: &Word, descriptors: &[BorrowedFd<'_>]) -> Result<(), TakeOverError> {
        let line = serde_json::to_vec(word).map_err(|error| TakeOverError::Confused(error.to_string()))?;
        Ok(self.0.send(&line, descriptors).await?)
    }

    /// Says why it ends, to whoever listens still.
    pub(super) async fn refuse(&self, why: &impl ToString) {
        let _ = timeout(FAREWELL_TIMEOUT, self.say(&Word::No { why: why.to_string() }, &[])).await;
    }

    /// The other's next word. `to_do`: what it is to do, for the operator.
    pub(super) async fn hear(&mut self, within: Duration, to_do: &'static str) -> Result<Word, TakeOverError> {
        let heard = timeout(within, self.0.line()).await.map_err(|_| TakeOverError::Late(to_do))?;
        let line = match heard {
            Ok(Some(line)) => line,
            Ok(None) => return Err(TakeOverError::Gone(to_do)),
            // It has gone with something unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Err(TakeOverError::Gone(to_do));
            }
            Err(error) => return Err(error.into()),
        };
        match serde_json::from_slice(&line) {
            Ok(Word::No { why }) => Err(TakeOverError::Refused(why)),
            Ok(word) => Ok(word),
            Err(error) => Err(TakeOverError::Confused(error.to_string())),
        }
    }

    /// The other's last word, which is said to nobody else: who hears nothing in time closes his ear, so that it cannot be said any
    /// more, and then listens whether it was. So the other one has said it, and knows it, or has not.
    pub(super) async fn hear_last(&mut self, within: Duration, to_do: &'static str) -> Result<Word, TakeOverError> {
        let late = match self.hear(within, to_do).await {
            Err(late @ TakeOverError::Late(_)) => late,
            heard => return heard,
        };
        self.0.close_ear()?;
        match self.hear(FAREWELL_TIMEOUT, to_do).await {
            Err(TakeOverError::Gone(_)) => Err(late),
            heard => heard,
        }
    }

    /// What it was said over.
    pub(super) fn into_courier(self) -> Courier {
        self.0
    }

    pub(super) fn descriptors(&mut self) -> Vec<OwnedFd> {
        self.0.descriptors()
    }
}

/// A word that has no place here.
pub(super) fn unexpected(word: &Word) -> TakeOverError {
    TakeOverError::Confused(format!("{word:?}"))
}
