//! A storm of clients over the whole of it, and sessions that are older.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::place::Place;
use crate::client::{Client, DEADLINE};
use crate::node::FakeNode;

/// Clients that come again and again.
const CLIENTS: u8 = 24;

/// Logins before, and again behind it.
const LOGINS: usize = 300;

struct Storm {
    logins: watch::Receiver<usize>,
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Storm {
    fn begin(address: SocketAddr) -> Self {
        let (counter, logins) = watch::channel(0);
        let is_over = Arc::new(AtomicBool::new(false));
        let client = |number| {
            let (counter, is_over) = (counter.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !is_over.load(Ordering::SeqCst) {
                    match timeout(DEADLINE, log_in_and_out(address, number)).await {
                        Ok(Ok(())) => counter.send_modify(|count| *count += 1),
                        Ok(Err(error)) => failures.push(error.to_string()),
                        Err(_) => failures.push("no answer in time".to_owned()),
                    }
                }
                failures
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { logins, is_over, clients }
    }

    /// Waits until there have been so many more.
    async fn logins(&mut self, more: usize) {
        let before = *self.logins.borrow();
        timeout(DEADLINE * 3, self.logins.wait_for(|count| *count >= before + more)).await.expect("too slow").unwrap();
    }

    /// What went wrong, of all.
    async fn end(self) -> Vec<String> {
        self.is_over.store(true, Ordering::SeqCst);
        let mut failures = Vec::new();
        for client in self.clients {
            failures.extend(client.await.unwrap());
        }
        failures
    }
}

/// A session in which something is always under way.
struct AtWork {
    is_over: Arc<AtomicBool>,
    work: JoinHandle<Client>,
}

impl AtWork {
    fn begin(mut session: Client) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let work = tokio::spawn(async move {
            while !until.load(Ordering::SeqCst) {
                assert!(session.command("c", "NOOP").await.starts_with("c OK"), "cut by the process that it is with");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            session
        });
        Self { is_over, work }
    }

    async fn end(self) {
        self.is_over.store(true, Ordering::SeqCst);
        let mut session = self.work.await.unwrap();
        assert!(session.command("d", "LOGOUT").await.starts_with("d OK"));
        session.until_closed().await;
    }
}

/// A session from the connect to the close, each octet of which is as it must be.
async fn log_in_and_out(address: SocketAddr, number: u8) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(Ipv4Addr::new(127, 78, 0, number + 1).into(), 0))?;
    let mut stream = BufReader::new(socket.connect(address).await?);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let unexpected = |line: &str| Err(std::io::Error::other(format!("unexpected: {line:?}")));
    if !line.starts_with("* OK ") {
        return unexpected(&line);
    }
    for (command, last) in [("a LOGIN alice right-Pa55\r\n", "a OK"), ("b LOGOUT\r\n", "b OK")] {
        stream.write_all(command.as_bytes()).await?;
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return unexpected("a close");
            }
            if line.starts_with(last) {
                break;
            }
            if !line.starts_with("* ") || (line.starts_with("* BYE") && last == "a OK") {
                return unexpected(&line);
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_storm_nobody_is_refused_or_reset_and_every_login_succeeds() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "drain_timeout = \"1m\"\n");
    let mut process = place.start(&[]).await;
    let mut storm = Storm::begin(place.address);
    let mut held = Vec::new();
    let mut old = Vec::new();
    for _ in 0..2 {
        storm.logins(LOGINS).await;
        held.push(AtWork::begin(place.log_in().await));
        let next = place.start(&["--take-over"]).await;
        process.logged(&["handed over: the other process accepts now"]).await;
        assert_eq!(place.operators_pid().await, next.pid());
        old.push(std::mem::replace(&mut process, next));
    }
    storm.logins(LOGINS).await;
    assert_eq!(storm.end().await, [""; 0]);
    for session in held {
        session.end().await;
    }
    for process in old {
        let (status, said) = process.ended().await;
        assert!(status.success(), "{said}");
        assert!(!said.contains("\"level\":\"ERROR\""), "{said}");
    }
    assert!(place.path("admin.sock").exists(), "it is the last one's");
    process.signal(Signal::TERM);
    let (status, said) = process.ended().await;
    assert!(status.success(), "{said}");
    assert!(!place.path("admin.sock").exists());
}
