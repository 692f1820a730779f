//! What docs/operations.md shows of commands and of the log is what they say. Each block between `<!-- begin: commands -->`
//! and `<!-- end: commands -->` is run on a site of its own, command by command; `UPDATE_DOCS=1` writes down what came.
//! Without it, the words must be the same; numbers, addresses and times are not compared, nor is the order of rows.

use std::fs;
use std::path::PathBuf;

use tokio::time::{Instant, sleep};

use super::site::{Folder, Running};
use crate::client::{Client, DEADLINE};
use crate::node::{FakeNode, friendly_imap};
use crate::process::{Process, Way};

const BEGIN: &str = "<!-- begin: commands -->\n";
const END: &str = "<!-- end: commands -->\n";
const SHOWN: &str = "<!-- example: shown by `what_the_documentation_shows_of_the_log_is_what_it_says` -->\n";
const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "ms"];

/// Two islands of two nodes, in both protocols.
struct Town {
    _nodes: Vec<FakeNode>,
    folder: Folder,
}

impl Town {
    async fn new() -> Self {
        let mut nodes = Vec::new();
        let mut ports = Vec::new();
        for number in 0..4 {
            let (imap, pop3) = (FakeNode::imap().await, FakeNode::pop3().await);
            // One of them is dead.
            let imap_port = if number == 3 { FakeNode::dead().await } else { imap.port };
            ports.push(format!("host = \"127.0.0.1\", imap_port = {imap_port}, pop3_port = {}", pop3.port));
            nodes.extend([imap, pop3]);
        }
        let listener = |protocol| {
            format!(
                "[[listener]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\ntls = \"off\"\ncleartext_login = true\n"
            )
        };
        let island = |name: &str, keys: &str, ports: &[String]| {
            let node = |(name, port): (&str, &String)| format!("{{ name = \"{name}\", {port} }},\n");
            let nodes: String = ["left", "right"].into_iter().zip(ports).map(node).collect();
            format!(
                "[[island]]\nname = \"{name}\"\ntls = \"off\"\n{keys}nodes = [\n{nodes}]\n[island.probe]\ninterval = \"1s\"\nfall = 1\n"
            )
        };
        let text = format!(
            "[server]\nhostname = \"mail.example.net\"\n[admin]\nsocket = \"admin.sock\"\nstate_file = \"operator.json\"\n\
             [log]\nformat = \"json\"\nlevel = \"trace\"\n{}{}[directory]\ntype = \"file\"\npath = \"users\"\n{}{}",
            listener("imap"),
            listener("pop3"),
            island("a", "", &ports[..2]),
            island("b", "policy = \"balance\"\n", &ports[2..]),
        );
        let folder = Folder::of(&text);
        fs::write(folder.path("users"), "alice a\nbob a\ncarol b\n").unwrap();
        Self { _nodes: nodes, folder }
    }
}

/// Some people who are at work, and nodes that have been looked at.
async fn with_sessions(running: &Running<'_>) -> Vec<Client> {
    let mut clients = Vec::new();
    for (user, last) in [("alice", 7), ("alice", 7), ("alice", 8), ("bob", 9), ("carol", 8)] {
        let mut client = Client::clear_from([127, 9, 2, last].into(), running.address).await;
        client.line().await;
        assert!(client.command("a", &format!("LOGIN {user} right-Pa55")).await.starts_with("a OK"));
        client.command("b", "NOOP").await;
        clients.push(client);
    }
    let deadline = Instant::now() + DEADLINE;
    loop {
        let islands = running.command(&["islands"]).await.said();
        // The second in which they have come has to be over: it counts when it is.
        let is_counted = running.command(&["status"]).await.said().contains("logins      5 in ");
        if islands.matches(" ms").count() == 7 && islands.contains(" down for ") && is_counted {
            break;
        }
        assert!(Instant::now() < deadline, "not every node has been probed, and each login counted: {islands}");
        sleep(std::time::Duration::from_millis(50)).await;
    }
    clients
}

/// What comes of these commands, with the folder's name as it would be.
async fn played(commands: &[&str]) -> String {
    let town = Town::new().await;
    let running = town.folder.run().await;
    let _clients = with_sessions(&running).await;
    // What a reload then takes up.
    town.folder.replace("mail.example.net", "imap.example.net");
    town.folder.replace("name = \"b\"\ntls = \"off\"\n", "name = \"b\"\ntls = \"off\"\nhedge = \"200ms\"\n");
    let (mut told, mut code) = (String::new(), 0);
    for command in commands {
        told += &format!("$ {command}\n");
        if *command == "echo $?" {
            told += &format!("{code}\n");
            continue;
        }
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let done = running.command(&words).await;
        code = done.code;
        told += &format!("{}{}", done.err, done.out);
    }
    let folder = town.folder.path("");
    let kept = folder.join("operator.json").display().to_string();
    told.replace(&kept, "/var/lib/mailferry/operator.json")
        .replace(&folder.display().to_string(), "/etc/mailferry/")
        .replace("//", "/")
        .replace(folder.display().to_string().trim_end_matches('/'), "/var/lib/mailferry")
        .replace("user        root\n", "user        mailferry\n")
}

/// The words of a text, without what differs from run to run.
fn skeleton(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let words = line.split_whitespace().filter(|word| !UNITS.contains(word));
        let words = words.map(|word| if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    // What the machine and the user of this test are is not compared.
    let of_the_machine = |line: &&str| ["user ", "files ", "calls "].iter().any(|name| line.starts_with(name));
    let mut lines: Vec<_> = text.lines().filter(|line| !of_the_machine(line)).map(line).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn what_the_documentation_shows_of_commands_is_what_they_say() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md"));
    let page = fs::read_to_string(&path).unwrap();
    let (mut made, mut wrong, mut count) = (String::new(), Vec::new(), 0);
    let mut rest = page.as_str();
    while let Some((before, block)) = rest.split_once(BEGIN) {
        let (block, after) = block.split_once(END).expect("a block has an end");
        let shown = block.split("```console\n").nth(1).and_then(|text| text.split("```").next()).expect("a console");
        let commands: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        let said = played(&commands).await;
        if skeleton(shown) != skeleton(&said) {
            wrong.push(format!("shown:\n{shown}\nsaid:\n{said}"));
        }
        made += &format!("{before}{BEGIN}\n```console\n{said}```\n\n{END}");
        (rest, count) = (after, count + 1);
    }
    assert!(count >= 5, "only {count} blocks");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, made + rest).unwrap();
    } else {
        assert!(wrong.is_empty(), "out of date; run this test with UPDATE_DOCS=1:\n{}", wrong.join("\n"));
    }
}

/// A line of the log: its level, its message, and the names of its fields in their order.
fn parts(line: &str) -> (String, String, Vec<String>) {
    let words: Vec<&str> =
        line.split_whitespace().skip_while(|word| !["INFO", "WARN", "ERROR"].contains(word)).collect();
    let is_field = |word: &&str| word.split_once('=').is_some_and(|(name, _)| !name.contains('"'));
    let message: Vec<&str> = words[1..].iter().copied().take_while(|word| !is_field(word)).collect();
    // Words within quotes are no fields.
    let mut is_quoted = false;
    let fields = words[1 + message.len()..].iter().filter(|word| {
        let begins = !is_quoted && is_field(word);
        is_quoted ^= word.matches('"').count() % 2 == 1;
        begins
    });
    let names = fields.map(|word| word.split('=').next().unwrap().to_owned()).collect();
    (words[0].to_owned(), message.join(" "), names)
}

/// The same of a line that is JSON.
fn parts_of_json(line: &str) -> (String, String, Vec<String>) {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
    let text = |name: &str| fields[name].as_str().unwrap().to_owned();
    let mut names: Vec<String> = fields.keys().cloned().collect();
    names.retain(|name| !["timestamp", "level", "message"].contains(&name.as_str()));
    names.sort_by_key(|name| line.find(&format!(",\"{name}\":")));
    (text("level"), text("message"), names)
}

#[tokio::test]
async fn what_the_documentation_shows_of_the_log_is_what_it_says() {
    let mut log = Vec::new();
    // A login and its end, under TLS.
    let node = FakeNode::imap().await;
    let process = Process::start(node.port, (500, 500)).await;
    let mut client = Client::tls(process.address(Way::Tls), process.client_tls()).await;
    client.line().await;
    client.command("a", "LOGIN alice right-Pa55").await;
    client.command("b", "LOGOUT").await;
    drop(client);
    process.logged(&["\"message\":\"session ended\""]).await;
    log.extend(process.lines(&[]));
    // A node that dies and returns, and a reload.
    let (port, right) = (FakeNode::dead().await, FakeNode::imap().await);
    let folder = Folder::new([port, right.port]);
    let running = folder.run().await;
    for _ in 0..3 {
        running.log_in("alice").await;
    }
    running.log.line(&["\"state\":\"down\"", "\"island\":\"a\""]).await;
    let _left = FakeNode::start_at(port, friendly_imap).await;
    running.log.line(&["\"state\":\"in service\"", "\"island\":\"a\""]).await;
    folder.replace("mail.example.net", "imap.example.net");
    running.command(&["reload"]).await.said();
    log.extend(running.log.lines(&[]));
    let logged: Vec<_> = log.iter().map(|line| parts_of_json(line)).collect();

    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in ["README.md", "docs/operations.md", "docs/failure-modes.md", "docs/deployment.md"] {
        let text = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        for block in text.split(SHOWN).skip(1) {
            let lines = block.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
            // A long line goes on behind spaces.
            for line in lines.replace("\n    ", " ").lines() {
                count += 1;
                let is_logged = logged.contains(&parts(line));
                wrong.extend((!is_logged).then(|| format!("{page}: {line}\n{:?}", parts(line))));
            }
        }
    }
    assert!(wrong.is_empty(), "nobody says this:\n{}\nbut:\n{}", wrong.join("\n"), log.join("\n"));
    assert!(count > 8, "only {count} lines");
}

#[test]
fn what_differs_from_run_to_run_is_not_compared_and_all_else_is() {
    assert_eq!(skeleton("alice  3  169 B  6s\nbob  1  1.5 kB  2m"), skeleton("bob  2  5 B  7s\nalice  1  9 MB  1s"));
    assert_ne!(skeleton("alice  in-service"), skeleton("alice  down"));
    assert_ne!(skeleton("version 1"), skeleton("version 1\nprocess 2"));
}
