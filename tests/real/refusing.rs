//! Who may not log in hears so, in words that clients understand and that tell nothing more.

use crate::clients::{Answer, Client};
use crate::site::{Door, Protocol, Site, Tls};

/// Nobody's password.
const WRONG: &str = "wrong-4Ferry-Vn8";

#[test]
fn a_wrong_password_is_refused_through_every_listener() {
    let site = Site::shared();
    let mut users = site.users().iter().cycle();
    for door in site.doors() {
        for client in Client::ALL.into_iter().filter(|client| client.can_use(door)) {
            refused(&site, client, door, &users.next().unwrap().uid, WRONG);
        }
    }
}

#[test]
fn an_unknown_user_hears_the_same_words_as_a_wrong_password() {
    let site = Site::shared();
    for door in site.doors() {
        let known = refused(&site, Client::Python, door, "anna", WRONG);
        let unknown = refused(&site, Client::Python, door, "nobody-at-all", WRONG);
        assert_eq!(unknown, known, "at {door}");
        let code = if door.protocol == Protocol::Imap { "[AUTHENTICATIONFAILED]" } else { "-ERR [AUTH]" };
        assert!(known.contains(code), "{known:?} at {door}");
    }
}

#[test]
fn what_ldap_takes_for_a_pattern_is_no_user() {
    let site = Site::shared();
    for door in site.doors().into_iter().filter(|door| door.tls == Tls::Implicit) {
        for name in ["*", "ann*", "anna)(uid=*", "*)(objectClass=*"] {
            refused(&site, Client::Curl, door, name, &site.user("anna").password);
        }
    }
}

#[test]
fn a_password_in_clear_text_is_refused_before_starttls() {
    let site = Site::shared();
    for door in site.doors().into_iter().filter(|door| door.tls == Tls::StartTls) {
        let door = Door { tls: Tls::Off, ..door };
        let anna = site.user("anna");
        let words = refused(&site, Client::Python, door, &anna.uid, &anna.password);
        if door.protocol == Protocol::Imap {
            assert!(words.contains("[PRIVACYREQUIRED]"), "{words:?}");
        }
    }
}

/// What the client says about the refusal.
fn refused(site: &Site, client: Client, door: Door, name: &str, password: &str) -> String {
    match client.read(site, door, name, password) {
        Answer::Refused(words) => words,
        Answer::Mail(_) => panic!("{client:?} at {door} as {name} was let in"),
    }
}
