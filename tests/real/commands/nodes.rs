//! Commands about nodes: where real logins go from then on, and what becomes of real sessions.

use super::ferry::{Ferry, site};
use crate::moves::Client;

/// A session that lives: Dovecot answers.
fn lives(client: &mut Client) {
    client.say("DONE");
    client.until("i OK");
    client.say("n NOOP");
    client.until("n OK");
}

#[test]
fn drain_sends_the_next_login_to_the_other_node_and_leaves_sessions_alone() {
    let ferry = Ferry::start();
    let (mut anna, mut pop3) = (ferry.idle("anna"), ferry.pop3("adam"));
    assert_eq!(ferry.said(&["drain", "a/left"]), "a/left is draining (was in-service); sessions: 2\n");
    let (_new, _newer) = (ferry.imap("anna"), ferry.pop3("adam"));
    for uid in ["anna", "adam"] {
        assert_eq!(ferry.places(uid), ["a/left", "a/right"], "{uid}");
    }
    lives(&mut anna);
    pop3.say("STAT");
    assert!(pop3.line().starts_with("+OK 3 "));
    let _bela = ferry.imap("bela");
    assert_eq!(ferry.places("bela"), ["b/left"], "the other island is as it was");
    let json = ferry.json(&["drain", "b/left"]);
    assert_eq!(
        (&json["was"], &json["state"], &json["in_service"]),
        (&"in-service".into(), &"draining".into(), &1.into())
    );
    let last = ferry.command(&["drain", "a/right"]);
    assert_eq!(last.code, 0);
    assert!(last.err.starts_with("warning: the island has no node in service"), "{}", last.err);
}

#[test]
fn undrain_gives_a_node_its_users_again() {
    let ferry = Ferry::start();
    ferry.said(&["drain", "a/left"]);
    let mut away = ferry.idle("anna");
    assert_eq!(ferry.places("anna"), ["a/right"]);
    assert_eq!(ferry.said(&["undrain", "a/left"]), "a/left is in-service (was draining); sessions: 0\n");
    let _back = ferry.imap("anna");
    assert_eq!(ferry.places("anna"), ["a/left", "a/right"]);
    lives(&mut away);
    let json = ferry.json(&["undrain", "a/left"]);
    assert_eq!(
        (&json["was"], &json["state"], &json["sessions"]),
        (&"in-service".into(), &"in-service".into(), &1.into())
    );
}

#[test]
fn maintenance_takes_a_node_out_and_nobody_looks_at_it() {
    let ferry = Ferry::with(&[("name = \"a\"\n", "name = \"a\"\nprobe = { interval = \"100ms\" }\n")]);
    let mut before = ferry.idle("anna");
    let said = ferry.said(&["maintenance", "a/left"]);
    assert_eq!(said, "a/left is maintenance (was in-service); sessions: 1\n");
    let _after = ferry.pop3("anna");
    assert_eq!(ferry.places("anna"), ["a/left", "a/right"]);
    // A probe that was under way may have come to its end.
    let greeting =
        |node: usize| ferry.json(&["islands"])["islands"][0]["nodes"][node]["protocols"][0]["greeting_ms"].to_string();
    let (mut left, mut right, mut looks) = (greeting(0), greeting(1), 0);
    ferry.until("the right node alone is probed on and on", || {
        let (left_now, right_now) = (greeting(0), greeting(1));
        looks = if left_now == left { looks + u32::from(right_now != right) } else { 0 };
        (left, right) = (left_now, right_now);
        looks > 4
    });
    lives(&mut before);
    let json = ferry.json(&["undrain", "a/left"]);
    assert_eq!((&json["was"], &json["state"]), (&"maintenance".into(), &"in-service".into()));
    ferry.until("it is probed again", || greeting(0) != left);
    assert_eq!(ferry.json(&["maintenance", "a/left"])["state"], "maintenance");
}

#[test]
fn fail_back_gives_a_node_that_has_returned_its_users() {
    let island = "name = \"b\"\nfail_back = \"manual\"\nprobe = { interval = \"100ms\", fall = 1, rise = 1 }\n";
    let ferry = Ferry::alone(&[("name = \"b\"\n", island)]);
    assert_eq!(ferry.said(&["fail-back", "b"]), "b: no node was held back\n");
    let _first = ferry.imap("bela");
    assert_eq!(ferry.places("bela"), ["b/left"]);
    drop(_first);
    site().order("kill b-left");
    let _second = ferry.imap("bela");
    let on = |place: &str| ferry.places("bela").iter().filter(|it| *it == place).count();
    ferry.until("mailferry has noticed", || on("b/right") == 1 && on("b/left") == 0);
    let port = || ferry.json(&["islands"])["islands"][1]["nodes"][0]["protocols"][0].clone();
    ferry.until("a probe or a login has found it dead", || port()["state"] == "down");
    site().order("start b-left");
    ferry.until("it has returned", || port()["held_back"] == true);
    let _third = ferry.imap("bela");
    assert_eq!(ferry.places("bela"), ["b/right", "b/right"], "its users are held back");
    assert!(ferry.said(&["islands"]).contains(", held back"));
    assert_eq!(ferry.json(&["fail-back", "b"])["nodes"], serde_json::json!(["left"]));
    let _fourth = ferry.imap("bela");
    assert_eq!(ferry.places("bela"), ["b/left", "b/right", "b/right"]);
}

/// In which nothing is under way, so that it can hear why.
fn is_quiet(ferry: &Ferry, uids: &[&str]) {
    let age = |uid: &str| ferry.sessions(uid).iter().map(|it| it["age_s"].as_u64().unwrap()).min().unwrap();
    let youngest = || uids.iter().map(|uid| age(uid)).min().unwrap();
    let now = youngest();
    ferry.until("all sessions have been quiet for more than a second", || youngest() >= now + 2);
}

const WORDS: &str = "* BYE [UNAVAILABLE] Shutting down, please reconnect\r\n";

#[test]
fn kick_ends_sessions_of_a_user_a_node_or_one_and_clients_hear_it() {
    let ferry = Ferry::start();
    let (mut anna, mut also) = (ferry.idle("anna"), ferry.idle("anna"));
    let (mut adam, mut pop3) = (ferry.idle("adam"), ferry.pop3("alma"));
    let (mut bela, mut stays) = (ferry.idle("bela"), ferry.idle("bodo"));
    is_quiet(&ferry, &["anna", "adam", "bela"]);
    assert_eq!(ferry.said(&["kick", "anna"]), "2 sessions end\n");
    for client in [&mut anna, &mut also] {
        assert_eq!((client.line().as_str(), client.line().as_str()), (WORDS, ""));
    }
    drop((anna, also));
    ferry.until("they are gone", || ferry.command(&["kick", "anna"]).code == 4);
    let id = ferry.sessions("bela")[0]["session"].as_str().unwrap().to_owned();
    assert_eq!(ferry.json(&["kick", &id])["kicked"], 1);
    assert_eq!((bela.line().as_str(), bela.line().as_str()), (WORDS, ""));
    assert_eq!(ferry.said(&["kick", "a/left"]), "2 sessions end\n");
    assert_eq!((adam.line().as_str(), adam.line().as_str()), (WORDS, ""));
    assert_eq!(pop3.line(), "", "POP3 has no words for it");
    lives(&mut stays);
    let ends = || ferry.lines(&["\"who\":\"operator\"", "\"stage\":\"relay\"", "\"why\":\"kicked\""]).len();
    ferry.until("the log tells who has ended them", || ends() == 5);
    let log = site().path("FOLDER").join("log/b-left.log");
    let ended = |line: &str| line.contains(&format!("<{id}>: ")) && line.contains("Disconnected: ");
    ferry.until("the node has heard of it too", || std::fs::read_to_string(&log).unwrap().lines().any(ended));
    let _back = ferry.imap("anna");
    assert_eq!(ferry.places("anna"), ["a/left"], "who comes back is let in");
}
