//! How sessions end: who ended it, in which stage, why. The words that the end record is made of.

use std::fmt;
use std::io;

pub(super) use crate::metrics::Stage;
use crate::metrics::words;
use crate::net::pump::Peer;
use crate::proto::Goodbye;

/// The end of a session.
#[derive(Debug)]
pub(super) struct End {
    /// Who ended it first.
    pub(super) who: Who,
    /// Why.
    pub(super) why: Why,
}

/// An end in short, for counting and for searching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code([char; 2]);

words! {
    /// Who ended a session first.
    pub(super) Who {
        /// The client.
        Client => "client",
        /// The node.
        Node => "node",
        /// mailferry, by a limit or a deadline.
        Proxy => "proxy",
        /// The operator, by stopping mailferry or by a command.
        Operator => "operator",
    }
}

words! {
    /// Why a session ended.
    pub(super) Why {
        /// An orderly close.
        Closed => "closed",
        /// The connection broke: reset, timed out, or ended without TLS' close_notify.
        Broken => "broken",
        /// LOGOUT or QUIT before the login.
        Logout => "logout",
        /// The TLS handshake failed.
        TlsFailed => "tls-failed",
        /// A deadline of the login phase.
        Timeout => "timeout",
        /// Too many bad commands.
        BadCommands => "bad-commands",
        /// Too many refused logins.
        RefusedLogins => "refused-logins",
        /// An endless line or literal.
        TooLong => "too-long",
        /// The client speaks another protocol.
        OtherProtocol => "other-protocol",
        /// mailferry stops, and nothing was under way: it was told so, or its line was closed between two commands.
        Drained => "drained",
        /// mailferry stops, and could not wait any longer.
        Shutdown => "shutdown",
        /// The operator has ended it, with others or alone.
        Kicked => "kicked",
        /// There is no place for it, or it had to make place.
        TooManyConnections => "too-many-connections",
        /// A PROXY header was wanted and did not come, or was none.
        BadProxyHeader => "bad-proxy-header",
        /// A defect of mailferry: the session's task died.
        Defect => "defect",
    }
}

impl End {
    pub(super) fn new(who: Who, why: Why) -> Self {
        Self { who, why }
    }

    /// Who ended it, and where, in two letters. docs/logs.md has what each tells an operator; a test writes it.
    pub(super) fn code(&self, stage: Stage) -> Code {
        let who = match self.who {
            Who::Client => 'C',
            Who::Node => 'N',
            Who::Proxy => 'P',
            Who::Operator => 'O',
        };
        let stage = match stage {
            Stage::Tls => 'T',
            Stage::Login => 'L',
            Stage::Directory => 'D',
            Stage::Connect => 'C',
            Stage::Replay => 'A',
            Stage::Relay => 'R',
        };
        Code([who, stage])
    }

    /// The client closed, or its connection broke.
    pub(super) fn client_gone(error: Option<&io::Error>) -> Self {
        Self::new(Who::Client, if error.is_some() { Why::Broken } else { Why::Closed })
    }

    /// The relay ended.
    pub(super) fn relayed(ended: &crate::net::pump::Ended) -> Self {
        let who = match ended.by {
            Peer::Client => Who::Client,
            Peer::Node => Who::Node,
        };
        Self::new(who, if ended.error.is_some() { Why::Broken } else { Why::Closed })
    }

    /// The dialogue wanted it.
    pub(super) fn goodbye(goodbye: Goodbye) -> Self {
        match goodbye {
            Goodbye::Logout => Self::new(Who::Client, Why::Logout),
            Goodbye::TooManyBadCommands => Self::new(Who::Proxy, Why::BadCommands),
            Goodbye::TooLong => Self::new(Who::Proxy, Why::TooLong),
            Goodbye::OtherProtocol => Self::new(Who::Proxy, Why::OtherProtocol),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([who, stage]) = self;
        write!(f, "{who}{stage}")
    }
}

#[cfg(test)]
mod tests;
