//! How long a header is waited for.

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::sleep;

use super::*;
use crate::limits::Limits;
use crate::names::SessionId;
use crate::net::Stream;
use crate::session::Registry;
use crate::testkit;
use crate::testkit::log::Log;

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 993\r\n";

/// A balancer's end of a connection, and what its header comes to. The end record is written then.
fn connection() -> (DuplexStream, impl Future<Output = Result<Header, (Who, Why)>>) {
    let (balancer, ours) = duplex(4096);
    let slot = Limits::new(testkit::settings::limits(), u32::MAX).enter().unwrap();
    let wanted = async move {
        let mut record = Record::new(
            SessionId { run: 1, number: 1 },
            Protocol::Imap,
            ([127, 0, 0, 1], 1).into(),
            &Registry::default(),
        );
        header(&mut Wire::new(Stream::Memory(ours)), &slot, &mut record).await.map_err(|end| {
            let why = (end.who, end.why);
            record.finish(end);
            why
        })
    };
    (balancer, wanted)
}

#[tokio::test(start_paused = true)]
async fn r_pp_01_silence_is_cut_after_three_seconds() {
    let (_balancer, wanted) = connection();
    let start = Instant::now();
    assert_eq!(wanted.await, Err((Who::Proxy, Why::BadProxyHeader)));
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn r_pp_04_no_octet_prolongs_the_time_for_a_header() {
    let (mut balancer, wanted) = connection();
    let start = Instant::now();
    let trickle = async {
        for octet in LINE {
            if balancer.write_all(&[*octet]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let (end, ()) = tokio::join!(wanted, trickle);
    assert_eq!(end, Err((Who::Proxy, Why::BadProxyHeader)));
    assert!(start.elapsed() < Duration::from_millis(3200));
}

#[tokio::test(start_paused = true)]
async fn a_slow_header_is_as_good_as_a_quick_one() {
    let (mut balancer, wanted) = connection();
    let trickle = async {
        for octet in LINE {
            balancer.write_all(&[*octet]).await.unwrap();
            sleep(Duration::from_millis(60)).await;
        }
    };
    let (header, ()) = tokio::join!(wanted, trickle);
    assert!(header.unwrap().peers.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_header_that_ends_too_early_is_the_balancers_end() {
    for (part, level) in [(&b""[..], "DEBUG"), (&LINE[..30], "INFO")] {
        let log = Log::default();
        let _listening = log.start();
        let (mut balancer, wanted) = connection();
        balancer.write_all(part).await.unwrap();
        drop(balancer);
        assert_eq!(wanted.await, Err((Who::Client, Why::Closed)));
        assert!(log.text().contains(level), "{}", log.text());
    }
}
