//! Commands that look: what they print, and the codes with which they end.

use super::site::{Folder, Program, done, site};

#[tokio::test]
async fn status_shows_the_whole_on_one_screen() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let _clients = (running.log_in("alice").await, running.log_in("bob").await);
    let out = running.command(&["status"]).await.said();
    for line in [
        format!("version     {}", env!("CARGO_PKG_VERSION")),
        format!("process     {}", running.pid()),
        format!("config      {}", folder.path("proxy.toml").display()),
        format!("state file  {}", folder.path("operator.json").display()),
        "ready       yes".to_owned(),
        "sessions    2".to_owned(),
        "cache       2 of 200000 users".to_owned(),
        "ISLAND  NODES IN SERVICE  SESSIONS".to_owned(),
        "a       2 of 2            1".to_owned(),
        "b       1 of 1            1".to_owned(),
    ] {
        assert!(out.lines().any(|it| it == line), "{line:?} is not in\n{out}");
    }
    for head in ["user        ", "files       ", "calls       "] {
        assert!(out.contains(head), "{head:?} is not in\n{out}");
    }
    assert!(out.contains("since       2") && out.contains("logins      ") && out.contains("look-ups    "), "{out}");
    assert!(out.contains("users  available\n") && !out.contains("\x1b"), "{out}");
    let json = running.command(&["status", "--json"]).await.json();
    assert_eq!((&json["sessions"], &json["islands"][1]["name"]), (&2.into(), &"b".into()));
}

#[tokio::test]
async fn status_says_that_no_new_clients_are_wanted() {
    let (_left, _right, folder) = site().await;
    folder.replace("[admin]\n", "drain_delay = \"1h\"\n[admin]\n");
    let running = folder.run().await;
    let process = rustix::process::Pid::from_raw(running.pid() as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    running.log.line(&["\"message\":\"stopping\""]).await;
    let out = running.command(&["status"]).await.said();
    assert!(out.contains("\nready       no: "), "{out}");
    assert_eq!(running.command(&["status", "--json"]).await.json()["ready"], false);
}

#[tokio::test]
async fn islands_shows_nodes_side_by_side() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let _client = running.log_in("alice").await;
    let out = running.command(&["islands"]).await.said();
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    let begins: [&[&str]; 5] = [
        &["a", "(prefer)"],
        &["node", "left", "right"],
        &["host", "127.0.0.1", "127.0.0.1"],
        &["operator", "in-service", "in-service"],
        &["sessions", "1", "0"],
    ];
    for (line, expected) in lines.iter().zip(begins) {
        assert_eq!(line, expected, "{out}");
    }
    assert!(lines[5].starts_with(&["imap", "in-service", "for"]), "{out}");
    assert!(out.contains("\nb (prefer)\n"), "{out}");
    let json = running.command(&["islands", "--json"]).await.json();
    assert_eq!(json["islands"][0]["nodes"][0]["sessions"], 1);
}

#[tokio::test]
async fn a_node_that_is_down_says_why() {
    let (left, _right, folder) = site().await;
    folder.replace(
        &format!("imap_port = {} }},\n{{ name = \"right\"", left.port),
        "imap_port = 1 },\n{ name = \"right\"",
    );
    let running = folder.run().await;
    for _ in 0..3 {
        running.log_in("alice").await;
    }
    running.log.line(&["\"state\":\"down\""]).await;
    let json = running.command(&["islands", "--json"]).await.json();
    let port = &json["islands"][0]["nodes"][0]["protocols"][0];
    assert_eq!(port["state"], "down");
    assert!(port["reason"].as_str().unwrap().contains("refused"), "{port}");
    let out = running.command(&["islands"]).await.said();
    assert!(out.contains("down for") && out.contains("    reason"), "{out}");
    let out = running.command(&["status"]).await.said();
    assert!(out.contains("a       1 of 2 "), "{out}");
}

#[tokio::test]
async fn sessions_are_found_by_user_node_island_and_network() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let mut alice = running.log_in("alice").await;
    let _bob = running.log_in("bob").await;
    alice.command("b", "NOOP").await;
    let all = running.command(&["sessions"]).await.said();
    assert_eq!(all.lines().count(), 3, "{all}");
    let head = "SESSION  USER  PROTOCOL  CLIENT  TLS  NODE  AGE  TO NODE  TO CLIENT";
    assert_eq!(
        all.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(),
        head.split_whitespace().collect::<Vec<_>>()
    );
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--user", "alice"], &["alice"]),
        (&["--node", "a/left"], &["alice"]),
        (&["--node", "a/right"], &[]),
        (&["--island", "b"], &["bob"]),
        (&["--client", "127.0.0.0/8"], &["alice", "bob"]),
        (&["--client", "::ffff:127.0.0.1"], &[]),
        (&["--client", "127.0.0.1"], &["alice", "bob"]),
        (&["--client", "192.0.2.0/24"], &[]),
        (&["--island", "a", "--client", "127.0.0.1", "--node", "a/left"], &["alice"]),
    ];
    for (filter, expected) in cases {
        let json = running.command(&[&["sessions", "--json"], filter].concat()).await.json();
        let mut users: Vec<&str> =
            json["sessions"].as_array().unwrap().iter().map(|it| it["user"].as_str().unwrap()).collect();
        users.sort_unstable();
        assert_eq!(users, expected, "{filter:?}");
    }
    let json = running.command(&["sessions", "--user", "alice", "--json"]).await.json();
    let session = &json["sessions"][0];
    assert_eq!((&session["to_node"], &session["to_client"]), (&8.into(), &(session["to_client"])), "{session}");
    assert!(session["to_client"].as_u64().unwrap() > 11, "the answer to the login, and `b OK done`: {session}");
    let id = running.log.line(&["\"message\":\"login\"", "alice"]).await;
    assert!(id.contains(session["session"].as_str().unwrap()), "the log's name of it: {id}");
    let few = running.command(&["sessions", "--limit", "1"]).await;
    assert_eq!((few.code, few.out.lines().count(), few.err.as_str()), (0, 2, "1 of 2 sessions; --limit shows more\n"));
}

#[tokio::test]
async fn top_has_the_users_networks_and_nodes_with_the_most_first() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let mut clients = Vec::new();
    for user in ["bob", "alice", "alice", "alina"] {
        clients.push(running.log_in(user).await);
    }
    let out = running.command(&["top"]).await.said();
    assert!(out.starts_with("4 sessions, ") && !out.contains("\x1b"), "{out}");
    let rows: Vec<Vec<&str>> = out.lines().skip(1).map(|line| line.split_whitespace().take(3).collect()).collect();
    let expected: [&[&str]; 12] = [
        &[],
        &["USER", "LOGINS/MIN", "SESSIONS"],
        &["alice", "2", "2"],
        &["alina", "1", "1"],
        &["bob", "1", "1"],
        &[],
        &["NETWORK", "LOGINS/MIN", "SESSIONS"],
        &["127.0.0.1", "4", "4"],
        &[],
        &["NODE", "LOGINS/MIN", "SESSIONS"],
        &["a/left", "3", "3"],
        &["b/only", "1", "1"],
    ];
    assert_eq!(rows, expected, "{out}");
    let json = running.command(&["top", "--limit", "1", "--json"]).await.json();
    assert_eq!(json["users"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn top_has_those_who_log_in_often_and_do_not_stay() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let _stays = (running.log_in("alice").await, running.log_in("alice").await);
    for _ in 0..5 {
        let mut client = running.log_in("bob").await;
        client.command("z", "LOGOUT").await;
        client.closed().await;
    }
    let first = async |sort: &str| {
        let top = running.command(&["top", "--json", "--sort", sort]).await.json();
        let first = &top["users"][0];
        (first["name"].as_str().unwrap().to_owned(), first["logins_last_minute"].as_u64().unwrap())
    };
    assert_eq!(first("logins").await, ("bob".to_owned(), 5));
    assert_eq!(first("sessions").await, ("alice".to_owned(), 2));
    // What those have moved who are gone counts: of the others, it will when there is more of it.
    assert_eq!(first("bytes").await, ("bob".to_owned(), 5));
    assert_eq!(running.command(&["top", "--sort", "age"]).await.code, 2);
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_may_be_meant() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let _client = running.log_in("alice").await;
    let cases: [(&[&str], &str); 11] = [
        (&["sessions", "--user", "alise"], "no session of user alise; did you mean alice?"),
        (&["sessions", "--user", "nobody"], "no session of user nobody"),
        (&["sessions", "--node", "a/lefft"], "no such node: a/lefft; did you mean a/left?"),
        (&["sessions", "--island", "c"], "no such island: c; did you mean a?"),
        (&["kick", "alise"], "no session of user alise; did you mean alice?"),
        (&["kick", "a/middle-of-nowhere"], "no such node: a/middle-of-nowhere"),
        (&["kick", "00000001-1"], "no such session: 00000001-1"),
        (&["drain", "left"], "no such node: left; did you mean a/left?"),
        (&["drain", "a/right/"], "no such node: a/right/; did you mean a/right?"),
        (&["fail-back", "zzzzzz"], "no such island: zzzzzz"),
        (&["logs-level", "sesion=debug"], "no such module: sesion; did you mean session?"),
    ];
    for (arguments, expected) in cases {
        let done = running.command(arguments).await;
        assert_eq!((done.code, done.out.as_str(), done.err.trim_end()), (4, "", expected), "{arguments:?}");
    }
    let done = running.command(&["drain", "a/lefft", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((done.code, &json["meant"][0]), (4, &"a/left".into()), "for programs too");
    for wrong in [&["sessions", "--client", "here"][..], &["logs-level", "loud"], &["logs-level", "5"], &["kick"]] {
        let done = running.command(wrong).await;
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{wrong:?}: {}", done.err);
        assert!(!done.err.is_empty());
    }
}

#[tokio::test]
async fn without_a_mailferry_the_code_is_69_and_without_permission_77() {
    let folder = Folder::new([1, 1]);
    let done_ = folder.command(&["status"]).await;
    assert_eq!((done_.code, done_.out.as_str()), (69, ""));
    assert!(done_.err.contains("admin.sock: no mailferry listens there"), "{}", done_.err);
    let (_left, _right, folder) = site().await;
    let _running = folder.run().await;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Somebody else: a folder on the way is only root's, as is the socket's group.
    std::fs::set_permissions(folder.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let somebody = Program::through("setpriv", &["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let refused = done(somebody.arg("status").arg("--socket").arg(folder.path("admin.sock"))).await;
    assert_eq!(refused.code, 77, "{}", refused.err);
    assert!(refused.err.contains("not permitted: only root, mailferry's user and its group"), "{}", refused.err);
}

#[tokio::test]
async fn completions_and_man_pages_know_every_command() {
    let commands = [
        "run",
        "check",
        "route",
        "status",
        "islands",
        "sessions",
        "top",
        "kick",
        "drain",
        "undrain",
        "maintenance",
        "fail-back",
        "hold",
        "release",
        "holds",
        "move",
        "flush",
        "reload",
        "logs-level",
        "completions",
        "man",
    ];
    let mailferry = |arguments: &[&str]| done(Program::new(arguments));
    for shell in ["bash", "zsh", "fish"] {
        let script = mailferry(&["completions", shell]).await.said();
        for command in commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    for command in commands {
        assert!(page.contains(&format!("`{command}")) || page.contains(&format!("mailferry {command}")), "{command}");
    }
    let page = mailferry(&["man"]).await.said();
    assert!(page.contains(".TH mailferry 1"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    mailferry(&["man", folder.path().to_str().unwrap()]).await.said();
    for command in commands {
        let page = std::fs::read_to_string(folder.path().join(format!("mailferry-{command}.1"))).unwrap();
        assert!(page.contains(&format!(".TH mailferry-{command} 1")), "{page:.200}");
        assert!(mailferry(&[command, "--help"]).await.said().contains("Usage: "), "{command}");
    }
    for command in
        ["status", "islands", "sessions", "top", "kick", "drain", "undrain", "maintenance", "fail-back", "flush"]
    {
        let help = mailferry(&[command, "--help"]).await.said();
        for code in ["4 no such user", "69 no mailferry", "77 not permitted", "--json"] {
            assert!(help.contains(code), "{command}: {help}");
        }
    }
}
