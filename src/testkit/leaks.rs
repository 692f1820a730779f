//! What a secret looks like in a log, and a session that is watched for it.
//!
//! The session is a real one, between a client and a node in memory. The node is hostile: it answers every line with
//! the line itself, wherever its answer has room for words.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, duplex};

use super::log::Log;
use super::{roundtrip, settings};
use crate::directory::{Directory, LookupError, Route, cache};
use crate::drain;
use crate::limits::Limits;
use crate::names::IslandName;
use crate::net::{Dialer, Stream};
use crate::proto::Protocol;
use crate::routing::{Island, Islands};
use crate::session::{self, Accepted, Context, Site};

/// Nothing that anybody sends or logs by chance.
pub const MARKER: &str = "kH7wPq2ZrT5vXy9L";

/// Every form that a careless line of code could give a secret: as it is, escaped once or twice, as a list of octets, in
/// hexadecimal, and what base64 makes of it wherever it stands in a message.
pub fn forms(secret: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(secret);
    let list = |separator: &str, show: fn(&u8) -> String| secret.iter().map(show).collect::<Vec<_>>().join(separator);
    let mut forms = vec![
        text.to_string(),
        text.escape_debug().to_string(),
        text.escape_debug().to_string().escape_debug().to_string(),
        text.escape_default().to_string(),
        secret.escape_ascii().to_string(),
        secret.escape_ascii().to_string().escape_debug().to_string(),
        list(", ", u8::to_string),
        list(",", u8::to_string),
        list("", |octet| format!("{octet:02x}")),
        list(" ", |octet| format!("{octet:02x}")),
        list("", |octet| format!("{octet:02X}")),
    ];
    forms.extend((0..3).map(|before| inner_base64(secret, before)));
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// What base64 makes of these octets when `before` others precede them, modulo 3, and anything follows.
fn inner_base64(octets: &[u8], before: usize) -> String {
    let encoded = STANDARD.encode([&vec![0; before][..], octets].concat());
    let (first, last) = ((before * 8).div_ceil(6), (before + octets.len()) * 8 / 6);
    encoded.get(first..last).unwrap_or_default().to_owned()
}

/// The first form of the secret that the text holds.
pub fn leak(secret: &[u8], text: &str) -> Option<String> {
    forms(secret).into_iter().find(|form| text.contains(form.as_str()))
}

/// Asserts that a session logs nothing of a password, whatever stands around it. The first octet chooses the protocol and
/// how the node behaves, the second the place of the password, the third how much of the rest stands before it.
pub fn no_log_tells_a_password(data: &[u8]) {
    let [choice, place, before, around @ ..] = data else { return };
    let protocol = Protocol::ALL[usize::from(choice & 1)];
    let places = places(protocol);
    let Some(place) = places.get(usize::from(*place) % places.len()) else { return };
    let (before, after) = around.split_at(around.len() * usize::from(*before) / 255);
    let said = [before, place, after].concat();
    // A name is logged, escaped; who types his password there has told it.
    let is_name = |name: &[u8]| leak(MARKER.as_bytes(), &String::from_utf8_lossy(name)).is_some();
    if roundtrip::logins(protocol, &said).iter().any(|login| is_name(login.user.as_bytes())) {
        return;
    }
    let logged = log_of_a_session(protocol, choice >> 1, said);
    assert!(logged.contains("session ended"), "the session left no line");
    assert_eq!(leak(MARKER.as_bytes(), &logged), None, "the password is in the log");
}

/// Where a password may stand, and where it stands by mistake.
fn places(protocol: Protocol) -> Vec<Vec<u8>> {
    let m = MARKER;
    let base64 = |message: String| STANDARD.encode(message);
    let plain = base64(format!("\0bob\0{m}"));
    let (name, password) = (base64("bob".into()), base64(m.into()));
    let xoauth2 = base64(format!("user=bob\x01auth=Bearer {m}\x01\x01"));
    let bearer = base64(format!("n,a=bob,\x01host=x\x01port=143\x01auth=Bearer {m}\x01\x01"));
    let (size, long) = (m.len(), m.repeat(700));
    let places = match protocol {
        Protocol::Imap => vec![
            m.to_owned(),
            format!("a LOGIN bob {m}\r\n"),
            format!("a LOGIN bob \"{m}\"\r\n"),
            format!("a LOGIN bob {{{size}}}\r\n{m}\r\n"),
            format!("a LOGIN {{3+}}\r\nbob {{{size}+}}\r\n{m}\r\n"),
            format!("a LOGIN bob \"{m}\0\"\r\n"),
            format!("a LOGIN bob {m} {m}\r\n"),
            format!("a AUTHENTICATE PLAIN {plain}\r\n"),
            format!("a AUTHENTICATE PLAIN\r\n{plain}\r\n"),
            format!("a AUTHENTICATE PLAIN {plain}!\r\n"),
            format!("a AUTHENTICATE PLAIN\r\n{m}\r\n"),
            format!("a AUTHENTICATE LOGIN\r\n{name}\r\n{password}\r\n"),
            format!("a AUTHENTICATE LOGIN {name}\r\n{m}\r\n"),
            format!("a AUTHENTICATE XOAUTH2 {xoauth2}\r\n"),
            format!("a AUTHENTICATE OAUTHBEARER {bearer}\r\n"),
            format!("a AUTHENTICATE OAUTHBEARER\r\n{bearer}\r\n"),
            format!("a AUTHENTICATE {m}\r\n"),
            format!("{m} LOGIN bob x\r\n"),
            format!("a {m}\r\n"),
            format!("a ID (\"x-originating-ip\" \"{m}\" \"x-session-id\" \"{m}\")\r\n"),
            format!("a LOGIN bob {long}\r\n"),
            long,
        ],
        Protocol::Pop3 => vec![
            m.to_owned(),
            format!("USER bob\r\nPASS {m}\r\n"),
            format!("USER bob\r\nPASS  {m} \0\r\n"),
            format!("PASS {m}\r\n"),
            format!("USER {m}\r\n"),
            format!("APOP bob {m}\r\n"),
            format!("{m} bob\r\n"),
            format!("AUTH PLAIN {plain}\r\n"),
            format!("AUTH PLAIN\r\n{plain}\r\n"),
            format!("AUTH PLAIN {m}!\r\n"),
            format!("AUTH LOGIN\r\n{name}\r\n{password}\r\n"),
            format!("AUTH XOAUTH2 {xoauth2}\r\n"),
            format!("AUTH OAUTHBEARER\r\n{bearer}\r\n"),
            format!("AUTH {m}\r\n"),
            format!("XCLIENT ADDR=192.0.2.1 SESSION={m} TTL={m}\r\n"),
            format!("USER bob\r\nPASS {long}\r\n"),
            long,
        ],
    };
    places.into_iter().map(String::into_bytes).collect()
}

/// All that is logged, at TRACE and by every library, while a client says this and closes.
pub fn log_of_a_session(protocol: Protocol, manner: u8, said: Vec<u8>) -> String {
    let log = Log::default();
    let _listening = log.listen();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let Ok(runtime) = runtime else { return String::new() };
    runtime.block_on(async {
        let (ours, theirs) = duplex(64 * 1024);
        let (_stop, drain) = drain::channel();
        let context = context(manner);
        let Ok(slot) = context.limits.enter() else { return };
        let address = std::net::SocketAddr::from(([192, 0, 2, 1], 1000));
        let accepted = Accepted { socket: Stream::Memory(theirs), client: address, connected: address, slot };
        let door = Arc::new(settings::clear_door(protocol));
        tokio::join!(session::run(context, door, accepted, drain), client(ours, said));
    });
    log.text()
}

async fn client(stream: DuplexStream, said: Vec<u8>) {
    let (mut read, mut write) = tokio::io::split(stream);
    let speak = async {
        // Who hears nothing any more has said enough.
        let _ = write.write_all(&said).await;
        let _ = write.shutdown().await;
    };
    let mut heard = Vec::new();
    let (_, _) = tokio::join!(speak, read.read_to_end(&mut heard));
}

/// What a session needs, with a node in memory that has this manner.
pub(crate) fn context(manner: u8) -> Arc<Context> {
    let cache = cache::Settings {
        capacity: 10,
        ttl: Duration::from_secs(300),
        negative_ttl: Duration::from_secs(30),
        stale: Duration::from_secs(3600),
        file: None,
    };
    let directory = Directory::scripted(&cache, |_| {
        Box::pin(async { Ok::<_, LookupError>(Route { island: IslandName::new("a"), login: None }) })
    });
    let dialer = Dialer::memory(move |_, port| {
        let (ours, theirs) = duplex(64 * 1024);
        let protocol = if port == 143 { Protocol::Imap } else { Protocol::Pop3 };
        tokio::spawn(echo(protocol, manner, theirs));
        Box::pin(async { Ok(Stream::Memory(ours)) })
    });
    let now = tokio::time::Instant::now().into_std();
    Arc::new(Context::new(
        Site {
            settings: settings::session(),
            directory,
            islands: Islands::new(vec![island()], None, now),
            dialer,
            node_tls: HashMap::new(),
        },
        Limits::new(settings::limits(), u32::MAX),
        1,
    ))
}

fn island() -> Island {
    // Short, because a node that talks nonsense is waited for on a real clock.
    let moment = Duration::from_millis(10);
    Island {
        connect_timeout: moment,
        greeting_timeout: moment,
        login_timeout: moment,
        patience: Duration::ZERO,
        ..settings::island(1)
    }
}

/// A node that gives back whatever it hears: as a response code, as a text, or as no answer at all.
async fn echo(protocol: Protocol, manner: u8, stream: DuplexStream) {
    let (read, mut write) = tokio::io::split(stream);
    let mut lines = BufReader::new(read).split(b'\n');
    let greeting = match protocol {
        Protocol::Imap if manner & 4 == 0 => "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2] hi\r\n",
        Protocol::Imap => "* OK [CAPABILITY IMAP4rev1 LITERAL+] hi\r\n",
        Protocol::Pop3 => "+OK hi\r\n",
    };
    if write.write_all(greeting.as_bytes()).await.is_err() {
        return;
    }
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let (tag, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match (protocol, manner & 3) {
            (Protocol::Pop3, _) if line == "CAPA" && manner & 4 == 0 => "+OK\r\nSASL PLAIN\r\n.\r\n".to_owned(),
            (Protocol::Pop3, _) if line.starts_with("USER") || line.starts_with("AUTH") => "+OK \r\n".to_owned(),
            (Protocol::Imap, 0) => format!("{tag} OK [{line}] {line}\r\n"),
            (Protocol::Imap, 1) => format!("* OK {line}\r\n{tag} NO [{rest}] {line}\r\n"),
            (Protocol::Imap, 2) => format!("{tag} NO [UNAVAILABLE] {line}\r\n"),
            (Protocol::Pop3, 0) => format!("+OK {line}\r\n"),
            (Protocol::Pop3, 1) => format!("-ERR [{rest}] {line}\r\n"),
            (Protocol::Pop3, 2) => format!("-ERR [SYS/TEMP] {line}\r\n"),
            (Protocol::Imap | Protocol::Pop3, _) => format!("{line}\r\n"),
        };
        if write.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
