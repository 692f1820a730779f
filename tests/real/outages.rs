//! A node dies, an island dies, the directory dies: who can be served is served, and the others hear that it will pass.

use crate::clients::{Answer, Client};
use crate::reading::assert_reads;
use crate::secrets;
use crate::site::{Door, Protocol, Site, Tls};

/// Routes are used once and then only while the directory is dead.
const STALE_AT_ONCE: (&str, &str) = ("ttl = \"5m\"", "ttl = \"10ms\"");

#[test]
fn when_a_node_is_killed_the_other_one_serves() {
    let site = Site::with_ferry(&[]);
    for (island, uid) in [("a", "anna"), ("b", "berta")] {
        for door in tls_doors(&site) {
            let first = serving_node(&site, door, island, uid);
            let second = if first == "left" { "right" } else { "left" };
            site.order(&format!("kill {island}-{first}"));
            assert_eq!(serving_node(&site, door, island, uid), second, "{uid} at {door}, {first} being dead");
            site.order(&format!("start {island}-{first}"));
            serving_node(&site, door, island, uid);
        }
    }
}

#[test]
fn while_an_island_is_dead_its_users_hear_a_temporary_failure_and_the_others_nothing() {
    let site = Site::with_ferry(&[]);
    site.order("kill a-left");
    site.order("kill a-right");
    for door in tls_doors(&site) {
        assert_unavailable(&site, door, "anna");
        assert_reads(&site, Client::Python, door, "bela", site.user("bela"));
    }
    site.order("start a-right");
    for door in tls_doors(&site) {
        assert_eq!(serving_node(&site, door, "a", "anna"), "right");
    }
}

#[test]
fn while_the_directory_is_dead_known_users_log_in_and_others_hear_a_temporary_failure() {
    let site = Site::with_ferry(&[STALE_AT_ONCE]);
    let doors = tls_doors(&site);
    assert_reads(&site, Client::Python, doors[0], "anna", site.user("anna"));
    kill_directories(&site);
    for &door in &doors {
        assert_reads(&site, Client::Python, door, "anna", site.user("anna"));
        assert_unavailable(&site, door, "bela");
    }
    site.order("start directory2");
    for &door in &doors {
        site.eventually("bela logs in", || {
            matches!(Client::Python.read(&site, door, "bela", &site.user("bela").password), Answer::Mail(_))
        });
    }
}

#[test]
fn routes_survive_a_restart_of_mailferry_while_the_directory_is_dead() {
    let file = ("ttl = \"5m\"", "ttl = \"10ms\"\nfile = \"$FOLDER/mailferry/routes\"");
    let site = Site::with_ferry(&[file]);
    let doors = tls_doors(&site);
    assert_reads(&site, Client::Python, doors[0], "anna", site.user("anna"));
    site.order("stop mailferry");
    kill_directories(&site);
    site.order("start mailferry");
    for &door in &doors {
        assert_reads(&site, Client::Python, door, "anna", site.user("anna"));
        assert_unavailable(&site, door, "bela");
    }
    let routes = std::fs::read(site.path("FOLDER").join("mailferry/routes")).unwrap();
    secrets::assert_absent(&site.user("anna").password, &String::from_utf8_lossy(&routes));
}

/// mailferry starts without one, and knows nobody yet.
#[test]
fn without_any_directory_everybody_hears_a_temporary_failure() {
    let site = Site::without_ferry();
    kill_directories(&site);
    site.order("start mailferry");
    for &door in &tls_doors(&site) {
        assert_unavailable(&site, door, "anna");
    }
    site.order("start directory");
    for &door in &tls_doors(&site) {
        site.eventually("anna logs in", || {
            matches!(Client::Python.read(&site, door, "anna", &site.user("anna").password), Answer::Mail(_))
        });
    }
}

fn kill_directories(site: &Site) {
    site.order("kill directory");
    site.order("kill directory2");
}

fn tls_doors(site: &Site) -> Vec<Door> {
    site.doors().into_iter().filter(|door| door.tls == Tls::Implicit).collect()
}

/// Reads somebody's mail and returns the node that served it, on which mailferry and the nodes' logs must agree.
fn serving_node(site: &Site, door: Door, island: &str, uid: &str) -> String {
    let logins = |node: &str| site.node_logins(&format!("{island}-{node}"), uid);
    let before = (logins("left"), logins("right"), site.ferry_logins(uid).len());
    assert_reads(site, Client::Python, door, uid, site.user(uid));
    site.eventually("mailferry logs the login", || site.ferry_logins(uid).len() > before.2);
    let login = site.ferry_logins(uid).pop().unwrap();
    assert_eq!(login.island, island, "{uid}");
    let served = (logins("left") - before.0, logins("right") - before.1);
    let expected = if login.node == "left" { (1, 0) } else { (0, 1) };
    assert_eq!(served, expected, "logins at left and right, when mailferry says {}", login.node);
    login.node
}

fn assert_unavailable(site: &Site, door: Door, uid: &str) {
    let answer = Client::Python.read(site, door, uid, &site.user(uid).password);
    let Answer::Refused(words) = answer else { panic!("{uid} read mail at {door}") };
    let code = if door.protocol == Protocol::Imap { "[UNAVAILABLE]" } else { "-ERR [SYS/TEMP]" };
    assert!(words.contains(code), "{uid} at {door}: {words:?}");
}
