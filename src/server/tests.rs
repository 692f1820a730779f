//! Whom a listener accepts first, and what it says when nobody can be accepted.

use std::num::NonZeroU32;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::drain;
use crate::net::workers::Workers;
use crate::testkit::leaks;
use crate::testkit::log::Log;

fn here() -> Place {
    Workers::here().place(0)
}

fn settings(tls: ListenerTls) -> ListenerSettings {
    ListenerSettings {
        protocol: Protocol::Imap,
        address: ([127, 0, 0, 1], 0).into(),
        tls,
        cleartext_login: false,
        proxy_protocol_from: Vec::new(),
        proxy_protocol_tls: false,
        trusted_networks: Vec::new(),
        client_ca: None,
        default_domain: None,
    }
}

/// A listener of which accept(2) fails each time: it is bound, and does not listen.
fn deaf() -> Listener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = Arc::new(TcpListener::from_std(socket.into()).unwrap());
    let address = socket.local_addr().unwrap();
    let way = Arc::new(ArcSwap::from_pointee(Way::new(&settings(ListenerTls::Off), None)));
    let stand = Arc::new(watch::Sender::new(Stand::Open));
    let entrance = Entrance { way, socket: Arc::downgrade(&socket), stand };
    Listener { socket, place: here(), address, origin: Origin::Ours, entrance, spare: Spare::take() }
}

#[tokio::test(start_paused = true)]
async fn that_nobody_can_be_accepted_is_tried_again_and_told_once_in_ten_seconds() {
    let log = Log::default();
    let _listening = log.start();
    let (_stop, drain) = drain::channel();
    let serving = tokio::spawn(deaf().serve(leaks::context(0), drain.clone(), drain));
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

/// Of two clients, the first of which says nothing, who is accepted first?
async fn is_silent_one_first(listener: &Listener) -> bool {
    let mut silent = TcpStream::connect(listener.address()).await.unwrap();
    let mut talking = TcpStream::connect(listener.address()).await.unwrap();
    talking.write_all(b"\x16").await.unwrap();
    let (_, first) = listener.socket.accept().await.unwrap();
    silent.write_all(b"\x16").await.unwrap();
    listener.socket.accept().await.unwrap();
    first == silent.local_addr().unwrap()
}

#[tokio::test]
async fn where_clients_speak_first_they_come_with_their_first_octets_also_after_a_reload() {
    let listener = Listener::open(&settings(ListenerTls::Implicit), None, &mut Passed::default(), here()).unwrap();
    assert!(!is_silent_one_first(&listener).await);
    for (tls, is_first) in [(ListenerTls::StartTls, true), (ListenerTls::Implicit, false), (ListenerTls::Off, true)] {
        listener.entrance().replace(&settings(tls), None);
        assert_eq!(is_silent_one_first(&listener).await, is_first, "{tls:?}");
    }
}

#[tokio::test]
async fn all_whom_the_kernel_has_let_in_are_served_when_a_listener_closes() {
    let listener = Listener::open(&settings(ListenerTls::Off), None, &mut Passed::default(), here()).unwrap();
    let mut clients = Vec::new();
    for _ in 0..400 {
        clients.push(TcpStream::connect(listener.address()).await.unwrap());
    }
    let ((closing, closed), (_stop, drain)) = (drain::channel(), drain::channel());
    let serving = tokio::spawn(listener.serve(leaks::context(0), closed, drain));
    closing.stop().await;
    serving.await.unwrap();
    for client in &mut clients {
        let mut greeting = [0; 5];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"* OK ");
    }
}

/// Whoever says that nobody is accepted says it to another process, which accepts then.
#[tokio::test]
async fn a_listener_that_pauses_accepts_nobody_from_that_moment_on_and_goes_on_or_leaves_them() {
    let listener = Listener::open(&settings(ListenerTls::Off), None, &mut Passed::default(), here()).unwrap();
    let (address, entrance) = (listener.address(), listener.entrance());
    let another = std::net::TcpListener::from(entrance.copy().unwrap());
    let ((closing, closed), (_stop, drain)) = (drain::channel(), drain::channel());
    let mut serving = pin!(listener.serve(leaks::context(0), closed, drain));
    let mut greeting = [0; 5];
    for _ in 0..100 {
        // It waits for somebody; he is there before it has heard of the pause.
        assert!((&mut serving).now_or_never().is_none());
        let mut client = std::net::TcpStream::connect(address).unwrap();
        let pause = entrance.pause();
        assert!((&mut serving).now_or_never().is_none());
        tokio::task::yield_now().await;
        assert!((&mut serving).now_or_never().is_none());
        another.set_nonblocking(true).unwrap();
        let (theirs, from) = another.accept().expect("he was accepted here");
        assert_eq!(from, client.local_addr().unwrap());
        drop(theirs);
        client.read_exact(&mut greeting).unwrap_err();
        drop(pause);
    }
    let mut client = TcpStream::connect(address).await.unwrap();
    tokio::select! {
        () = &mut serving => panic!("it ends"),
        heard = client.read_exact(&mut greeting) => heard.map(drop).unwrap(),
    }
    assert_eq!(&greeting, b"* OK ");
    // What was handed over stays so.
    let pause = entrance.pause();
    entrance.hand_over();
    drop(pause);
    let client = std::net::TcpStream::connect(address).unwrap();
    tokio::join!(closing.stop(), serving);
    assert_eq!(another.accept().expect("he was accepted here").1, client.local_addr().unwrap());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn whom_the_kernel_has_let_in_unknown_to_tokio_is_served_too_when_a_listener_closes() {
    let listener = Listener::open(&settings(ListenerTls::Off), None, &mut Passed::default(), here()).unwrap();
    assert!(listener.socket.accept().now_or_never().is_none());
    let address = listener.address();
    let clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let ((closing, closed), (_stop, drain)) = (drain::channel(), drain::channel());
    // No wait in between, in which tokio could hear of them.
    tokio::join!(closing.stop(), listener.serve(leaks::context(0), closed, drain));
    for client in clients {
        client.set_nonblocking(true).unwrap();
        let mut greeting = [0; 5];
        TcpStream::from_std(client).unwrap().read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"* OK ");
    }
}

#[tokio::test]
async fn sessions_are_spread_over_the_threads_and_served_there() {
    let workers = Workers::start(NonZeroU32::new(2)).unwrap();
    let place = workers.place(1);
    let mut passed = Passed::default();
    let listener = Listener::open(&settings(ListenerTls::Off), None, &mut passed, place.clone()).unwrap();
    let address = listener.address();
    let ((_closing, closed), (_stop, drain)) = (drain::channel(), drain::channel());
    listener.spawn(leaks::context(0), closed, drain);
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut greeting = [0; 5];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"* OK ");
        clients.push(client);
    }
    let tasks = [0, 1].map(|number| workers.place(number).own().tasks());
    assert_eq!(tasks.iter().sum::<usize>(), 101, "all, and the listener");
    assert!(tasks.iter().all(|tasks| *tasks > 40), "{tasks:?}");
}
