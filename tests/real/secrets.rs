//! No password is in any log, in none of the forms that a careless line of code could give it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailferry::testkit::leaks;

use crate::clients::{Client, Mechanism, log_in_with};
use crate::site::{Protocol, Site, Tls};

/// Shorter pieces could stand in a log by chance.
const SHORTEST_PIECE: usize = 8;

/// Fails when the log holds the password: as it is, escaped, as a list of octets, in hexadecimal, or in base64.
pub(crate) fn assert_absent(password: &str, log: &str) {
    let forms = leaks::forms(password.as_bytes());
    assert!(forms.iter().all(|form| form.len() >= SHORTEST_PIECE), "{password:?} is too short to look for");
    if let Some(form) = leaks::leak(password.as_bytes(), log) {
        panic!("{form:?}, a form of the password {password:?}, is in the log");
    }
}

/// What a client says that mistakes the place for its password, or says it in a form that is not lawful.
fn misplaced(protocol: Protocol, password: &str) -> Vec<String> {
    let base64 = STANDARD.encode(format!("\0anna\0{password}"));
    let token = STANDARD.encode(format!("user=anna\x01auth=Bearer {password}\x01\x01"));
    let (size, long) = (password.len(), password.repeat(1000));
    match protocol {
        Protocol::Imap => vec![
            format!("a LOGIN anna {{{size}+}}\r\n{password}\r\n"),
            format!("a LOGIN anna {{{}+}}\r\n{password}\0\r\n", size + 1),
            format!("a LOGIN anna {long}\r\n"),
            format!("{password} LOGIN anna x\r\n"),
            format!("+{password} NOOP\r\n"),
            format!("a {password}\r\n"),
            format!("a AUTHENTICATE PLAIN {base64}!\r\n"),
            format!("a AUTHENTICATE PLAIN\r\n{password}\r\n"),
            format!("a AUTHENTICATE XOAUTH2 {token}\r\n"),
            format!("a ID (\"x-session-id\" \"{password}\")\r\n"),
        ],
        Protocol::Pop3 => vec![
            format!("USER anna\r\nPASS {password}\0\r\n"),
            format!("USER anna\r\nPASS {long}\r\n"),
            format!("{password}\r\nPASS {password}\r\n"),
            format!("AUTH PLAIN {password}\r\n"),
            format!("AUTH XOAUTH2 {token}\r\n"),
            format!("APOP anna {password}\r\n"),
        ],
    }
}

#[test]
fn r_log_01_even_the_most_talkative_log_tells_no_password_and_no_mail() {
    let site = Site::with_ferry(&[]);
    let doors = [(Protocol::Imap, Tls::StartTls), (Protocol::Imap, Tls::Implicit), (Protocol::Pop3, Tls::Implicit)];
    for door in site.doors().into_iter().filter(|door| doors.contains(&(door.protocol, door.tls))) {
        for user in site.users().iter().filter(|user| ["anna", "berta"].contains(&user.uid.as_str())) {
            for password in [user.password.clone(), format!("wrong-{}-Zm4", user.uid)] {
                for client in Client::ALL.into_iter().filter(|c| c.can_use(door) && c.can_say(&password)) {
                    client.read(&site, door, &user.uid, &password);
                }
                for how in [(Mechanism::Plain, true), (Mechanism::Plain, false), (Mechanism::Login, false)] {
                    log_in_with(&site, door, &user.uid, &password, how);
                }
            }
        }
    }
    for door in site.doors().into_iter().filter(|door| door.tls == Tls::Off) {
        let password = "mislaid-Zm4";
        site.will_use(password);
        for octets in misplaced(door.protocol, password) {
            let mut stream = TcpStream::connect(("127.0.0.1", door.port)).unwrap();
            stream.write_all(octets.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // Until mailferry has closed. It may reset a connection that has said too much.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    site.order("stop mailferry");
    let log = site.ferry_log();
    assert!(log.contains("anna") && log.contains("\"level\":\"TRACE\""), "this log is not talkative");
    assert!(!log.contains("The ferry finds the way"), "a line of a mail is in the log");
    // The passwords are looked for when the site is dropped.
}
