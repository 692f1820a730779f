//! No password is in any log, in none of the forms that a careless line of code could give it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::clients::{Client, Mechanism, log_in_with};
use crate::site::{Protocol, Site, Tls};

/// Shorter pieces could stand in a log by chance.
const SHORTEST_PIECE: usize = 8;

/// Fails when the log holds the password: as it is, escaped, as a list of octets, in hexadecimal, or in base64.
pub(crate) fn assert_absent(password: &str, log: &str) {
    for form in forms(password) {
        assert!(!log.contains(&form), "{form:?}, a form of the password {password:?}, is in the log");
    }
}

fn forms(password: &str) -> Vec<String> {
    let octets = password.as_bytes();
    let list = |separator: &str, show: fn(&u8) -> String| octets.iter().map(show).collect::<Vec<_>>().join(separator);
    let mut forms = vec![
        password.to_owned(),
        password.escape_debug().to_string(),
        password.escape_debug().to_string().escape_debug().to_string(),
        password.escape_default().to_string(),
        octets.escape_ascii().to_string(),
        octets.escape_ascii().to_string().escape_debug().to_string(),
        list(", ", |octet| octet.to_string()),
        list(",", |octet| octet.to_string()),
        list("", |octet| format!("{octet:02x}")),
        list(" ", |octet| format!("{octet:02x}")),
    ];
    forms.extend((0..3).map(|before| inner_base64(octets, before)));
    assert!(forms.iter().all(|form| form.len() >= SHORTEST_PIECE), "{password:?} is too short to look for");
    forms
}

/// What base64 makes of these octets when `before` others precede them, modulo 3, and anything follows.
fn inner_base64(octets: &[u8], before: usize) -> String {
    let encoded = STANDARD.encode([&vec![0; before][..], octets].concat());
    let first = (before * 8).div_ceil(6);
    let last = (before + octets.len()) * 8 / 6;
    encoded[first..last].to_owned()
}

#[test]
fn a_password_is_found_in_every_form() {
    let password = "Gr\u{fc}\u{df}e \"4\" \\Ferry\\";
    let sasl = STANDARD.encode(format!("\0berta\0{password}"));
    let logs = [
        format!("x {password} x"),
        format!("x {password:?} x"),
        format!("x {:?} x", format!("{password:?}")),
        format!("x {:?} x", password.as_bytes()),
        format!("x {} x", password.as_bytes().escape_ascii()),
        format!("x {sasl} x"),
        format!("x {} x", STANDARD.encode(password)),
        format!("x {} x", STANDARD.encode(format!("bo\0bo\0{password}"))),
        format!("x {} x", STANDARD.encode(format!("b\0{password}xx"))),
    ];
    for log in logs {
        assert!(forms(password).iter().any(|form| log.contains(form)), "not found in {log:?}");
    }
    assert_absent(password, "{\"user\":\"berta\",\"password\":\"(hidden)\"}");
}

#[test]
fn even_the_most_talkative_log_tells_no_password_and_no_mail() {
    let site = Site::with_ferry(&[("[log]\n", "[log]\nlevel = \"trace\"\n")]);
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
    site.order("stop mailferry");
    let log = site.ferry_log();
    assert!(log.contains("anna") && log.contains("\"level\":\"TRACE\""), "this log is not talkative");
    assert!(!log.contains("The ferry finds the way"), "a line of a mail is in the log");
    // The passwords are looked for when the site is dropped.
}
