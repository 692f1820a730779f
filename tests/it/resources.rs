//! What a stranger costs: memory before the login, and descriptors.

use std::ops::Range;

use base64::Engine;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::client::{DEADLINE, text};
use crate::node::{Conn, FakeNode};
use crate::process::{Process, Way};

/// What a connection may hold before its login, in octets.
const MEMORY_MAX: u64 = 128 * 1024;

/// Connections that are measured together.
const MEASURED: u16 = 80;

/// Connections that come before them, for what is set up once.
const WARM_UP: u16 = 20;

/// How often a measurement is begun that takes too long.
const TRIES: u8 = 3;

/// What a client does to cost as much as it can.
#[derive(Clone, Copy, Debug)]
enum Evil {
    /// Sends this and waits.
    Sends(fn() -> Vec<u8>),
    /// Sends so much of a TLS handshake that never ends.
    Hello(usize),
    /// Sends this under TLS, and then a record that never ends.
    SendsAndHalfARecord(fn() -> Vec<u8>),
    /// Sends [`refused`], and under TLS half a record behind it, and waits for the answers.
    IsRefused,
}

fn quoted_pairs(start: &str, len: usize) -> Vec<u8> {
    let mut octets = start.as_bytes().to_vec();
    while octets.len() < len {
        octets.extend_from_slice(format!("\"k\" \"{}\" ", "x".repeat(1000)).as_bytes());
    }
    octets.truncate(len);
    octets
}

/// An ID just below its limit, without an end.
fn id() -> Vec<u8> {
    quoted_pairs("a ID (", 36 * 1024 - 1)
}

/// The answer to a challenge, just below its limit.
fn sasl() -> Vec<u8> {
    [b"a AUTHENTICATE PLAIN\r\n".as_slice(), &vec![b'A'; 16 * 1024 - 1]].concat()
}

/// A command just below its limit, with all the literals that it may have.
fn line() -> Vec<u8> {
    let literal = [b"{4096+}\r\n".as_slice(), &vec![b'x'; 4096]].concat();
    [b"a LOGIN ".as_slice(), &literal, b" ", &literal, &vec![b'x'; 8000]].concat()
}

/// A login that is not answered, and more behind it than is held.
fn ahead() -> Vec<u8> {
    [b"a LOGIN alice ahead-Pa55\r\n".as_slice(), &vec![b'x'; 70 * 1024]].concat()
}

/// Commands behind a login that is refused, which are answered after it.
const BEHIND: usize = 3500;

/// A login that is refused when all of this has come: then commands and an ID are read from what was held.
fn refused() -> Vec<u8> {
    [b"a LOGIN nobody ahead-Pa55\r\n".to_vec(), b"b NOOP\r\n".repeat(BEHIND), id()].concat()
}

/// Reads the answers to [`refused`].
async fn answers(stream: &mut (impl AsyncRead + Unpin)) {
    let mut lines = BufReader::new(stream).lines();
    let mut answered = 0;
    while answered < BEHIND {
        let line =
            timeout(DEADLINE * 6, lines.next_line()).await.expect("no answer in time").unwrap().expect("the end");
        answered += usize::from(line.starts_with("b OK"));
    }
}

/// A login with the largest token, that is not answered, and more behind it than is held.
fn token() -> Vec<u8> {
    let message = format!("user=alice\x01auth=Bearer {}\x01\x01", "t".repeat(12 * 1024 - 40));
    let message = base64::engine::general_purpose::STANDARD.encode(message);
    [b"a AUTHENTICATE XOAUTH2 ".as_slice(), message.as_bytes(), b"\r\n", &vec![b'x'; 60 * 1024]].concat()
}

async fn greeting(stream: &mut (impl AsyncRead + Unpin)) {
    until(stream, b" ready\r\n").await;
}

async fn until(stream: &mut (impl AsyncRead + Unpin), end: &[u8]) {
    let mut octets = Vec::new();
    while !octets.ends_with(end) {
        octets.push(timeout(DEADLINE, stream.read_u8()).await.expect("no line in time").unwrap());
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), octets: &[u8]) {
    timeout(DEADLINE, stream.write_all(octets)).await.expect("nobody reads").unwrap();
    stream.flush().await.unwrap();
}

/// A ClientHello that says it is longer than this, in records of the largest size.
fn endless_hello(len: usize) -> Vec<u8> {
    let mut hello = vec![1, 0, 0xff, 0xf0, 3, 3];
    hello.resize(len, 0);
    let record = |part: &[u8]| [&[0x16, 3, 1], &u16::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
    hello.chunks(16 * 1024).flat_map(record).collect()
}

/// One connection in its worst state, as soon as the task has ended.
async fn misbehave(process: &Process, way: Way, evil: Evil, number: u16) -> JoinHandle<Box<dyn Send>> {
    let mut socket = process.connect(way, number).await;
    if way != Way::Tls {
        greeting(&mut socket).await;
    }
    if way == Way::StartTls {
        write(&mut socket, b"a STARTTLS\r\n").await;
        until(&mut socket, b" now\r\n").await;
    }
    match evil {
        Evil::Hello(len) => {
            write(&mut socket, &endless_hello(len)).await;
            holding(socket)
        }
        Evil::Sends(octets) if way == Way::Clear => {
            write(&mut socket, &octets()).await;
            holding(socket)
        }
        Evil::IsRefused if way == Way::Clear => {
            write(&mut socket, &refused()).await;
            tokio::spawn(async move {
                answers(&mut socket).await;
                Box::new(socket) as Box<dyn Send>
            })
        }
        Evil::Sends(_) | Evil::SendsAndHalfARecord(_) | Evil::IsRefused => {
            let connector = TlsConnector::from(process.client_tls());
            let mut stream = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
            if way == Way::Tls {
                greeting(&mut stream).await;
            }
            let octets =
                if let Evil::Sends(octets) | Evil::SendsAndHalfARecord(octets) = evil { octets } else { refused };
            write(&mut stream, &octets()).await;
            if !matches!(evil, Evil::Sends(_)) {
                let record = [&[0x17, 3, 3, 0x40, 0x10][..], &vec![0; 0x4000]].concat();
                write(stream.get_mut().0, &record).await;
            }
            tokio::spawn(async move {
                if matches!(evil, Evil::IsRefused) {
                    answers(&mut stream).await;
                }
                Box::new(stream) as Box<dyn Send>
            })
        }
    }
}

fn holding(socket: TcpStream) -> JoinHandle<Box<dyn Send>> {
    tokio::spawn(async { Box::new(socket) as Box<dyn Send> })
}

/// What one connection costs of the process's memory, in octets. `None`: it took so long that the first were cut meanwhile, as they
/// must be.
async fn cost(way: Way, evil: Evil) -> Option<u64> {
    let silent = FakeNode::start(|mut conn: Conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n").await;
        conn.closed().await;
    })
    .await;
    let process = Process::start(silent.port, (20_000, 20_000)).await;
    let hold = async |numbers: Range<u16>| {
        let mut held = Vec::new();
        for number in numbers {
            held.push(misbehave(&process, way, evil, number).await);
        }
        let held: Vec<_> = futures_util::future::try_join_all(held).await.unwrap();
        (held, process.memory().await)
    };
    let (_some, before) = hold(0..WARM_UP).await;
    let (_more, after) = hold(WARM_UP..WARM_UP + MEASURED).await;
    let cut = process.lines(&["session ended"]);
    assert!(cut.iter().all(|line| line.contains("\"why\":\"timeout\"")), "{way:?}, {evil:?}: {cut:?}");
    cut.is_empty().then(|| (after - before) / u64::from(MEASURED))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r_imap_11_a_connection_before_its_login_holds_at_most_128_kib_whatever_it_sends() {
    let mut found = Vec::new();
    for (name, way, evil) in [
        ("silence", Way::Clear, Evil::Sends(Vec::new)),
        ("an ID", Way::Clear, Evil::Sends(id)),
        ("a SASL response", Way::Clear, Evil::Sends(sasl)),
        ("a line with literals", Way::Clear, Evil::Sends(line)),
        ("octets ahead", Way::Clear, Evil::Sends(ahead)),
        ("octets ahead of a refusal", Way::Clear, Evil::IsRefused),
        ("a handshake", Way::Tls, Evil::Hello(60 * 1024)),
        ("a handshake behind STARTTLS", Way::StartTls, Evil::Hello(60 * 1024)),
        ("silence under TLS", Way::Tls, Evil::Sends(Vec::new)),
        ("an ID under TLS", Way::Tls, Evil::SendsAndHalfARecord(id)),
        ("a SASL response under TLS", Way::Tls, Evil::SendsAndHalfARecord(sasl)),
        ("a line with literals under TLS", Way::Tls, Evil::SendsAndHalfARecord(line)),
        ("octets ahead under TLS", Way::Tls, Evil::SendsAndHalfARecord(ahead)),
        ("a token and octets ahead under TLS", Way::Tls, Evil::SendsAndHalfARecord(token)),
        ("octets ahead of a refusal under TLS", Way::StartTls, Evil::IsRefused),
    ] {
        let mut tries = 0;
        let measured = loop {
            assert!(tries < TRIES, "{name}: they are never there together");
            tries += 1;
            if let Some(measured) = cost(way, evil).await {
                break measured;
            }
        };
        found.push((name, measured));
    }
    println!("{found:#?}");
    let dear: Vec<_> = found.iter().filter(|(_, cost)| *cost > MEMORY_MAX).collect();
    assert!(dear.is_empty(), "octets for one connection: {dear:?}");
}

/// How clients give up: in the middle of a response, cancelled, in the middle of a literal, of a line, of a handshake.
fn given_up(number: u16) -> Vec<u8> {
    match number % 5 {
        0 => sasl(),
        1 => [b"a AUTHENTICATE LOGIN\r\nYWxpY2U=\r\n*\r\n".as_slice(), &sasl(), b"\r\n"].concat(),
        2 => [b"a LOGIN alice {4096+}\r\n".as_slice(), &[b'x'; 4000]].concat(),
        3 => id(),
        _ => [b"a STARTTLS\r\n".as_slice(), &endless_hello(20_000)].concat(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_are_given_up_leave_nothing_behind() {
    const ROUND: u16 = 2_000;
    let process = Process::start(FakeNode::dead().await, (1_000, 1_000)).await;
    let idle = process.descriptors();
    let mut held = Vec::new();
    for round in 0..3 {
        for number in 0..ROUND {
            let way = if number % 5 == 4 { Way::StartTls } else { Way::Clear };
            let mut socket = process.connect(way, round * ROUND + number).await;
            greeting(&mut socket).await;
            write(&mut socket, &given_up(number)).await;
        }
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while process.descriptors() > idle {
            assert!(tokio::time::Instant::now() < deadline, "{} descriptors", process.descriptors());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        held.push(process.memory().await);
    }
    // The first round is for what is set up once; then 500 octets for each would be too much.
    assert!(held[2] < held[1] + u64::from(ROUND) * 500, "octets held behind each round: {held:?}");
    assert_eq!(process.lines(&["session ended"]).len(), usize::from(3 * ROUND));
}

/// Reads what a client for whom there may be no place is told first.
async fn first_line(socket: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(timeout(DEADLINE, socket.read_u8()).await.expect("left hanging").expect("closed without a word"));
    }
    text(&line)
}

/// A number in a line of the log.
pub fn number(line: &str, name: &str) -> u64 {
    let rest = line.split(&format!("\"{name}\":")).nth(1).unwrap();
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

async fn logs_in(process: &Process, number: u16) {
    let mut socket = process.connect(Way::Clear, number).await;
    assert!(first_line(&mut socket).await.starts_with("* OK "));
    write(&mut socket, b"a LOGIN alice after-Pa55\r\n").await;
    let mut answer = first_line(&mut socket).await;
    while answer.starts_with('*') {
        answer = first_line(&mut socket).await;
    }
    assert!(answer.starts_with("a OK "), "{answer}");
}

/// On a real clock, and in order: the login is answered while all the others, who came before it, are still waited for.
/// Then each of them is told, and cut.
#[tokio::test]
async fn r_res_03_a_good_login_is_answered_before_any_idle_connection_is_cut() {
    let node = FakeNode::imap().await;
    let soon = "login_timeout = \"10s\"\n[limits]\nfailed_login_delay_max = \"0s\"\n";
    let process = Process::start_with(node.port, (2_000, 2_000), soon).await;
    let mut idle = Vec::new();
    for number in 0..500 {
        // Silent ones, and ones in the middle of a handshake or of a line.
        let way = if number % 2 == 0 { Way::Clear } else { Way::Tls };
        let mut socket = process.connect(way, number).await;
        if number % 4 >= 2 {
            write(&mut socket, &[0x16, 3, 1, 2]).await;
        }
        idle.push((way, socket));
    }
    logs_in(&process, 1000).await;
    assert!(process.lines(&["session ended"]).is_empty(), "somebody was cut before the login was answered");
    for (way, mut socket) in idle {
        let mut heard = Vec::new();
        // A handshake has a deadline of its own, and may end in a reset.
        let end = timeout(DEADLINE * 6, socket.read_to_end(&mut heard)).await.expect("not cut");
        let is_told = heard.starts_with(b"* OK ") && text(&heard).contains("\r\n* BYE ");
        assert!(way == Way::Tls || (end.is_ok() && is_told), "{way:?}: {}", text(&heard));
    }
}

#[tokio::test]
async fn the_soft_limit_is_raised_and_what_it_is_enough_for_is_told() {
    let process = Process::start(FakeNode::dead().await, (64, 1_000)).await;
    let ready = process.logged(&["\"message\":\"ready\""]).await;
    let reserve = 1_000 - number(&ready, "clients") / 5 * 11;
    // What an idle mailferry really has must be within what is kept back.
    assert!((20..70).contains(&reserve), "{ready}");
    assert!((process.descriptors() as u64) < reserve, "{} of {reserve}", process.descriptors());
}

#[tokio::test]
async fn with_few_descriptors_two_hundred_clients_are_told_and_nobody_is_left_hanging() {
    let node = FakeNode::imap().await;
    let process = Process::start(node.port, (64, 64)).await;
    let clients = number(&process.logged(&["\"message\":\"ready\""]).await, "clients");
    assert!((2..20).contains(&clients), "{clients}");
    let mut crowd = Vec::new();
    for number in 0..200 {
        crowd.push(process.connect(Way::Clear, number).await);
    }
    let mut greeted = 0;
    for socket in &mut crowd {
        let line = first_line(socket).await;
        let is_greeting = line.starts_with("* OK ");
        assert!(is_greeting || line.starts_with("* BYE [UNAVAILABLE] "), "{line}");
        greeted += usize::from(is_greeting);
    }
    assert!(greeted as u64 >= clients, "{greeted}");
    assert!(process.descriptors() < 64);
    let told = process.warnings();
    assert!(told.len() <= 1 && process.lines(&["\"level\":\"ERROR\""]).is_empty(), "{told:#?}");
    // Those who were sent away are heard of in their own records only.
    drop(crowd);
    for number in 0..20 {
        logs_in(&process, 1000 + number).await;
    }
}

#[tokio::test]
async fn without_any_descriptor_clients_are_told_as_well() {
    let node = FakeNode::imap().await;
    let process = Process::start(node.port, (1_000, 1_000)).await;
    process.take_descriptors();
    let mut crowd = Vec::new();
    for number in 0..100 {
        crowd.push(process.connect(Way::Clear, number).await);
    }
    for socket in &mut crowd {
        let line = first_line(socket).await;
        assert!(line.starts_with("* BYE [UNAVAILABLE] "), "{line}");
    }
    assert_eq!(process.warnings().len(), 1);
    assert!(process.lines(&["\"level\":\"ERROR\""]).is_empty());
    process.give_descriptors();
    logs_in(&process, 1000).await;
}
