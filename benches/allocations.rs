//! How often a login asks for memory: from the accepted connection to its end record, over real sockets.
//!
//! No benchmark of time. Client and node are threads of their own, so that only mailferry's thread is counted.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints what it measures")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use allocation_counter::AllocationInfo;
use mailferry::directory::{Directory, Route, cache};
use mailferry::drain;
use mailferry::limits::Limits;
use mailferry::names::{IslandName, Protocol};
use mailferry::net::{Dialer, Stream};
use mailferry::routing::{Island, Islands, Node};
use mailferry::session::{self, Accepted, Context, Site};
use mailferry::testkit::settings;
use tokio::runtime::Runtime;

/// Logins before the one that is counted: what is made once is made by them.
const WARM_UP: usize = 16;

type Answer = fn(&str) -> Option<String>;

/// What the node says to a line; nothing where it takes the line without an answer.
fn imap(line: &str) -> Option<String> {
    let (tag, _) = line.split_once(' ')?;
    Some(format!("{tag} OK [CAPABILITY IMAP4rev1 IDLE] Logged in\r\n"))
}

fn pop3(line: &str) -> Option<String> {
    Some(if line.starts_with("CAPA") { "+OK\r\nUSER\r\nSASL PLAIN\r\n.\r\n" } else { "+OK\r\n" }.to_owned())
}

/// Greets and answers, whoever comes.
fn node(greeting: &'static str, answer: Answer) -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            thread::spawn(move || {
                connection.write_all(greeting.as_bytes())?;
                let lines = BufReader::new(connection.try_clone()?).lines();
                for line in lines {
                    if let Some(answer) = answer(&line?) {
                        connection.write_all(answer.as_bytes())?;
                    }
                }
                std::io::Result::Ok(())
            });
        }
    });
    Ok(port)
}

/// Hears the greeting, says its lines one after the other and hears an answer to each.
fn client(to: SocketAddr, lines: &'static [&'static str]) -> std::io::Result<()> {
    let mut connection = TcpStream::connect(to)?;
    let mut heard = BufReader::new(connection.try_clone()?);
    let mut answer = String::new();
    heard.read_line(&mut answer)?;
    for line in lines {
        connection.write_all(line.as_bytes())?;
        heard.read_line(&mut answer)?;
    }
    Ok(())
}

fn context(port: u16) -> Arc<Context> {
    let cache = cache::Settings {
        capacity: 1000,
        ttl: Duration::from_secs(3600),
        negative_ttl: Duration::from_secs(30),
        stale: Duration::from_secs(86_400),
        file: None,
    };
    let mut island = settings::island(1);
    for node in &mut island.nodes {
        *node = Arc::new(Node { host: "127.0.0.1".to_owned(), imap_port: port, pop3_port: port, ..(**node).clone() });
    }
    Arc::new(Context::new(
        Site {
            settings: settings::session(),
            directory: Directory::scripted(&cache, |_| {
                Box::pin(async { Ok(Route { island: IslandName::new("a"), login: None }) })
            }),
            islands: Islands::new(vec![Island { hedge: None, ..island }], None, tokio::time::Instant::now().into_std()),
            dialer: Dialer::new(Duration::from_secs(60), ["127.0.0.1".to_owned()]),
            node_tls: HashMap::new(),
        },
        Limits::new(settings::limits(), u32::MAX),
        1,
    ))
}

/// One client from accept to end, and all that its tasks did.
async fn log_in(context: &Arc<Context>, protocol: Protocol, lines: &'static [&'static str]) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let connected = listener.local_addr()?;
    let talking = thread::spawn(move || client(connected, lines));
    let (socket, client) = listener.accept().await?;
    let (stop, drain) = drain::channel();
    let Ok(slot) = context.limits.enter() else { return Err(std::io::Error::other("no place")) };
    let accepted = Accepted { socket: Stream::Clear(socket), client, connected, slot };
    session::run(Arc::clone(context), Arc::new(settings::clear_door(protocol)), accepted, drain).await;
    stop.stop().await;
    talking.join().map_err(|_| std::io::Error::other("the client died"))?
}

fn count(
    runtime: &Runtime,
    protocol: Protocol,
    greeting: &'static str,
    answer: Answer,
    lines: &'static [&'static str],
) -> std::io::Result<AllocationInfo> {
    let context = context(node(greeting, answer)?);
    for _ in 0..WARM_UP {
        runtime.block_on(log_in(&context, protocol, lines))?;
    }
    let mut outcome = Ok(());
    let counted = allocation_counter::measure(|| outcome = runtime.block_on(log_in(&context, protocol, lines)));
    outcome.map(|()| counted)
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let cases: [(&str, Protocol, &str, Answer, &[&str]); 3] = [
        (
            "IMAP LOGIN",
            Protocol::Imap,
            "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n",
            imap,
            &["a LOGIN bob@example.net \"correct horse\"\r\n"],
        ),
        (
            "IMAP AUTHENTICATE PLAIN",
            Protocol::Imap,
            "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n",
            imap,
            &["a AUTHENTICATE PLAIN AGJvYkBleGFtcGxlLm5ldABjb3JyZWN0IGhvcnNl\r\n"],
        ),
        ("POP3 USER and PASS", Protocol::Pop3, "+OK ready\r\n", pop3, &["USER bob@example.net\r\n", "PASS horse\r\n"]),
    ];
    println!("| login, plain on both sides, user in the cache | allocations | octets in all | at most at once |");
    println!("|---|---:|---:|---:|");
    for (name, protocol, greeting, answer, lines) in cases {
        let counted = count(&runtime, protocol, greeting, answer, lines)?;
        let AllocationInfo { count_total, bytes_total, bytes_max, .. } = counted;
        println!("| {name} | {count_total} | {bytes_total} | {bytes_max} |");
    }
    Ok(())
}
