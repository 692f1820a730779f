//! fetchmail: LOGIN straight after the greeting, or CAPA and then USER and PASS. Stores lines without their CR.

use super::{Answer, Visit};
use crate::site::{Protocol, Tls};

/// fetchmail's exit status when a login is refused.
const REFUSED: i32 = 3;

pub(super) fn read(visit: &Visit) -> Answer {
    let tls = match visit.door.tls {
        Tls::Implicit => "ssl sslproto \"tls1.2+\"",
        Tls::StartTls => "sslproto \"tls1.2+\"",
        Tls::Off => "sslproto \"\"",
    };
    let protocol = match visit.door.protocol {
        Protocol::Imap => "imap",
        Protocol::Pop3 => "pop3",
    };
    let config = format!(
        "set invisible\nset no bouncemail\n\
         poll {host} protocol {protocol} port {port} auth password timeout 20\n\
         user {user} password {password} {tls} sslcertck sslcertfile {ca}\n\
         keep fetchall no rewrite pass8bits mda \"sh {script} {inbox}\"\n",
        host = visit.door.host,
        port = visit.door.port,
        user = quoted(visit.name),
        password = quoted(visit.password),
        ca = quoted(visit.ca),
        script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/deliver.sh"),
        inbox = visit.inbox.display(),
    );
    let config = visit.write("fetchmailrc", &config);
    let mut command = visit.command("fetchmail");
    command.arg("--fetchmailrc").arg(config).args(["--nosyslog", "--pidfile"]).arg(visit.home.join("pid"));
    visit.answer(&command.output().unwrap(), |output, _| output.status.code() == Some(REFUSED))
}

/// In single quotes, which cannot stand inside; a backslash is an escape.
fn quoted(text: &str) -> String {
    assert!(!text.contains('\''), "fetchmail could not be told {text:?}");
    format!("'{}'", text.replace('\\', "\\\\"))
}
