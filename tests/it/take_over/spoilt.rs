//! What goes wrong on the side of the new process leaves the old one as it was, and so does whoever means no good.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mailferry::net::courier::Courier;
use rustix::process::{Signal, geteuid};
use tokio::time::timeout;

use super::place::{Place, Program};
use crate::client::DEADLINE;
use crate::node::FakeNode;

/// It serves, takes orders and keeps states, and its sockets are its own.
async fn serves_as_before(place: &Place, old: &Program) {
    place.log_in().await;
    assert_eq!(place.operators_pid().await, old.pid());
    assert!(place.path("admin.sock").exists());
    for (order, kept) in [("drain", true), ("undrain", false)] {
        let said = place.said(&[order, "a/left"]).await;
        assert!(!said.contains("not kept") && !said.contains("forgotten"), "{said}");
        let file = std::fs::read_to_string(place.path("operator.json")).unwrap();
        assert_eq!(file.contains("a/left"), kept, "{file}");
    }
    place.log_in().await;
}

/// A talk as a new process begins it.
pub async fn asking(place: &Place, version: u32) -> Courier {
    let stream = tokio::net::UnixStream::connect(place.path("admin.sock")).await.unwrap();
    stream.writable().await.unwrap();
    stream.try_write(&[0]).unwrap();
    let talk = Courier::new(stream);
    talk.send(format!("{{\"say\":\"ask\",\"version\":{version}}}").as_bytes(), &[]).await.unwrap();
    talk
}

pub async fn heard(talk: &mut Courier) -> String {
    let line = timeout(DEADLINE, talk.line()).await.expect("no word in time").unwrap().expect("a word");
    String::from_utf8(line).unwrap().trim_start().to_owned()
}

#[tokio::test]
async fn a_bad_configuration_leaves_the_old_process_serving() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    let old = place.start(&[]).await;
    let mut session = place.log_in().await;
    let good = place.configuration();
    place.write(&good.replace("tls = \"off\"\ncleartext_login = true", "tls = \"of\""));
    let (status, said) = place.try_start(&["--take-over"]).ended().await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert_eq!(old.lines(&["asks to take over"]), [""; 0], "it was not even asked");
    // What is found only when all of it is tried: somebody else has an address.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = super::place::listener(taken.local_addr().unwrap());
    place.write(&good.replace("[directory]", &format!("{more}[directory]")));
    let (status, said) = place.try_start(&["--take-over"]).ended().await;
    assert_eq!(status.code(), Some(71), "{said}");
    assert!(said.contains("cannot listen on"), "{said}");
    old.logged(&["not handed over: everything goes on as before", "cannot listen on"]).await;
    assert!(session.command("b", "NOOP").await.starts_with("b OK"));
    serves_as_before(&place, &old).await;
    place.write(&good);
    let new = place.start(&["--take-over"]).await;
    assert_eq!(place.operators_pid().await, new.pid(), "the next one that is good may");
}

#[tokio::test]
async fn a_new_process_that_dies_before_its_last_word_changes_nothing() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    let old = place.start(&[]).await;
    for words in [&[][..], &["ready"]] {
        let mut talk = asking(&place, 1).await;
        let offer = heard(&mut talk).await;
        assert!(offer.starts_with("{\"say\":\"offer\",\"listeners\":1,\"control\":["), "{offer}");
        assert_eq!(talk.descriptors().len(), 2);
        for word in words {
            talk.send(format!("{{\"say\":\"{word}\"}}").as_bytes(), &[]).await.unwrap();
            assert_eq!(heard(&mut talk).await, "{\"say\":\"yielded\"}");
        }
        let told = old.lines(&["not handed over"]).len();
        drop(talk);
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while old.lines(&["not handed over"]).len() == told {
            assert!(tokio::time::Instant::now() < deadline, "nobody notices");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        serves_as_before(&place, &old).await;
    }
    // A real one, killed while it looks at a node that says nothing.
    let silent = FakeNode::start(|mut node| async move { node.closed().await }).await;
    let good = place.configuration();
    place.write(&good.replace(&node.port.to_string(), &silent.port.to_string()).replace("\"1h\"", "\"10s\""));
    let new = place.try_start(&["--take-over"]);
    silent.connected().await;
    new.signal(Signal::KILL);
    old.logged(&["not handed over", "gone before it could become ready"]).await;
    serves_as_before(&place, &old).await;
}

#[tokio::test]
async fn a_word_that_has_no_place_or_another_version_is_told_and_changes_nothing() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    let old = place.start(&[]).await;
    let mut talk = asking(&place, 2).await;
    let said = heard(&mut talk).await;
    assert!(said.contains("\"no\"") && said.contains("version 2 of the talk, and not 1"), "{said}");
    for word in ["{\"say\":\"confirm\",\"control\":true}", "nonsense"] {
        let mut talk = asking(&place, 1).await;
        heard(&mut talk).await;
        talk.send(word.as_bytes(), &[]).await.unwrap();
        let said = heard(&mut talk).await;
        assert!(said.contains("\"no\"") && said.contains("what is not understood"), "{said}");
    }
    serves_as_before(&place, &old).await;
}

#[tokio::test]
async fn another_user_gets_no_socket() {
    if !geteuid().is_root() {
        return eprintln!("only root can become another user: not tested");
    }
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    let old = place.start(&[]).await;
    // Even where everybody may connect.
    let everybody = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(place.path(""), everybody(0o755)).unwrap();
    std::fs::set_permissions(place.path("admin.sock"), everybody(0o666)).unwrap();
    let path = place.path("admin.sock");
    let said = tokio::task::spawn_blocking(move || {
        // A thread of its own, which nobody uses afterwards: on Linux, rights are a thread's.
        let stranger = std::thread::spawn(move || {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            let mut stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.write_all(b"\0{\"say\":\"ask\",\"version\":1}\n").unwrap();
            let mut said = String::new();
            let _ = stream.read_to_string(&mut said);
            said
        });
        stranger.join().unwrap()
    });
    let said = said.await.unwrap();
    assert!(
        said.contains("\"no\"") && said.contains("of user number 65534 is neither of our user nor root's"),
        "{said}"
    );
    old.logged(&["not handed over", "of user number 65534"]).await;
    serves_as_before(&place, &old).await;
}

/// Everything up to the last word but one: the old process has yielded.
async fn yielded(place: &Place) -> (Courier, Vec<OwnedFd>) {
    let mut talk = asking(place, 1).await;
    heard(&mut talk).await;
    let sockets = talk.descriptors();
    talk.send(b"{\"say\":\"ready\"}", &[]).await.unwrap();
    assert_eq!(heard(&mut talk).await, "{\"say\":\"yielded\"}");
    (talk, sockets)
}

#[tokio::test]
async fn an_old_process_whose_last_word_nobody_hears_goes_on() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    let old = place.start(&[]).await;
    let (talk, _sockets) = yielded(&place).await;
    // As a new process does that has waited for too long, and lives still.
    talk.send(b"{\"say\":\"confirm\",\"control\":true}", &[]).await.map(|()| talk.close_ear().unwrap()).unwrap();
    let told = old.logged(&["handed over"]).await;
    if told.contains("not handed over") {
        return serves_as_before(&place, &old).await;
    }
    // It was quicker than we: then the word is there.
    let mut talk = talk;
    assert_eq!(heard(&mut talk).await, "{\"say\":\"done\"}");
}

#[tokio::test]
async fn the_operators_address_is_left_to_a_new_process_that_has_another_socket() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "drain_timeout = \"1h\"\n");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let admin = format!("[admin]\naddress = \"{address}\"\ntls = \"off\"\n");
    place.write(&place.configuration().replace("[admin]\n", &admin));
    let old = place.start(&[]).await;
    let mut session = place.log_in().await;
    session.send("c NO").await;
    let (mut talk, sockets) = yielded(&place).await;
    talk.send(b"{\"say\":\"confirm\",\"control\":false}", &[]).await.unwrap();
    assert_eq!(heard(&mut talk).await, "{\"say\":\"done\"}");
    // We are the new one: whoever comes there from that word on comes to us, clients and operators.
    let sockets: Vec<TcpListener> = sockets.into_iter().map(TcpListener::from).collect();
    for address in [place.address, address] {
        let ours = sockets.iter().find(|it| it.local_addr().is_ok_and(|it| it == address)).unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = tokio::net::TcpListener::from_std(ours.try_clone().unwrap()).unwrap();
        for _ in 0..20 {
            let asking = tokio::net::TcpStream::connect(address).await.unwrap();
            let (_, from) = timeout(DEADLINE, ours.accept()).await.expect("the old one has taken it").unwrap();
            assert_eq!(from, asking.local_addr().unwrap());
        }
    }
    old.logged(&["handed over: the other process accepts now"]).await;
    assert_eq!(place.operators_pid().await, old.pid(), "its own socket is");
}

#[tokio::test]
async fn a_stop_in_between_is_told_to_whoever_waits_for_the_sockets() {
    let node = FakeNode::imap().await;
    let place = Place::new(node.port, "");
    let old = place.start(&[]).await;
    let mut talk = asking(&place, 1).await;
    heard(&mut talk).await;
    old.signal(Signal::TERM);
    let said = heard(&mut talk).await;
    assert!(said.contains("\"no\"") && said.contains("is about to stop"), "{said}");
    let (status, said) = old.ended().await;
    assert!(status.success(), "{said}");
}
