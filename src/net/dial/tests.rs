//! Races on a paused clock with connections that are told when to succeed, and some with real sockets.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::future::FutureExt;
use tokio::time::Instant;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_secs(30);

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Addresses that are told apart by their last octet; `6` and `4` say the family.
fn addresses(families: &str) -> Vec<SocketAddr> {
    let numbered = families.chars().zip(1..);
    numbered.map(|(family, number)| if family == '6' { v6(number) } else { v4(number) }).collect()
}

fn v4(number: u8) -> SocketAddr {
    (IpAddr::from([192, 0, 2, number]), 143).into()
}

fn v6(number: u8) -> SocketAddr {
    (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()]), 143).into()
}

/// The last octet.
fn number(address: SocketAddr) -> u16 {
    match address.ip() {
        IpAddr::V4(ip) => ip.octets()[3].into(),
        IpAddr::V6(ip) => ip.segments()[7],
    }
}

#[test]
fn both_families_take_turns_and_keep_their_order() {
    for (given, mixed) in
        [("", ""), ("4", "1"), ("64", "12"), ("6644", "1324"), ("4466", "1324"), ("66664", "15234"), ("4666", "1234")]
    {
        let order: String = interleaved(addresses(given)).into_iter().map(|it| number(it).to_string()).collect();
        assert_eq!(order, mixed, "{given}");
    }
}

/// What becomes of an attempt, and after how many milliseconds.
type Fate = (u64, Result<(), io::Error>);

/// What a race did.
#[derive(Debug, Default)]
struct Course {
    /// The address and the milliseconds at which each attempt began.
    begun: Vec<(u16, u128)>,
    /// Addresses whose attempt was dropped before its end.
    dropped: Vec<u16>,
}

/// Lets an attempt be noticed that is dropped before its end.
struct Attempt<'a>(u16, &'a RefCell<Course>);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.1.borrow_mut().dropped.push(self.0);
    }
}

/// A race of IPv4 addresses 1, 2, 3… with these fates: who won, after how many milliseconds, and how it went.
async fn run(fates: Vec<Fate>) -> (io::Result<u16>, u128, Course) {
    let course = RefCell::new(Course::default());
    let fates: Vec<_> = fates.into_iter().map(|fate| RefCell::new(Some(fate))).collect();
    let start = Instant::now();
    let won = race(addresses(&"4".repeat(fates.len())).into(), |address| {
        let (course, fates) = (&course, &fates);
        async move {
            let number = number(address);
            course.borrow_mut().begun.push((number, start.elapsed().as_millis()));
            let attempt = Attempt(number, course);
            let (after, fate) = fates[usize::from(number) - 1].take().unwrap();
            sleep(millis(after)).await;
            std::mem::forget(attempt);
            fate.map(|()| number)
        }
    })
    .await;
    let took = start.elapsed().as_millis();
    (won, took, course.into_inner())
}

fn refused() -> io::Error {
    io::Error::from_raw_os_error(111)
}

const NEVER: u64 = 3_600_000;

#[tokio::test(start_paused = true)]
async fn an_address_that_swallows_packets_costs_a_tenth_of_a_second() {
    let (won, took, course) = run(vec![(NEVER, Ok(())), (20, Ok(())), (0, Ok(()))]).await;
    assert_eq!((won.unwrap(), took), (2, 120));
    assert_eq!(course.begun, [(1, 0), (2, 100)]);
    assert_eq!(course.dropped, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_lets_the_next_one_in_at_once() {
    let (won, took, course) = run(vec![(10, Err(refused())), (0, Err(refused())), (30, Ok(())), (0, Ok(()))]).await;
    assert_eq!((won.unwrap(), took), (3, 40));
    assert_eq!(course.begun, [(1, 0), (2, 10), (3, 10)]);
    assert!(course.dropped.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_first_one_still_wins_if_the_second_is_slower_yet() {
    let (won, took, course) = run(vec![(150, Ok(())), (NEVER, Ok(()))]).await;
    assert_eq!((won.unwrap(), took), (1, 150));
    assert_eq!(course.dropped, [2]);
}

#[tokio::test(start_paused = true)]
async fn the_last_one_left_is_waited_for() {
    let (won, took, _) = run(vec![(0, Err(refused())), (700, Ok(())), (150, Err(refused()))]).await;
    assert_eq!((won.unwrap(), took), (2, 700));
}

#[tokio::test(start_paused = true)]
async fn the_error_is_the_one_that_tells_most_of_the_node() {
    let (refused, unreachable, no_family, no_address, no_files) = (111, 101, 97, 99, 24);
    for (errors, most_telling) in [
        (vec![refused, unreachable, no_address], refused),
        (vec![no_family, refused], refused),
        (vec![refused, no_files], refused),
        (vec![no_files, unreachable], unreachable),
        (vec![no_files, no_address], no_address),
        (vec![113, refused], refused),
    ] {
        let fates = errors.iter().map(|error| (1, Err(io::Error::from_raw_os_error(*error)))).collect();
        let (result, _, _) = run(fates).await;
        assert_eq!(result.unwrap_err().raw_os_error(), Some(most_telling), "{errors:?}");
    }
    assert_eq!(run(Vec::new()).await.0.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn only_what_this_machine_lacks_is_our_own() {
    for (number, is_ours) in [
        (1, true),
        (12, true),
        (13, true),
        (23, true),
        (24, true),
        (99, true),
        (105, true),
        (32, false),
        (97, false),
        (101, false),
        (104, false),
        (110, false),
        (111, false),
        (113, false),
    ] {
        let error = io::Error::from_raw_os_error(number);
        assert_eq!(is_our_own(&error), is_ours, "{error}");
    }
    assert!(!is_our_own(&io::ErrorKind::PermissionDenied.into()), "that is not from the system");
}

/// A resolver that knows one answer for every name.
fn always(found: Vec<IpAddr>) -> Lookup {
    let found: Vec<SocketAddr> = found.into_iter().map(|ip| (ip, 0).into()).collect();
    Arc::new(move |_| std::future::ready(Ok(found.clone())).boxed())
}

#[tokio::test(start_paused = true)]
async fn the_limit_holds_for_the_look_up_too() {
    let dialer = Dialer::with_lookup(INTERVAL, ["left".to_owned()], Arc::new(|_| std::future::pending().boxed()));
    let start = Instant::now();
    let error = dialer.connect("left", 143, millis(300)).await.err().unwrap();
    assert_eq!((error.kind(), start.elapsed()), (io::ErrorKind::TimedOut, millis(300)));
}

#[tokio::test]
async fn a_refused_connection_is_an_error_and_an_open_one_has_all_options() {
    let listener = crate::net::listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialer = Dialer::new(INTERVAL, ["127.0.0.1".to_owned()]);
    let Ok(Stream::Clear(socket)) = dialer.connect("127.0.0.1", port, LIMIT).await else { panic!("no connection") };
    crate::net::assert_options(&SockRef::from(&socket));
    drop(listener);
    let error = dialer.connect("127.0.0.1", port, LIMIT).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_name_with_a_dead_and_a_living_address_is_connected_to() {
    let listener = crate::net::listen::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let both = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 9).into(), Ipv4Addr::LOCALHOST.into()];
    let dialer = Dialer::with_lookup(INTERVAL, ["left".to_owned()], always(both.to_vec()));
    let Ok(Stream::Clear(socket)) = dialer.connect("left", port, LIMIT).await else { panic!("no connection") };
    assert_eq!(socket.peer_addr().unwrap(), listener.local_addr().unwrap());
    drop(listener);
    let error = dialer.connect("left", port, LIMIT).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_an_error() {
    let dialer = Dialer::new(INTERVAL, ["mail.invalid".to_owned()]);
    assert!(dialer.connect("mail.invalid", 143, LIMIT).await.is_err());
}

#[cfg(feature = "testkit")]
#[tokio::test(start_paused = true)]
async fn a_simulations_node_is_what_it_says_within_the_limit() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    let dialer = Dialer::memory(|host, port| {
        let (slow, host) = (host == "slow", host.to_owned());
        async move {
            sleep(if slow { LIMIT * 2 } else { Duration::ZERO }).await;
            let (ours, mut theirs) = duplex(64);
            theirs.write_all(format!("{host}:{port}").as_bytes()).await?;
            Ok(Stream::Memory(ours))
        }
        .boxed()
    });
    let mut stream = dialer.connect("left", 143, LIMIT).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "left:143");
    assert_eq!(dialer.connect("slow", 143, LIMIT).await.err().unwrap().kind(), io::ErrorKind::TimedOut);
}
