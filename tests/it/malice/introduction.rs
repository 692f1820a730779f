//! What nodes are told of the client, and what they make of it; and what they say that they can do.

use std::time::Duration;

use mailferry::proto::Protocol;
use mailferry::routing::{Forward, NodeTls};
use tokio::time::{Instant, sleep};

use super::Act::Hear;
use super::{Act, MARK, OUR_BUG, Stage, UNAVAILABLE, say};
use crate::client::{Client, DEADLINE};
use crate::node::FakeNode;
use crate::site::{Door, Site, Spec};

async fn telling(protocol: Protocol) -> Stage {
    Stage::with(protocol, |spec: &mut Spec| {
        spec.forward = Forward::Id;
        // What a stranger says of his hops may make them fewer.
        spec.listen = |listener| listener.trusted_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await
}

/// A node that wants to hear of the client, up to its answer to that.
fn curious(protocol: Protocol, answer: &str) -> Vec<Act> {
    let greeting = match protocol {
        Protocol::Imap => format!("* OK [CAPABILITY IMAP4rev1 ID SASL-IR AUTH=PLAIN] {MARK}\r\n"),
        Protocol::Pop3 => format!("+OK [XCLIENT] {MARK}\r\n"),
    };
    vec![say(greeting), Hear, say(format!("{answer}\r\n").replace("MARK", MARK)), Hear]
}

/// And up to its refusal of the login.
fn satisfied(protocol: Protocol, answer: &str) -> (Vec<Act>, &'static str) {
    let (rest, refused) = match protocol {
        Protocol::Imap => (vec![say("f3 NO [EXPIRED] x\r\n")], "a NO [EXPIRED] x"),
        Protocol::Pop3 => {
            (vec![say("+OK\r\nSASL PLAIN\r\n.\r\n"), Hear, say("-ERR [EXPIRED] x\r\n")], "-ERR [EXPIRED] x")
        }
    };
    ([curious(protocol, answer), rest].concat(), refused)
}

#[tokio::test]
async fn r_be_07_the_node_hears_of_the_client_and_of_one_hop_less_than_are_left() {
    for protocol in Protocol::ALL {
        for (claimed, told) in
            [(None, Some(6)), (Some(7), Some(6)), (Some(3), Some(2)), (Some(2), Some(1)), (Some(1), None)]
        {
            let stage = telling(protocol).await;
            let mut client = stage.client().await;
            let (acts, refused) = satisfied(protocol, stage.of(["f7 OK MARK", "+OK MARK"]));
            if let Some(ttl) = claimed {
                claim(&mut client, protocol, ttl).await;
            }
            let heard = stage.login(&mut client, acts).await;
            let seen = super::text(&stage.node);
            match told {
                Some(ttl) => {
                    assert_eq!(heard, [refused], "{protocol}: {claimed:?}");
                    let hops = match protocol {
                        Protocol::Imap => format!("\"x-proxy-ttl\" \"{ttl}\""),
                        Protocol::Pop3 => format!(" TTL={ttl} "),
                    };
                    assert!(seen.contains(&hops), "{seen}");
                    for fact in match protocol {
                        Protocol::Imap => {
                            ["f7 ID (\"x-session-id\" \"", "\"x-originating-ip\" \"127.0.0.1\"", "\"insecure\""]
                        }
                        Protocol::Pop3 => ["XCLIENT ADDR=127.0.0.1 ", " SESSION=", " CLIENT-TRANSPORT=insecure "],
                    } {
                        assert!(seen.contains(fact), "{fact}: {seen}");
                    }
                }
                None => {
                    assert_eq!(heard, [stage.of(OUR_BUG)], "a circle goes on");
                    assert_eq!(seen, "");
                }
            }
            stage.is_open(&mut client).await;
            stage.end().await;
        }
    }
}

async fn claim(client: &mut Client, protocol: Protocol, ttl: u8) {
    match protocol {
        Protocol::Imap => {
            assert!(client.command("i", &format!("ID (\"x-proxy-ttl\" \"{ttl}\")")).await.starts_with("i OK"));
        }
        Protocol::Pop3 => assert!(client.ask(&format!("XCLIENT TTL={ttl}")).await.starts_with("+OK")),
    }
}

#[tokio::test]
async fn r_be_04_whatever_a_node_answers_to_who_the_client_is_it_is_one_of_two_answers() {
    for protocol in Protocol::ALL {
        let stage = telling(protocol).await;
        let (harmless, fatal): (&[&str], &[&str]) = match protocol {
            Protocol::Imap => (
                &[
                    "f7 OK MARK",
                    "f7 NO MARK",
                    "* ID (\"name\" \"MARK\")\r\nf7 OK MARK",
                    "* ID ({3}\r\nabc NIL)\r\nf7 NO [X] MARK",
                ],
                &[
                    "f7 BAD MARK",
                    "f7 NO [SERVERBUG] MARK",
                    "* BYE MARK",
                    "* PREAUTH MARK",
                    "+ MARK",
                    "f3 OK MARK",
                    "MARK",
                    "",
                ],
            ),
            Protocol::Pop3 => {
                (&["+OK MARK", "+OK"], &["-ERR MARK", "-ERR [SYS/TEMP] MARK", "+ MARK", "* OK MARK", "MARK", ""])
            }
        };
        for answer in harmless {
            let (acts, refused) = satisfied(protocol, answer);
            stage.hears(acts, refused, answer).await;
        }
        let before = super::text(&stage.node);
        for answer in fatal {
            stage.hears(curious(protocol, answer), stage.of(UNAVAILABLE), answer).await;
        }
        let seen = super::text(&stage.node).split_off(before.len());
        assert!(!seen.contains("AUTH"), "a node that would not hear of the client got the login: {seen}");
        stage.end().await;
    }
}

#[tokio::test]
async fn a_node_that_does_not_ask_who_the_client_is_or_not_under_tls_is_not_told() {
    for protocol in Protocol::ALL {
        let stage = Stage::with(protocol, |spec| spec.forward = Forward::Id).await;
        let (acts, expected) = match protocol {
            Protocol::Imap => (
                vec![say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] x\r\n"), Hear, say("f3 NO [EXPIRED] x\r\n")],
                "a NO [EXPIRED] x",
            ),
            Protocol::Pop3 => (
                vec![say("+OK x\r\n"), Hear, say("+OK\r\nSASL PLAIN\r\n.\r\n"), Hear, say("-ERR [EXPIRED] x\r\n")],
                "-ERR [EXPIRED] x",
            ),
        };
        stage.hears(acts, expected, "not asked").await;
        assert!(!super::text(&stage.node).contains("127.0.0.1"));
        stage.end().await;
        let stage = Stage::with(protocol, |spec| {
            spec.forward = Forward::Id;
            spec.node_tls = NodeTls::StartTls;
        })
        .await;
        stage.hears(curious(protocol, stage.of(["f1 NO", "-ERR"])), stage.of(UNAVAILABLE), "no TLS").await;
        let asked = stage.of(["f1 STARTTLS\r\n", "STLS\r\n"]);
        assert_eq!(super::text(&stage.node).replace(asked, ""), "");
        stage.end().await;
    }
}

// ── what they can do ────────────────────────────────────────────────────────────────────────────────────────────────

/// The words of mailferry's own list.
async fn announced(site: &Site, protocol: Protocol) -> Vec<String> {
    match protocol {
        Protocol::Imap => {
            let mut client = site.greeted(Door::ImapClear).await;
            client.send("c CAPABILITY\r\n").await;
            client.answer("c").await[0].split(' ').map(str::to_owned).collect()
        }
        Protocol::Pop3 => {
            let mut client = site.greeted(Door::Pop3Clear).await;
            client.ask("CAPA").await;
            client.until_dot().await
        }
    }
}

/// Waits until a client hears of this word, or does not hear of it any more.
async fn is_announced(site: &Site, protocol: Protocol, word: &str, is: bool) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let words = announced(site, protocol).await;
        if words.iter().any(|it| it == word) == is {
            return;
        }
        assert!(Instant::now() < deadline, "{word} should be announced: {is}, but there is {words:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn can(protocol: Protocol, words: &'static str) -> FakeNode {
    FakeNode::start(move |mut conn| async move {
        match protocol {
            Protocol::Imap => conn.send(format!("* OK [CAPABILITY IMAP4rev1 {words}] {MARK}\r\n")).await,
            Protocol::Pop3 => {
                conn.send(format!("+OK {MARK}\r\n")).await;
                conn.line().await;
                let lines = words.replace(' ', "\r\n");
                conn.send(format!("+OK\r\nSASL PLAIN XOAUTH2\r\n{lines}\r\n.\r\n")).await;
            }
        }
        conn.closed().await;
    })
    .await
}

#[tokio::test]
async fn probes_learn_what_all_nodes_in_service_can_do_and_clients_are_told() {
    for (protocol, left, right, all, some) in [
        (
            Protocol::Imap,
            "AUTH=PLAIN AUTH=XOAUTH2 IDLE NAMESPACE",
            "NAMESPACE AUTH=PLAIN AUTH=XOAUTH2",
            "AUTH=XOAUTH2",
            "IDLE",
        ),
        (Protocol::Pop3, "USER TOP UIDL", "USER TOP", "TOP", "UIDL"),
    ] {
        let (left, right) = (can(protocol, left).await, can(protocol, right).await);
        let mut spec = Spec::new(&[left.port, right.port]);
        // The other island has the same nodes, or its node would be one that has said nothing.
        spec.b = vec![left.port];
        spec.probe.interval = Duration::from_millis(50);
        // Nobody speaks the other protocol here; those probes find nobody.
        match protocol {
            Protocol::Imap => spec.pop3_port = Some(FakeNode::dead().await),
            Protocol::Pop3 => spec.imap_port = Some(FakeNode::dead().await),
        }
        let site = Site::start(spec).await;
        is_announced(&site, protocol, all, true).await;
        assert!(!announced(&site, protocol).await.contains(&some.to_owned()), "one of them cannot do it");
        site.end(&[MARK]).await;
    }
}
