//! Commands that work on a configuration or on the process: with the real directory, real nodes, and sessions that must not
//! feel it.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::ferry::{Ferry, configuration, site};
use crate::program::Program;

#[test]
fn run_serves_until_a_signal_and_tells_who_waits_for_news() {
    let mut ferry = Ferry::start();
    let (mut idle, mut pop3) = (ferry.idle("anna"), ferry.pop3("bela"));
    ferry.tell(Signal::TERM);
    let words = "* BYE [UNAVAILABLE] Shutting down, please reconnect\r\n";
    assert_eq!((idle.line().as_str(), idle.line().as_str()), (words, ""));
    assert_eq!(pop3.line(), "");
    assert_eq!(ferry.ends(), Some(0));
    ferry.until("the last line says so", || {
        !ferry.lines(&["\"message\":\"stopped\"", "\"told\":2", "\"cut\":0"]).is_empty()
    });
    drop(ferry);
    let mut ferry = Ferry::with(&[("drain_timeout = \"5s\"", "drain_timeout = \"1h\"")]);
    let mut cut = ferry.idle("anna");
    ferry.tell(Signal::TERM);
    ferry.until("it stops", || !ferry.lines(&["\"message\":\"no listener is open any more\""]).is_empty());
    ferry.tell(Signal::TERM);
    assert_eq!((ferry.ends(), cut.is_closed()), (Some(75), true), "sessions were broken off");
}

#[test]
fn check_reads_the_files_of_a_real_site() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    let check = |text: &str, more: &[&str]| {
        fs::write(&path, text).unwrap();
        Program::new(["check"]).arg(&path).also(more).run()
    };
    let good = configuration(&[]);
    let said = check(&good, &[]).said();
    assert_eq!(said, format!("{}: no problems; listeners: 2, islands: 2, nodes: 4\n", path.display()));
    let json = check(&good, &["--json"]).json();
    assert_eq!((&json["nodes"], &json["problems"]), (&4.into(), &json!([])));
    let secret = site().path("FOLDER").join("directory/bind.secret").display().to_string();
    for (file, named) in [(site().value("CA"), "ca.pem"), (secret.as_str(), "bind.secret")] {
        let bad = good.replace(file, &format!("{file}.gone"));
        let done = check(&bad, &[]);
        assert_eq!((done.code, done.out.as_str()), (78, ""), "{}", done.err);
        assert!(done.err.contains(&format!("{named}.gone")), "{}", done.err);
        let done = check(&bad, &["--json"]);
        let json: Value = serde_json::from_str(&done.out).unwrap();
        assert_eq!(done.code, 78, "{json}");
        assert!(json["problems"][0]["message"].as_str().unwrap().contains(named), "{json}");
    }
}

#[test]
fn route_names_the_island_that_the_real_directory_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    let config = configuration(&[("level = \"trace\"\n", "level = \"error\"\n")]);
    fs::write(&path, &config).unwrap();
    let route = |user: &str, more: &[&str]| Program::new(["route", user, "--config"]).arg(&path).also(more).run();
    let before = site().searches("directory") + site().searches("directory2");
    let said = route("anna", &[]).said();
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[..3], [vec!["user", "anna"], vec!["island", "a"], vec!["log", "in", "as", "anna"]], "{said}");
    assert!(lines[3][1].starts_with("ldap://localhost:"), "{said}");
    let ports = ["A_LEFT_IMAP", "A_RIGHT_IMAP"].map(|it| site().value(it));
    assert_eq!((lines[5][2], lines[5][5], lines[6][1], lines[6][4]), ("left", ports[0], "right", ports[1]), "{said}");
    let other_name = route(&site().user("bodo").mail, &[]).said();
    assert!(other_name.contains("island     b\nlog in as  bodo\n"), "{other_name}");
    site().eventually("a directory was asked", || {
        site().searches("directory") + site().searches("directory2") >= before + 2
    });
    let json = route("bela", &["--json"]).json();
    assert_eq!((&json["island"], &json["nodes"][0]["name"]), (&"b".into(), &"left".into()), "{json}");
    let unknown = route("nobody", &[]);
    assert_eq!((unknown.code, unknown.out.as_str()), (4, ""), "{}", unknown.err);
    let [first, second] = ["LDAP\"", "LDAP2\""].map(|name| format!(":{}\"", site().value(name.trim_end_matches('"'))));
    fs::write(&path, config.replace(&first, ":1\"").replace(&second, ":1\"")).unwrap();
    let away = route("anna", &[]);
    assert_eq!((away.code, away.out.as_str()), (69, ""), "{}", away.err);
    assert_eq!(route("anna", &["--listener", "192.0.2.1:143"]).code, 2);
}

#[test]
fn reload_adds_a_node_and_an_island_under_held_sessions() {
    let whole = configuration(&[]);
    let (island_a, island_b) = whole.split_at(whole.find("[[island]]\nname = \"b\"").unwrap());
    let right = island_a.lines().find(|line| line.contains("name = \"right\"")).unwrap();
    let ferry = Ferry::of(&island_a.replace(right, ""));
    let file = ferry.config().display().to_string();
    let mut held = ferry.idle("anna");
    let mut bela = ferry.asks("bela", "bela");
    assert!(bela.line().starts_with("a NO [UNAVAILABLE]"), "nobody knows island b");
    fs::write(ferry.config(), format!("{island_a}{island_b}")).unwrap();
    let said = ferry.said(&["reload"]);
    assert!(said.contains("[island] b added\n") && said.contains("[island.nodes] right of a added\n"), "{said}");
    assert!(said.ends_with(", need a restart: 0\n"), "{said}");
    let _bela = ferry.imap("bela");
    assert_eq!(ferry.places("bela"), ["b/left"]);
    ferry.said(&["drain", "a/left"]);
    let _new = ferry.imap("anna");
    assert_eq!(ferry.places("anna"), ["a/left", "a/right"]);
    held.say("DONE");
    held.until("i OK");
    ferry.rewrite("hostname = \"mail.example.net\"", "hostnam = \"mail.example.net\"");
    let told = ferry.refused(&["reload"], 78);
    assert!(told.ends_with(&format!("{file}: not reloaded: everything is as it was\n")), "{told}");
    ferry.rewrite("hostnam = \"mail.example.net\"", "hostname = \"new.example.net\"");
    let json = ferry.json(&["reload"]);
    let changes = json!([{"section": "server", "name": "", "what": "changed: hostname"}]);
    assert_eq!((&json["done"], &json["changes"]), (&true.into(), &changes));
    assert_eq!(ferry.places("anna"), ["a/left", "a/right"]);
    held.say("n NOOP");
    held.until("n OK");
}

#[test]
fn logs_level_changes_what_real_logins_leave_in_the_log() {
    let ferry = Ferry::with(&[("level = \"trace\"\n", "")]);
    assert_eq!(ferry.said(&["logs-level"]), "all  info\n");
    let told = |uid: &str, level: &str, last: &str| {
        let before = ferry.lines(&[]).len();
        let mut client = ferry.imap(uid);
        client.say("z LOGOUT");
        client.until("z OK");
        assert!(client.is_closed());
        let json = ferry.json(&["logs-level", level]);
        assert_eq!(json["level"].as_str().unwrap_or_default(), level.split('=').next_back().unwrap_or_default());
        let lines = || ferry.lines(&[]).split_off(before);
        ferry.until(last, || lines().iter().any(|line| line.contains(last)));
        lines()
    };
    // The stages of a login stand before its line, and all that before the line of an order; at `warn` there is none.
    let (login, order) = ("\"message\":\"login\"", "operator: log level");
    let count = |lines: &[String], text: &str| lines.iter().filter(|line| line.contains(text)).count();
    let lines = told("anna", "trace", order);
    assert_eq!((count(&lines, login), count(&lines, "\"message\":\"stage\"")), (1, 0), "{lines:?}");
    let lines = told("anna", "warn", login);
    assert!(count(&lines, "\"message\":\"stage\"") > 3, "{lines:?}");
    let lines = told("anna", "info", order);
    assert_eq!(count(&lines, login), 0, "{lines:?}");
    assert_eq!(ferry.said(&["logs-level", "session=trace"]), "all      info\nsession  trace\n");
    assert!(count(&told("bela", "info", login), "\"message\":\"stage\"") > 3);
    assert!(ferry.refused(&["logs-level", "loud"], 2).starts_with("level: one of error"));
}

#[test]
fn import_perdition_makes_a_configuration_with_which_real_users_log_in() {
    let (ldap, node, ca) = (site().value("LDAP"), site().value("A_LEFT_IMAP"), site().value("CA"));
    let map = format!("ldap://localhost:{ldap}/ou=people,dc=example,dc=net?uid,mailHost?sub?(uid=%s)");
    let perdition = format!(
        "protocol IMAP4\nbind_address 127.0.0.1\nlisten_port 143\nmap_library /usr/lib/libperditiondb_ldap.so.0\n\
         map_library_opt \"3:{map}?!BINDNAME=cn=mailferry%2cdc=example%2cdc=net,X-BINDPW=nothing\"\n\
         outgoing_server localhost\noutgoing_port {node}\nssl_mode tls_outgoing\nssl_ca_file {ca}\n"
    );
    let done = Program::new(["import", "perdition", "-"]).run_with(perdition.as_bytes());
    assert_eq!(done.code, 0, "{}", done.err);
    let judgements = format!("(\"judge:\"): {}\n", done.out.matches("judge: ").count());
    assert!(done.err.ends_with(&judgements) && !done.out.contains("X-BINDPW=nothing"), "{}\n{}", done.err, done.out);
    // What its author has to judge, as this site is.
    let secret = site().path("FOLDER").join("directory/bind.secret");
    let starttls = format!("starttls = true\nca = \"{ca}\"\n");
    let decisions = [
        ("address = \"127.0.0.1:143\"", "address = \"127.0.0.1:0\""),
        ("starttls = false\n", starttls.as_str()),
        ("/etc/mailferry/ldap.secret\"", &format!("{}\"", secret.display())),
        ("name = \"default\"", "name = \"a\""),
    ];
    let text = decisions.iter().fold(done.out, |text, (old, new)| {
        assert!(text.contains(old), "{old:?} is not in\n{text}");
        text.replacen(old, new, 1)
    });
    let operator = "[admin]\nsocket = \"admin.sock\"\nstate_file = \"operator.json\"\n[log]\nformat = \"json\"\n";
    let text = text + operator;
    let ferry = Ferry::of(&text);
    assert_eq!(Program::new(["check"]).arg(ferry.config()).run().code, 0);
    assert_eq!(Program::new(["route", "anna", "--config"]).arg(ferry.config()).run().code, 0);
    let mut anna = ferry.imap("anna");
    assert_eq!(anna.subjects().len(), 3);
    let bad = Program::new(["import", "perdition", "-"]).run_with(b"timeuot 300\n");
    assert_eq!(bad.code, 65, "{}", bad.err);
    assert_eq!(Program::new(["import", "perdition", "/nonexistent/perdition.conf"]).run().code, 66);
}

/// A shell that was told them completes names of commands.
#[test]
fn completions_are_a_shells_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("mailferry.bash");
    fs::write(&script, Program::new(["completions", "bash"]).run().said()).unwrap();
    let asks = ". \"$1\"; COMP_WORDS=(mailferry \"$2\"); COMP_CWORD=1; \
                _mailferry mailferry \"$2\" mailferry; echo \"${COMPREPLY[@]}\"";
    for (begun, completed) in [("dra", "drain"), ("fail", "fail-back"), ("relo", "reload"), ("hold", "hold holds")] {
        let shell = std::process::Command::new("bash").args(["-c", asks, "bash"]).arg(&script).arg(begun).output();
        let shell = shell.unwrap();
        assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
        assert_eq!(String::from_utf8_lossy(&shell.stdout).trim(), completed, "{begun}");
    }
    assert_eq!(Program::new(["completions", "abacus"]).run().code, 2);
}

#[test]
fn man_writes_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Program::new(["man"]).arg(folder.path()).run().said(), "");
    for command in mailferry::cli::definition().get_subcommands() {
        let name = command.get_name();
        let page = fs::read_to_string(folder.path().join(format!("mailferry-{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH mailferry-{name} 1")) && page.contains(".SH SYNOPSIS"), "{name}");
    }
    assert!(Program::new(["man"]).run().said().contains(".TH mailferry 1"));
    assert_eq!(Program::new(["man", "/nonexistent/folder"]).run().code, 71);
}
