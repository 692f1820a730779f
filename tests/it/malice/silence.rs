//! Nodes that are down, hang up or fall silent, at each step.

use std::time::Duration;

use mailferry::proto::Protocol;
use mailferry::routing::NodeTls;

use super::Act::{Drip, HangUp, Hear};
use super::{Act, MARK, Stage, UNAVAILABLE, forever, say};
use crate::node::FakeNode;
use crate::site::Spec;

/// How far a node goes before it says no more, with half a line begun wherever it could have said one.
fn steps(protocol: Protocol) -> Vec<Vec<Act>> {
    let lines: &[&str] = match protocol {
        Protocol::Imap => &[
            "* OK MARK\r\n",
            "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nf2 OK MARK\r\n",
            "+ MARK\r\n",
            "* 1 EXISTS\r\n* LIST {3}\r\nabc MARK\r\nf3 OK in\r\n",
        ],
        Protocol::Pop3 => &["+OK MARK\r\n", "+OK\r\nSASL GSSAPI\r\nUSER\r\n.\r\n", "+OK MARK\r\n"],
    };
    let mut steps = vec![vec![], vec![say(if protocol == Protocol::Imap { "* O" } else { "+O" })]];
    let mut so_far = Vec::new();
    for line in lines {
        so_far.extend([say(line.replace("MARK", MARK)), Hear]);
        steps.push(so_far.clone());
        let half = match protocol {
            Protocol::Imap => format!("* OK {MARK}"),
            Protocol::Pop3 => format!("+OK {MARK}"),
        };
        steps.push([so_far.as_slice(), &[say(half)]].concat());
    }
    steps
}

#[tokio::test]
async fn r_be_02_a_node_that_hangs_up_at_any_step_is_unavailable() {
    for protocol in Protocol::ALL {
        let stage = Stage::new(protocol).await;
        for (step, acts) in steps(protocol).into_iter().enumerate() {
            stage.hears([acts, vec![HangUp]].concat(), stage.of(UNAVAILABLE), &format!("{protocol} at {step}")).await;
        }
        stage.end().await;
    }
}

#[tokio::test]
async fn r_be_02_a_node_that_falls_silent_or_drips_at_any_step_is_unavailable_within_the_deadline() {
    for protocol in Protocol::ALL {
        let stage = Stage::with(protocol, |spec| {
            spec.greeting_timeout = Duration::from_millis(150);
            spec.node_login_timeout = Duration::from_millis(150);
        })
        .await;
        for (step, acts) in steps(protocol).into_iter().enumerate() {
            stage.hears(acts.clone(), stage.of(UNAVAILABLE), &format!("{protocol} at {step}")).await;
            let drip = [acts, vec![Drip(b'x')]].concat();
            stage.hears(drip, stage.of(UNAVAILABLE), &format!("{protocol} drips at {step}")).await;
        }
        stage.end().await;
    }
}

#[tokio::test]
async fn r_be_02_a_node_that_is_down_is_unavailable() {
    for protocol in Protocol::ALL {
        let dead = FakeNode::dead().await;
        let stage = Stage::with(protocol, |spec: &mut Spec| spec.a = vec![dead]).await;
        for _ in 0..3 {
            stage.hears(vec![], stage.of(UNAVAILABLE), "dead").await;
        }
        stage.end().await;
    }
}

#[tokio::test]
async fn r_be_05_what_stands_behind_the_agreement_to_tls_fails_the_login_and_nothing_is_said_in_clear_text() {
    for protocol in Protocol::ALL {
        let stage = Stage::with(protocol, |spec| spec.node_tls = NodeTls::StartTls).await;
        let (greeting, agrees, asked) = match protocol {
            Protocol::Imap => {
                ("* OK [CAPABILITY IMAP4rev1 ID AUTH=PLAIN SASL-IR] MARK\r\n", "f1 OK MARK\r\n", "f1 STARTTLS\r\n")
            }
            Protocol::Pop3 => ("+OK [XCLIENT] MARK\r\n", "+OK MARK\r\n", "STLS\r\n"),
        };
        let (greeting, agrees) = (greeting.replace("MARK", MARK), agrees.replace("MARK", MARK));
        let injected = match protocol {
            Protocol::Imap => "* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\nf2 OK\r\n",
            Protocol::Pop3 => "+OK\r\nUSER\r\n.\r\n",
        };
        for behind in [injected, "x", "\r\n", "\x16\x03\x03\0\x01"] {
            let agreed = format!("{agrees}{behind}");
            stage.hears(vec![say(&greeting), Hear, say(agreed)], stage.of(UNAVAILABLE), behind).await;
        }
        let refusals: &[&str] = match protocol {
            Protocol::Imap => &["f1 NO MARK", "f1 BAD MARK", "* BYE MARK", "* PREAUTH MARK", "f2 OK MARK"],
            Protocol::Pop3 => &["-ERR MARK", "* OK MARK", "+ MARK"],
        };
        for refusal in refusals {
            let refusal = format!("{}\r\n", refusal.replace("MARK", MARK));
            stage.hears(vec![say(&greeting), Hear, say(&refusal)], stage.of(UNAVAILABLE), &refusal).await;
        }
        let seen = super::text(&stage.node);
        assert_eq!(seen.replace(asked, ""), "", "more was said than that TLS is wanted");
        stage.hears(vec![say(&greeting), Hear, say(&agrees), forever("x")], stage.of(UNAVAILABLE), "garbage").await;
        assert!(!super::text(&stage.node).contains("alice"));
        stage.end().await;
    }
}
