//! Parts of the site die, freeze and restart while people log in all the time, and no login is lost.
//!
//! Each test looks at the nodes' own logs as well: a load that never met the trouble would prove nothing.

use crate::clients::Client;
use crate::load::Under;
use crate::reading::assert_reads;
use crate::site::{Site, Tls};

/// Every login asks the directory, and no old answer helps out.
const FORGETFUL: (&str, &str) = ("ttl = \"5m\"", "ttl = \"1ms\"\nstale = \"1ms\"");

#[test]
fn a_node_is_killed_and_returns() {
    let site = Site::with_ferry(&[]);
    let logins = Under { milliseconds: 7000, orders: &[(2000, "kill a-left"), (5000, "start a-left")] }.load(&site);
    logins.assert_none_lost();
    assert_both_nodes_served(&site);
}

/// It accepts connections, as frozen nodes do, and never greets. A login that it was given just before waits until probes
/// have found it out, and then goes to the other node.
#[test]
fn a_node_freezes_and_stays_so() {
    let site = Site::with_ferry(&[]);
    Under { milliseconds: 5000, orders: &[(2000, "freeze a-left")] }.load(&site).assert_none_lost();
    assert_both_nodes_served(&site);
}

#[test]
fn a_node_freezes_and_thaws() {
    let site = Site::with_ferry(&[]);
    let logins = Under { milliseconds: 7000, orders: &[(1500, "freeze a-left"), (5000, "thaw a-left")] }.load(&site);
    logins.assert_none_lost();
    assert_both_nodes_served(&site);
}

#[test]
fn a_node_is_restarted() {
    let site = Site::with_ferry(&[]);
    let logins = Under { milliseconds: 6000, orders: &[(2000, "stop a-left"), (2000, "start a-left")] }.load(&site);
    logins.assert_none_lost();
    assert_both_nodes_served(&site);
}

/// Nobody can be served for a moment, and everybody waits.
#[test]
fn a_whole_island_is_away_for_a_moment() {
    let site = Site::with_ferry(&[]);
    let orders = [(1500, "kill a-left"), (1500, "kill a-right"), (2500, "start a-right")];
    Under { milliseconds: 6000, orders: &orders }.load(&site).assert_none_lost();
    assert_both_nodes_served(&site);
}

#[test]
fn a_directory_is_killed_and_returns() {
    let site = Site::with_ferry(&[FORGETFUL]);
    let logins =
        Under { milliseconds: 6000, orders: &[(1500, "kill directory"), (4000, "start directory")] }.load(&site);
    logins.assert_none_lost();
    assert_both_directories_answered(&site);
}

#[test]
fn a_directory_freezes_and_thaws() {
    let site = Site::with_ferry(&[FORGETFUL]);
    let orders = [(1500, "freeze directory"), (6000, "thaw directory")];
    Under { milliseconds: 7000, orders: &orders }.load(&site).assert_none_lost();
    assert_both_directories_answered(&site);
}

#[test]
fn the_directories_restart_one_after_the_other() {
    let site = Site::with_ferry(&[FORGETFUL]);
    let orders =
        [(1000, "stop directory"), (2000, "start directory"), (3000, "stop directory2"), (4000, "start directory2")];
    Under { milliseconds: 6000, orders: &orders }.load(&site).assert_none_lost();
    assert_both_directories_answered(&site);
}

/// Both islands have lost a node, each another one, and the directory a replica.
#[test]
fn one_node_of_each_island_and_a_directory_are_dead_together() {
    let site = Site::with_ferry(&[FORGETFUL]);
    let orders = [(1000, "kill a-left"), (1000, "kill b-right"), (1000, "kill directory")];
    Under { milliseconds: 5000, orders: &orders }.load(&site).assert_none_lost();
    for door in site.doors().into_iter().filter(|door| door.tls == Tls::Implicit) {
        for user in site.users() {
            assert_reads(&site, Client::Python, door, &user.uid, user);
        }
    }
    assert_both_directories_answered(&site);
}

/// The users of island a went to the left node while it lived, and to the right one then.
fn assert_both_nodes_served(site: &Site) {
    for node in ["a-left", "a-right"] {
        let logins = site.users().iter().map(|user| site.node_logins(node, &user.uid)).sum::<usize>();
        assert!(logins > 0, "{node} served nobody");
    }
}

fn assert_both_directories_answered(site: &Site) {
    for name in ["directory", "directory2"] {
        assert!(site.searches(name) > 0, "{name} was not asked");
    }
}
