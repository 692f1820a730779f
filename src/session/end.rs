//! How sessions end: who ended it, in which stage, why. The words that the end record is made of.

use std::fmt;
use std::io;

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

/// Who ended a session first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The client.
    Client,
    /// The node.
    Node,
    /// mailferry, by a limit or a deadline.
    Proxy,
    /// The operator, by stopping mailferry or by a command.
    Operator,
}

/// The stages of a session, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The TLS handshake, implicit or after STARTTLS.
    Tls,
    /// The dialogue before a login.
    Login,
    /// The route is being looked up.
    Directory,
    /// A node is dialled and greets.
    Connect,
    /// A node judges the login.
    Replay,
    /// Octets are moved.
    Relay,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// An orderly close.
    Closed,
    /// The connection broke: reset, timed out, or ended without TLS' close_notify.
    Broken,
    /// LOGOUT or QUIT before the login.
    Logout,
    /// The TLS handshake failed.
    TlsFailed,
    /// A deadline of the login phase.
    Timeout,
    /// Too many bad commands.
    BadCommands,
    /// Too many refused logins.
    RefusedLogins,
    /// An endless line or literal.
    TooLong,
    /// The client speaks another protocol.
    OtherProtocol,
    /// mailferry stops, and nothing was under way: it was told so, or its line was closed between two commands.
    Drained,
    /// mailferry stops, and could not wait any longer.
    Shutdown,
    /// The operator has ended it, with others or alone.
    Kicked,
    /// There is no place for it, or it had to make place.
    TooManyConnections,
    /// A PROXY header was wanted and did not come, or was none.
    BadProxyHeader,
    /// A defect of mailferry: the session's task died.
    Defect,
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

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Node => "node",
            Self::Proxy => "proxy",
            Self::Operator => "operator",
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "tls",
            Self::Login => "login",
            Self::Directory => "directory",
            Self::Connect => "connect",
            Self::Replay => "replay",
            Self::Relay => "relay",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::Logout => "logout",
            Self::TlsFailed => "tls-failed",
            Self::Timeout => "timeout",
            Self::BadCommands => "bad-commands",
            Self::RefusedLogins => "refused-logins",
            Self::TooLong => "too-long",
            Self::OtherProtocol => "other-protocol",
            Self::Drained => "drained",
            Self::Shutdown => "shutdown",
            Self::Kicked => "kicked",
            Self::TooManyConnections => "too-many-connections",
            Self::BadProxyHeader => "bad-proxy-header",
            Self::Defect => "defect",
        })
    }
}

#[cfg(test)]
mod tests;
