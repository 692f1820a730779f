//! R-LOG-01 on the wire: passwords and tokens where they belong, and where people and programs put them by mistake.
//!
//! The log of this suite is at TRACE, from every library, and is searched whenever a site ends.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::node::FakeNode;
use crate::site::{DOORS, Door, Site, Spec};

const SECRET: &str = "misplaced-Pa55";

/// What a client may send with a password in it, each on a connection of its own.
fn imap() -> Vec<String> {
    let secret = SECRET;
    let (plain, token) = (STANDARD.encode(format!("\0alice\0{secret}")), xoauth2());
    let (size, long) = (secret.len(), secret.repeat(5000));
    vec![
        format!("a LOGIN alice {secret}\r\n"),
        format!("a LOGIN alice \"{secret}\"\r\n"),
        format!("a LOGIN alice {{{size}}}\r\n{secret}\r\n"),
        format!("a LOGIN {{5+}}\r\nalice {{{size}+}}\r\n{secret}\r\n"),
        format!("a LOGIN nobody {secret}\r\n"),
        format!("a LOGIN alice {secret} {secret}\r\n"),
        format!("a LOGIN alice \"{secret}\\x\"\r\n"),
        format!("a LOGIN alice {{{size}+}}\r\n{secret}\0\r\n"),
        format!("a LOGIN alice {{5000+}}\r\n{secret}\r\n"),
        format!("a LOGIN alice {{5000}}\r\n{secret}\r\n"),
        format!("a LOGIN alice {long}\r\n"),
        long,
        format!("a LOGIN alice {{{size}}}\r\n{secret}"),
        format!("{secret} LOGIN alice x\r\n"),
        format!("+{secret} LOGIN alice {secret}\r\n"),
        format!("a {secret}\r\n"),
        format!("{secret}\r\n"),
        format!("a NOOP {secret}\r\n"),
        format!("a ID (\"name\" \"{secret}\" \"x-session-id\" \"{secret}\")\r\n"),
        format!("a AUTHENTICATE PLAIN {plain}\r\n"),
        format!("a AUTHENTICATE PLAIN\r\n{plain}\r\n"),
        format!("a AUTHENTICATE PLAIN {plain}!\r\n"),
        format!("a AUTHENTICATE PLAIN\r\n{secret}\r\n"),
        format!("a AUTHENTICATE PLAIN {}\r\n", STANDARD.encode(format!("root\0alice\0{secret}"))),
        format!("a AUTHENTICATE LOGIN\r\nYWxpY2U=\r\n{}\r\n", STANDARD.encode(secret)),
        format!("a AUTHENTICATE LOGIN\r\nYWxpY2U=\r\n{secret}\r\n"),
        format!("a AUTHENTICATE {secret}\r\n"),
        format!("a AUTHENTICATE XOAUTH2 {token}\r\n"),
        format!("a AUTHENTICATE OAUTHBEARER {}\r\n", oauthbearer()),
        format!("a AUTHENTICATE OAUTHBEARER\r\n{}!\r\n", oauthbearer()),
    ]
}

fn pop3() -> Vec<String> {
    let secret = SECRET;
    let plain = STANDARD.encode(format!("\0alice\0{secret}"));
    let long = secret.repeat(5000);
    vec![
        format!("USER alice\r\nPASS {secret}\r\n"),
        format!("USER nobody\r\nPASS {secret}\r\n"),
        format!("USER alice\r\nPASS {secret}\0\r\n"),
        format!("USER alice\r\nPASS {secret}"),
        format!("USER alice\r\nPASS {long}\r\n"),
        format!("USER {secret}\r\nQUIT\r\n"),
        format!("PASS {secret}\r\n"),
        format!("{secret}\r\n"),
        format!("{secret} alice\r\n"),
        format!("NOOP {secret}\r\n"),
        format!("APOP alice {secret}\r\n"),
        format!("XCLIENT ADDR=192.0.2.1 SESSION={secret}\r\n"),
        format!("AUTH PLAIN {plain}\r\n"),
        format!("AUTH PLAIN\r\n{plain}\r\n"),
        format!("AUTH PLAIN {secret}\r\n"),
        format!("AUTH LOGIN\r\nYWxpY2U=\r\n{}\r\n", STANDARD.encode(secret)),
        format!("AUTH LOGIN\r\nYWxpY2U=\r\n{secret}\r\n"),
        format!("AUTH {secret}\r\n"),
        format!("AUTH XOAUTH2 {}\r\n", xoauth2()),
        format!("AUTH OAUTHBEARER {}\r\n", oauthbearer()),
        long,
    ]
}

fn xoauth2() -> String {
    STANDARD.encode(format!("user=alice\x01auth=Bearer {SECRET}\x01\x01"))
}

fn oauthbearer() -> String {
    STANDARD.encode(format!("n,a=alice,\x01host=x\x01port=993\x01auth=Bearer {SECRET}\x01\x01"))
}

#[tokio::test]
async fn r_log_01_a_password_in_the_wrong_place_is_in_no_log_either() {
    let (imap_node, pop3_node) = (FakeNode::imap().await, FakeNode::pop3().await);
    let mut spec = Spec::new(&[imap_node.port]);
    spec.imap_port = Some(imap_node.port);
    spec.pop3_port = Some(pop3_node.port);
    spec.cleartext_login = true;
    let site = Site::start(spec).await;
    for door in DOORS {
        let said = if matches!(door, Door::ImapTls | Door::ImapStartTls | Door::ImapClear) { imap() } else { pop3() };
        for octets in said {
            let mut client = site.greeted(door).await;
            client.send(&octets).await;
            client.half_close().await;
            // Everything was read by then, or refused unread.
            client.from.line("session ended").await;
        }
    }
    site.end(&[SECRET]).await;
}

#[tokio::test]
async fn r_log_01_a_node_that_repeats_the_password_does_not_get_it_into_the_log() {
    let node = FakeNode::start(|mut conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n").await;
        while let Some(line) = conn.line().await {
            let (tag, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let message = rest.rsplit(' ').next().and_then(|message| STANDARD.decode(message).ok()).unwrap_or_default();
            let secret = String::from_utf8_lossy(message.rsplit(|octet| *octet == 0).next().unwrap_or_default());
            conn.send(format!("* OK [ALERT] {secret}\r\n{tag} NO [{secret}] {line} {secret}\r\n")).await;
        }
    })
    .await;
    let site = Site::with(&[node.port]).await;
    let mut client = site.greeted(Door::ImapTls).await;
    // The client hears it: its own password, in the words of its own node.
    let answer = client.command("a", "LOGIN alice told-by-the-node-Pa55").await;
    assert!(answer.starts_with("a NO [told-by-the-node-Pa55] "), "{answer}");
    site.end(&["told-by-the-node-Pa55"]).await;
}
