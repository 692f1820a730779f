//! Python's imaplib (LOGIN with a quoted password) and poplib (USER and PASS). Store what they receive as it is.

use super::{Answer, Visit};
use crate::site::{Protocol, Tls};

/// The scripts' exit status when a login is refused.
const REFUSED: i32 = 3;

pub(super) fn read(visit: &Visit) -> Answer {
    let script = match visit.door.protocol {
        Protocol::Imap => "imap_read.py",
        Protocol::Pop3 => "pop3_read.py",
    };
    let tls = match visit.door.tls {
        Tls::Implicit => "implicit",
        Tls::StartTls => "starttls",
        Tls::Off => "off",
    };
    let mut command = visit.command("python3");
    command.arg(format!("{}/tests/real/{script}", env!("CARGO_MANIFEST_DIR")));
    command.args([visit.door.host, &visit.door.port.to_string(), tls, visit.ca]).arg(visit.inbox);
    command.env("NAME", visit.name).env("PASSWORD", visit.password);
    visit.answer(&command.output().unwrap(), |output, _| output.status.code() == Some(REFUSED))
}
