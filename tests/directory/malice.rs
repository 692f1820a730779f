//! Directories that mean harm: each ends in "ambiguous" or "unavailable", never in a route, a panic or a forged log.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailferry::directory::ldap::{self, Url};
use mailferry::directory::{Directory, LookupError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::slapd::{PATIENCE, Slapd};
use super::{directory, locate, log, settings, who_answers};

/// For searches that are never answered.
const SHORT: Duration = Duration::from_secs(1);
/// What a server may get rid of before it is cut off, with what the kernels hold, for all connections of one look-up.
const OCTETS_MAX: usize = 64 * 1024 * 1024;

const SUCCESS: &[u8] = b"\x0a\x01\x00\x04\x00\x04\x00";

/// An element of BER.
fn ber(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84][..], &len, content].concat()
}

fn message(id: u8, operation: &[u8]) -> Vec<u8> {
    ber(0x30, &[&[2, 1, id][..], operation].concat())
}

fn attribute(name: &str, values: Values<'_>) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| ber(4, value)).collect();
    ber(0x30, &[ber(4, name.as_bytes()), ber(0x31, &values)].concat())
}

fn entry(id: u8, dn: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
    message(id, &ber(0x64, &[ber(4, dn), ber(0x30, &attributes.concat())].concat()))
}

fn done(id: u8) -> Vec<u8> {
    message(id, &ber(0x65, SUCCESS))
}

/// The values of an attribute.
type Values<'a> = &'a [&'a [u8]];

/// What one server says to a search, and whether it says so for ever.
struct Script {
    says: Box<dyn Fn(u8) -> Vec<u8> + Send + Sync>,
    without_end: bool,
}

/// The id of a request of ours, which are short.
fn id(request: &[u8]) -> u8 {
    let at = request.windows(2).position(|two| two == [2, 1]).expect("a request begins with its id");
    request[at + 2]
}

/// A server, and how many octets it got rid of.
async fn scripted(script: Script) -> (Url, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("ldap://{}", listener.local_addr().unwrap())).unwrap();
    let (script, sent) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (script, sent) = (Arc::clone(&script), Arc::clone(&counted));
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while let Ok(1..) = stream.read(&mut request).await {
                    let answer = (script.says)(id(&request));
                    loop {
                        if stream.write_all(&answer).await.is_err() {
                            return;
                        }
                        sent.fetch_add(answer.len(), Ordering::SeqCst);
                        if !script.without_end {
                            break;
                        }
                    }
                }
            });
        }
    });
    (url, sent)
}

fn once(says: impl Fn(u8) -> Vec<u8> + Send + Sync + 'static) -> Script {
    Script { says: Box::new(says), without_end: false }
}

fn without_end(says: impl Fn(u8) -> Vec<u8> + Send + Sync + 'static) -> Script {
    Script { says: Box::new(says), without_end: true }
}

fn asking(url: Url) -> Directory {
    let settings = ldap::Settings { timeout: SHORT, login_attribute: Some("uid".into()), ..settings(vec![url]) };
    directory(settings, None)
}

/// Where the library has panicked, in whatever task.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        if ["ldap3", "lber"].iter().any(|library| place.contains(library)) {
            PANICS.lock().unwrap().push(place);
        }
        before(panic);
    }));
}

/// No control character may get anywhere near an operator's terminal.
fn assert_printable(text: &str) {
    let forged = text.chars().find(|c| c.is_control());
    assert_eq!(forged, None, "{}", text.escape_debug());
}

#[tokio::test]
async fn entries_with_evil_values_are_ambiguous() {
    let log = log();
    let _guard = log.start();
    let (good, long) = (&b"a"[..], vec![b'x'; 1024 * 1024]);
    let many: Vec<Vec<u8>> = (0..10_000).map(|number: u32| number.to_string().into_bytes()).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let too_long = [b'x'; 300];
    // The island, then the login name.
    let cases: [(Values<'_>, Values<'_>); 17] = [
        (&[&long], &[good]),
        (&[b"\x00\xff\xfe\x80"], &[good]),
        (&many, &[good]),
        (&[good, good], &[good]),
        (&[b""], &[good]),
        (&[], &[good]),
        (&[b"a\r\n"], &[good]),
        (&[b"a\nINFO forged"], &[good]),
        (&[b"a\0"], &[good]),
        (&[b"\x1b[2Ja"], &[good]),
        (&["a\u{85}".as_bytes()], &[good]),
        (&[good], &[b"bob\r\nINFO forged"]),
        (&[good], &[&too_long]),
        (&[good], &[b"bob\0"]),
        (&[good], &[b""]),
        (&[good], &[&long]),
        (&[good], &many),
    ];
    for (islands, logins) in cases {
        let attributes = [attribute("mailHost", islands), attribute("uid", logins)];
        let dn = b"uid=bob\r\nINFO forged \x1b[2J\xff";
        let (url, _) = scripted(once(move |id| [entry(id, dn, &attributes), done(id)].concat())).await;
        match locate(&asking(url), "bob").await {
            Err(LookupError::Ambiguous(reason)) => {
                assert_printable(&reason);
                assert!(reason.len() < 2000, "{} octets", reason.len());
            }
            other => panic!("{other:?}"),
        }
    }
    // The same server with one good value of each is believed, so that it is the values which were refused.
    let attributes = [attribute("mailHost", &[good]), attribute("uid", &[good])];
    let (url, _) = scripted(once(move |id| [entry(id, b"uid=bob", &attributes), done(id)].concat())).await;
    assert_eq!(locate(&asking(url), "bob").await.unwrap().route.island.as_str(), "a");
    log.text().lines().for_each(assert_printable);
    assert!(!log.text().lines().any(|line| line.starts_with("INFO forged")), "{}", log.text());
}

#[tokio::test]
async fn servers_gone_mad_are_unavailable_and_harm_nobody() {
    note_panics();
    let slapd = Slapd::start().await;
    let log = log();
    let _guard = log.start();
    let small = |id| entry(id, b"uid=bob", &[attribute("mailHost", &[b"a"])]);
    let nested = |levels: usize| -> Vec<u8> {
        // From the inside: each level is a head before all that was written so far.
        let mut octets = Vec::new();
        for _ in 0..levels {
            let len = u32::try_from(octets.len()).unwrap().to_be_bytes();
            let mut head = vec![len[3], len[2], len[1], len[0], 0x84, 0x30];
            octets.append(&mut head);
        }
        octets.reverse();
        octets
    };
    let deep = nested(50_000);
    let scripts = [
        // More entries than were asked for, and no end.
        once(move |id| [small(id).repeat(10_000), done(id)].concat()),
        without_end(small),
        without_end(|id| entry(id, b"uid=bob", &[attribute("mailHost", &[&[b'x'; 1_000_000]])])),
        // Answers to nobody, which the library would log one by one.
        without_end(|_| done(0x7f)),
        without_end(|_| b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x00\x04\x00\x04\x00".to_vec()),
        // Lengths: 2^32, 2^32 - 1, 2^64, five mebibytes; and one that is lawful, whose octets never come.
        without_end(|_| b"\x30\x85\x01\x00\x00\x00\x00".to_vec()),
        without_end(|_| b"\x30\x84\xff\xff\xff\xff".to_vec()),
        without_end(|_| b"\x30\x89\x01\x00\x00\x00\x00\x00\x00\x00\x00".to_vec()),
        without_end(|_| b"\x30\x83\x50\x00\x00".to_vec()),
        once(|_| b"\x30\x83\x30\x00\x00\x02\x01\x01\x64".to_vec()),
        // Nested so deep that a recursive reader runs out of stack.
        once(move |id| message(id, &ber(0x64, &deep))),
        // Two million parts, of which each costs a reader some memory.
        once(|id| message(id, &ber(0x64, &b"\x04\x00".repeat(1_900_000)))),
        // Garbage of all kinds.
        without_end(|_| b"\x00".repeat(1000)),
        without_end(|_| b"\xff".repeat(1000)),
        without_end(|_| b"HTTP/1.1 200 OK\r\nINFO forged \x1b[2J\r\n\r\n".to_vec()),
        once(|id| message(id, b"\x61\x07\x0a\x01\x00\x04\x00\x04\x00")),
        once(|id| message(id, &ber(0x65, &[&b"\x0a\x01\x00\x04\x00\x04\x01\xff"[..], b""].concat()))),
        once(|id| message(id, &[&ber(0x65, SUCCESS)[..], b"\xa0\x02\x30\x00"].concat())),
        // Lawful, with words that are not for a terminal.
        once(|id| message(id, &ber(0x65, b"\x0a\x01\x33\x04\x00\x04\x13\r\nINFO forged\x1b[2J\x07\x00"))),
        once(|id| message(id, &ber(0x65, b"\x0a\x01\x50\x04\x00\x04\x13\r\nINFO forged\x1b[2J\x07\x00"))),
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        let (url, sent) = scripted(script).await;
        let answer = timeout(PATIENCE, locate(&asking(url.clone()), "bob")).await.expect("an end");
        match answer {
            Err(LookupError::Unavailable(reason)) => assert_printable(&reason),
            other => panic!("script {number}: {other:?}"),
        }
        assert!(sent.load(Ordering::SeqCst) < OCTETS_MAX, "script {number}: {} octets", sent.load(Ordering::SeqCst));
        // Whoever asks it finds the next server.
        let both = ldap::Settings { timeout: SHORT, ..settings(vec![url, slapd.ldap()]) };
        assert_eq!(who_answers(&directory(both, None), "bob").await, slapd.ldap().to_string(), "script {number}");
    }
    assert_eq!(*PANICS.lock().unwrap(), [""; 0], "the library panicked");
    log.text().lines().for_each(assert_printable);
    assert!(!log.text().lines().any(|line| line.trim_start().starts_with("INFO forged")), "{}", log.text());
    assert!(log.count("LDAP connection cut") > 0, "{}", log.text());
}
