//! The command line as an operator meets it: exit codes, and what is printed where. The log is at TRACE.

#![allow(clippy::unwrap_used)]

#[path = "program/mod.rs"]
mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use program::{Done, Program, Started};

/// A site of its own: a users' file, one clear-text listener, two islands.
fn site(address: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("users"), "alice a\nrenamed b real-name\n").unwrap();
    let text = format!(
        r#"
        [server]
        hostname = "mail.example.net"
        [[listener]]
        protocol = "imap"
        address = "{address}"
        tls = "off"
        cleartext_login = true
        [directory]
        type = "file"
        path = "users"
        [[island]]
        name = "a"
        tls = "off"
        nodes = [{{ name = "left", host = "10.1.0.11" }}, {{ name = "right", host = "10.1.0.12", imap_port = 1143 }}]
        [[island]]
        name = "b"
        tls = "off"
        nodes = [{{ name = "only", host = "10.2.0.11" }}]
        [log]
        level = "trace"
        "#
    );
    let path = dir.path().join("proxy.toml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

/// Exit code, standard output, and standard error without what is logged below warnings.
fn mailferry(arguments: &[&str], config: &Path) -> (i32, String, String) {
    ended(Program::new(arguments).arg(config))
}

fn ended(program: Program) -> (i32, String, String) {
    let Done { code, out, err } = program.run();
    let is_talk = |line: &str| [" TRACE ", " DEBUG ", "  INFO "].iter().any(|level| line.contains(level));
    (code, out, err.lines().filter(|line| !is_talk(line)).map(|line| format!("{line}\n")).collect())
}

/// A mailferry that serves, and what it logs from then on.
fn serve(config: &Path) -> (Started, Receiver<String>, String) {
    let (tell, said) = channel();
    // Whoever has heard enough does not listen.
    let started = Program::new(["run", "--config"]).arg(config).start(move |line| drop(tell.send(line)));
    let listening = heard(&said, " listening ");
    heard(&said, " ready ");
    let address = listening.split("address=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    (started, said, address)
}

/// The next line of a log with this text.
fn heard(said: &Receiver<String>, text: &str) -> String {
    loop {
        let line = said.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("no line with {text:?}"));
        if line.contains(text) {
            return line;
        }
    }
}

#[test]
fn check_reports_every_problem_with_its_place_and_exits_78() {
    let (_dir, config) = site("127.0.0.1:0");
    assert_eq!(mailferry(&["check"], &config).0, 0);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("cleartext_login = true", "cleartext_logn = 7").replace("\"b\"", "\"a\"")).unwrap();
    let (code, out, err) = mailferry(&["check"], &config);
    assert_eq!((code, out.as_str()), (78, ""));
    let at = |line: usize| format!("{}:{line}:", config.display());
    assert!(err.contains(&at(8)) && err.contains("cleartext_login"), "{err}");
    assert!(err.contains(&at(7)) && err.contains("was not asked for"), "{err}");
    assert!(err.contains(&at(17)), "{err}");
}

#[test]
fn check_looks_into_the_users_file_too() {
    let (dir, config) = site("127.0.0.1:0");
    fs::write(dir.path().join("users"), "alice a\nbob\ncarol a b c\n").unwrap();
    let (code, _, err) = mailferry(&["check"], &config);
    assert_eq!(code, 78);
    assert!(err.contains("users:2") && err.contains("users:3"), "both bad lines: {err}");
}

#[test]
fn check_warns_of_what_works_and_is_not_meant_so() {
    let (dir, config) = site("127.0.0.1:0");
    fs::write(dir.path().join("users"), "alice a\nBob a\n").unwrap();
    let (code, out, err) = mailferry(&["check"], &config);
    assert!(code == 0 && out.contains("no problems"), "{out}");
    assert!(err.starts_with("warning: ") && err.contains("users:2: ") && err.lines().count() == 1, "{err}");
}

#[test]
fn check_tells_where_the_systems_authorities_are_needed_when_there_are_none() {
    let (_dir, config) = site("127.0.0.1:0");
    let text = fs::read_to_string(&config).unwrap();
    let ldap = "type = \"ldap\"\nurls = [\"ldap://ldap.example.net\"]\nbase = \"dc=example,dc=net\"";
    let text = text.replace("type = \"file\"", ldap).replace("path = \"users\"", "");
    fs::write(&config, text.replacen("name = \"b\"\n        tls = \"off\"", "name = \"b\"", 1)).unwrap();
    let check = |authorities: &str| {
        let program = Program::new(["check"]).arg(&config);
        ended(program.env("SSL_CERT_FILE", authorities).env("SSL_CERT_DIR", authorities))
    };
    let (code, _, err) = check("/nonexistent");
    assert_eq!(code, 78, "{err}");
    let places: Vec<_> =
        err.lines().filter(|line| line.contains("the system has no certificate authorities")).collect();
    let at = |line: usize| format!("{}:{line}:", config.display());
    assert_eq!(places.len(), 2, "{err}");
    assert!(places[0].starts_with(&at(11)) && places[1].starts_with(&at(18)), "{err}");
    assert!(err.contains("install the package ca-certificates, or set `ca`"), "{err}");
}

#[test]
fn run_with_a_bad_file_exits_78_having_printed_the_same_and_starts_nothing() {
    let (_dir, config) = site("127.0.0.1:0");
    fs::write(&config, "[server]\nhostnam = \"x\"\n").unwrap();
    let checked = mailferry(&["check"], &config);
    let run = mailferry(&["run", "--config"], &config);
    assert_eq!(run, checked);
    assert_eq!(run.0, 78);
    assert!(!run.2.contains("listening"), "{}", run.2);
}

#[test]
fn run_exits_71_when_an_address_is_taken_and_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_dir, config) = site(&address);
    let (code, _, err) = mailferry(&["run", "--config"], &config);
    assert_eq!(code, 71);
    assert!(err.contains(&format!("cannot listen on {address}")), "{err}");
    assert!(!err.contains("\"ready\"") && !err.contains(" ready"), "{err}");
}

#[test]
fn route_prints_the_island_the_name_the_source_and_the_nodes_in_order() {
    let (_dir, config) = site("127.0.0.1:0");
    let (code, out, err) = mailferry(&["route", "alice", "--config"], &config);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].ends_with(" alice") && lines[1].ends_with(" a") && lines[2].ends_with(" alice"), "{out}");
    assert!(lines[3].contains("users"), "the source: {out}");
    assert!(lines[4].ends_with(" prefer, fail_back after 1m"), "{out}");
    assert!(lines[5].contains("left") && lines[5].contains("10.1.0.11") && lines[5].contains("143"), "{out}");
    assert!(lines[6].contains("right") && lines[6].contains("10.1.0.12") && lines[6].contains("1143"), "{out}");
    let (code, out, _) = mailferry(&["route", "renamed", "--config"], &config);
    assert_eq!(code, 0);
    assert!(out.contains("real-name") && out.contains("only"), "{out}");
}

/// The nodes as `route` shows them, below an island with these keys.
fn nodes_shown(server: &str, keys: &str, user: &str) -> Vec<String> {
    let (dir, config) = site("127.0.0.1:0");
    fs::write(dir.path().join("users"), format!("{user} c\n")).unwrap();
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("[[listener]]", &format!("{server}\n[[listener]]"));
    fs::write(&config, format!("{text}\n[[island]]\nname = \"c\"\ntls = \"off\"\n{keys}")).unwrap();
    let (code, out, err) = mailferry(&["route", user, "--config"], &config);
    assert_eq!((code, err.as_str()), (0, ""));
    out.lines().skip_while(|line| !line.starts_with("policy")).map(str::to_owned).collect()
}

#[test]
fn route_shows_the_policy_the_reasons_and_the_nodes_that_are_out_of_service() {
    let keys = r#"nodes = [
        { name = "old", host = "10.3.0.9", state = "maintenance" },
        { name = "left", host = "left.c.example.net", rank = 2, zone = "hall-2" },
        { name = "right", host = "10.3.0.12", rank = 2, zone = "hall-1", pop3_port = 1110 },
        { name = "spare", host = "10.3.0.13", rank = 1, state = "draining", zone = "hall-1" },
    ]"#;
    let expected = [
        "policy     prefer, fail_back after 1m",
        "zone       hall-1",
        "nodes      1.  right  10.3.0.12           imap 143  pop3 1110  preferred, rank 2, zone hall-1",
        "           2.  left   left.c.example.net  imap 143  pop3 110   fallback, rank 2, zone hall-2",
        "           -   old    10.3.0.9            imap 143  pop3 110   maintenance, rank 1",
        "           -   spare  10.3.0.13           imap 143  pop3 110   draining, rank 1, zone hall-1",
    ];
    assert_eq!(nodes_shown("zone = \"hall-1\"", keys, "carol"), expected);
}

#[test]
fn route_knows_every_policy() {
    let nodes = |weight: u32| {
        format!(
            "nodes = [{{ name = \"left\", host = \"10.3.0.11\" }}, \
             {{ name = \"right\", host = \"10.3.0.12\", weight = {weight} }}]"
        )
    };
    let balance = format!("policy = \"balance\"\n{}", nodes(1));
    let expected = [
        "policy     balance",
        "nodes      1.  left   10.3.0.11  imap 143  pop3 110  fewest sessions",
        "           2.  right  10.3.0.12  imap 143  pop3 110  fallback",
    ];
    assert_eq!(nodes_shown("", &balance, "carol"), expected);
    for (fail_back, shown) in [("now", "now"), ("manual", "manual"), ("after 90m", "after 1h 30m")] {
        let sticky = format!("policy = \"sticky\"\nfail_back = \"{fail_back}\"\n{}", nodes(1000));
        let lines = nodes_shown("", &sticky, "carol");
        assert_eq!(lines[0], format!("policy     sticky, fail_back {shown}"));
        // With such weights it is hers by far.
        assert_eq!(lines[1], "nodes      1.  right  10.3.0.12  imap 143  pop3 110  sticky, weight 1000");
        assert_eq!(lines[2], "           2.  left   10.3.0.11  imap 143  pop3 110  fallback");
    }
}

#[test]
fn route_applies_the_sites_rules_for_names() {
    let (dir, config) = site("127.0.0.1:0");
    fs::write(dir.path().join("users"), "alice@example.net a\n").unwrap();
    let text = fs::read_to_string(&config).unwrap();
    let rules = "[usernames]\ndomain = \"add\"\ndefault_domain = \"example.net\"\nmax_length = 20";
    fs::write(&config, format!("{text}\n{rules}\n")).unwrap();
    let (code, out, err) = mailferry(&["route", "Alice", "--config"], &config);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().take(4).collect();
    let expected = ["user       Alice", "looked up  alice@example.net", "island     a", "log in as  Alice"];
    assert_eq!(lines, expected);
    fs::write(&config, format!("{text}\n{rules}\non_node = \"looked-up\"\n")).unwrap();
    let (_, out, _) = mailferry(&["route", "Alice", "--config"], &config);
    assert!(out.contains("log in as  alice@example.net\n"), "{out}");
    // A listener's own domain.
    let door = "cleartext_login = true\ndefault_domain = \"example.org\"";
    fs::write(&config, format!("{}\n{rules}\n", text.replace("cleartext_login = true", door))).unwrap();
    fs::write(dir.path().join("users"), "alice@example.net a\nalice@example.org b\n").unwrap();
    let (code, out, _) = mailferry(&["route", "alice", "--listener", "127.0.0.1:0", "--config"], &config);
    assert!(code == 0 && out.contains("looked up  alice@example.org\n"), "{out}");
    let (code, out, err) = mailferry(&["route", "alice", "--listener", "127.0.0.1:993", "--config"], &config);
    assert_eq!((code, out.as_str(), err.as_str()), (2, "", "127.0.0.1:993: no listener has this address\n"));
    fs::write(dir.path().join("users"), "alice@example.net a\n").unwrap();
    let (code, _, err) = mailferry(&["route", "ALICE@example.org", "--config"], &config);
    assert_eq!((code, err.as_str()), (4, "alice@example.org: no such user\n"));
    let (code, _, err) = mailferry(&["route", &"x".repeat(21), "--config"], &config);
    assert_eq!(code, 4);
    assert!(err.ends_with(": the rules of [usernames] allow no such name\n"), "{err}");
}

#[test]
fn check_and_route_answer_programs_as_json() {
    let (_dir, config) = site("127.0.0.1:0");
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let (code, out, err) = mailferry(&["route", "renamed", "--json", "--config"], &config);
    let said = json(&out);
    assert_eq!((code, err.as_str(), &said["island"], &said["log_in_as"]), (0, "", &"b".into(), &"real-name".into()));
    assert_eq!((&said["nodes"][0]["name"], &said["nodes"][0]["imap_port"]), (&"only".into(), &143.into()));
    let (code, out, _) = mailferry(&["check", "--json"], &config);
    let said = json(&out);
    assert_eq!((code, &said["islands"], said["problems"].as_array().unwrap().len()), (0, &2.into(), 0));
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("cleartext_login = true", "cleartext_logn = 7")).unwrap();
    let (code, out, err) = mailferry(&["check", "--json"], &config);
    let said = json(&out);
    assert_eq!((code, err.as_str(), &said["problems"][0]["line"]), (78, "", &7.into()), "{out}");
    assert!(said["problems"][1]["remedy"].as_str().unwrap().contains("cleartext_login"), "{out}");
}

#[test]
fn route_tells_an_unknown_user() {
    let (_dir, config) = site("127.0.0.1:0");
    let (code, out, err) = mailferry(&["route", "nobody", "--config"], &config);
    assert_eq!((code, out.as_str(), err.as_str()), (4, "", "nobody: no such user\n"));
}

#[test]
fn route_tells_an_island_that_is_not_configured() {
    let (_dir, config) = site("127.0.0.1:0");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = format!("urls = [\"ldap://{}\"]", server.local_addr().unwrap());
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("type = \"file\"", "type = \"ldap\"\nstarttls = false\nbase = \"dc=x\"");
    fs::write(&config, text.replace("path = \"users\"", &urls)).unwrap();
    let server = std::thread::spawn(move || answer_one_search(&server));
    let (code, out, err) = mailferry(&["route", "lost", "--config"], &config);
    assert_eq!(code, 69);
    assert!(out.contains("nowhere"), "{out}");
    assert!(err.contains("nowhere") && err.contains("not in the configuration"), "{err}");
    server.join().unwrap();
}

/// One entry, whose mailHost is `nowhere`, and success (RFC 4511 §4.5.2): all that an LDAP server says here.
fn answer_one_search(server: &TcpListener) {
    let (mut client, _) = server.accept().unwrap();
    let tagged = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    assert!(client.read(&mut [0; 1024]).unwrap() > 0);
    // The first operation of a connection has the number 1.
    let message = |operation: Vec<u8>| tagged(0x30, &[tagged(0x02, &[1]), operation].concat());
    let values = tagged(0x31, &tagged(0x04, b"nowhere"));
    let attribute = tagged(0x30, &[tagged(0x04, b"mailHost"), values].concat());
    let entry = tagged(0x64, &[tagged(0x04, b"uid=lost"), tagged(0x30, &attribute)].concat());
    let done = tagged(0x65, &[tagged(0x0a, &[0]), tagged(0x04, b""), tagged(0x04, b"")].concat());
    client.write_all(&[message(entry), message(done)].concat()).unwrap();
    // Until mailferry hangs up.
    let _ = client.read(&mut [0; 1024]);
}

#[test]
fn a_user_name_cannot_forge_fields_of_a_text_line() {
    let (_dir, config) = site("127.0.0.1:0");
    let (_started, said, address) = serve(&config);
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"a LOGIN \"eve node=right outcome=accepted\" x\r\nb LOGOUT\r\n").unwrap();
    let login = heard(&said, " login ");
    assert!(login.contains("outcome=unknown-user ") && !login.contains("\x1b"), "{login}");
    assert!(login.contains("user=\"eve node=right outcome=accepted\""), "{login}");
    assert!(login.contains("reason=\"no such user\""), "{login}");
}

#[test]
fn help_teaches_the_three_commands_and_their_exit_codes() {
    let help = Program::new(["--help"]).run().said();
    for word in ["run", "check", "route", "mailferry check proxy.toml"] {
        assert!(help.contains(word), "{word} is not in: {help}");
    }
    for (command, code) in [("run", "78"), ("check", "78"), ("route", "69")] {
        assert!(Program::new([command, "--help"]).run().said().contains(code), "{command}");
    }
    let help = Program::new(["route", "--help"]).run().said();
    assert!(help.contains("all nodes count as healthy"), "what it cannot know: {help}");
}

/// What a health check hears of a mailferry that answers like this.
fn is_ready(answer: &'static str) -> (i32, String, String) {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("admin.sock");
    let server = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        let mut asked = [0; 1024];
        let len = client.read(&mut asked).unwrap();
        client.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&asked[..len]).into_owned()
    });
    let Done { code, out, err } = Program::new(["ready", "--socket"]).arg(&socket).run();
    assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
    (code, out, err)
}

#[test]
fn ready_tells_health_checks_whether_clients_are_wanted() {
    let head = "Content-Type: application/json\r\nConnection: close\r\n";
    let yes = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 11\r\n\r\n{{\"ok\":true}}");
    let no = format!("HTTP/1.1 503 Service Unavailable\r\n{head}Content-Length: 12\r\n\r\n{{\"ok\":false}}");
    assert_eq!(is_ready(yes.leak()), (0, "ready\n".to_owned(), String::new()));
    let (code, out, err) = is_ready(no.leak());
    assert!((code, out.as_str()) == (70, "") && err.contains("503"), "{err}");
}

/// Both files are read at the start and at a reload, one password goes to the LDAP server, which refuses it, the other one
/// to a node. `program` searches for them in all that is said.
#[test]
fn r_log_01_no_password_of_a_file_is_said_by_any_command_at_any_level() {
    let (dir, config) = site("127.0.0.1:0");
    let (ldap, node) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    fs::write(dir.path().join("ldap.secret"), "of-the-directory-Pa55\n").unwrap();
    fs::write(dir.path().join("probe.secret"), "of-the-probe-Pa55\n").unwrap();
    let directory = format!(
        "type = \"ldap\"\nurls = [\"ldap://{}\"]\nstarttls = false\nbase = \"dc=x\"\nbind_dn = \"cn=mailferry\"\n\
         bind_password_file = \"ldap.secret\"\n",
        ldap.local_addr().unwrap()
    );
    let island = format!(
        "[[island]]\nname = \"c\"\ntls = \"off\"\nnodes = [{{ name = \"n\", host = \"127.0.0.1\", imap_port = {} }}]\n\
         [island.probe]\ncheck = \"login\"\nuser = \"probe\"\npassword_file = \"probe.secret\"\ninterval = \"1s\"\n",
        node.local_addr().unwrap().port()
    );
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("type = \"file\"\n        path = \"users\"", &directory);
    fs::write(&config, format!("{text}\n{island}")).unwrap();
    let passwords = [refuse_bind(ldap), refuse_login(node)];
    assert_eq!(mailferry(&["check"], &config).0, 0);
    assert_eq!(mailferry(&["route", "alice", "--config"], &config).0, 69);
    let (mut started, said, _) = serve(&config);
    for heard in passwords {
        heard.recv_timeout(Duration::from_secs(60)).expect("the password was not used");
    }
    for (signal, words) in [(Signal::HUP, " reloaded"), (Signal::TERM, " stopped")] {
        kill_process(Pid::from_child(&started.child), signal).unwrap();
        heard(&said, words);
    }
    assert!(started.child.wait().unwrap().success());
}

/// An LDAP server to which every bind is one with a wrong password. Tells when it was told the right one.
fn refuse_bind(server: TcpListener) -> Receiver<()> {
    // RFC 4511 §4.2.2: message 1, BindResponse, invalidCredentials.
    let refusal = [0x30, 12, 2, 1, 1, 0x61, 7, 10, 1, 49, 4, 0, 4, 0];
    answer(server, b"", &refusal, b"of-the-directory-Pa55")
}

/// A node that refuses every login.
fn refuse_login(server: TcpListener) -> Receiver<()> {
    let refusal = b"1 NO [AUTHENTICATIONFAILED] no\r\n";
    answer(server, b"* OK [CAPABILITY IMAP4rev1] hi\r\n", refusal, b"of-the-probe-Pa55")
}

/// Says the same to everybody, and tells when somebody has said the password.
fn answer(server: TcpListener, greeting: &'static [u8], answer: &[u8], password: &'static [u8]) -> Receiver<()> {
    let (tell, told) = channel();
    let answer = answer.to_vec();
    std::thread::spawn(move || {
        for client in server.incoming() {
            let mut client = client.unwrap();
            let mut said = [0; 1024];
            let _ = client.write_all(greeting);
            while let Ok(len @ 1..) = client.read(&mut said) {
                if said[..len].windows(password.len()).any(|window| window == password) {
                    let _ = tell.send(());
                }
                let _ = client.write_all(&answer);
            }
        }
    });
    told
}
