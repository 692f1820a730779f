//! OpenSSL and Python as peers: what is said arrives, new keys are taken, both sides end in order.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ChildStdout;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::bench::{Program, assert_same, client, data, echo, file, server, soon, until};

const NAMES: [&str; 2] = ["-tls1_2", "-tls1_3"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_as_a_client_says_much_and_hears_it() {
    for (version, name) in NAMES.iter().enumerate() {
        let data = data(3 << 20);
        let len = data.len();
        let (address, served) = server(version, b"", move |stream| echo(stream, 64 * 1024, len)).await;
        let (address, ca) = (address.to_string(), file("chain.pem"));
        let options = ["s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost", name];
        let more = ["-CAfile", ca.to_str().unwrap(), "-connect", &address];
        let mut openssl = Program::start("openssl", &[&options[..], &more].concat());
        let mut stdin = openssl.0.stdin.take().unwrap();
        let said = data.clone();
        let saying = tokio::task::spawn_blocking(move || {
            stdin.write_all(&said).unwrap();
            // Open until all has come back.
            stdin
        });
        let (_, heard, words) = openssl.output().await;
        assert_same(&heard, &data, &format!("{name}: {words}"));
        drop(saying.await.unwrap());
        assert_eq!(soon(served).await.unwrap().unwrap(), len);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_as_a_client_renews_keys_in_the_middle() {
    let lines = ["one\n", "two\n", "three\n", "four\n"];
    let len = lines.concat().len();
    let (address, served) = server(1, b"", move |stream| echo(stream, 4096, len)).await;
    let address = address.to_string();
    let mut openssl = Program::start("openssl", &["s_client", "-tls1_3", "-msg", "-connect", &address]);
    let mut stdin = openssl.0.stdin.take().unwrap();
    let (mut stdout, mut stderr) = (openssl.0.stdout.take().unwrap(), openssl.0.stderr.take().unwrap());
    let talking = tokio::task::spawn_blocking(move || {
        let (mut said, mut told) = (String::new(), String::new());
        // A command stands at the beginning of what it reads at once. "K" renews its keys and asks for new ones of ours,
        // "k" renews only its own.
        for (turn, (line, command)) in lines.iter().zip(["K\n", "k\n", "K\n", ""]).enumerate() {
            stdin.write_all(line.as_bytes()).unwrap();
            until(&mut stdout, &mut said, line, 1);
            stdin.write_all(command.as_bytes()).unwrap();
            if !command.is_empty() {
                until(&mut stderr, &mut told, "KEYUPDATE", turn + 1);
            }
        }
        said
    });
    let said = soon(talking).await.unwrap();
    let of =
        |direction: &str| said.matches(&format!("{direction} TLS 1.3, Handshake [length 0005], KeyUpdate")).count();
    assert_eq!((of(">>>"), of("<<<")), (3, 2), "{said}");
    assert_eq!(soon(served).await.unwrap().unwrap(), len);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_as_a_client_says_much_in_odd_parts_and_ends_in_order() {
    const SCRIPT: &str = r#"
import hashlib, socket, ssl, sys
port, ca, version = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=ca)
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
plain = socket.create_connection(("127.0.0.1", port))
plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
tls = context.wrap_socket(plain, server_hostname="localhost")
assert tls.recv(5) == b"hello"
sent, heard = hashlib.sha256(), hashlib.sha256()
turn = 0
for size in [1, 2, 100, 16383, 16384, 16385, 65536, 300000] * 3:
    octets = bytes((turn * 7 + place * 13 + (place >> 8)) % 256 for place in range(size))
    turn += 1
    sent.update(octets)
    tls.sendall(octets)
    left = size
    while left:
        part = tls.recv(min(left, 5000))
        assert part, "the end"
        heard.update(part)
        left -= len(part)
assert sent.digest() == heard.digest()
rest = tls.unwrap()
assert rest.recv(1) == b""
print("well")
"#;
    for (version, name) in ["TLSv1_2", "TLSv1_3"].iter().enumerate() {
        let (address, served) = server(version, b"hello", |stream| echo(stream, 64 * 1024, usize::MAX)).await;
        let (port, ca) = (address.port().to_string(), file("chain.pem"));
        let python = Program::start("python3", &["-c", SCRIPT, &port, ca.to_str().unwrap(), name]);
        let (is_well, said, words) = python.output().await;
        assert!(is_well && said == b"well\n", "{name}: {words}");
        assert_eq!(soon(served).await.unwrap().unwrap(), (1 + 2 + 100 + 3 * 16384 + 65536 + 300_000) * 3);
    }
}

/// openssl's server, once it listens, and where it does.
fn s_server(options: &[&str]) -> (Program, ChildStdout, SocketAddr) {
    let (chain, key) = (file("chain.pem"), file("key.pem"));
    let files = ["-cert", chain.to_str().unwrap(), "-key", key.to_str().unwrap(), "-accept", "127.0.0.1:0"];
    let mut openssl = Program::start("openssl", &[&["s_server", "-naccept", "1"], options, &files].concat());
    let (mut stdout, mut said) = (openssl.0.stdout.take().unwrap(), String::new());
    until(&mut stdout, &mut said, "ACCEPT ", 1);
    let lines = said.matches('\n').count() + usize::from(!said.ends_with('\n'));
    until(&mut stdout, &mut said, "\n", lines);
    let address = said.split("ACCEPT ").nth(1).unwrap().trim().parse().unwrap();
    (openssl, stdout, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_as_a_server_hears_what_is_said_and_ends_in_order() {
    for (version, name) in NAMES.iter().enumerate() {
        let (_openssl, _stdout, address) = s_server(&["-rev", name]);
        let mut stream = BufReader::new(soon(client(version, address)).await.unwrap());
        for size in [1, 10, 1000, 10_000] {
            let line: String = (0..size).map(|place| char::from(b'a' + (place % 23) as u8)).collect();
            soon(stream.get_mut().write_all(format!("{line}\n").as_bytes())).await.unwrap();
            let mut heard = String::new();
            while heard.len() <= size {
                assert!(soon(stream.read_line(&mut heard)).await.unwrap() > 0, "{name}: the end");
            }
            assert_eq!(heard.trim_end(), line.chars().rev().collect::<String>(), "{name}");
        }
        // The word for the end.
        soon(stream.get_mut().write_all(b"CLOSE\n")).await.unwrap();
        assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0, "{name}: an end in order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_as_a_server_renews_keys_in_the_middle() {
    let (mut openssl, mut stdout, address) = s_server(&["-tls1_3", "-msg"]);
    let mut stdin = openssl.0.stdin.take().unwrap();
    let mut stream = BufReader::new(soon(client(1, address)).await.unwrap());
    let mut said = String::new();
    for (turn, command) in ["K\n", "k\n", "K\n"].iter().enumerate() {
        // It looks at its input before it looks at us, and reads a command where one stands first in it.
        stdin.write_all(command.as_bytes()).unwrap();
        let (from_us, from_them) = (format!("from us {turn}\n"), format!("from them {turn}\n"));
        soon(stream.get_mut().write_all(from_us.as_bytes())).await.unwrap();
        (said, stdout) = soon(tokio::task::spawn_blocking(move || {
            until(&mut stdout, &mut said, &from_us, 1);
            (said, stdout)
        }))
        .await
        .unwrap();
        stdin.write_all(from_them.as_bytes()).unwrap();
        let mut heard = String::new();
        soon(stream.read_line(&mut heard)).await.unwrap();
        assert_eq!(heard, from_them);
    }
    // The answer to the last one goes with what we say next.
    soon(stream.get_mut().write_all(b"goodbye\n")).await.unwrap();
    soon(stream.get_mut().shutdown()).await.unwrap();
    let said = soon(tokio::task::spawn_blocking(move || {
        std::io::Read::read_to_string(&mut stdout, &mut said).unwrap();
        said
    }))
    .await
    .unwrap();
    let of =
        |direction: &str| said.matches(&format!("{direction} TLS 1.3, Handshake [length 0005], KeyUpdate")).count();
    assert_eq!((of(">>>"), of("<<<")), (3, 2), "{said}");
}
