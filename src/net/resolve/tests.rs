//! Names on a paused clock, with a resolver that does as it is told.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::drain;
use crate::testkit::log::Log;

const INTERVAL: Duration = Duration::from_secs(30);

/// What the resolver does with the next look-ups.
#[derive(Clone)]
enum Says {
    /// These addresses, after so many milliseconds.
    Found(u64, &'static [&'static str]),
    /// An error of this kind, at once.
    Fails(io::ErrorKind),
    /// Nothing, ever.
    Hangs,
}

/// A resolver in the test's hand.
#[derive(Clone)]
struct Dns(Arc<Mutex<Says>>, Arc<AtomicUsize>);

impl Dns {
    fn new(says: Says) -> Self {
        Self(Arc::new(Mutex::new(says)), Arc::default())
    }

    fn now_says(&self, says: Says) {
        *self.0.lock().unwrap() = says;
    }

    fn asked(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }

    fn lookup(&self) -> Lookup {
        let this = self.clone();
        Arc::new(move |host| {
            this.1.fetch_add(1, Ordering::SeqCst);
            let says = if host == "hangs" { Says::Hangs } else { this.0.lock().unwrap().clone() };
            async move {
                match says {
                    Says::Found(after, found) => {
                        sleep(Duration::from_millis(after)).await;
                        Ok(found.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect())
                    }
                    Says::Fails(kind) => Err(kind.into()),
                    Says::Hangs => std::future::pending().await,
                }
            }
            .boxed()
        })
    }

    fn resolver(&self, hosts: &[&str]) -> Arc<Resolver> {
        Arc::new(Resolver::new(INTERVAL, hosts.iter().map(|host| (*host).to_owned()), self.lookup()))
    }
}

/// Starts the refreshing; dropping the signal ends it.
fn refresh(resolver: &Arc<Resolver>) -> drain::Signal {
    let (signal, drain) = drain::channel();
    let resolver = Arc::clone(resolver);
    tokio::spawn(async move { resolver.refresh(drain).await });
    signal
}

async fn addresses(resolver: &Resolver, host: &str) -> Result<String, io::ErrorKind> {
    let found = resolver.addresses(host, 143).await.map_err(|error| error.kind())?;
    assert!(found.iter().all(|address| address.port() == 143));
    Ok(list(&found))
}

fn ok(text: &str) -> Result<String, io::ErrorKind> {
    Ok(text.to_owned())
}

/// So long that every name has been looked up again, and given up again.
async fn a_round() {
    sleep(INTERVAL.mul_f64(1.0 + JITTER) + LOOKUP_TIMEOUT * 2).await;
}

#[tokio::test(start_paused = true)]
async fn addresses_need_no_look_up() {
    let dns = Dns::new(Says::Hangs);
    let resolver = dns.resolver(&["192.0.2.1", "2001:db8::1"]);
    assert_eq!(addresses(&resolver, "192.0.2.1").await, ok("192.0.2.1"));
    assert_eq!(addresses(&resolver, "2001:db8::1").await, ok("2001:db8::1"));
    let (_signal, drain) = drain::channel();
    resolver.refresh(drain).await;
    assert_eq!(dns.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn many_dials_before_the_first_answer_wait_for_one_look_up() {
    let dns = Dns::new(Says::Found(100, &["192.0.2.1", "2001:db8::1", "192.0.2.1"]));
    let resolver = dns.resolver(&["left"]);
    let dials = (0..20).map(|_| addresses(&resolver, "left"));
    for found in join_all(dials).await {
        assert_eq!(found, ok("192.0.2.1, 2001:db8::1"));
    }
    assert_eq!(addresses(&resolver, "left").await, ok("192.0.2.1, 2001:db8::1"));
    assert_eq!(dns.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_first_look_up_that_failed_is_tried_again_by_the_next_dial() {
    let dns = Dns::new(Says::Fails(io::ErrorKind::NotFound));
    let resolver = dns.resolver(&["left"]);
    assert_eq!(addresses(&resolver, "left").await, Err(io::ErrorKind::NotFound));
    dns.now_says(Says::Found(0, &["192.0.2.1"]));
    assert_eq!(addresses(&resolver, "left").await, ok("192.0.2.1"));
}

#[tokio::test(start_paused = true)]
async fn a_good_answer_is_kept_whatever_the_resolver_says_then() {
    let dns = Dns::new(Says::Found(0, &["192.0.2.1"]));
    let resolver = dns.resolver(&["left"]);
    let _signal = refresh(&resolver);
    assert_eq!(addresses(&resolver, "left").await, ok("192.0.2.1"));
    for bad in [
        Says::Fails(io::ErrorKind::NotFound),
        Says::Fails(io::ErrorKind::Other),
        Says::Found(0, &[]),
        Says::Hangs,
        Says::Found(6000, &["192.0.2.9"]),
    ] {
        let asked = dns.asked();
        dns.now_says(bad);
        a_round().await;
        assert!(dns.asked() > asked);
        let before = Instant::now();
        assert_eq!(addresses(&resolver, "left").await, ok("192.0.2.1"));
        assert_eq!(before.elapsed(), Duration::ZERO, "a dial has waited for a name that has an answer");
    }
    dns.now_says(Says::Found(0, &["192.0.2.2"]));
    a_round().await;
    assert_eq!(addresses(&resolver, "left").await, ok("192.0.2.2"));
}

#[tokio::test(start_paused = true)]
async fn names_are_looked_up_anew_at_the_interval_give_or_take_a_tenth() {
    let dns = Dns::new(Says::Found(0, &["192.0.2.1"]));
    let resolver = dns.resolver(&["left"]);
    let signal = refresh(&resolver);
    sleep(INTERVAL * 1000).await;
    let asked = dns.asked();
    // All intervals as long as can be: 909; as short as can be: 1111. Without any jitter: 1000 or 1001.
    assert!((950..1050).contains(&asked), "{asked}");
    assert!(timeout(INTERVAL, signal.stop()).await.is_ok(), "the refreshing outlives the signal");
    let asked = dns.asked();
    a_round().await;
    assert_eq!(dns.asked(), asked, "it goes on after the signal");
}

#[tokio::test(start_paused = true)]
async fn processes_that_start_together_do_not_ask_together() {
    let mut times = Vec::new();
    for _ in 0..8 {
        let dns = Dns::new(Says::Found(0, &["192.0.2.1"]));
        let resolver = dns.resolver(&["left"]);
        let _signal = refresh(&resolver);
        let start = Instant::now();
        while dns.asked() < 2 {
            sleep(Duration::from_millis(10)).await;
        }
        times.push(start.elapsed());
    }
    let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(*least >= INTERVAL.mul_f64(0.899) && *most <= INTERVAL.mul_f64(1.101), "{times:?}");
    assert!(*most - *least > Duration::from_millis(100), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_hangs_holds_nobody_else_up() {
    let dns = Dns::new(Says::Found(0, &["192.0.2.1"]));
    let resolver = dns.resolver(&["hangs", "left"]);
    let _signal = refresh(&resolver);
    let start = Instant::now();
    assert_eq!(addresses(&resolver, "left").await, ok("192.0.2.1"));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(addresses(&resolver, "hangs").await, Err(io::ErrorKind::TimedOut));
    assert_eq!(start.elapsed().as_secs(), LOOKUP_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_look_up_outlives_the_dial_that_gave_up() {
    let dns = Dns::new(Says::Found(1500, &["192.0.2.1"]));
    let resolver = dns.resolver(&["left"]);
    assert!(timeout(Duration::from_secs(1), addresses(&resolver, "left")).await.is_err());
    let before = Instant::now();
    assert_eq!(addresses(&resolver, "left").await, ok("192.0.2.1"));
    assert_eq!((dns.asked(), before.elapsed().as_millis()), (1, 500));
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_hung_long_ago_is_not_joined() {
    let dns = Dns::new(Says::Hangs);
    let resolver = dns.resolver(&["left"]);
    assert!(timeout(Duration::from_secs(1), addresses(&resolver, "left")).await.is_err());
    sleep(LOOKUP_TIMEOUT).await;
    dns.now_says(Says::Found(0, &["192.0.2.1"]));
    assert_eq!(addresses(&resolver, "left").await, ok("192.0.2.1"));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_nobody_registered_is_looked_up_each_time() {
    let dns = Dns::new(Says::Found(0, &["192.0.2.1"]));
    let resolver = dns.resolver(&[]);
    for asked in 1..3 {
        assert_eq!(addresses(&resolver, "left").await, ok("192.0.2.1"));
        assert_eq!(dns.asked(), asked);
    }
}

#[tokio::test]
async fn a_number_of_the_system_reaches_everybody_who_waited() {
    let lookup: Lookup = Arc::new(|_| async { Err(io::Error::from_raw_os_error(24)) }.boxed());
    let resolver = Resolver::new(INTERVAL, ["left".to_owned()], lookup);
    let error = resolver.addresses("left", 143).await.unwrap_err();
    assert!(crate::net::dial::is_our_own(&error), "{error}");
}

#[tokio::test(start_paused = true)]
async fn each_change_is_logged_once() {
    let log = Log::default();
    let _listening = log.start();
    let dns = Dns::new(Says::Fails(io::ErrorKind::NotFound));
    let resolver = dns.resolver(&["left"]);
    let _signal = refresh(&resolver);
    let no_answer = "WARN name cannot be resolved; there is no earlier answer host=\"left\" reason=entity not found";
    let kept = |reason| format!("WARN name cannot be resolved; the last answer is kept host=\"left\" reason={reason}");
    let resolved = |addresses| format!("INFO name resolved host=\"left\" addresses={addresses}");
    for (says, line) in [
        (Says::Fails(io::ErrorKind::NotFound), no_answer.to_owned()),
        (Says::Found(0, &["192.0.2.1", "192.0.2.2"]), resolved("192.0.2.1, 192.0.2.2")),
        (Says::Found(0, &["192.0.2.2", "192.0.2.1"]), String::new()),
        (Says::Found(0, &["192.0.2.2"]), resolved("192.0.2.2")),
        (Says::Found(0, &[]), kept("the name has no address")),
        (Says::Fails(io::ErrorKind::NotFound), String::new()),
        (Says::Found(0, &["192.0.2.2"]), resolved("192.0.2.2")),
        (Says::Hangs, kept("timed out")),
        (Says::Found(0, &["192.0.2.3"]), resolved("192.0.2.3")),
    ] {
        dns.now_says(says);
        a_round().await;
        a_round().await;
        let _ = join_all((0..3).map(|_| addresses(&resolver, "left"))).await;
        assert_eq!(log.take(), line);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stays_keeps_its_answer_and_a_new_one_is_looked_up() {
    let dns = Dns::new(Says::Found(0, &["192.0.2.1"]));
    let old = dns.resolver(&["left", "gone"]);
    assert_eq!(addresses(&old, "left").await, ok("192.0.2.1"));
    dns.now_says(Says::Fails(io::ErrorKind::TimedOut));
    let new = Arc::new(old.succeed(INTERVAL, ["left".to_owned(), "right".to_owned()]));
    let asked = dns.asked();
    assert_eq!(addresses(&new, "left").await, ok("192.0.2.1"));
    assert_eq!(dns.asked(), asked, "it is known");
    assert_eq!(addresses(&new, "right").await, Err(io::ErrorKind::TimedOut));
    // What one learns, both know.
    dns.now_says(Says::Found(0, &["192.0.2.2"]));
    let _signal = refresh(&new);
    a_round().await;
    assert_eq!(addresses(&old, "left").await, ok("192.0.2.2"));
}
