//! Commands that look, and change nothing: what they tell of slapd, of Dovecots, and of sessions between them.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::ferry::{Ferry, site};
use crate::program::Program;

/// The words of a line, of the first one that begins so.
fn words<'a>(text: &'a str, beginning: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.trim_start().starts_with(beginning));
    line.unwrap_or_else(|| panic!("no line with {beginning:?} in\n{text}")).split_whitespace().collect()
}

#[test]
fn status_knows_the_directory_the_islands_and_who_is_there() {
    let ferry = Ferry::start();
    let (_anna, _bela) = (ferry.imap("anna"), ferry.pop3("bela"));
    let is_counted = |status: &Value| status["logins_last_minute"] == 2 && status["cache"]["users"] == 2;
    ferry.until("both are counted", || is_counted(&ferry.json(&["status"])));
    let said = ferry.said(&["status"]);
    assert_eq!(words(&said, "sessions"), ["sessions", "2"], "{said}");
    assert_eq!(words(&said, "cache")[..2], ["cache", "2"], "{said}");
    for port in ["LDAP", "LDAP2"] {
        let server = format!("ldap://localhost:{}", site().value(port));
        assert_eq!(words(&said, &format!("{server} "))[1..], ["available"], "{said}");
    }
    assert_eq!(words(&said, "a  ")[1..], ["2", "of", "2", "1"], "{said}");
    let status = ferry.json(&["status"]);
    assert_eq!(status["pid"], ferry.started.child.id());
    assert_eq!((&status["ready"], &status["held"]), (&true.into(), &0.into()));
    let islands: Vec<_> =
        status["islands"].as_array().unwrap().iter().map(|it| (&it["name"], &it["sessions"])).collect();
    assert_eq!(islands, [(&json!("a"), &json!(1)), (&json!("b"), &json!(1))]);
    assert!(status["directory"].as_array().unwrap().iter().all(|it| it["available"] == true), "{status}");
}

#[test]
fn ready_is_whoever_wants_clients() {
    let ferry = Ferry::with(&[("drain_timeout = \"5s\"\n", "drain_delay = \"1h\"\n")]);
    assert_eq!(ferry.said(&["ready"]), "ready\n");
    assert_eq!(ferry.json(&["ready"])["ok"], true);
    ferry.tell(Signal::TERM);
    ferry.until("it stops", || !ferry.lines(&["\"message\":\"stopping\""]).is_empty());
    assert!(!ferry.refused(&["ready"], 70).is_empty());
    let done = ferry.command(&["ready", "--json"]);
    let told: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(done.code, 70, "{told}");
    // It serves on for so long, and who comes all the same is let in.
    ferry.imap("anna");
}

#[test]
fn islands_shows_what_real_nodes_answer_to_probes() {
    let probe = "name = \"a\"\nprobe = { interval = \"200ms\" }\n";
    let ferry = Ferry::with(&[("name = \"a\"\n", probe)]);
    let _anna = ferry.imap("anna");
    let island = || ferry.json(&["islands"])["islands"][0].clone();
    let ports = |island: &Value| -> Vec<Value> {
        let nodes = island["nodes"].as_array().unwrap();
        nodes.iter().flat_map(|node| node["protocols"].as_array().unwrap().clone()).collect()
    };
    ferry.until("all nodes have greeted a probe", || ports(&island()).iter().all(|port| port["greeting_ms"].is_f64()));
    let island = island();
    let about = |key: &str| ports(&island).iter().map(|port| port[key].clone()).collect::<Vec<_>>();
    assert_eq!(about("protocol"), ["imap", "pop3", "imap", "pop3"]);
    let expected = ["A_LEFT_IMAP", "A_LEFT_POP3", "A_RIGHT_IMAP", "A_RIGHT_POP3"].map(|it| site().value(it).to_owned());
    assert_eq!(about("port").iter().map(Value::to_string).collect::<Vec<_>>(), expected);
    assert!(about("state").iter().all(|state| state == "in-service"), "{island}");
    let said = ferry.said(&["islands"]);
    assert_eq!(said.lines().next(), Some("a (prefer)"));
    assert_eq!(words(&said, "node"), ["node", "left", "right"], "{said}");
    assert_eq!(words(&said, "sessions"), ["sessions", "1", "0"], "{said}");
    assert!(words(&said, "greeting").contains(&"ms"), "{said}");
}

#[test]
fn sessions_are_found_by_user_node_island_and_client() {
    let ferry = Ferry::start();
    let (_anna, _bela, _alma) = (ferry.idle("anna"), ferry.imap("bela"), ferry.pop3("alma"));
    // The nodes know them by the same names.
    let place = |uid: &str| ferry.places(uid).join(" ");
    assert_eq!(["anna", "bela", "alma"].map(place), ["a/left", "b/left", "a/left"]);
    let all: &[&str] = &["alma", "anna", "bela"];
    let cases: [(&[&str], &[&str]); 11] = [
        (&[], all),
        (&["--user", "anna"], &["anna"]),
        (&["--node", "a/left"], &["alma", "anna"]),
        (&["--node", "a/right"], &[]),
        (&["--island", "a"], &["alma", "anna"]),
        (&["--island", "b"], &["bela"]),
        (&["--client", "127.0.0.1"], all),
        (&["--client", "127.0.0.0/8"], all),
        (&["--client", "192.0.2.0/24"], &[]),
        (&["--client", "127.0.0.1", "--island", "b"], &["bela"]),
        (&["--user", "bela", "--island", "a"], &[]),
    ];
    for (filter, expected) in cases {
        let arguments = [&["sessions"], filter].concat();
        if filter.first() == Some(&"--user") && expected.is_empty() {
            ferry.refused(&arguments, 4);
            continue;
        }
        let json = ferry.json(&arguments);
        let sessions = json["sessions"].as_array().unwrap();
        let mut users: Vec<&str> = sessions.iter().map(|it| it["user"].as_str().unwrap()).collect();
        users.sort_unstable();
        assert_eq!((users.as_slice(), &json["matching"]), (expected, &expected.len().into()), "{filter:?}");
    }
    let said = ferry.said(&["sessions", "--user", "alma"]);
    let row: Vec<&str> = said.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[1], row[2], row[4], row[5]), ("alma", "pop3", "-", "a/left"), "{said}");
    let few = ferry.command(&["sessions", "--limit", "1"]);
    assert_eq!((few.code, few.err.as_str()), (0, "1 of 3 sessions; --limit shows more\n"));
}

#[test]
fn top_counts_logins_and_octets_of_those_who_stay_and_of_those_who_go() {
    let ferry = Ferry::start();
    let (mut reader, _other) = (ferry.imap("anna"), ferry.imap("anna"));
    // The large message is some 1.6 MB on the wire.
    let commands = ["s SELECT INBOX", "f FETCH 3 BODY.PEEK[]"];
    let mut read = 0;
    for command in commands {
        reader.say(command);
        let tag = &command[..1];
        read += reader.until(&format!("{tag} OK")).len() as u64;
    }
    let said: u64 = commands.iter().map(|command| command.len() as u64 + 2).sum();
    for _ in 0..3 {
        let mut client = ferry.pop3("bela");
        client.say("QUIT");
        assert!(client.line().starts_with("+OK") && client.is_closed());
    }
    ferry.until("bela's sessions are over", || ferry.command(&["sessions", "--user", "bela"]).code == 4);
    let top = ferry.json(&["top"]);
    let share = |kind: &str, name: &str| {
        let found = top[kind].as_array().unwrap().iter().find(|share| share["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("no {name} in {top}"))
    };
    let count = |share: &Value, key: &str| share[key].as_u64().unwrap();
    let (anna, bela) = (share("users", "anna"), share("users", "bela"));
    assert_eq!((count(&anna, "logins_last_minute"), count(&anna, "sessions")), (2, 2), "{anna}");
    assert_eq!((count(&bela, "logins_last_minute"), count(&bela, "sessions")), (3, 0), "{bela}");
    assert_eq!(count(&anna, "to_node"), said, "{anna}");
    // Two answers to logins come to it.
    let to_client = count(&anna, "to_client");
    assert!((read..read + 4096).contains(&to_client), "{anna}: the client has read {read}");
    assert!(count(&anna, "octets_last_minute") + 65_536 >= read && count(&bela, "octets_last_minute") > 18, "{top}");
    let node = share("nodes", "a/left");
    assert_eq!((count(&node, "sessions"), count(&node, "to_client")), (2, to_client), "{node}");
    assert_eq!(count(&share("networks", "127.0.0.1"), "logins_last_minute"), 5);
    let first = |sort: &str| ferry.json(&["top", "--sort", sort])["users"][0]["name"].clone();
    assert_eq!(["logins", "sessions", "bytes"].map(first), ["bela", "anna", "anna"]);
    ferry.until("the last second is over", || ferry.json(&["top"])["logins_last_minute"] == 5);
    let table = ferry.said(&["top", "--limit", "1"]);
    assert!(table.starts_with("2 sessions, 5 logins in the last minute\n"), "{table}");
    assert_eq!(words(&table, "bela")[..3], ["bela", "3", "0"], "{table}");
}

/// By each command that can be given a name.
#[test]
fn what_is_not_there_is_4_with_what_may_be_meant() {
    let ferry = Ferry::start();
    let _anna = ferry.imap("anna");
    let cases: [(&[&str], &str); 14] = [
        (&["sessions", "--user", "ana"], "no session of user ana; did you mean anna?"),
        (&["sessions", "--node", "a/lefft"], "no such node: a/lefft; did you mean a/left?"),
        (&["sessions", "--island", "c"], "no such island: c; did you mean a?"),
        (&["kick", "ana"], "no session of user ana; did you mean anna?"),
        (&["kick", "00000001-1"], "no such session: 00000001-1"),
        (&["kick", "b/rihgt"], "no such node: b/rihgt; did you mean b/right?"),
        (&["drain", "a/leftt"], "no such node: a/leftt; did you mean a/left?"),
        (&["undrain", "a/middle"], "no such node: a/middle"),
        (&["maintenance", "b/left/"], "no such node: b/left/; did you mean b/left?"),
        (&["fail-back", "bb"], "no such island: bb; did you mean b?"),
        (&["hold", "ana"], "the directory knows no user ana; did you mean anna?"),
        (&["release", "anna"], "anna is not held"),
        (&["move", "ana", "b"], "the directory knows no user ana; did you mean anna?"),
        (&["move", "anna", "c"], "no such island: c; did you mean a?"),
    ];
    for (arguments, expected) in cases {
        let told = ferry.refused(arguments, 4);
        assert!(told.starts_with(expected), "{arguments:?}: {told}");
        let done = ferry.command(&[arguments, &["--json"]].concat());
        assert_eq!(done.code, 4, "{arguments:?} --json");
    }
    assert_eq!(ferry.refused(&["holds", "--user", "anna"], 4), "anna is not held\n");
    assert!(ferry.refused(&["logs-level", "sesion=debug"], 4).ends_with("did you mean session?\n"));
    assert_eq!(ferry.places("anna"), ["a/left"], "nothing of it has done anything");
    assert_eq!(ferry.json(&["holds"])["holds"], json!([]));
}

#[test]
fn without_a_mailferry_every_command_to_one_ends_with_69_and_misuse_with_2() {
    let ferry = Ferry::start();
    let (nobody, mut asked) = (ferry.path("nobody.sock"), 0);
    for command in mailferry::cli::definition().get_subcommands() {
        let given = |name: &str| command.get_arguments().any(|it| it.get_id() == name);
        if !given("socket") {
            continue;
        }
        asked += 1;
        let required = command.get_arguments().filter(|it| it.is_required_set() && it.is_positional()).count();
        let program = || Program::new([command.get_name()].into_iter().chain(vec!["a/left"; required]));
        let done = program().arg("--socket").arg(&nobody).run();
        assert_eq!((done.code, done.out.as_str()), (69, ""), "{}: {}", command.get_name(), done.err);
        assert!(done.err.contains("nobody.sock: no mailferry listens there"), "{}", done.err);
        assert_eq!(program().arg("--sockets").run().code, 2, "{}", command.get_name());
        if required > 0 {
            assert_eq!(Program::new([command.get_name()]).run().code, 2, "{}", command.get_name());
        }
    }
    assert!(asked > 12, "only {asked}");
}
