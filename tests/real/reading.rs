//! Everybody reads their mail, with every client, through every kind of listener; every octet is as it was delivered.

use crate::clients::{Answer, Client, Mechanism, log_in_with};
use crate::site::{Door, Site, Tls, User};

/// The same without mailferry: when this fails, the site or the client is to blame.
#[test]
fn every_client_reads_from_the_nodes_themselves() {
    let site = Site::shared();
    for (node, uid) in [("a-left", "anna"), ("a-right", "adam"), ("b-left", "bela"), ("b-right", "berta")] {
        let tls = if node.ends_with("left") { Tls::Implicit } else { Tls::StartTls };
        for door in site.node_doors(node).into_iter().filter(|door| door.tls == tls) {
            let user = site.user(uid);
            for client in able(door, user) {
                assert_reads(&site, client, door, &user.uid, user);
            }
        }
    }
}

#[test]
fn curl_reads_through_every_listener() {
    reads_through_every_listener(Client::Curl);
}

#[test]
fn python_reads_through_every_listener() {
    reads_through_every_listener(Client::Python);
}

#[test]
fn mbsync_reads_through_every_imap_listener() {
    reads_through_every_listener(Client::Mbsync);
}

#[test]
fn fetchmail_reads_through_every_listener() {
    reads_through_every_listener(Client::Fetchmail);
}

#[test]
fn getmail_reads_through_every_listener_but_starttls() {
    reads_through_every_listener(Client::Getmail);
}

#[test]
fn a_mail_address_is_as_good_as_a_uid() {
    let site = Site::shared();
    let bodo = site.user("bodo");
    assert!(!bodo.mail.contains(&bodo.uid));
    for door in site.doors().into_iter().filter(|door| door.tls == Tls::Implicit) {
        for client in able(door, bodo) {
            assert_reads(&site, client, door, &bodo.mail, bodo);
        }
    }
}

#[test]
fn ipv6_clients_read_too() {
    let site = Site::shared();
    for door in site.doors_v6() {
        for uid in ["alma", "berta"] {
            for client in able(door, site.user(uid)) {
                assert_reads(&site, client, door, uid, site.user(uid));
            }
        }
    }
}

#[test]
fn every_announced_mechanism_logs_in_with_and_without_initial_response() {
    let site = Site::shared();
    for door in site.doors() {
        for uid in ["anna", "berta"] {
            let user = site.user(uid);
            for mechanism in [Mechanism::Plain, Mechanism::Login] {
                for initial in [true, false] {
                    let answer = log_in_with(&site, door, uid, &user.password, (mechanism, initial));
                    let Answer::Mail(found) = answer else { panic!("{mechanism:?} at {door}: {answer:?}") };
                    assert!(found[0] == site.messages(user)[0], "{mechanism:?}, initial response {initial}, at {door}");
                }
            }
        }
    }
}

/// The shared site has one island behind STARTTLS and one behind implicit TLS.
#[test]
fn an_island_without_tls_is_served_too() {
    let site = Site::with_ferry(&[
        ("tls = \"implicit\"\nca = \"$CA\"\nnodes", "tls = \"off\"\nnodes"),
        ("imap_port = $B_LEFT_IMAPS", "imap_port = $B_LEFT_IMAP"),
        ("imap_port = $B_RIGHT_IMAPS", "imap_port = $B_RIGHT_IMAP"),
        ("pop3_port = $B_LEFT_POP3S, tls_name = \"localhost\"", "pop3_port = $B_LEFT_POP3"),
        ("pop3_port = $B_RIGHT_POP3S, tls_name = \"localhost\"", "pop3_port = $B_RIGHT_POP3"),
    ]);
    for door in site.doors() {
        for client in [Client::Curl, Client::Python] {
            for uid in ["bela", "berta", "anna"] {
                assert_reads(&site, client, door, uid, site.user(uid));
            }
        }
    }
}

/// One user of each island at every door; over all doors, everybody has a turn.
fn reads_through_every_listener(client: Client) {
    let site = Site::shared();
    let mut doors = 0;
    for (turn, door) in site.doors().into_iter().enumerate().filter(|(_, door)| client.can_use(*door)) {
        doors += 1;
        for island in ["a", "b"] {
            let people: Vec<_> = site.users().iter().filter(|user| user.island == island).collect();
            let mut user = people[turn % people.len()];
            if !client.can_say(&user.password) {
                user = people[(turn + 1) % people.len()];
            }
            assert_reads(&site, client, door, &user.uid, user);
        }
    }
    assert!(doors >= 3, "{client:?} found only {doors} doors");
}

fn able(door: Door, user: &User) -> impl Iterator<Item = Client> {
    Client::ALL.into_iter().filter(move |client| client.can_use(door) && client.can_say(&user.password))
}

/// Logs in as `name` and finds all of `user`'s mail.
pub(crate) fn assert_reads(site: &Site, client: Client, door: Door, name: &str, user: &User) {
    let answer = client.read(site, door, name, &user.password);
    let Answer::Mail(found) = answer else { panic!("{client:?} was refused at {door} as {name}: {answer:?}") };
    let expected: Vec<_> = site.messages(user).iter().map(|message| client.as_stored(message)).collect();
    assert_eq!(found.len(), expected.len(), "messages read by {client:?} at {door} as {name}");
    for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let first = found.iter().zip(expected).position(|(a, b)| a != b);
        let lengths = format!("{} octets, {} expected, first difference at {first:?}", found.len(), expected.len());
        assert!(found == expected, "message {} of {} by {client:?} at {door}: {lengths}", n + 1, user.uid);
    }
}
