//! What a listener says when nobody can be accepted.

use socket2::{Domain, Socket, Type};

use super::*;
use crate::drain;
use crate::testkit::log::Log;
use crate::testkit::{leaks, settings};

/// A listener of which accept(2) fails each time: it is bound, and does not listen.
fn deaf() -> Listener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = TcpListener::from_std(socket.into()).unwrap();
    let address = socket.local_addr().unwrap();
    let door = Arc::new(settings::clear_door(Protocol::Imap));
    Listener { socket, address, door, refusal: Vec::new(), spare: Spare::take() }
}

#[tokio::test(start_paused = true)]
async fn that_nobody_can_be_accepted_is_tried_again_and_told_once_in_ten_seconds() {
    let log = Log::default();
    let _listening = log.start();
    let (_stop, drain) = drain::channel();
    let serving = tokio::spawn(deaf().serve(leaks::context(0), drain));
    sleep(Duration::from_secs(25)).await;
    assert!(!serving.is_finished(), "accepting never fails for good");
    serving.abort();
    let text = log.text();
    let told: Vec<u64> = text
        .lines()
        .filter(|line| line.starts_with("ERROR") && line.contains("cannot accept"))
        .map(|line| line.split("untold=").nth(1).unwrap().trim().parse().unwrap())
        .collect();
    assert_eq!(told.len(), 3, "{text}");
    assert_eq!(told[0], 0, "{text}");
    // Five tries a second, less what the timer's own steps cost; one of them is told.
    assert!(told[1..].iter().all(|untold| (46..50).contains(untold)), "{text}");
}
