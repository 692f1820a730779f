//! Whose address the nodes log: the client's, through a real balancer and by both ways in which nodes can be told; and
//! never one that a stranger makes up.
//!
//! Everybody has an address of his own: clients 127.0.0.2, the balancer 127.0.0.3, mailferry towards the nodes 127.0.0.1.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::site::{Site, User};

/// Where the clients of these tests come from.
const CLIENT: &str = "127.0.0.2";

/// Where somebody says that he comes from, who does not.
const FORGED: &str = "192.0.2.66";

/// How long a peer may take over a few lines.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// A login that a node's own log tells of.
struct NodeLogin {
    /// The address of the client (`rip`).
    client: String,
    line: String,
}

/// mailferry's listeners behind the balancer. Those with STARTTLS believe it also that it has ended TLS.
const BEHIND_BALANCER: [(&str, &str); 4] = [
    ("address = \"127.0.0.1:$FERRY_IMAPS\"", "proxy_protocol_from = [\"127.0.0.3/32\"]"),
    ("address = \"127.0.0.1:$FERRY_POP3S\"", "proxy_protocol_from = [\"127.0.0.3/32\"]"),
    ("address = \"127.0.0.1:$FERRY_IMAP\"", "proxy_protocol_from = [\"127.0.0.3/32\"]\nproxy_protocol_tls = true"),
    ("address = \"127.0.0.1:$FERRY_POP3\"", "proxy_protocol_from = [\"127.0.0.3/32\"]\nproxy_protocol_tls = true"),
];

/// A site with a balancer, where the islands' nodes are told of clients in this way: a behind STARTTLS, b behind implicit
/// TLS.
fn site(forward: &str) -> Site {
    let mut changes: Vec<(String, String)> =
        BEHIND_BALANCER.iter().map(|(old, added)| ((*old).to_owned(), format!("{old}\n{added}"))).collect();
    for island in ["name = \"a\"\n", "name = \"b\"\n"] {
        let added = format!("forward = \"{forward}\"\nprobe = {{ interval = \"1s\", fall = 1 }}\n");
        changes.push((island.to_owned(), format!("{island}{added}")));
    }
    if forward == "proxy" {
        for node in ["A_LEFT", "A_RIGHT"] {
            for protocol in ["IMAP", "POP3"] {
                changes.push((format!("= ${node}_{protocol},"), format!("= ${node}_{protocol}_PROXIED,")));
            }
        }
        for node in ["B_LEFT", "B_RIGHT"] {
            for protocol in ["IMAPS", "POP3S"] {
                changes.push((format!("= ${node}_{protocol},"), format!("= ${node}_{protocol}_PROXIED,")));
            }
        }
    }
    let changes: Vec<(&str, &str)> = changes.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
    let site = Site::with_ferry(&changes);
    site.order("start balancer");
    site
}

#[test]
fn nodes_that_want_a_proxy_header_log_the_clients_address() {
    let site = site("proxy");
    everybody_is_known_by_his_address(&site, |_, _| {});
    strangers_cannot_forge(&site);
    probes_pass_as_mailferrys_own(&site);
}

#[test]
fn nodes_that_trust_mailferrys_id_log_the_clients_address() {
    let site = site("id");
    // Dovecot takes the session's name too, so that one word finds a login in both logs.
    everybody_is_known_by_his_address(&site, |ferry, node| {
        let session = ferry.rsplit_once("\"session\":\"").unwrap().1.split('"').next().unwrap();
        assert!(node.contains(&format!("session=<{session}>")), "{session} is not in {node}");
    });
    strangers_cannot_forge(&site);
    probes_pass_as_mailferrys_own(&site);
}

/// Through each of the balancer's ports, to each island. `compare` sees what mailferry and the node log of each login.
fn everybody_is_known_by_his_address(site: &Site, compare: fn(&str, &str)) {
    for (scheme, port, starttls) in [
        ("imaps", "BALANCER_IMAPS", false),
        ("pop3s", "BALANCER_POP3S", false),
        ("imap", "BALANCER_IMAP", true),
        ("pop3", "BALANCER_POP3", true),
        ("imaps", "BALANCER_IMAPS_ENDED", false),
        ("pop3s", "BALANCER_POP3S_ENDED", false),
    ] {
        for user in [site.user("anna"), site.user("bela")] {
            let login = seen_by_node(site, user, || curl(site, scheme, port, starttls, user));
            assert_eq!(login.client, CLIENT, "{port}: {}", login.line);
            let log = site.ferry_log();
            compare(log.lines().rfind(|line| line.contains("\"outcome\":\"accepted\"")).unwrap(), &login.line);
        }
    }
    // mailferry knows it too, and that there was TLS, wherever that ended.
    let log = site.ferry_log();
    let accepted: Vec<_> = log.lines().filter(|line| line.contains("\"outcome\":\"accepted\"")).collect();
    assert!(accepted.len() >= 12, "{accepted:?}");
    for line in accepted {
        assert!(line.contains("\"client\":\"127.0.0.2:") && line.contains("\"tls\":\"TLSv1_3\""), "{line}");
    }
    // The balancer looks whether mailferry is there three times a second at each listener, and nobody reads of it.
    let is_told =
        |line: &&str| !["DEBUG", "TRACE"].iter().any(|level| line.contains(&format!("\"level\":\"{level}\"")));
    let looks: Vec<_> = log.lines().filter(|line| line.contains("\"client\":\"127.0.0.3:")).filter(is_told).collect();
    assert!(looks.is_empty(), "{looks:?}");
}

/// Past the balancer, where everybody comes from himself whatever he says.
fn strangers_cannot_forge(site: &Site) {
    let anna = site.user("anna");
    let plain = plain_of(anna);
    let header = format!("PROXY TCP4 {FORGED} 127.0.0.1 50000 143");
    let id = format!(
        "(\"x-originating-ip\" \"{FORGED}\" \"x-originating-port\" \"50000\" \"x-session-id\" \"forged\" \"name\" \"x\")"
    );
    let imap = seen_by_node(site, anna, || {
        let words = [
            header.clone(),
            format!("a ID {id}"),
            format!("b ID {id}"),
            format!("c AUTHENTICATE PLAIN {plain}"),
            "d LOGOUT".to_owned(),
        ];
        let answers = talk(site, "FERRY_IMAP_CLEAR", &words, "d OK");
        assert!(answers.contains("PROXY BAD ") && answers.contains("\r\nc OK "), "{answers}");
    });
    assert_eq!(imap.client, CLIENT, "{}", imap.line);
    let pop3 = seen_by_node(site, anna, || {
        let words = [
            header.clone(),
            format!("XCLIENT ADDR={FORGED} PORT=50000 SESSION=forged TTL=5"),
            format!("XOIP {FORGED}"),
            format!("AUTH PLAIN {plain}"),
            "QUIT".to_owned(),
        ];
        let answers = talk(site, "FERRY_POP3_CLEAR", &words, "+OK Logging out");
        assert_eq!(answers.matches("-ERR").count(), 3, "{answers}");
    });
    assert_eq!(pop3.client, CLIENT, "{}", pop3.line);
    // Also where the balancer's word is taken, because he is not the balancer.
    let answers = talk(site, "FERRY_IMAP", &[header, "d LOGOUT".to_owned()], "d OK");
    assert!(answers.contains("PROXY BAD "), "{answers}");
    for place in ["a-left", "a-right", "b-left", "b-right", "mailferry"] {
        let log = fs::read_to_string(site.path("FOLDER").join("log").join(format!("{place}.log"))).unwrap();
        assert!(!log.contains(FORGED), "{place} believes a stranger");
        assert!(!log.contains("forged"), "{place} takes a stranger's word for a session");
    }
}

/// No node is taken for dead because of what a probe says first, and each knows whose it is.
fn probes_pass_as_mailferrys_own(site: &Site) {
    for (node, protocol) in [("a-left", "imap"), ("a-right", "pop3"), ("b-left", "pop3"), ("b-right", "imap")] {
        let log = site.path("FOLDER").join("log").join(format!("{node}.log"));
        let is_probe = |line: &&str| {
            line.contains(&format!("{protocol}-login: "))
                && line.contains("(no auth attempts")
                && line.contains("rip=127.0.0.1,")
        };
        let probes = || fs::read_to_string(&log).unwrap().lines().filter(is_probe).count();
        site.eventually("several probes at each node", || probes() >= 2);
    }
    let log = site.ferry_log();
    assert!(!log.contains("node state"), "{log}");
}

/// What the node logs of the login that happens meanwhile.
fn seen_by_node(site: &Site, user: &User, log_in: impl FnOnce()) -> NodeLogin {
    let before = node_logins(site, user).len();
    log_in();
    site.eventually("the node logs the login", || node_logins(site, user).len() > before);
    let mut logins = node_logins(site, user);
    assert_eq!(logins.len(), before + 1);
    logins.remove(before)
}

/// The logins of a user, in order; each user's go to one node.
fn node_logins(site: &Site, user: &User) -> Vec<NodeLogin> {
    let mut logins = Vec::new();
    for place in ["left", "right"] {
        let file = site.path("FOLDER").join("log").join(format!("{}-{place}.log", user.island));
        let log = fs::read_to_string(file).unwrap();
        let texts = [format!("Login: user=<{}>", user.uid), format!("Logged in: user=<{}>", user.uid)]; // Dovecot 2.3 and 2.4
        for line in log.lines().filter(|line| texts.iter().any(|text| line.contains(text))) {
            let client = line.split_once(" rip=").unwrap().1.split(',').next().unwrap();
            logins.push(NodeLogin { client: client.to_owned(), line: line.to_owned() });
        }
    }
    logins
}

/// Reads the first message through a port of the balancer, as [`CLIENT`].
fn curl(site: &Site, scheme: &str, port: &str, starttls: bool, user: &User) {
    site.will_use(&user.password);
    let message = if scheme.starts_with("imap") { "INBOX;MAILINDEX=1" } else { "1" };
    let mut command = Command::new("curl");
    command.args(["--disable", "--silent", "--show-error", "--max-time", "20", "--interface", CLIENT, "--config", "-"]);
    command.args(["--cacert", site.value("CA")]);
    if starttls {
        command.arg("--ssl-reqd");
    }
    command.arg(format!("{scheme}://127.0.0.1:{}/{message}", site.value(port)));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "user = \"{}:{}\"", user.uid, user.password).unwrap();
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{} through {port}: {words}", user.uid);
    assert!(output.stdout == site.messages(user)[0], "{} through {port} read another message", user.uid);
}

/// Says these lines one after the other at a door, as [`CLIENT`]; everything that is answered, up to this text.
fn talk(site: &Site, door: &str, lines: &[String], last: &str) -> String {
    let port: u16 = site.value(door).parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(CLIENT.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    let mut socket: TcpStream = socket.into();
    socket.set_read_timeout(Some(TIME_LIMIT)).unwrap();
    let mut answers = String::new();
    for line in lines {
        // A line is said when the one before was answered.
        let before = answers.len();
        socket.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let is_last = line == &lines[lines.len() - 1];
        while !(answers[before..].ends_with("\r\n") && (!is_last || answers[before..].contains(last))) {
            let mut octets = [0; 4096];
            let count = socket.read(&mut octets).unwrap();
            if count == 0 {
                return answers;
            }
            answers.push_str(&String::from_utf8_lossy(&octets[..count]));
        }
    }
    answers
}

/// The message of PLAIN.
fn plain_of(user: &User) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(format!("\0{}\0{}", user.uid, user.password))
}
