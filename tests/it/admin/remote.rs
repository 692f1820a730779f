//! Commands by HTTPS: what a token lets them do, whom they believe, and what a reload changes.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::site::{Done, Folder, Running, done};
use crate::client::DEADLINE;
use crate::node::FakeNode;
use crate::program::Program;

const OPERATOR: &str = "operator-Pa55-0123456789abcdefghijklmn";
const READ_ONLY: &str = "read-only-Pa55-0123456789abcdefghijklmn";

const ADMIN: &str = "socket = \"admin.sock\"\nstate_file = \"operator.json\"\naddress = \"127.0.0.1:0\"\n\
                     operator_token_file = \"operator.token\"\nread_only_token_file = \"read-only.token\"\n";

/// A folder with certificate and tokens, whose nodes live.
async fn folder(admin: &str) -> (FakeNode, FakeNode, Folder) {
    let (left, right) = (FakeNode::imap().await, FakeNode::imap().await);
    let folder = Folder::with([left.port, right.port], admin);
    certificate(&folder, "localhost");
    fs::write(folder.path("operator.token"), format!("{OPERATOR}\n")).unwrap();
    fs::write(folder.path("read-only.token"), format!("{READ_ONLY}\n")).unwrap();
    fs::write(folder.path("wrong.token"), "wrong-Pa55-0123456789abcdefghijklmnopq\n").unwrap();
    (left, right, folder)
}

fn certificate(folder: &Folder, name: &str) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    fs::write(folder.path("admin.pem"), cert.pem()).unwrap();
    fs::write(folder.path("admin.key"), signing_key.serialize_pem()).unwrap();
}

fn with_tls() -> String {
    format!("{ADMIN}chain = \"admin.pem\"\nkey = \"admin.key\"\n")
}

impl Running<'_> {
    /// Where it listens for commands.
    async fn port(&self) -> u16 {
        let line = self.log.line(&["open for commands with a token"]).await;
        let address = line.split("\"address\":\"").nth(1).unwrap().split('"').next().unwrap();
        address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// A command to its address, with the token in this file.
    async fn over(&self, arguments: &[&str], scheme: &str, token: &str) -> Done {
        let url = format!("{scheme}://localhost:{}", self.port().await);
        let command = Program::new(arguments).arg("--admin").arg(&url).arg("--token-file").arg(self.path(token));
        done(command.arg("--ca").arg(self.path("admin.pem"))).await
    }
}

#[tokio::test]
async fn commands_by_https_do_what_the_token_lets_them() {
    let (_left, _right, folder) = folder(&with_tls()).await;
    let running = folder.run().await;
    let _client = running.log_in("alice").await;
    let out = running.over(&["status"], "https", "read-only.token").await.said();
    assert!(out.contains("sessions    1\n"), "{out}");
    assert_eq!(running.over(&["sessions", "--json"], "https", "operator.token").await.json()["matching"], 1);
    let refused = running.over(&["drain", "a/left"], "https", "read-only.token").await;
    assert_eq!((refused.code, refused.out.as_str()), (77, ""));
    assert!(refused.err.contains("this token may look, and not order"), "{}", refused.err);
    assert!(running.log.lines(&["operator: node state"]).is_empty());
    running.over(&["drain", "a/left"], "https", "operator.token").await.said();
    running.log.line(&["operator: node state", "\"node\":\"a/left\"", "\"client\":\"127.0.0.1:"]).await;
    let wrong = running.over(&["status"], "https", "wrong.token").await;
    assert_eq!(wrong.code, 77);
    assert!(wrong.err.contains("this token is not taken") && wrong.err.contains("--token-file"), "{}", wrong.err);
    running.log.line(&["operator: a wrong token", "\"client\":\"127.0.0.1:"]).await;
    assert_eq!(running.over(&["kick", "nobody"], "https", "operator.token").await.code, 4);
    assert!(running.log.lines(&["Pa55"]).is_empty(), "a token is in the log");
}

#[tokio::test]
async fn the_environment_says_where_and_with_which_token() {
    let (_left, _right, folder) = folder(&with_tls()).await;
    let running = folder.run().await;
    let port = running.port().await;
    let command = |arguments: &[&str]| {
        let command = Program::new(arguments).env("MAILFERRY_ADMIN", format!("https://localhost:{port}"));
        command.env("MAILFERRY_CA", folder.path("admin.pem"))
    };
    let looks = command(&["status"]).env("MAILFERRY_TOKEN_FILE", folder.path("read-only.token"));
    done(looks).await.said();
    let none = done(command(&["status"])).await;
    assert_eq!(none.code, 77);
    assert!(none.err.contains("a token is needed") && none.err.contains("MAILFERRY_TOKEN_FILE"), "{}", none.err);
    // What is named on the line comes first.
    let socket = folder.path("admin.sock");
    done(command(&["drain", "a/left", "--socket", socket.to_str().unwrap()])).await.said();
    let config = folder.path("proxy.toml");
    done(command(&["undrain", "a/left", "--config", config.to_str().unwrap()])).await.said();
}

#[tokio::test]
async fn nobody_but_the_right_mailferry_sees_the_token() {
    let (_left, _right, folder) = folder(&with_tls()).await;
    let running = folder.run().await;
    let port = running.port().await;
    let asked = |url: String, ca: &str| {
        let command = Program::new(["status", "--admin", &url, "--token-file"]).arg(folder.path("operator.token"));
        done(command.arg("--ca").arg(folder.path(ca)))
    };
    let CertifiedKey { cert, .. } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.path("other.pem"), cert.pem()).unwrap();
    for (url, ca, code, said) in [
        (format!("https://localhost:{port}"), "other.pem", 69, "of no known authority: name the authority's file"),
        (format!("https://127.0.0.1:{port}"), "admin.pem", 69, "for another name: ask it by the name"),
        (format!("http://localhost:{port}"), "admin.pem", 69, "no answer"),
        ("https://localhost:1".to_owned(), "admin.pem", 69, "no mailferry listens there: it does at `address`"),
        (format!("http://192.0.2.1:{port}"), "admin.pem", 2, "in clear text"),
        (format!("https://localhost:{port}"), "missing.pem", 2, "name a PEM file of the authority with --ca"),
    ] {
        let done = asked(url.clone(), ca).await;
        assert_eq!(done.code, code, "{url} {ca}: {}", done.err);
        assert!(done.err.contains(said) && done.out.is_empty(), "{url} {ca}: {}", done.err);
    }
}

#[tokio::test]
async fn a_reload_takes_up_tokens_and_certificates_and_leaves_the_address() {
    let (_left, _right, folder) = folder(&with_tls()).await;
    let running = folder.run().await;
    running.over(&["status"], "https", "operator.token").await.said();
    let (_, page) = crate::metrics::get(&running.socket(), "").await;
    let told = |line: &&str| line.starts_with("mailferry_certificate_expiry_timestamp_seconds{certificate=");
    let told: Vec<_> = page.lines().filter(told).collect();
    assert!(told.len() == 1 && told[0].contains("/admin.pem\"} "), "its own certificate expires too: {told:?}");
    fs::write(folder.path("operator.token"), "another-Pa55-0123456789abcdefghijklmn").unwrap();
    running.over(&["status"], "https", "read-only.token").await.said();
    running.command(&["reload"]).await.said();
    running.over(&["status"], "https", "operator.token").await.said();
    fs::write(folder.path("operator.token"), OPERATOR).unwrap();
    assert_eq!(running.over(&["status"], "https", "operator.token").await.code, 77, "not before a reload");
    certificate(&folder, "localhost");
    running.command(&["reload"]).await.said();
    running.over(&["status"], "https", "operator.token").await.said();
    fs::write(folder.path("operator.token"), "short-Pa55").unwrap();
    let refused = running.command(&["reload"]).await;
    assert_eq!(refused.code, 78);
    assert!(refused.err.contains("operator.token is shorter than 32 characters"), "{}", refused.err);
    fs::write(folder.path("operator.token"), READ_ONLY).unwrap();
    let refused = running.command(&["reload"]).await;
    assert!(refused.code == 78 && refused.err.contains("both tokens are the same"), "{}", refused.err);
    fs::write(folder.path("operator.token"), OPERATOR).unwrap();
    folder.replace("address = \"127.0.0.1:0\"\noperator", "address = \"127.0.0.1:1\"\ntls = \"off\"\noperator");
    folder.replace("chain = \"admin.pem\"\nkey = \"admin.key\"\n", "");
    let done = running.command(&["reload"]).await;
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("admin.address needs a restart"), "{}", done.err);
    assert!(done.err.contains("admin.tls needs a restart"), "{}", done.err);
    running.over(&["status"], "https", "operator.token").await.said();
}

/// What an address without TLS answers to this.
async fn said_to(port: u16, question: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(question.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("no close in time").unwrap();
    answer
}

#[tokio::test]
async fn on_this_machine_alone_it_goes_without_tls_and_health_without_a_token() {
    let (_left, _right, folder) = folder(&format!("{ADMIN}tls = \"off\"\n")).await;
    let running = folder.run().await;
    running.log.line(&["open for commands with a token, in clear text, from this machine alone"]).await;
    running.over(&["drain", "a/left"], "http", "operator.token").await.said();
    let port = running.port().await;
    for (question, begins, ends) in [
        ("GET /healthz HTTP/1.0\r\n\r\n", "HTTP/1.0 200 ", "{\"ok\":true,\"reason\":null}"),
        ("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "{\"ok\":true,\"reason\":null}"),
        ("HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "\r\n\r\n"),
        ("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 401 ", "}"),
        ("POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 401 ", "}"),
    ] {
        let answer = said_to(port, question).await;
        assert!(answer.starts_with(begins) && answer.ends_with(ends), "{question}: {answer}");
    }
    let (status, answer) = super::socket::ask(&running.socket(), "GET", "/readyz", None).await;
    assert_eq!((status, &answer["ok"]), (200, &true.into()));
}

#[tokio::test]
async fn an_address_that_is_taken_and_a_token_that_is_short_are_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_left, _right, folder) = folder(&with_tls().replace("127.0.0.1:0", &address)).await;
    let (code, said) = folder.fail().await;
    assert_eq!(code, Some(71), "{said}");
    assert!(said.contains(&format!("cannot listen on {address} for commands: Address already in use")), "{said}");
    fs::write(folder.path("operator.token"), "short-Pa55").unwrap();
    let (code, said) = folder.fail().await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("operator.token is shorter than 32 characters"), "{said}");
    assert!(said.contains("openssl rand -hex 32") && !said.contains("Pa55"), "{said}");
}

#[tokio::test]
async fn the_socket_is_the_groups_that_is_named() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else is sure to be in another group.
        return;
    }
    let (_left, _right, folder) = folder("socket = \"admin.sock\"\nsocket_group = \"daemon\"\n").await;
    let running = folder.run().await;
    let metadata = fs::metadata(running.socket()).unwrap();
    let groups = fs::read_to_string("/etc/group").unwrap();
    let daemon = groups.lines().find(|line| line.starts_with("daemon:")).unwrap();
    assert_eq!(metadata.gid().to_string(), daemon.split(':').nth(2).unwrap());
    assert_eq!(metadata.mode() & 0o7777, 0o660);
    drop(running);
    folder.replace("\"daemon\"", "\"no-such-group\"");
    let (code, said) = folder.fail().await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("there is no group \\\"no-such-group\\\"") || said.contains("no group \"no-such"), "{said}");
}
