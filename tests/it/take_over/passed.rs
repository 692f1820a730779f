//! systemd's socket units: we hold the listening sockets, as systemd does, and pass them to one process after the other.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;

use super::place::{Place, listener};
use crate::client::Client;
use crate::node::FakeNode;

fn copy(socket: &TcpListener) -> OwnedFd {
    socket.try_clone().unwrap().into()
}

#[tokio::test]
async fn who_connects_while_no_mailferry_runs_is_served_by_the_next_one() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    // One is of systemd, the other one is bound as ever.
    let bound = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    place.write(&place.configuration().replace("[directory]", &format!("{}[directory]", listener(bound))));
    let held = TcpListener::bind(place.address).unwrap();
    let stray = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stray.local_addr().unwrap();
    let early = TcpStream::connect(place.address).await.unwrap();
    let first = place.pass([copy(&held), stray.into()], "mail.socket:stray.socket", None).ready().await;
    first
        .logged(&["WARN", &format!("\"address\":\"{address}\""), "stray.socket", "give a [[listener]] this `address`"])
        .await;
    assert!(TcpStream::connect(address).await.is_err(), "it is closed");
    assert_eq!(first.lines(&["\"message\":\"listening\""]).len(), 2);
    Client::clear(bound).await.line().await;
    drop(early);
    place.log_in().await;
    first.signal(Signal::TERM);
    let (status, said) = first.ended().await;
    assert!(status.success(), "{said}");
    // Nobody serves, and nobody is refused.
    let address = place.address;
    let waiting: Vec<_> =
        (0..5).map(|_| spawn_blocking(move || std::net::TcpStream::connect(address).unwrap())).collect();
    let mut waited = Vec::new();
    for client in waiting {
        waited.push(client.await.unwrap());
    }
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let second = place.pass([datagrams.into(), copy(&held)], ":mail.socket", None).ready().await;
    assert_eq!(second.lines(&["WARN", "what is no listening TCP socket", "\"place\":0"]).len(), 1);
    for client in waited {
        use std::io::{BufRead as _, BufReader};
        client.set_read_timeout(Some(crate::client::DEADLINE)).unwrap();
        let greeting = spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(client).read_line(&mut line).map(|_| line)
        });
        assert!(greeting.await.unwrap().unwrap().starts_with("* OK "));
    }
    place.log_in().await;
}

#[tokio::test]
async fn what_was_passed_to_another_process_is_not_touched() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    // As a child of a service would inherit it: the number is not its own.
    let program = place.start_with_environment(&[("LISTEN_PID", "1"), ("LISTEN_FDS", "2")]).ready().await;
    assert_eq!(program.lines(&["systemd"]), [""; 0]);
    place.log_in().await;
}

#[tokio::test]
async fn a_listener_that_goes_leaves_a_word_about_the_unit_that_still_listens() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    let held = TcpListener::bind(place.address).unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let with = |text: &str| text.replace("[directory]", &format!("{}[directory]", listener(address)));
    let one = place.configuration();
    place.write(&with(&one));
    let program = place.pass([copy(&held), copy(&other)], "mail.socket:other.socket", None).ready().await;
    assert_eq!(program.lines(&["WARN", "socket"]), [""; 0]);
    Client::clear(address).await.line().await;
    place.write(&one);
    place.said(&["reload"]).await;
    let (address, said) = (format!("\"address\":\"{address}\""), "systemd listens there still");
    program.logged(&["WARN", &address, said]).await;
    place.log_in().await;
}
