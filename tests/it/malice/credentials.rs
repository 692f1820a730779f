//! What nodes get of a login: the right octets, or nothing; and what they say of tokens.

use std::sync::Arc;

use mailferry::net::tls::{ServerSettings, Version, server_config};
use mailferry::proto::{Extensions, Protocol};
use mailferry::routing::NodeTls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Act::Hear;
use super::{Act, MARK, OUR_BUG, PASSWORD, STANDARD, Stage, UNAVAILABLE, forever, say};
use crate::client::{Client, DEADLINE, text};
use crate::node::{Conn, FakeNode};
use crate::site::{Door, Site, Spec, certificate, log_lines, logged};
use base64::Engine;

/// A node with a certificate of its own making: what it gets in clear text, and under TLS.
async fn impostor(
    protocol: Protocol,
    tls: NodeTls,
    name: &'static str,
) -> (u16, tokio::task::JoinHandle<[Vec<u8>; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let dir = tempfile::tempdir().unwrap();
        let settings = ServerSettings { certificates: vec![certificate(&dir, name)], min_version: Version::Tls12 };
        let acceptor = TlsAcceptor::from(server_config(&settings, b"imap", None).unwrap());
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut heard = [Vec::new(), Vec::new()];
        if tls == NodeTls::StartTls {
            let (greeting, agrees) = match protocol {
                Protocol::Imap => ("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n", "f1 OK\r\n"),
                Protocol::Pop3 => ("+OK hi\r\n", "+OK\r\n"),
            };
            socket.write_all(greeting.as_bytes()).await.unwrap();
            while !heard[0].ends_with(b"\r\n") {
                heard[0].push(socket.read_u8().await.unwrap());
            }
            socket.write_all(agrees.as_bytes()).await.unwrap();
        }
        if let Ok(mut stream) = acceptor.accept(socket).await {
            let _ = stream.write_all(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n").await;
            let _ = stream.read_to_end(&mut heard[1]).await;
        }
        heard
    });
    (port, heard)
}

#[tokio::test]
async fn r_be_06_a_node_with_the_wrong_certificate_is_unavailable_and_gets_no_secret() {
    for protocol in Protocol::ALL {
        // Of another authority with the right name, and of another name.
        for (tls, name) in [
            (NodeTls::Implicit, "localhost"),
            (NodeTls::StartTls, "localhost"),
            (NodeTls::Implicit, "elsewhere.net"),
            (NodeTls::StartTls, "elsewhere.net"),
        ] {
            let (port, heard) = impostor(protocol, tls, name).await;
            let stage = Stage::with(protocol, |spec| {
                spec.node_tls = tls;
                spec.a = vec![port];
            })
            .await;
            stage.hears(vec![], stage.of(UNAVAILABLE), name).await;
            let [clear, under_tls] = timeout(DEADLINE, heard).await.unwrap().unwrap();
            let asked: &[u8] = match (tls, protocol) {
                (NodeTls::StartTls, Protocol::Imap) => b"f1 STARTTLS\r\n",
                (NodeTls::StartTls, Protocol::Pop3) => b"STLS\r\n",
                (NodeTls::Off | NodeTls::Implicit, _) => b"",
            };
            assert_eq!(text(&clear), text(asked), "{protocol} {tls:?} {name}");
            assert!(under_tls.is_empty(), "{protocol} {tls:?} {name}: {}", text(&under_tls));
            stage.end().await;
        }
    }
}

/// A node that refuses whatever login it gets in these dialects, with all octets of the command noted.
async fn refusing(protocol: Protocol, capabilities: &'static str) -> FakeNode {
    FakeNode::start(move |mut conn: Conn| async move {
        match protocol {
            Protocol::Imap => {
                conn.send(format!("* OK [CAPABILITY IMAP4rev1 {capabilities}] hi\r\n")).await;
                while let Some(line) = conn.line().await {
                    let size = line.strip_suffix('}').and_then(|line| line.rsplit_once('{')).map(|(_, size)| size);
                    if line == "f3 AUTHENTICATE PLAIN" {
                        conn.send("+ \r\n").await;
                    } else if let Some(size) = size {
                        if !size.ends_with('+') {
                            conn.send("+ \r\n").await;
                        }
                        conn.exactly(size.trim_end_matches('+').parse().unwrap()).await;
                    } else {
                        conn.send("f3 NO [AUTHENTICATIONFAILED] no\r\n").await;
                    }
                }
            }
            Protocol::Pop3 => {
                conn.send("+OK hi\r\n").await;
                while let Some(line) = conn.line().await {
                    match line.as_str() {
                        "CAPA" => conn.send(format!("+OK\r\n{capabilities}\r\n.\r\n")).await,
                        "AUTH PLAIN" => conn.send("+ \r\n").await,
                        user if user.starts_with("USER ") => conn.send("+OK\r\n").await,
                        _ => conn.send("-ERR [AUTH] no\r\n").await,
                    }
                }
            }
        }
    })
    .await
}

/// A password as IMAP writes it in quotes.
fn quoted(password: &[u8]) -> Vec<u8> {
    let escaped = password.iter().flat_map(|octet| match octet {
        b'"' | b'\\' => vec![b'\\', *octet],
        octet => vec![*octet],
    });
    [b'"'].into_iter().chain(escaped).chain([b'"']).collect()
}

/// What a node hears of a login of alice with this password, by its dialect.
fn expected(protocol: Protocol, capabilities: &str, password: &[u8]) -> Vec<u8> {
    let message = STANDARD.encode([b"\0alice\0", password].concat()).into_bytes();
    let literal = |plus: &str| {
        let is_printable = password.iter().all(|octet| matches!(octet, b' '..=b'~'));
        let size = format!("{{{}{plus}}}\r\n", password.len());
        if is_printable { quoted(password) } else { [size.as_bytes(), password].concat() }
    };
    match (protocol, capabilities) {
        (Protocol::Imap, "SASL-IR AUTH=PLAIN") => [b"f3 AUTHENTICATE PLAIN ", message.as_slice(), b"\r\n"].concat(),
        (Protocol::Imap, "AUTH=PLAIN") => [b"f3 AUTHENTICATE PLAIN\r\n", message.as_slice(), b"\r\n"].concat(),
        (Protocol::Imap, "LITERAL+") => [b"f3 LOGIN \"alice\" ", literal("+").as_slice(), b"\r\n"].concat(),
        (Protocol::Imap, _) => [b"f3 LOGIN \"alice\" ", literal("").as_slice(), b"\r\n"].concat(),
        (Protocol::Pop3, "USER") => [b"CAPA\r\nUSER alice\r\nPASS ", password, b"\r\n"].concat(),
        (Protocol::Pop3, _) if message.len() <= 255 - b"AUTH PLAIN \r\n".len() => {
            [b"CAPA\r\nAUTH PLAIN ", message.as_slice(), b"\r\n"].concat()
        }
        (Protocol::Pop3, _) => [b"CAPA\r\nAUTH PLAIN\r\n", message.as_slice(), b"\r\n"].concat(),
    }
}

/// Logs in with this password in this way, and hears the node's refusal.
async fn log_in(client: &mut Client, protocol: Protocol, way: &str, password: &[u8]) {
    let message = STANDARD.encode([b"\0alice\0", password].concat());
    match (protocol, way) {
        (Protocol::Imap, "quoted") => {
            client.send([b"a LOGIN alice ", quoted(password).as_slice(), b"\r\n"].concat()).await;
        }
        (Protocol::Imap, "literal") => {
            client.send(format!("a LOGIN alice {{{}}}\r\n", password.len())).await;
            assert!(client.line().await.starts_with("+ "));
            client.send([password, b"\r\n"].concat()).await;
        }
        (Protocol::Imap, _) => client.send(format!("a AUTHENTICATE PLAIN {message}\r\n")).await,
        (Protocol::Pop3, "pass") => {
            assert!(client.ask("USER alice").await.starts_with("+OK"));
            client.send([b"PASS ", password, b"\r\n"].concat()).await;
        }
        (Protocol::Pop3, _) => client.send(format!("AUTH PLAIN {message}\r\n")).await,
    }
    let no = if protocol == Protocol::Imap { "a NO [AUTHENTICATIONFAILED] no" } else { "-ERR [AUTH] no" };
    assert_eq!(client.line().await, no, "{way}: {}", password.escape_ascii());
}

#[tokio::test]
async fn r_be_08_every_octet_of_a_password_reaches_the_node_in_every_dialect() {
    let lawful = || (0x01..=0xff).filter(|octet| !matches!(octet, b'\r' | b'\n'));
    let all: Vec<u8> = lawful().collect();
    let printable: Vec<u8> = (b' '..=b'~').collect();
    let tricky = [&b"{5}"[..], b"{5+}", b"\"", b"\\", b"%s%n", b" ", b"  x  ", b"*", b"=", b".", b"+", b"NIL", b"\x7f"];
    let passwords: Vec<Vec<u8>> = [all, printable].into_iter().chain(tricky.map(<[u8]>::to_vec)).collect();
    let dialects = [
        (Protocol::Imap, "SASL-IR AUTH=PLAIN", &["quoted", "literal", "plain"][..]),
        (Protocol::Imap, "AUTH=PLAIN", &["plain"]),
        (Protocol::Imap, "LITERAL+", &["quoted", "literal", "plain"]),
        (Protocol::Imap, "IDLE", &["quoted", "literal", "plain"]),
        (Protocol::Pop3, "SASL PLAIN", &["pass", "plain"]),
        (Protocol::Pop3, "USER", &["pass", "plain"]),
    ];
    for (protocol, capabilities, ways) in dialects {
        let node = refusing(protocol, capabilities).await;
        let site = Site::with(&[node.port]).await;
        let door = if protocol == Protocol::Imap { Door::ImapClear } else { Door::Pop3Clear };
        let mut seen = 0;
        for (way, password) in ways.iter().flat_map(|way| passwords.iter().map(move |password| (way, password))) {
            let mut client = site.greeted(door).await;
            log_in(&mut client, protocol, way, password).await;
            let octets = node.seen.octets.get().split_off(seen);
            seen += octets.len();
            assert_eq!(
                text(&octets.escape_ascii().collect::<Vec<_>>()),
                shown(expected(protocol, capabilities, password)),
                "{way}"
            );
        }
        site.end(&[]).await;
    }
}

fn shown(octets: Vec<u8>) -> String {
    octets.escape_ascii().to_string()
}

// ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const TOKEN: &str = "t0ken-malice-Pa55";

/// A site that announces tokens, whatever its node does.
async fn with_tokens(protocol: Protocol) -> Stage {
    Stage::with(protocol, announce_tokens).await
}

fn announce_tokens(spec: &mut Spec) {
    let words: Extensions = [&b"AUTH=XOAUTH2"[..], b"AUTH=OAUTHBEARER"].into_iter().collect();
    let words = Some(Arc::new(words));
    spec.session.imap_capabilities = words.clone();
    spec.session.pop3_capabilities = words;
}

/// What a client sends with its token, and with which empty answer it takes a challenge.
fn message(mechanism: &str) -> (String, &'static str) {
    match mechanism {
        "XOAUTH2" => (STANDARD.encode(format!("user=alice\x01auth=Bearer {TOKEN}\x01\x01")), ""),
        _ => (STANDARD.encode(format!("n,a=alice,\x01auth=Bearer {TOKEN}\x01\x01")), "AQ=="),
    }
}

/// The node up to the moment when it has the token.
fn asked(protocol: Protocol, mechanism: &str) -> Vec<Act> {
    match protocol {
        Protocol::Imap => vec![say(format!("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH={mechanism}] {MARK}\r\n")), Hear],
        Protocol::Pop3 => {
            vec![say(format!("+OK {MARK}\r\n")), Hear, say(format!("+OK\r\nSASL {mechanism}\r\n.\r\n")), Hear]
        }
    }
}

fn no(protocol: Protocol) -> (Act, String) {
    match protocol {
        Protocol::Imap => (say(format!("f3 NO [EXPIRED] {MARK}\r\n")), format!("a NO [EXPIRED] {MARK}")),
        Protocol::Pop3 => (say(format!("-ERR [EXPIRED] {MARK}\r\n")), format!("-ERR [EXPIRED] {MARK}")),
    }
}

/// Sends the token, and hears a line.
async fn bring(stage: &Stage, client: &mut Client, mechanism: &str, acts: Vec<Act>) -> String {
    stage.script.with(|script| *script = acts);
    let (message, _) = message(mechanism);
    let command = stage.of(["a AUTHENTICATE", "AUTH"]);
    client.send(format!("{command} {mechanism} {message}\r\n")).await;
    client.line().await
}

#[tokio::test]
async fn r_sasl_06_what_a_node_says_of_a_token_reaches_the_client_and_is_answered_for_it() {
    for protocol in Protocol::ALL {
        let stage = with_tokens(protocol).await;
        for mechanism in ["XOAUTH2", "OAUTHBEARER"] {
            let challenge = STANDARD.encode(format!("{{\"status\":\"401\",\"scope\":\"{MARK}\"}}"));
            let (refuses, refused) = no(protocol);
            let acts = [asked(protocol, mechanism), vec![say(format!("+ {challenge}\r\n")), Hear, refuses]].concat();
            let mut client = stage.client().await;
            assert_eq!(bring(&stage, &mut client, mechanism, acts).await, format!("+ {challenge}"));
            let before = super::text(&stage.node).len();
            let (sent, dummy) = message(mechanism);
            assert_eq!(client.ask(dummy).await, refused);
            stage.is_open(&mut client).await;
            let heard = super::text(&stage.node);
            assert!(heard.contains(&sent) && heard.contains(&format!("{sent}\r\n{dummy}\r\n")), "{heard}");
            assert_eq!(heard.len(), before, "the client's own answer is kept from the node");
        }
        stage.site.end(&[TOKEN, MARK]).await;
    }
}

#[tokio::test]
async fn what_no_client_may_hear_of_a_token_is_dropped_or_fails_the_login() {
    for protocol in Protocol::ALL {
        let stage = with_tokens(protocol).await;
        let (unavailable, bug) = (stage.of(UNAVAILABLE), stage.of(OUR_BUG));
        for mechanism in ["XOAUTH2", "OAUTHBEARER"] {
            let (refuses, refused) = no(protocol);
            let long = STANDARD.encode(MARK.repeat(400));
            let megabyte = format!("+ {}\r\n", "QUFB".repeat(260_000));
            let then = |last: Vec<Act>| [asked(protocol, mechanism), last].concat();
            let answered = |challenge: &str| then(vec![say(format!("+ {challenge}\r\n")), Hear, refuses.clone()]);
            for (acts, expected) in [
                // No base64, or too much of it.
                (answered(MARK), refused.as_str()),
                (answered("{\"status\":401}"), &refused),
                (answered(""), &refused),
                (answered("====\0\u{fc}"), &refused),
                (answered(&long), &refused),
                (then(vec![refuses.clone()]), &refused),
                (then(vec![say(megabyte)]), unavailable),
                // Conversations.
                (then(vec![say("+ eyJ4IjoxfQ==\r\n+ eyJ4IjoxfQ==\r\n")]), unavailable),
                (then(vec![forever("+ eyJ4IjoxfQ==\r\n")]), unavailable),
                (then(vec![say("+ "), forever("eyJ4")]), unavailable),
            ] {
                let mut client = stage.client().await;
                assert_eq!(bring(&stage, &mut client, mechanism, acts).await, expected, "{protocol} {mechanism}");
                stage.is_open(&mut client).await;
            }
            if protocol == Protocol::Imap {
                let mut client = stage.client().await;
                let acts = then(vec![say(format!("+ eyJ4IjoxfQ==\r\nf3 BAD {MARK}\r\n"))]);
                assert_eq!(bring(&stage, &mut client, mechanism, acts).await, bug);
            }
        }
        stage.site.end(&[TOKEN, MARK]).await;
        stage.node.all_closed(DEADLINE).await;
        assert_eq!(stage.node.seen.swallowed.load(std::sync::atomic::Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn a_node_that_does_not_announce_a_tokens_mechanism_does_not_get_the_token() {
    for protocol in Protocol::ALL {
        let stage = with_tokens(protocol).await;
        for mechanism in ["XOAUTH2", "OAUTHBEARER"] {
            let mut client = stage.client().await;
            let acts = asked(protocol, "PLAIN");
            assert_eq!(bring(&stage, &mut client, mechanism, acts).await, stage.of(UNAVAILABLE));
            stage.is_open(&mut client).await;
        }
        let heard = super::text(&stage.node);
        assert!(!heard.contains("AUTH") && !heard.contains(&message("XOAUTH2").0), "{heard}");
        stage.site.end(&[TOKEN, MARK, PASSWORD]).await;
    }
}

/// A stranger needs neither a right token nor a known password for it: two of them must not take a node down.
#[tokio::test]
async fn tokens_that_no_node_wants_say_nothing_of_its_health() {
    for protocol in Protocol::ALL {
        let stage = Stage::with(protocol, |spec| {
            announce_tokens(spec);
            spec.probe.fall = 1;
            spec.name = format!("unwanted-{protocol}");
        })
        .await;
        let door = if protocol == Protocol::Imap { Door::ImapClear } else { Door::Pop3Clear };
        // Users and networks enough to be believed, if this were something to believe.
        for (host, user) in [(2, "alice"), (3, "renamed"), (4, "alice"), (5, "renamed")] {
            let from = std::net::Ipv4Addr::new(127, 9, host, 1).into();
            let mut client = Client::clear_from(from, stage.site.address(door)).await;
            client.line().await;
            for mechanism in ["XOAUTH2", "OAUTHBEARER"] {
                stage.script.with(|script| *script = asked(protocol, "PLAIN"));
                let message = STANDARD.decode(message(mechanism).0).unwrap();
                let message = String::from_utf8(message).unwrap().replace("alice", user);
                let command = stage.of(["a AUTHENTICATE", "AUTH"]);
                let said = client.ask(&format!("{command} {mechanism} {}", STANDARD.encode(message))).await;
                assert_eq!(said, stage.of(UNAVAILABLE));
            }
        }
        let island = format!("\"island\":\"unwanted-{protocol}\"");
        let changes = log_lines(&["\"message\":\"node state\"", &island]);
        assert!(changes.is_empty(), "{changes:?}");
        assert_eq!(log_lines(&["\"message\":\"login\"", &island]).len(), 8, "its logins have lines of this kind");
        // Silence does say something, and of the same node.
        for (host, user) in [(2, "alice"), (3, "renamed")] {
            stage.script.with(|script| *script = vec![Act::HangUp]);
            let from = std::net::Ipv4Addr::new(127, 9, host, 1).into();
            let mut client = Client::clear_from(from, stage.site.address(door)).await;
            client.line().await;
            let plain = super::plain(user, PASSWORD);
            let said = client.ask(&format!("{} PLAIN {plain}", stage.of(["a AUTHENTICATE", "AUTH"]))).await;
            assert_eq!(said, stage.of(UNAVAILABLE));
        }
        logged(&["\"message\":\"node state\"", &island], 1).await;
        stage.site.end(&[TOKEN, MARK, PASSWORD]).await;
    }
}
