//! Clients before their login while mailferry stops, in memory and on a clock that stands still.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::drain;
use crate::testkit::leaks;
use crate::testkit::log::Log;

/// A client that has been greeted.
async fn greeted(context: &Arc<Context>, drain: &Drain) -> (DuplexStream, tokio::task::JoinHandle<()>) {
    let (mut client, ours) = duplex(4096);
    let door = Door {
        protocol: Protocol::Imap,
        channel: Channel::Clear,
        cleartext_login: true,
        tls: None,
        proxy_protocol_from: Vec::new(),
        proxy_protocol_tls: false,
        trusted_networks: Vec::new(),
        default_domain: None,
    };
    let from = SocketAddr::from(([192, 0, 2, 1], 1000));
    let slot = context.limits.enter().unwrap();
    let accepted = Accepted { socket: Stream::Memory(ours), client: from, connected: from, slot };
    let task = tokio::spawn(run(Arc::clone(context), Arc::new(door), accepted, drain.clone()));
    assert!(line(&mut client).await.starts_with("* OK "));
    (client, task)
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_held_user_hears_at_a_stop_that_it_is_for_the_time_being_and_comes_back_elsewhere() {
    // Before the stop or behind it, and whether the signal comes at once.
    for (is_late, is_given) in [(false, false), (true, false), (false, true)] {
        let log = Log::default();
        let _listening = log.start();
        let context = leaks::context(0);
        let (stop, drain) = drain::channel();
        let until = Instant::now() + Duration::from_secs(3600);
        let now = std::time::SystemTime::now();
        context.holds.hold((UserName::new(b"alice").unwrap(), None), (now, until), None).unwrap();
        let (mut client, session) = greeted(&context, &drain).await;
        drop(drain);
        let mut stop = Some(stop);
        if is_late {
            stop.iter().for_each(drain::Signal::ask);
        }
        client.write_all(b"a LOGIN alice stop-Pa55\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(context.holds.count(), (1, usize::from(!is_late)));
        let began = Instant::now();
        match stop.take_if(|_| is_given) {
            Some(stop) => drop(tokio::spawn(stop.stop())),
            None => stop.iter().for_each(drain::Signal::ask),
        }
        assert!(line(&mut client).await.starts_with("a NO [UNAVAILABLE] "));
        assert!(line(&mut client).await.starts_with("* BYE [UNAVAILABLE] "));
        client.shutdown().await.unwrap();
        session.await.unwrap();
        assert!(began.elapsed().is_zero(), "{is_late} {is_given}: {:?}", began.elapsed());
        assert_eq!((context.holds.count(), context.standing.logins_broken_off()), ((1, 0), 0));
        assert_eq!(log.count("outcome=held"), 1, "{}", log.text());
        assert_eq!(log.count("who=operator stage=login why=shutdown"), 1, "{}", log.text());
    }
}

async fn line(client: &mut DuplexStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_hears_of_a_stop_soon_and_one_that_talks_at_its_end() {
    let log = Log::default();
    let _listening = log.start();
    let context = leaks::context(0);
    let (stop, drain) = drain::channel();
    let (mut silent, silents) = greeted(&context, &drain).await;
    let (mut talking, talkings) = greeted(&context, &drain).await;
    drop(drain);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(!silents.is_finished());
    stop.ask();
    let asked = Instant::now();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        talking.write_all(b"a NOOP\r\n").await.unwrap();
        assert!(line(&mut talking).await.starts_with("a OK "));
    }
    assert!(line(&mut silent).await.starts_with("* BYE [UNAVAILABLE] "));
    drop(silent);
    silents.await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(11), "the silent one is gone: {:?}", asked.elapsed());
    let ended = stop.stop();
    let hears = async {
        assert!(line(&mut talking).await.starts_with("* BYE [UNAVAILABLE] "));
        drop(talking);
    };
    tokio::join!(ended, hears);
    talkings.await.unwrap();
    assert_eq!(log.count("who=operator stage=login why=shutdown"), 2, "{}", log.text());
    assert_eq!(context.standing.logins_broken_off(), 0);
}
