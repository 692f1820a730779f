//! getmail: CAPABILITY and LOGIN, or USER and PASS without a question. It cannot do STARTTLS.
//! Stores lines without their CR, and adds two to the head.

use super::{Answer, Visit, without_line};
use crate::site::{Protocol, Tls};

/// What it adds to every message, and to those that it found by IMAP.
const OWN_HEADERS: [&str; 2] = ["Return-Path: ", "X-getmail-retrieved-from-mailbox: "];

/// What it says about a refused login, by IMAP and by POP3.
const REFUSALS: [&str; 2] = ["credential/login error", "POP error (b'-ERR [AUTH] "];

pub(super) fn read(visit: &Visit) -> Answer {
    let retriever = match (visit.door.protocol, visit.door.tls) {
        (Protocol::Imap, Tls::Off) => "SimpleIMAPRetriever",
        (Protocol::Imap, _) => "SimpleIMAPSSLRetriever",
        (Protocol::Pop3, Tls::Off) => "SimplePOP3Retriever",
        (Protocol::Pop3, _) => "SimplePOP3SSLRetriever",
    };
    let trust = if visit.door.tls == Tls::Off { String::new() } else { format!("ca_certs = {}\n", visit.ca) };
    let password = visit.write("password", visit.password);
    let config = format!(
        "[retriever]\ntype = {retriever}\nserver = {host}\nport = {port}\nusername = {user}\n\
         password_command = (\"cat\", \"{password}\")\n{trust}\
         [destination]\ntype = MDA_external\npath = /bin/sh\narguments = (\"{script}\", \"{inbox}\")\n\
         allow_root_commands = true\n\
         [options]\nread_all = true\ndelete = false\ndelivered_to = false\nreceived = false\n",
        host = visit.door.host,
        port = visit.door.port,
        user = visit.name,
        password = password.display(),
        script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/deliver.sh"),
        inbox = visit.inbox.display(),
    );
    let config = visit.write("getmailrc", &config);
    let mut command = visit.command("getmail");
    command.arg("--getmaildir").arg(visit.home).arg("--rcfile").arg(config);
    let output = command.output().unwrap();
    match visit.answer(&output, |_, words| REFUSALS.iter().any(|refusal| words.contains(refusal))) {
        Answer::Mail(messages) => Answer::Mail(messages.into_iter().map(without_own_headers).collect()),
        refused @ Answer::Refused(_) => refused,
    }
}

fn without_own_headers(message: Vec<u8>) -> Vec<u8> {
    OWN_HEADERS.into_iter().fold(message, without_line)
}
