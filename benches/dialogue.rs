//! What a login costs without sockets: the client's octets to a login request, and a login to a node's acceptance.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mailferry::names::UserName;
use mailferry::proto::{
    Channel, ClientDialogue, Credentials, HelloStep, Input, LoginRequest, NodeAcceptance, NodeAnswer, NodeHello,
    NodeLogin, Protocol, ReplayStep, ReplyTo, Step, proxy_header,
};
use mailferry::secret::Secret;
use mailferry::testkit::dialogues;

/// The logins that real clients send, with a capability request first where they make one.
const CLIENTS: [(&str, Protocol, &str); 5] = [
    ("pop3 USER and PASS", Protocol::Pop3, "CAPA\r\nUSER bob@example.net\r\nPASS correct horse\r\n"),
    ("pop3 AUTH PLAIN", Protocol::Pop3, "CAPA\r\nAUTH PLAIN AGJvYkBleGFtcGxlLm5ldABjb3JyZWN0IGhvcnNl\r\n"),
    ("imap LOGIN quoted", Protocol::Imap, "a1 LOGIN \"bob@example.net\" \"correct horse\"\r\n"),
    ("imap LOGIN with two literals", Protocol::Imap, "a1 LOGIN {15}\r\nbob@example.net {13}\r\ncorrect horse\r\n"),
    ("imap AUTHENTICATE PLAIN", Protocol::Imap, "a1 AUTHENTICATE PLAIN AGJvYkBleGFtcGxlLm5ldABjb3JyZWN0IGhvcnNl\r\n"),
];

/// From the greeting to the login request.
fn log_in(protocol: Protocol, sent: &str) -> Option<(ClientDialogue, LoginRequest, ReplyTo)> {
    let mut dialogue = ClientDialogue::new(protocol, dialogues::offer(Channel::Tls));
    black_box(dialogue.greeting());
    let mut input = Input::new();
    input.push(sent.as_bytes());
    loop {
        match dialogue.step(&mut input) {
            Step::Login(request, reply_to) => return Some((dialogue, request, reply_to)),
            Step::Reply(text) => drop(black_box(text)),
            _ => return None,
        }
    }
}

/// From a node's greeting to its acceptance.
fn replay(protocol: Protocol, login: NodeLogin) -> Option<NodeAcceptance> {
    let mut input = Input::new();
    input.push(match protocol {
        Protocol::Imap => b"* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL+ AUTH=PLAIN] ready\r\n".as_slice(),
        Protocol::Pop3 => b"+OK ready\r\n",
    });
    let mut hello = NodeHello::new(protocol, false, None);
    loop {
        match hello.step(&mut input).ok()? {
            HelloStep::Ready => break,
            HelloStep::Send(sent) => input.push(&answer(protocol, &sent)),
            HelloStep::Wait | HelloStep::StartTls => return None,
        }
    }
    let mut replay = hello.replay(login).ok()?;
    loop {
        match replay.step(&mut input).ok()? {
            ReplayStep::Answer(NodeAnswer::Accepted(acceptance)) => return Some(acceptance),
            ReplayStep::Send(sent) => input.push(&answer(protocol, sent.expose())),
            ReplayStep::Wait | ReplayStep::Answer(NodeAnswer::Refused(_)) => return None,
        }
    }
}

fn known_login() -> Option<NodeLogin> {
    let credentials = Credentials::Password(Secret::new(dialogues::PASSWORD.to_vec()));
    Some(NodeLogin { user: UserName::new(dialogues::USER)?, master: None, credentials })
}

/// All that is said in a login, on both sides: what the client hears at its end.
fn whole(protocol: Protocol, sent: &str) -> Option<Vec<u8>> {
    let (dialogue, request, reply_to) = log_in(protocol, sent)?;
    let LoginRequest { user, master, credentials, .. } = request;
    let acceptance = replay(protocol, NodeLogin { user, master, credentials })?;
    Some(dialogue.accept(reply_to, &acceptance))
}

/// What a willing node says to a command.
fn answer(protocol: Protocol, sent: &[u8]) -> Vec<u8> {
    let word = sent.split(|&octet| octet == b' ').next().unwrap_or_default();
    match protocol {
        Protocol::Imap => [word, b" OK [CAPABILITY IMAP4rev1 IDLE NAMESPACE] Logged in\r\n"].concat(),
        Protocol::Pop3 if word == b"CAPA\r\n" => b"+OK\r\nTOP\r\nUIDL\r\nUSER\r\nSASL PLAIN\r\n.\r\n".to_vec(),
        Protocol::Pop3 => b"+OK Logged in.\r\n".to_vec(),
    }
}

fn dialogue(c: &mut Criterion) {
    let mut group = c.benchmark_group("dialogue");
    for (name, protocol, sent) in CLIENTS {
        group.bench_function(name, |b| {
            assert!(log_in(protocol, sent).is_some(), "{name} is no login");
            b.iter(|| log_in(protocol, black_box(sent)));
        });
        group.bench_function(format!("{name}, and the node's side"), |b| {
            assert!(whole(protocol, sent).is_some(), "{name} does not get in");
            b.iter(|| whole(protocol, black_box(sent)));
        });
    }
    for protocol in [Protocol::Pop3, Protocol::Imap] {
        group.bench_function(format!("{protocol} replay"), |b| {
            let accepted = || replay(black_box(protocol), known_login()?);
            assert!(accepted().is_some(), "the {protocol} node did not accept the login");
            b.iter(accepted);
        });
    }
    group.finish();
}

/// In front of all that, behind a balancer.
fn header(c: &mut Criterion) {
    let header = proxy_header::introducing(&dialogues::introduction());
    let read = || {
        let mut input = Input::new();
        input.push(black_box(&header));
        proxy_header::read(&mut input)
    };
    assert!(matches!(read(), Ok(Some(_))), "our own header is not read");
    c.bench_function("PROXY v2 header", |b| b.iter(read));
}

criterion_group!(benches, dialogue, header);
criterion_main!(benches);
