//! Every text that mailferry says to an IMAP client, and the capabilities that it announces.
//!
//! All texts are constants, but for the host name and the refusal's words from the configuration, what a node said about
//! a login, and the words of what nodes can do. Of the client's octets only a validated tag is ever written back: a mail
//! port must not be a mirror for other protocols. A response code is always exactly one atom, because some clients take a
//! code with arguments for none, and a refusal without a code for a wrong password.

#![warn(clippy::wildcard_enum_match_arm)]

use crate::proto::sasl::Mechanism;
use crate::proto::{Declined, Farewell, NodeAcceptance, NodeRefusal, Offer, Refusal};

/// Always announced: what we do ourselves before the login.
const CAPABILITIES: &str = "IMAP4rev1 SASL-IR LITERAL- ID";

/// What a node may say and we do not repeat: it tells what works before the login, which is ours to say; or it invites
/// the client to leave for another server with its password (RFC 2221, 2193), or to become another user on a node that
/// was chosen for this one (RFC 8437). LANGUAGE is a command of every state (RFC 5255 §3.1), and none of ours.
const NOT_REPEATED: [&str; 12] = [
    "ID",
    "IMAP4",
    "IMAP4REV1",
    "LANGUAGE",
    "LITERAL+",
    "LITERAL-",
    "LOGIN-REFERRALS",
    "LOGINDISABLED",
    "MAILBOX-REFERRALS",
    "SASL-IR",
    "STARTTLS",
    "UNAUTHENTICATE",
];

/// Octets that a list of capabilities takes most often, at most.
const LIST_ROOM: usize = 512;

/// Asks for the octets of a synchronising literal.
pub(super) const GO_ON: &[u8] = b"+ Go on\r\n";

/// Why a command is bad. Each counts against [`crate::proto::BAD_COMMANDS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// The grammar does not know such a line.
    Syntax,
    /// Nobody knows such a command.
    Unknown,
    /// The command works only behind the login.
    NotNow,
    /// A line beyond its limit.
    LineTooLong,
    /// A literal beyond its limit.
    LiteralTooLong,
    /// STARTTLS under TLS, or where there is none.
    StartTls,
    /// A SASL response that is not base64.
    Base64,
    /// A SASL exchange ended by `*`.
    Cancelled,
}

impl Bad {
    const fn text(self) -> &'static str {
        match self {
            Self::Syntax => "Syntax error",
            Self::Unknown => "Unknown command",
            Self::NotNow => "Log in first",
            Self::LineTooLong => "Line too long",
            Self::LiteralTooLong => "Literal too long",
            Self::StartTls => "STARTTLS is not available",
            Self::Base64 => "Invalid base64",
            Self::Cancelled => "Authentication cancelled",
        }
    }
}

/// A command that did what it should.
#[derive(Clone, Copy)]
pub(super) enum Done {
    Noop,
    StartTls,
}

/// Why we close, where no [`Farewell`] says it.
#[derive(Clone, Copy)]
pub(super) enum Bye {
    TooManyBadCommands,
    TooLong,
    OtherProtocol,
}

/// The capabilities before the login: the one list for greeting and CAPABILITY. Much of it works only behind the login,
/// but some clients read no other list than this first one, and would poll instead of using IDLE.
fn capabilities(offer: &Offer) -> String {
    // As the RFC writes it, for whoever does not compare without case.
    let spelled = |word| if word == "IMAP4REV2" { "IMAP4rev2" } else { word };
    // One room that is large enough most often: every client is greeted with it.
    let mut list = String::with_capacity(LIST_ROOM);
    list.push_str(CAPABILITIES);
    let mut say = |parts: [&str; 2]| parts.into_iter().for_each(|part| list.push_str(part));
    offer.extensions.iter().filter(|word| is_repeated(word)).for_each(|word| say([" ", spelled(word)]));
    if offer.starttls() {
        say([" ", "STARTTLS"]);
    }
    if !offer.passwords_allowed() {
        say([" ", "LOGINDISABLED"]);
    }
    Mechanism::offered(offer).for_each(|mechanism| say([" AUTH=", mechanism.name()]));
    list
}

/// Whether a word of the nodes tells a client what it can do behind the login.
fn is_repeated(word: &str) -> bool {
    // An atom, or it could end the greeting's code.
    let is_atom = word.bytes().all(|octet| octet.is_ascii_graphic() && !b"(){%*\"\\]".contains(&octet));
    // What a private word means, and in which state, is not known. XLIST is: old clients find their folders by it.
    let is_private = word.starts_with('X') && word != "XLIST";
    is_atom && !is_private && !word.starts_with("AUTH=") && !NOT_REPEATED.contains(&word)
}

/// The greeting, with the capabilities as its code.
pub(super) fn greeting(offer: &Offer) -> Vec<u8> {
    let list = capabilities(offer);
    [b"* OK [CAPABILITY ", list.as_bytes(), b"] ", offer.hostname.as_bytes(), b" ready\r\n"].concat()
}

/// The answer to CAPABILITY.
pub(super) fn capability(offer: &Offer, tag: &[u8]) -> Vec<u8> {
    let list = capabilities(offer);
    [b"* CAPABILITY ", list.as_bytes(), b"\r\n", tag, b" OK Capabilities listed\r\n"].concat()
}

/// The answer to ID: who we are is nobody's business before the login.
pub(super) fn id(tag: &[u8]) -> Vec<u8> {
    [b"* ID NIL\r\n", tag, b" OK ID done\r\n"].concat()
}

/// The answer to LOGOUT.
pub(super) fn logout(tag: &[u8]) -> Vec<u8> {
    [b"* BYE Logging out\r\n", tag, b" OK Logged out\r\n"].concat()
}

/// A tagged OK.
pub(super) fn ok(tag: &[u8], done: Done) -> Vec<u8> {
    let text = match done {
        Done::Noop => "Nothing done",
        Done::StartTls => "Begin TLS now",
    };
    [tag, b" OK ", text.as_bytes(), b"\r\n"].concat()
}

/// A tagged BAD, or an untagged one where no valid tag was read.
pub(super) fn bad(tag: Option<&[u8]>, why: Bad) -> Vec<u8> {
    [tag.unwrap_or(b"*"), b" BAD ", why.text().as_bytes(), b"\r\n"].concat()
}

/// A tagged NO.
pub(super) fn no(offer: &Offer, tag: &[u8], why: Declined) -> Vec<u8> {
    let (code, text) = match why {
        Declined::Credentials => ("[AUTHENTICATIONFAILED] ", &*offer.auth_failed_text),
        Declined::ForeignAuthzid => ("[AUTHORIZATIONFAILED] ", "Nobody may log in as somebody else"),
        Declined::Privacy => ("[PRIVACYREQUIRED] ", "Passwords are accepted under TLS only"),
        Declined::Mechanism => ("", "Unsupported authentication mechanism"),
    };
    [tag, b" NO ", code.as_bytes(), text.as_bytes(), b"\r\n"].concat()
}

/// An untagged BYE.
pub(super) fn bye(why: Bye) -> Vec<u8> {
    let text = match why {
        Bye::TooManyBadCommands => "Too many bad commands",
        Bye::TooLong => "Command too long",
        Bye::OtherProtocol => "This is an IMAP server",
    };
    [b"* BYE ", text.as_bytes(), b"\r\n"].concat()
}

/// A SASL challenge, in base64. The space is part of an empty one too (RFC 3501 §9, `continue-req`).
pub(super) fn challenge(encoded: &[u8]) -> Vec<u8> {
    [b"+ ", encoded, b"\r\n"].concat()
}

/// The answer to a login that mailferry refuses after it was asked to route it.
pub(super) fn refusal(offer: &Offer, tag: &[u8], refusal: Refusal) -> Vec<u8> {
    let text: &[u8] = match refusal {
        Refusal::AuthenticationFailed => return no(offer, tag, Declined::Credentials),
        Refusal::Unavailable => b"[UNAVAILABLE] Temporary failure, please try again later",
        Refusal::ServerBug => b"[SERVERBUG] Internal error, the login was not completed",
        Refusal::TooManySessions => b"[LIMIT] Too many sessions of this user",
        Refusal::TooManyFailures => b"[LIMIT] Too many failed logins, please try again later",
    };
    [tag, b" NO ", text, b"\r\n"].concat()
}

/// A node's refusal in its own words. One without words gets ours, for a NO needs a text.
pub(super) fn relayed_refusal(offer: &Offer, tag: &[u8], refused: &NodeRefusal) -> Vec<u8> {
    if refused.text.is_empty() {
        return no(offer, tag, Declined::Credentials);
    }
    [tag, b" NO ", &refused.text, b"\r\n"].concat()
}

/// A node's acceptance in its own words, behind the untagged lines that came with it, and its capabilities: as a code in
/// the tagged line, where there is room for one, or in a line of their own for a client that has asked before.
pub(super) fn acceptance(tag: &[u8], accepted: &NodeAcceptance, has_asked: bool) -> Vec<u8> {
    let text: &[u8] = if accepted.text.is_empty() { b"Logged in" } else { &accepted.text };
    let list: &[u8] = &accepted.capabilities;
    let (line, code) = if list.is_empty() {
        (Vec::new(), Vec::new())
    } else if has_asked || text.starts_with(b"[") || list.contains(&b']') {
        ([b"* CAPABILITY ", list, b"\r\n"].concat(), Vec::new())
    } else {
        (Vec::new(), [b"[CAPABILITY ", list, b"] "].concat())
    };
    [&accepted.untagged, &line, tag, b" OK ", &code, text, b"\r\n"].concat()
}

/// An untagged BYE may come at any time (RFC 9051 §7.1.5), also to a client that idles. Clients that show it show that
/// nothing is wrong with them.
const SHUTDOWN: &[u8] = b"* BYE [UNAVAILABLE] Shutting down, please reconnect\r\n";

/// The last line of a session that mailferry ends behind its login.
pub(super) fn parting() -> &'static [u8] {
    SHUTDOWN
}

/// The last line of a connection that mailferry ends.
pub(super) fn farewell(farewell: Farewell) -> Vec<u8> {
    let text: &[u8] = match farewell {
        Farewell::Timeout => b"* BYE The login took too long\r\n",
        Farewell::TooManyFailures => b"* BYE Too many failed logins\r\n",
        Farewell::Shutdown => SHUTDOWN,
        Farewell::TooManyConnections => b"* BYE [UNAVAILABLE] Too many connections, please try again later\r\n",
    };
    text.to_vec()
}
