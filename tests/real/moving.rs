//! A user is moved to the other island between two logins, and feels nothing of it.

use crate::clients::Client;
use crate::reading::assert_reads;
use crate::site::{Protocol, Site, Tls};

/// The route is remembered for five minutes, and the old island refuses the user.
#[test]
fn a_moved_user_logs_in_on_the_new_island_at_once() {
    let site = Site::with_ferry(&[]);
    for (protocol, uid, old, new) in [(Protocol::Imap, "anna", "a", "b"), (Protocol::Pop3, "berta", "b", "a")] {
        let doors = site.doors().into_iter();
        let door = doors.filter(|door| door.tls == Tls::Implicit).find(|door| door.protocol == protocol).unwrap();
        assert_eq!(serving_island(&site, door, uid), old);
        site.order(&format!("move {uid} {new}"));
        for _ in 0..2 {
            assert_eq!(serving_island(&site, door, uid), new, "{uid} at {door}");
        }
    }
}

/// Nobody refuses anything here: the mailbox is on both islands, and only the directory knows which one counts.
#[test]
fn a_user_whom_both_islands_know_is_moved_when_the_route_is_out_of_date() {
    let site = Site::with_ferry(&[("ttl = \"5m\"", "ttl = \"1ms\"")]);
    for door in site.doors().into_iter().filter(|door| door.tls == Tls::Implicit) {
        assert_eq!(serving_island(&site, door, "anna"), "a");
        site.order("copy anna b");
        assert_eq!(serving_island(&site, door, "anna"), "b", "at {door}");
        site.order("copy anna a");
    }
}

/// Reads somebody's mail and returns the island that mailferry says has served it.
fn serving_island(site: &Site, door: crate::site::Door, uid: &str) -> String {
    let before = site.ferry_logins(uid).len();
    assert_reads(site, Client::Python, door, uid, site.user(uid));
    site.eventually("mailferry logs the login", || site.ferry_logins(uid).len() > before);
    site.ferry_logins(uid).pop().unwrap().island
}
