//! What a login costs without sockets: the client's octets to a login request, and a login to a node's acceptance.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mailferry::names::UserName;
use mailferry::proto::{
    Channel, ClientDialogue, Credentials, HelloStep, Input, LoginRequest, NodeAnswer, NodeHello, NodeLogin, Protocol,
    ReplayStep, Step,
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
fn log_in(protocol: Protocol, sent: &str) -> Option<LoginRequest> {
    let mut dialogue = ClientDialogue::new(protocol, dialogues::offer(Channel::Tls));
    black_box(dialogue.greeting());
    let mut input = Input::new();
    input.push(sent.as_bytes());
    loop {
        match dialogue.step(&mut input) {
            Step::Login(request, _) => return Some(request),
            Step::Reply(text) => drop(black_box(text)),
            _ => return None,
        }
    }
}

/// From a node's greeting to its acceptance; false if it does not come to that.
fn replay(protocol: Protocol) -> bool {
    let mut input = Input::new();
    input.push(match protocol {
        Protocol::Imap => b"* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL+ AUTH=PLAIN] ready\r\n".as_slice(),
        Protocol::Pop3 => b"+OK ready\r\n",
    });
    let mut hello = NodeHello::new(protocol, false, None);
    loop {
        match hello.step(&mut input) {
            Ok(HelloStep::Ready) => break,
            Ok(HelloStep::Send(sent)) => input.push(&answer(protocol, &sent)),
            _ => return false,
        }
    }
    let user = UserName::new(dialogues::USER);
    let Some(Ok(mut replay)) = user.map(|user| {
        let credentials = Credentials::Password(Secret::new(dialogues::PASSWORD.to_vec()));
        hello.replay(NodeLogin { user, master: None, credentials })
    }) else {
        return false;
    };
    loop {
        match replay.step(&mut input) {
            Ok(ReplayStep::Answer(answer)) => return matches!(answer, NodeAnswer::Accepted(_)),
            Ok(ReplayStep::Send(sent)) => input.push(&answer(protocol, sent.expose())),
            _ => return false,
        }
    }
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
    }
    for protocol in [Protocol::Pop3, Protocol::Imap] {
        group.bench_function(format!("{protocol} replay"), |b| {
            assert!(replay(protocol), "the {protocol} node did not accept the login");
            b.iter(|| replay(black_box(protocol)));
        });
    }
    group.finish();
}

criterion_group!(benches, dialogue);
criterion_main!(benches);
