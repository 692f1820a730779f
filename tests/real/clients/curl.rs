//! curl: CAPABILITY or CAPA, then AUTHENTICATE or AUTH with an initial response. Stores what it receives as it is.

use std::fs;
use std::process::Command;

use super::{Answer, Visit, new_folder};
use crate::site::{Door, Protocol, Site, Tls};

/// curl's exit status when a login is refused.
const LOGIN_DENIED: i32 = 67;
/// Messages in each mailbox.
const MESSAGES: usize = 3;

/// Ways of logging in that curl can be told to take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mechanism {
    /// AUTHENTICATE or AUTH PLAIN.
    Plain,
    /// AUTHENTICATE or AUTH LOGIN.
    Login,
}

pub(super) fn read(visit: &Visit) -> Answer {
    let mut command = curl(visit);
    for n in 1..=MESSAGES {
        let message = match visit.door.protocol {
            Protocol::Imap => format!("INBOX;MAILINDEX={n}"),
            Protocol::Pop3 => n.to_string(),
        };
        command.arg("--output").arg(visit.inbox.join(n.to_string())).arg(url(visit.door, &message));
    }
    visit.answer(&command.output().unwrap(), |output, _| output.status.code() == Some(LOGIN_DENIED))
}

/// One login by the given mechanism, with or without an initial response; reads the first message.
pub(crate) fn log_in_with(site: &Site, door: Door, name: &str, password: &str, how: (Mechanism, bool)) -> Answer {
    site.will_use(password);
    let home = new_folder(site);
    let inbox = home.join("inbox");
    fs::create_dir(&inbox).unwrap();
    let visit = Visit { door, name, password, ca: site.value("CA"), home: &home, inbox: &inbox };
    let mut command = curl(&visit);
    command.arg("--login-options").arg(format!("AUTH={:?}", how.0).to_uppercase());
    if how.1 {
        command.arg("--sasl-ir");
    }
    let message = if door.protocol == Protocol::Imap { "INBOX;MAILINDEX=1" } else { "1" };
    command.arg("--output").arg(inbox.join("1")).arg(url(door, message));
    visit.answer(&command.output().unwrap(), |output, _| output.status.code() == Some(LOGIN_DENIED))
}

fn curl(visit: &Visit) -> Command {
    let mut command = visit.command("curl");
    let user = quoted(&format!("{}:{}", visit.name, visit.password));
    let config = visit.write("curl.conf", &format!("user = {user}\n"));
    command.args(["--disable", "--silent", "--show-error", "--cacert", visit.ca, "--config"]).arg(config);
    if visit.door.tls == Tls::StartTls {
        command.arg("--ssl-reqd");
    }
    command
}

fn url(door: Door, message: &str) -> String {
    let scheme = match (door.protocol, door.tls) {
        (Protocol::Imap, Tls::Implicit) => "imaps",
        (Protocol::Imap, _) => "imap",
        (Protocol::Pop3, Tls::Implicit) => "pop3s",
        (Protocol::Pop3, _) => "pop3",
    };
    let host = if door.host.contains(':') { format!("[{}]", door.host) } else { door.host.to_owned() };
    format!("{scheme}://{host}:{}/{message}", door.port)
}

/// In double quotes, as curl's configuration wants it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
