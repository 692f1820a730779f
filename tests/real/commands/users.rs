//! Commands about users: their logins wait, go on, and ask the real directory again.

use super::ferry::{Ferry, site};

#[test]
fn hold_lets_logins_by_every_name_of_a_mailbox_wait() {
    let ferry = Ferry::start();
    let (bodo, other_name) = (site().user("bodo"), site().user("bodo").mail.clone());
    let mut before = ferry.idle("bodo");
    assert_eq!(ferry.said(&["hold", "bodo"]), "bodo is held, for 10m; sessions: 1, logins under way: 0\n");
    let mut waiting = [&bodo.uid, &other_name].map(|name| ferry.asks(name, "bodo"));
    let hold = || ferry.json(&["holds", "--user", "bodo"])["holds"][0].clone();
    ferry.until("both wait", || hold()["waiting"] == 2);
    ferry.imap("anna");
    before.say("DONE");
    before.until("i OK");
    assert_eq!(ferry.places("bodo"), ["b/left"]);
    let again = ferry.json(&["hold", "bodo", "--for", "2h"]);
    assert_eq!((&again["was_held"], &again["hold"]["account"]), (&true.into(), &"bodo".into()));
    assert!(again["hold"]["ends_in_s"].as_u64().unwrap() > 7000, "{again}");
    ferry.said(&["hold", "bodo", "--for", "1s"]);
    for client in &mut waiting {
        client.until("a OK");
    }
    ferry.until("that is told", || !ferry.lines(&["a hold has ended by itself", "\"waited\":2"]).is_empty());
    assert!(ferry.refused(&["hold", "bodo", "--for", "25h"], 2).starts_with("a hold lasts a second to 24 hours"));
}

#[test]
fn release_lets_logins_go_on_and_ask_the_directory() {
    let ferry = Ferry::start();
    let _known = ferry.imap("anna");
    ferry.said(&["hold", "anna"]);
    let mut waiting = ferry.asks("anna", "anna");
    ferry.until("it waits", || ferry.json(&["status"])["held_logins"] == 1);
    let said = ferry.said(&["release", "anna"]);
    assert!(said.starts_with("anna is released after ") && said.ends_with("; logins that waited: 1\n"), "{said}");
    waiting.until("a OK");
    assert_eq!(waiting.subjects().len(), 3);
    let logins = || ferry.lines(&["\"message\":\"login\"", "\"user\":\"anna\""]);
    ferry.until("both logins are told", || logins().len() == 2);
    let logins = logins();
    assert!(logins[1].contains("\"route\":\"asked\""), "{logins:?}");
    ferry.said(&["hold", "anna"]);
    let released = ferry.json(&["release", "anna"]);
    assert_eq!((&released["user"], &released["waited"]), (&"anna".into(), &0.into()));
    ferry.refused(&["release", "anna"], 4);
}

#[test]
fn holds_tells_who_is_held_and_how_many_wait() {
    let ferry = Ferry::start();
    assert_eq!(ferry.said(&["holds"]).lines().count(), 1);
    let _session = ferry.pop3("bodo");
    ferry.said(&["hold", "bodo"]);
    ferry.said(&["hold", &site().user("anna").mail]);
    let _waiting = ferry.asks(&site().user("bodo").mail, "bodo");
    ferry.until("it waits", || ferry.json(&["holds"])["holds"][0]["waiting"] == 1);
    let said = ferry.said(&["holds"]);
    let rows: Vec<Vec<&str>> = said.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows[0][..2].to_vec(), rows[1][..2].to_vec()), (vec!["bodo"; 2], vec!["anna@example.net", "anna"]));
    let tails: Vec<_> = rows.iter().map(|row| row[row.len() - 4..].join(" ")).collect();
    assert_eq!(tails, ["1 0 1 -", "0 0 0 -"], "waiting, under way, sessions, moves to: {said}");
    assert!(ferry.said(&["status"]).contains("held  2 users, for whom 1 logins wait"));
    assert!(ferry.said(&["sessions"]).contains("  bodo (held)  "));
}

#[test]
fn flush_makes_a_changed_entry_seen_at_once() {
    let ferry = Ferry::start();
    let _old = ferry.imap("alma");
    // Both islands know her now, and the directory says b.
    site().order("copy alma b");
    let _cached = ferry.imap("alma");
    assert_eq!(ferry.places("alma"), ["a/left", "a/left"]);
    assert_eq!(ferry.said(&["flush", "alma"]), "alma: forgotten\n");
    let _new = ferry.imap("alma");
    assert_eq!(ferry.places("alma"), ["a/left", "a/left", "b/left"]);
    site().order("copy alma a");
    assert_eq!(ferry.json(&["flush"])["flushed"], true);
    let _newer = ferry.imap("alma");
    assert_eq!(ferry.places("alma"), ["a/left", "a/left", "a/left", "b/left"]);
    ferry.said(&["flush"]);
    assert_eq!(ferry.said(&["flush", "alma"]), "alma: nothing was there\n");
}
