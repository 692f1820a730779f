//! What of a stop is seen from outside, and when.

use std::fmt::Write as _;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::*;
use crate::config;
use crate::testkit::log::Log;

const DEADLINE: Duration = Duration::from_secs(10);

/// Without TLS and without nodes that live, and with these lines in `[server]`.
fn site(dir: &TempDir, server: &str) -> App {
    std::fs::write(dir.path().join("users"), "alice a\n").unwrap();
    let mut text = format!("[server]\nhostname = \"mail.example.net\"\n{server}[admin]\nsocket = \"off\"\n");
    text += "[directory]\ntype = \"file\"\npath = \"users\"\n[[listener]]\nprotocol = \"imap\"\n";
    text += "address = \"127.0.0.1:0\"\ntls = \"off\"\ncleartext_login = true\n";
    let nodes = "nodes = [{ name = \"left\", host = \"127.0.0.1\" }]\n[island.probe]\ninterval = \"1h\"\n";
    write!(text, "[[island]]\nname = \"a\"\ntls = \"off\"\n{nodes}").unwrap();
    let file = dir.path().join("proxy.toml");
    std::fs::write(&file, text).unwrap();
    App::start(config::load(&file).unwrap_or_else(|report| panic!("{report}"))).unwrap()
}

async fn is_greeted(address: std::net::SocketAddr) -> bool {
    let Ok(mut client) = TcpStream::connect(address).await else { return false };
    let mut greeting = [0; 5];
    client.read_exact(&mut greeting).await.is_ok_and(|_| &greeting == b"* OK ")
}

#[tokio::test]
async fn balancers_can_see_the_stop_while_clients_are_still_accepted() {
    let dir = TempDir::new().unwrap();
    let app = site(&dir, "drain_delay = \"1h\"\n");
    let (context, address, reloader) = (Arc::clone(&app.context), app.addresses()[0], app.reloader().clone());
    assert!(!context.standing.is_draining() && is_greeted(address).await);
    let mut signals = Signals::listen().unwrap();
    let ending = tokio::spawn(async move { app.end(Why::Terminated, &mut signals).await });
    let until = Instant::now() + DEADLINE;
    while reloader.made().await.is_some() {
        assert!(Instant::now() < until, "the stop does not begin");
        tokio::task::yield_now().await;
    }
    assert!(context.standing.is_draining());
    for _ in 0..3 {
        assert!(is_greeted(address).await, "the listener is closed before the delay is over");
    }
    assert!(!ending.is_finished());
    ending.abort();
}

#[tokio::test]
async fn a_stop_without_sessions_is_over_at_once_and_nobody_is_accepted_any_more() {
    let dir = TempDir::new().unwrap();
    let log = Log::default();
    let _listening = log.start();
    let app = site(&dir, "drain_timeout = \"1h\"\n");
    let (context, address) = (Arc::clone(&app.context), app.addresses()[0]);
    let end = app.end(Why::Interrupted, &mut Signals::listen().unwrap()).await;
    assert!(context.standing.is_draining() && !is_greeted(address).await);
    assert!(end.is_in_order());
    assert_eq!((end.ended, end.told, end.cut, end.logins_unfinished), (0, 0, 0, 0));
    let last = log.text().lines().last().unwrap().to_owned();
    assert!(
        last.contains("INFO ") && last.contains("stopped ended=0 told=0 cut=0 logins_unfinished=0 took_ms="),
        "{last}"
    );
    assert_eq!(log.count("stopping signal=SIGINT"), 1, "{}", log.text());
}
