//! mbsync (isync): straight to LOGIN, relying on the greeting's capabilities. Stores lines without their CR.

use std::fs;
use std::process::Command;

use super::{Answer, Visit, without_line};
use crate::site::Tls;

/// With this it finds a message again when it was interrupted.
const OWN_HEADER: &str = "X-TUID: ";

pub(super) fn read(visit: &Visit) -> Answer {
    let tls = match visit.door.tls {
        Tls::Implicit => "IMAPS",
        Tls::StartTls => "STARTTLS",
        Tls::Off => "None",
    };
    let password = visit.write("password", visit.password);
    let config = format!(
        "IMAPAccount site\nHost {host}\nPort {port}\nUser {user}\nPassCmd \"cat {password}\"\n{tls_key} {tls}\n\
         CertificateFile {ca}\nAuthMechs LOGIN\n\n\
         IMAPStore far\nAccount site\n\n\
         MaildirStore near\nInbox {home}/maildir\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync Pull\nSyncState *\n",
        host = visit.door.host,
        port = visit.door.port,
        user = visit.name,
        password = password.display(),
        tls_key = tls_key(),
        ca = visit.ca,
        home = visit.home.display(),
    );
    let config = visit.write("mbsyncrc", &config);
    let output = visit.command("mbsync").arg("--config").arg(config).arg("all").output().unwrap();
    if output.status.success() {
        collect(visit);
    }
    visit.answer(&output, |_, words| words.contains("IMAP command 'LOGIN <user> <pass>' returned an error"))
}

/// The setting's name was changed in version 1.5.
fn tls_key() -> &'static str {
    let version = Command::new("mbsync").arg("--version").output().unwrap();
    if String::from_utf8_lossy(&version.stdout).starts_with("isync 1.4") { "SSLType" } else { "TLSType" }
}

/// Its Maildir → inbox/1, 2, …, without the header line that it adds. The file names sort in the order of arrival.
fn collect(visit: &Visit) {
    let mut files: Vec<_> = ["new", "cur"]
        .iter()
        .flat_map(|folder| fs::read_dir(visit.home.join("maildir").join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for (index, file) in files.iter().enumerate() {
        let message = without_line(fs::read(file).unwrap(), OWN_HEADER);
        fs::write(visit.inbox.join((index + 1).to_string()), message).unwrap();
    }
}
