//! R-PP: the PROXY header, from balancers in front and to nodes behind; R-BE-07: circles of proxies.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mailferry::names::Protocol;
use mailferry::proto::proxy_header::{self, Header, Peers};
use mailferry::proto::{Input, Introduction, TlsFacts};
use mailferry::routing::{Forward, NodeTls, Probe};
use mailferry::server::ListenerSettings;
use rustls::ClientConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::client::{Client, DEADLINE, Origin, text};
use crate::node::{Conn, FakeNode, friendly_imap, friendly_pop3};
use crate::site::{DOORS, Door, Site, Spec, log_lines, logged};

/// Where all test clients really come from.
fn from_balancers(listener: &mut ListenerSettings) {
    listener.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
}

fn from_balancers_with_tls(listener: &mut ListenerSettings) {
    from_balancers(listener);
    listener.proxy_protocol_tls = true;
}

async fn behind_balancers(node: u16) -> Site {
    Site::start(Spec { listen: from_balancers, cleartext_login: true, ..Spec::new(&[node]) }).await
}

/// A line of version 1 for a client at this port of 192.0.2.7.
fn v1(port: u16) -> Vec<u8> {
    format!("PROXY TCP4 192.0.2.7 198.51.100.1 {port} 993\r\n").into_bytes()
}

/// A header of version 2 as a balancer writes it that has ended TLS, or has not.
fn v2(port: u16, tls: bool) -> Vec<u8> {
    let cipher = Some("TLS_AES_128_GCM_SHA256".into());
    proxy_header::introducing(&Introduction {
        session: "balancer-1".into(),
        client: SocketAddr::from(([192, 0, 2, 7], port)),
        connected: "198.51.100.1:993".parse().unwrap(),
        tls: tls.then(|| TlsFacts { version: "TLSv1.3".into(), cipher, server_name: Some("imap.example.net".into()) }),
        ttl: 7,
    })
}

/// The end records of a client at this port of 192.0.2.7.
async fn end_of(port: u16) -> String {
    logged(&["\"message\":\"session ended\"", &format!("\"client\":\"192.0.2.7:{port}\"")], 1).await.remove(0)
}

fn is_implicit(door: Door) -> bool {
    matches!(door, Door::ImapTls | Door::Pop3Tls)
}

/// Sends this and asserts that not an octet comes back before the close. The log then says why.
async fn cut(site: &Site, door: Door, octets: &[u8], reason: &str) {
    let mut socket = TcpStream::connect(site.address(door)).await.unwrap();
    let client = format!("\"client\":\"{}\"", socket.local_addr().unwrap());
    socket.write_all(octets).await.unwrap();
    let mut answer = Vec::new();
    // A reset is as good: there were octets that nobody read.
    let _ = timeout(DEADLINE, socket.read_to_end(&mut answer)).await.expect("not cut");
    assert!(answer.is_empty(), "{door:?}: {:?} for {}", text(&answer), octets.escape_ascii());
    let end = logged(&["\"message\":\"session ended\"", &client], 1).await.pop().unwrap();
    for part in ["\"level\":\"INFO\"", "\"who\":\"proxy\"", "\"why\":\"bad-proxy-header\"", reason] {
        assert!(end.contains(part), "{part} is not in {end}");
    }
}

#[tokio::test]
async fn r_pp_01_a_connection_without_the_header_that_is_required_is_cut_without_an_answer() {
    let node = FakeNode::imap().await;
    let site = behind_balancers(node.port).await;
    let mut hello = Vec::new();
    let mut tls = ClientConnection::new(site.client_tls(), "localhost".try_into().unwrap()).unwrap();
    tls.write_tls(&mut hello).unwrap();
    for door in DOORS {
        for octets in [&b"a LOGIN alice unheard-Pa55\r\n"[..], b"USER alice\r\n", &hello, b"\r\nPROXY UNKNOWN\r\n"] {
            cut(&site, door, octets, "no PROXY header").await;
        }
    }
    assert_eq!(node.connections(), 0);
    site.end(&["unheard-Pa55"]).await;
}

#[tokio::test]
async fn r_pp_02_a_malformed_header_is_cut_without_an_answer() {
    let site = behind_balancers(FakeNode::dead().await).await;
    let mut damaged = v2(1, true);
    damaged[20] ^= 1;
    let mut datagram = v2(1, false);
    datagram[13] = 0x12;
    let mut endless = v2(1, false);
    endless[14] = 0xff;
    let malformed: [(&[u8], &str); 7] = [
        (b"PROXY TCP4 192.0.2.07 198.51.100.1 1 993\r\na NOOP\r\n", "malformed PROXY header of version 1"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 993\na NOOP\r\n", "malformed PROXY header of version 1"),
        (&[b'x'; 200], "no PROXY header"),
        (&[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(), "PROXY header too long"),
        (&damaged, "wrong checksum"),
        (&datagram, "unknown command or family"),
        (&endless, "PROXY header too long"),
    ];
    for door in [Door::ImapTls, Door::ImapClear, Door::Pop3StartTls] {
        for (octets, reason) in malformed {
            cut(&site, door, octets, reason).await;
        }
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_pp_03_what_follows_the_header_in_one_segment_works_at_once() {
    let node = FakeNode::imap().await;
    let site = Site::start(Spec { listen: from_balancers, imap_port: Some(node.port), ..Spec::new(&[1]) }).await;
    for (header, port) in [(v1(3001), 3001), (v2(3002, false), 3002), (v2(3003, true), 3003)] {
        let mut client = Client::clear(site.address(Door::ImapClear)).await;
        client.send([&header, &b"a LOGIN alice at-once-Pa55\r\nb LOGOUT\r\n"[..]].concat()).await;
        assert!(client.line().await.starts_with("* OK "));
        assert!(client.answer("a").await.pop().unwrap().starts_with("a OK "));
        client.answer("b").await;
        drop(client);
        assert!(end_of(port).await.contains("\"user\":\"alice\""));
    }
    let mut client = Client::clear(site.address(Door::Pop3Clear)).await;
    client.send([&v1(3004), &b"CAPA\r\nQUIT\r\n"[..]].concat()).await;
    assert!(client.line().await.starts_with("+OK "));
    assert!(client.line().await.starts_with("+OK"));
    client.until_dot().await;
    assert!(client.line().await.starts_with("+OK"));
    client.closed().await;
    site.end(&["at-once-Pa55"]).await;
}

#[tokio::test]
async fn r_pp_03_the_client_hello_may_share_a_segment_with_the_header() {
    let site = behind_balancers(FakeNode::dead().await).await;
    for (door, header) in [(Door::ImapTls, v1(3101)), (Door::ImapTls, v2(3102, true)), (Door::Pop3Tls, v2(3103, false))]
    {
        let (address, config) = (site.address(door), site.client_tls());
        let greeting = tokio::task::spawn_blocking(move || {
            let mut tls = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut first = header;
            tls.write_tls(&mut first).unwrap();
            socket.write_all(&first).unwrap();
            let mut greeting = [0; 4];
            rustls::Stream::new(&mut tls, &mut socket).read_exact(&mut greeting).unwrap();
            text(&greeting)
        });
        assert!(["* OK", "+OK "].contains(&greeting.await.unwrap().as_str()), "{door:?}");
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_pp_04_a_header_that_comes_in_pieces_is_one_header() {
    let site = behind_balancers(FakeNode::dead().await).await;
    for (door, header, port) in [
        (Door::ImapClear, v1(4001), 4001),
        (Door::ImapClear, v2(4002, true), 4002),
        (Door::ImapTls, v2(4003, true), 4003),
        (Door::Pop3StartTls, v1(4004), 4004),
    ] {
        let mut client = Client::clear(site.address(door)).await;
        client.trickle(&header).await;
        if is_implicit(door) {
            client = client.handshake(site.client_tls()).await;
        }
        let greeting = client.line().await;
        assert!(greeting.starts_with("* OK ") || greeting.starts_with("+OK "), "{greeting}");
        drop(client);
        assert!(end_of(port).await.contains("\"level\":\"INFO\""));
    }
    site.end(&[]).await;
}

/// Nobody trusts the stranger's network; on the last site it is another one that is trusted.
#[tokio::test]
async fn r_pp_05_a_stranger_cannot_choose_his_address() {
    let node = FakeNode::start(introduced(Protocol::Imap)).await;
    let elsewhere = |listener: &mut ListenerSettings| {
        listener.proxy_protocol_from = vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        listener.proxy_protocol_tls = true;
    };
    for listen in [|_: &mut ListenerSettings| {}, elsewhere] {
        let spec = Spec { listen, forward: Forward::Proxy, cleartext_login: true, ..Spec::new(&[node.port]) };
        let site = Site::start(spec).await;
        let mut imap = site.greeted(Door::ImapClear).await;
        imap.send(v1(5001)).await;
        assert!(imap.line().await.starts_with("PROXY BAD "));
        assert!(imap.command("a", "LOGIN alice stranger-Pa55").await.starts_with("a OK "));
        assert!(imap.from.line("login").await.contains("\"outcome\":\"accepted\""));
        let mut pop3 = site.greeted(Door::Pop3Clear).await;
        assert!(pop3.ask(text(&v1(5002)).trim_end()).await.starts_with("-ERR"));
        // With empty lines, NUL, and `QUIT`, as the signature has them.
        let mut imap = site.greeted(Door::ImapStartTls).await;
        imap.send([&v2(5003, true), &b"\r\na CAPABILITY\r\n"[..]].concat()).await;
        let mut told = Vec::new();
        while !told.iter().any(|line: &String| line.starts_with("* CAPABILITY") || line.starts_with("* BYE")) {
            told.push(imap.line().await);
        }
        assert!(told[0].starts_with("* BAD "), "{told:?}");
        let mut pop3 = site.greeted(Door::Pop3StartTls).await;
        assert!(pop3.ask(text(&v2(5004, true)).lines().next().unwrap()).await.starts_with("-ERR"));
        // Where TLS is expected, a header is no handshake.
        for (door, header) in [(Door::ImapTls, v1(5005)), (Door::Pop3Tls, v2(5006, true))] {
            let mut socket = TcpStream::connect(site.address(door)).await.unwrap();
            socket.write_all(&header).await.unwrap();
            let mut answer = Vec::new();
            let _ = timeout(DEADLINE, socket.read_to_end(&mut answer)).await.expect("not closed");
            assert!(answer.is_empty() || answer[0] == 0x15, "{door:?}: {:?}", text(&answer));
        }
        site.end(&["stranger-Pa55"]).await;
    }
    assert!(log_lines(&["192.0.2.7:500"]).is_empty(), "a stranger's word is in the log");
    let headers = headers_of(&node);
    assert_eq!(headers.len(), 2);
    for header in headers {
        assert!(header.peers.unwrap().client.ip().is_loopback(), "{header:?}");
    }
}

#[tokio::test]
async fn r_pp_06_local_and_unknown_mean_the_sockets_addresses() {
    let node = FakeNode::start(introduced(Protocol::Imap)).await;
    let listen = |listener: &mut ListenerSettings| {
        from_balancers(listener);
        from_proxies(listener);
    };
    let spec = Spec { listen, forward: Forward::Proxy, ..Spec::new(&[node.port]) };
    let site = Site::start(spec).await;
    for header in [proxy_header::local(), b"PROXY UNKNOWN\r\n".to_vec(), b"PROXY UNKNOWN 192.0.2.7 x\r\n".to_vec()] {
        let mut client = Client::clear(site.address(Door::ImapClear)).await;
        client.send(header).await;
        client.line().await;
        // The balancer's own address is trusted, but nobody has said that the client is there.
        assert!(client.command("i", "ID (\"x-originating-ip\" \"192.0.2.184\")").await.starts_with("i OK "));
        assert!(client.command("a", "LOGIN alice local-Pa55").await.starts_with("a OK "));
        assert!(client.from.line("login").await.contains("\"outcome\":\"accepted\""));
        let from = client.from;
        drop(client);
        // Somebody has logged in, so that it was more than a look.
        assert!(from.line("session ended").await.contains("\"level\":\"INFO\""));
        let told = headers_of(&node).pop().unwrap().peers.unwrap();
        assert!(told.client.ip().is_loopback() && told.connected == site.address(Door::ImapClear), "{told:?}");
    }
    site.end(&["local-Pa55"]).await;
}

#[tokio::test]
async fn r_pp_07_a_checksum_counts_where_there_is_one() {
    let site = behind_balancers(FakeNode::dead().await).await;
    let right = v2(7001, false);
    for at in [16, right.len() - 1] {
        let mut wrong = right.clone();
        wrong[at] ^= 0x10;
        cut(&site, Door::ImapClear, &wrong, "PROXY header with a wrong checksum").await;
    }
    let mut client = Client::clear(site.address(Door::ImapClear)).await;
    client.send(right).await;
    assert!(client.line().await.starts_with("* OK "));
    site.end(&[]).await;
}

#[tokio::test]
async fn a_balancer_that_only_looks_leaves_no_line_that_an_operator_reads() {
    let site = behind_balancers(FakeNode::dead().await).await;
    for door in DOORS {
        for header in [Vec::new(), proxy_header::local(), b"PROXY UNKNOWN\r\n".to_vec()] {
            let mut client = Client::clear(site.address(door)).await;
            client.send(&header).await;
            let from = client.from;
            drop(client);
            let end = from.line("session ended").await;
            assert!(end.contains("\"level\":\"DEBUG\""), "{door:?}: {end}");
        }
        let mut socket = TcpStream::connect(site.address(door)).await.unwrap();
        let from = Origin::of(&socket);
        let own = socket.local_addr().unwrap().port();
        socket.write_all(format!("PROXY TCP4 127.0.0.1 127.0.0.1 {own} 993\r\n").as_bytes()).await.unwrap();
        drop(socket);
        let end = from.line("session ended").await;
        assert!(end.contains("\"level\":\"DEBUG\""), "{door:?}: {end}");
        // A header of which the rest never comes is no look.
        let mut client = Client::clear(site.address(door)).await;
        client.send(&v1(1)[..20]).await;
        client.half_close().await;
        let end = client.from.line("session ended").await;
        assert!(end.contains("\"level\":\"INFO\"") && end.contains("\"who\":\"client\""), "{door:?}: {end}");
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn a_balancer_of_ipv4_is_known_on_a_listener_of_both_versions() {
    let listen = |listener: &mut ListenerSettings| {
        from_balancers(listener);
        listener.address = "[::]:0".parse().unwrap();
    };
    let site = Site::start(Spec { listen, ..Spec::new(&[FakeNode::dead().await]) }).await;
    let mut client = Client::clear(([127, 0, 0, 1], site.address(Door::ImapClear).port()).into()).await;
    // An address of IPv4 in the clothes of one of IPv6 is written as what it is.
    client.send("PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 8001 993\r\n").await;
    assert!(client.line().await.starts_with("* OK "));
    drop(client);
    end_of(8001).await;
    site.end(&[]).await;
}

#[tokio::test]
async fn tls_that_a_balancer_has_ended_counts_where_the_configuration_says_so() {
    let node = FakeNode::start(introduced(Protocol::Imap)).await;
    // What the listener believes, what the header says, and whether it is enough.
    let (believes, does_not): (fn(&mut _), fn(&mut _)) = (from_balancers_with_tls, from_balancers);
    for (listen, said, port) in
        [(believes, true, 9001), (believes, false, 9002), (does_not, true, 9003), (does_not, false, 9004)]
    {
        let counts = port == 9001;
        let site = Site::start(Spec { listen, forward: Forward::Proxy, ..Spec::new(&[node.port]) }).await;
        let mut client = Client::clear(site.address(Door::ImapStartTls)).await;
        client.send(v2(port, said)).await;
        client.line().await;
        client.send("c CAPABILITY\r\n").await;
        let told = client.answer("c").await.remove(0);
        assert_eq!(told.contains(" STARTTLS"), !counts, "{told}");
        assert_eq!(told.contains(" LOGINDISABLED"), !counts, "{told}");
        assert_eq!(told.contains(" AUTH=PLAIN"), counts, "{told}");
        let answer = client.command("a", "LOGIN alice ended-Pa55").await;
        assert_eq!(answer.starts_with("a OK "), counts, "{answer}");
        assert!(counts || answer.starts_with("a NO [PRIVACYREQUIRED] "), "{answer}");
        drop(client);
        assert_eq!(end_of(port).await.contains("\"tls\":\"TLSv1_3\""), counts);
        let mut client = Client::clear(site.address(Door::Pop3StartTls)).await;
        client.send(v2(port + 10, said)).await;
        client.line().await;
        client.ask("CAPA").await;
        let told = client.until_dot().await;
        assert_eq!(told.contains(&"STLS".to_owned()), !counts, "{told:?}");
        assert_eq!(told.contains(&"USER".to_owned()), counts, "{told:?}");
        site.end(&["ended-Pa55"]).await;
    }
    let header = headers_of(&node).pop().unwrap();
    let tls = header.tls.expect("the node hears of it");
    assert_eq!((&*tls.version, tls.server_name.as_deref()), ("TLSv1.3", Some("imap.example.net")));
}

/// Behind a balancer that says it has ended TLS, a listener with implicit TLS still wants its own.
#[tokio::test]
async fn a_listener_with_tls_of_its_own_believes_its_own() {
    let node = FakeNode::start(introduced(Protocol::Imap)).await;
    let spec = Spec { listen: from_balancers_with_tls, forward: Forward::Proxy, ..Spec::new(&[node.port]) };
    let site = Site::start(spec).await;
    let mut client = Client::clear(site.address(Door::ImapTls)).await;
    client.send(v2(9101, true)).await;
    let mut client = client.handshake(site.client_tls()).await;
    client.line().await;
    assert!(client.command("a", "LOGIN alice own-Pa55").await.starts_with("a OK "));
    let header = headers_of(&node).pop().unwrap();
    assert_eq!(header.tls.unwrap().server_name.as_deref(), Some("localhost"));
    site.end(&["own-Pa55"]).await;
}

/// A node that wants a PROXY header first, and then speaks its protocol. What it was told is in [`Conn::seen`].
fn introduced(protocol: Protocol) -> impl Fn(Conn) -> futures::Played + Send + 'static {
    move |mut conn| {
        Box::pin(async move {
            let head = conn.exactly(16).await;
            assert_eq!(&head[..12], b"\r\n\r\n\0\r\nQUIT\n", "the first octets to a node");
            conn.exactly(usize::from(u16::from_be_bytes([head[14], head[15]]))).await;
            match protocol {
                Protocol::Imap => friendly_imap(conn).await,
                Protocol::Pop3 => friendly_pop3(conn).await,
            }
        })
    }
}

mod futures {
    use std::pin::Pin;

    /// A node's part, under way.
    pub type Played = Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The headers that a node got, in order.
fn headers_of(node: &FakeNode) -> Vec<Header> {
    let octets = node.seen.octets.get();
    let starts = octets.windows(12).enumerate().filter(|(_, window)| *window == b"\r\n\r\n\0\r\nQUIT\n");
    let read = |(at, _): (usize, &[u8])| {
        let mut input = Input::new();
        input.push(&octets[at..]);
        proxy_header::read(&mut input).unwrap().unwrap()
    };
    starts.map(read).collect()
}

#[tokio::test]
async fn the_node_hears_of_the_client_before_anything_else() {
    for (protocol, doors) in
        [(Protocol::Imap, [Door::ImapTls, Door::ImapClear]), (Protocol::Pop3, [Door::Pop3Tls, Door::Pop3Clear])]
    {
        let node = FakeNode::start(introduced(protocol)).await;
        let site = Site::start(Spec { forward: Forward::Proxy, ..Spec::new(&[node.port]) }).await;
        for door in doors {
            let mut client = site.greeted(door).await;
            match protocol {
                Protocol::Imap => assert!(client.command("a", "LOGIN alice told-Pa55").await.starts_with("a OK ")),
                Protocol::Pop3 => {
                    client.ask("USER alice").await;
                    assert!(client.ask("PASS told-Pa55").await.starts_with("+OK"));
                }
            }
            let login = client.from.line("login").await;
            let header = headers_of(&node).pop().unwrap();
            let Some(Peers { client: from, connected }) = header.peers else { panic!("{header:?}") };
            assert!(login.contains(&format!("\"client\":\"{from}\"")), "{from} is not in {login}");
            assert_eq!((connected, header.ttl), (site.address(door), Some(6)));
            let session = login.split_once("\"session\":\"").unwrap().1.split('"').next().unwrap();
            let told = [&[5, 0, u8::try_from(session.len()).unwrap()], session.as_bytes()].concat();
            let octets = node.seen.octets.get();
            assert!(octets.windows(told.len()).any(|window| window == told), "the session is not in the header");
            match header.tls {
                None => assert!(!is_implicit(door)),
                Some(tls) => {
                    assert!(is_implicit(door));
                    assert_eq!((&*tls.version, tls.server_name.as_deref()), ("TLSv1.3", Some("localhost")));
                    assert!(tls.cipher.is_some_and(|name| name.starts_with("TLS_")));
                }
            }
        }
        assert_eq!(node.connections(), headers_of(&node).len());
        site.end(&["told-Pa55"]).await;
    }
}

#[tokio::test]
async fn the_header_is_in_front_of_tls_with_the_node() {
    let node = FakeNode::start(|mut conn| async move {
        let head = conn.exactly(16).await;
        let len = usize::from(u16::from_be_bytes([head[14], head[15]]));
        // A handshake record is what follows.
        let behind = conn.exactly(len + 1).await;
        conn.seen.commands.with(|seen| seen.push(format!("{:#04x}", behind[len])));
        conn.half_close().await;
    })
    .await;
    let spec = Spec { forward: Forward::Proxy, node_tls: NodeTls::Implicit, ..Spec::new(&[node.port]) };
    let site = Site::start(spec).await;
    let mut client = site.greeted(Door::ImapTls).await;
    assert!(client.command("a", "LOGIN alice hidden-Pa55").await.starts_with("a NO [UNAVAILABLE] "));
    // Whoever finds a node bad has it probed.
    let seen = node.commands();
    assert!(!seen.is_empty() && seen.iter().all(|first| first == "0x16"), "{seen:?}");
    site.end(&["hidden-Pa55"]).await;
}

#[tokio::test]
async fn a_probe_says_that_it_speaks_for_mailferry() {
    let node = FakeNode::start(introduced(Protocol::Imap)).await;
    let spec = Spec::new(&[node.port]);
    let probe = Probe { interval: Duration::from_millis(50), ..spec.probe.clone() };
    // The POP3 probes go elsewhere.
    let pop3_port = Some(FakeNode::dead().await);
    let site = Site::start(Spec { forward: Forward::Proxy, probe, pop3_port, ..spec }).await;
    node.connected().await;
    let probed = async {
        while headers_of(&node).is_empty() {
            node.next_connection().await;
        }
    };
    timeout(DEADLINE, probed).await.expect("no header from a probe");
    site.end(&[]).await;
    assert!(headers_of(&node).iter().all(|header| *header == Header::default()));
}

/// Where proxies may say who their client is, by ID or XCLIENT, too.
fn from_proxies(listener: &mut ListenerSettings) {
    listener.trusted_networks = vec!["127.0.0.0/8".parse().unwrap()];
}

/// Two mailferries, each of which takes the other one for the rider's node.
async fn r_be_07_in_a_circle(protocol: Protocol, forward: Forward, listen: fn(&mut ListenerSettings), user: &str) {
    let door = if protocol == Protocol::Imap { Door::ImapClear } else { Door::Pop3Clear };
    let target = Arc::new(OnceLock::new());
    let (bridge, passed) = bridge(Arc::clone(&target)).await;
    let users = "by-proxy-1 a\nby-proxy-2 a\nby-id-1 a\nby-id-2 a\nby-id-3 a\n";
    let spec = |node| Spec { forward, listen, users, ..Spec::new(&[node]) };
    let far = Site::start(spec(bridge)).await;
    let near = Site::start(spec(far.address(door).port())).await;
    target.set(near.address(door)).unwrap();
    let mut client = Client::clear(near.address(door)).await;
    if forward == Forward::Proxy {
        client.send("PROXY UNKNOWN\r\n").await;
    }
    client.line().await;
    match protocol {
        Protocol::Imap => {
            let answer = client.command("a", &format!("LOGIN {user} round-Pa55")).await;
            assert!(answer.starts_with("a NO [SERVERBUG] "), "{answer}");
        }
        Protocol::Pop3 => {
            client.ask(&format!("USER {user}")).await;
            let answer = client.ask("PASS round-Pa55").await;
            assert!(answer.starts_with("-ERR [SYS/PERM] "), "{answer}");
        }
    }
    // 7 here, 6 there, 5 here, …, 1 here: three times back, and probes of a node that has failed.
    assert!(passed.get() >= 3, "{user}: {}", passed.get());
    let outcomes = logged(&["\"message\":\"login\"", &format!("\"user\":\"{user}\"")], 7).await;
    assert!(outcomes[0].contains("\"outcome\":\"loop\""), "{outcomes:?}");
    assert_eq!(outcomes.len(), 7, "{user}");
    far.end(&["round-Pa55"]).await;
    near.end(&["round-Pa55"]).await;
}

#[tokio::test]
async fn r_be_07_a_circle_of_proxies_ends_when_the_hops_of_its_headers_are_used_up() {
    r_be_07_in_a_circle(Protocol::Imap, Forward::Proxy, from_balancers, "by-proxy-1").await;
    r_be_07_in_a_circle(Protocol::Pop3, Forward::Proxy, from_balancers, "by-proxy-2").await;
}

#[tokio::test]
async fn r_be_07_a_circle_of_proxies_ends_when_the_hops_of_its_ids_are_used_up() {
    r_be_07_in_a_circle(Protocol::Imap, Forward::Id, from_proxies, "by-id-1").await;
    r_be_07_in_a_circle(Protocol::Pop3, Forward::Id, from_proxies, "by-id-2").await;
    // Hops count from whomever they come.
    r_be_07_in_a_circle(Protocol::Imap, Forward::Id, |_| {}, "by-id-3").await;
}

#[tokio::test]
async fn r_be_07_each_mailferry_on_the_way_takes_one_hop_and_keeps_the_client() {
    for protocol in Protocol::ALL {
        let node = FakeNode::start(introduced(protocol)).await;
        let far = Spec { forward: Forward::Proxy, listen: from_proxies, ..Spec::new(&[node.port]) };
        let far = Site::start(far).await;
        let door = if protocol == Protocol::Imap { Door::ImapClear } else { Door::Pop3Clear };
        let near = Spec { forward: Forward::Id, listen: from_balancers, ..Spec::new(&[far.address(door).port()]) };
        let near = Site::start(near).await;
        let mut client = Client::clear(near.address(door)).await;
        client.send(v1(6001)).await;
        client.line().await;
        match protocol {
            Protocol::Imap => assert!(client.command("a", "LOGIN alice chain-Pa55").await.starts_with("a OK ")),
            Protocol::Pop3 => {
                client.ask("USER alice").await;
                assert!(client.ask("PASS chain-Pa55").await.starts_with("+OK"));
            }
        }
        let header = headers_of(&node).pop().unwrap();
        let peers = Peers { client: ([192, 0, 2, 7], 6001).into(), connected: "198.51.100.1:993".parse().unwrap() };
        assert_eq!((header.peers, header.ttl), (Some(peers), Some(5)));
        far.end(&["chain-Pa55"]).await;
        near.end(&["chain-Pa55"]).await;
    }
}

/// A port that leads to an address which is known only later, and how many have taken it.
async fn bridge(target: Arc<OnceLock<SocketAddr>>) -> (u16, Arc<Count>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let passed = Arc::new(Count::default());
    let count = Arc::clone(&passed);
    tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            count.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let target = *target.get().expect("nobody comes before");
            tokio::spawn(async move {
                let mut to = TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    (port, passed)
}

#[derive(Default)]
struct Count(std::sync::atomic::AtomicUsize);

impl Count {
    fn get(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}
