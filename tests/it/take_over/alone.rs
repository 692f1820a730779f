//! What a new process does of its own: where nobody is, where the old one dies, and with what operators have said.

use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use mailferry::net::courier::Courier;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::time::timeout;

use super::place::Place;
use crate::client::DEADLINE;
use crate::node::FakeNode;

#[tokio::test]
async fn where_nobody_is_it_is_an_ordinary_start_also_beside_a_dead_ones_socket() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    let first = place.start(&["--take-over"]).await;
    assert_eq!(first.lines(&["INFO", "nobody is there whose place could be taken"]).len(), 1);
    place.log_in().await;
    first.signal(Signal::KILL);
    first.ended().await;
    assert!(place.path("admin.sock").exists());
    let second = place.start(&["--take-over"]).await;
    assert_eq!(second.lines(&["INFO", "nobody is there whose place could be taken"]).len(), 1);
    place.log_in().await;
    assert_eq!(place.operators_pid().await, second.pid());
}

#[tokio::test]
async fn who_forgets_to_say_it_is_told_the_remedy_and_off_is_off() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    let old = place.start(&[]).await;
    let (status, said) = place.try_start(&[]).ended().await;
    assert_eq!(status.code(), Some(71), "{said}");
    let held =
        format!("is held by process {}, another mailferry: stop it, take its place with `mailferry run", old.pid());
    assert!(said.contains(&held), "{said}");
    // The socket is the first one's, and the one that listens is the last.
    let _second = place.start(&["--take-over"]).await;
    let third = place.start(&["--take-over"]).await;
    let (status, said) = place.try_start(&[]).ended().await;
    assert_eq!(status.code(), Some(71), "{said}");
    assert!(said.contains(&format!("is held by process {}, another mailferry", third.pid())), "{said}");
    place.write(&place.configuration().replace("\"admin.sock\"", "\"off\""));
    let (status, said) = place.try_start(&["--take-over"]).ended().await;
    assert_eq!(status.code(), Some(71), "{said}");
    assert!(said.contains("`socket = \"off\"` in [admin]: start without it"), "{said}");
}

#[tokio::test]
async fn states_of_nodes_and_the_operators_socket_go_along() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    let old = place.start(&[]).await;
    let _held = place.log_in().await;
    place.said(&["drain", "a/left"]).await;
    let inode =
        |place: &Place| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(place.path("admin.sock")).unwrap());
    let before = inode(&place);
    let new = place.start(&["--take-over"]).await;
    assert_eq!(new.lines(&["node state as before the restart", "a/left", "draining"]).len(), 1);
    assert_eq!((place.operators_pid().await, inode(&place)), (new.pid(), before), "its name never went away");
    place.said(&["undrain", "a/left"]).await;
    drop(_held);
    old.ended().await;
    assert_eq!(inode(&place), before, "nor when the old one ended");
    place.log_in().await;
    // Another name: the new one makes its own, and the old one takes away its own.
    place.write(&place.configuration().replace("\"admin.sock\"", "\"other.sock\""));
    let (status, said) = place.try_start(&["--take-over"]).ended().await;
    assert_eq!(status.code(), Some(71), "there is nobody: {said}");
    assert!(said.contains("cannot listen on"), "{said}");
    assert!(!place.path("other.sock").exists());
    assert_eq!(inode(&place), before);
}

#[tokio::test]
async fn what_operators_order_while_the_new_process_makes_itself_ready_goes_along() {
    let silent = FakeNode::start(|mut node| async move { node.closed().await }).await;
    let place = Place::new(silent.port, "");
    let _old = place.start(&[]).await;
    // It looks at its node, which says nothing, before it takes over.
    place.write(&place.configuration().replace("\"1h\"", "\"10s\""));
    let new = place.try_start(&["--take-over"]);
    silent.connected().await;
    place.said(&["drain", "a/left"]).await;
    assert_eq!(new.lines(&["\"message\":\"ready\""]), [""; 0]);
    let new = new.ready().await;
    assert_eq!(new.lines(&["node state as before the restart", "a/left", "draining"]).len(), 1);
    assert_eq!(place.operators_pid().await, new.pid());
    assert!(place.said(&["islands"]).await.contains("draining"));
}

#[tokio::test]
async fn the_operators_address_goes_along() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    place.write(
        &place.configuration().replace("[admin]\n", &format!("[admin]\naddress = \"{address}\"\ntls = \"off\"\n")),
    );
    let old = place.start(&[]).await;
    let _held = place.log_in().await;
    let new = place.start(&["--take-over"]).await;
    old.logged(&["handed over"]).await;
    for _ in 0..20 {
        let mut asking = tokio::net::TcpStream::connect(address).await.unwrap();
        asking.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, asking.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "the old one would say that it stops: {answer}");
    }
    drop(new);
}

#[tokio::test]
async fn routes_that_the_old_process_has_learned_are_known_to_the_new_one() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "[directory.cache]\nfile = \"kept/routes\"\n");
    std::fs::create_dir(place.path("kept")).unwrap();
    let _old = place.start(&[]).await;
    place.log_in().await;
    let new = place.start(&["--take-over"]).await;
    assert_eq!(new.lines(&["old routes were read", "\"users\":1"]).len(), 1, "{:?}", new.lines(&["routes"]));
}

#[tokio::test]
async fn an_old_process_that_dies_in_between_leaves_its_sockets_to_the_new_one() {
    let node = FakeNode::imap().await;
    for is_yielded in [false, true] {
        let place = Place::new(node.port, "");
        // We are the old one.
        let listening = std::net::TcpListener::bind(place.address).unwrap();
        let control = UnixListener::bind(place.path("admin.sock")).unwrap();
        let name = std::fs::metadata(place.path("admin.sock")).unwrap();
        let offer = format!("{{\"say\":\"offer\",\"listeners\":1,\"control\":[{},{}]}}", name.dev(), name.ino());
        let new = place.try_start(&["--take-over"]);
        let (stream, _) = timeout(DEADLINE, control.accept()).await.unwrap().unwrap();
        let mut talk = Courier::new(stream);
        let asked = timeout(DEADLINE, talk.line()).await.unwrap().unwrap().unwrap();
        assert_eq!(asked, b"\0{\"say\":\"ask\",\"version\":1}");
        talk.send(offer.as_bytes(), &[listening.as_fd(), control.as_fd()]).await.unwrap();
        let ready = timeout(DEADLINE, talk.line()).await.unwrap().unwrap().unwrap();
        assert_eq!(ready, b"{\"say\":\"ready\"}");
        if is_yielded {
            talk.send(b"{\"say\":\"yielded\"}", &[]).await.unwrap();
            let confirmed = timeout(DEADLINE, talk.line()).await.unwrap().unwrap().unwrap();
            assert_eq!(confirmed, b"{\"say\":\"confirm\",\"control\":true}");
        }
        assert_eq!(new.lines(&["\"message\":\"ready\""]), [""; 0], "not before the last word");
        drop((talk, listening, control));
        let new = new.ready().await;
        assert_eq!(new.lines(&["serves alone"]).len(), 1);
        place.log_in().await;
        assert_eq!(place.operators_pid().await, new.pid());
    }
}

#[tokio::test]
async fn a_signal_before_the_last_word_is_for_whoever_serves_behind_it() {
    let node = FakeNode::imap().await;
    for word in ["{\"say\":\"done\"}", "{\"say\":\"no\",\"why\":\"busy\"}"] {
        let place = Place::new(node.port, "");
        // We are the old one.
        let listening = std::net::TcpListener::bind(place.address).unwrap();
        let control = UnixListener::bind(place.path("admin.sock")).unwrap();
        let name = std::fs::metadata(place.path("admin.sock")).unwrap();
        let offer = format!("{{\"say\":\"offer\",\"listeners\":1,\"control\":[{},{}]}}", name.dev(), name.ino());
        let new = place.try_start(&["--take-over"]);
        let (stream, _) = timeout(DEADLINE, control.accept()).await.unwrap().unwrap();
        let mut talk = Courier::new(stream);
        timeout(DEADLINE, talk.line()).await.unwrap().unwrap().unwrap();
        talk.send(offer.as_bytes(), &[listening.as_fd(), control.as_fd()]).await.unwrap();
        timeout(DEADLINE, talk.line()).await.unwrap().unwrap().unwrap();
        talk.send(b"{\"say\":\"yielded\"}", &[]).await.unwrap();
        let confirmed = timeout(DEADLINE, talk.line()).await.unwrap().unwrap().unwrap();
        assert_eq!(confirmed, b"{\"say\":\"confirm\",\"control\":true}");
        new.signal(Signal::TERM);
        // One that ended now would have left nobody: its word would come too late.
        let gone = timeout(Duration::from_millis(500), talk.line()).await;
        assert!(gone.is_err(), "it has gone, and nobody serves: {gone:?}");
        talk.send(word.as_bytes(), &[]).await.unwrap();
        let (status, said) = new.ended().await;
        if word.contains("done") {
            let place_of = |part: &str| said.find(part).unwrap_or_else(|| panic!("no {part} in {said}"));
            assert!(place_of("\"message\":\"ready\"") < place_of("\"message\":\"stopped\""), "{said}");
            assert!(status.success(), "{said}");
        } else {
            assert_eq!(status.code(), Some(71), "{said}");
            assert!(said.contains("the other process does not go on: busy"), "{said}");
        }
    }
}
