//! The address with everything behind it: real TLS, every route, strangers. In this process, so that whatever any library
//! logs is searched for the tokens.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::*;
use crate::drain;
use crate::net::tls::{self, ServerSettings, Version};
use crate::testkit::leaks;

const OPERATOR: &str = "operator-Pa55-0123456789abcdefghijklmn";
const READ_ONLY: &str = "read-only-Pa55-0123456789abcdefghijklmn";
const WRONG: &str = "wrong-Pa55-0123456789abcdefghijklmnopq";

/// An open address, with TLS.
struct Open {
    address: SocketAddr,
    folder: TempDir,
    context: Arc<Context>,
    entrance: Entrance,
    _stop: drain::Signal,
}

async fn open() -> Open {
    let folder = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("chain"), cert.pem()).unwrap();
    std::fs::write(path("key"), signing_key.serialize_pem()).unwrap();
    std::fs::write(path("operator"), OPERATOR).unwrap();
    std::fs::write(path("read-only"), READ_ONLY).unwrap();
    let files = CertificateFiles { chain: path("chain"), key: path("key") };
    let tls = ServerSettings { certificates: vec![files], min_version: Version::Tls12 };
    let tls = Some(tls::server_config(&tls, b"http/1.1", None).unwrap());
    let tokens = Tokens::load(Some(&path("operator")), Some(&path("read-only"))).unwrap();
    let address = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let settings = Settings { address, tls: true, state_file: path("states"), ..Settings::default() };
    let context = leaks::context(0);
    let admin = Admin::open(
        &settings,
        Keys { tls, tokens },
        (&context.site().islands, &context.holds),
        None,
        &mut Passed::default(),
    )
    .unwrap();
    let address = admin.address.as_ref().unwrap().local_addr().unwrap();
    let entrance = admin.entrance();
    let (stop, drain) = drain::channel();
    // Nobody carries out a reload.
    let ((reloads, _), (take_overs, _)) = (mpsc::channel(1), mpsc::channel(1));
    tokio::spawn(admin.serve(Arc::clone(&context), Orders { reloads, take_overs }, drain));
    Open { address, folder, context, entrance, _stop: stop }
}

impl Open {
    /// A connection from this address of the machine, without TLS yet.
    async fn knock(&self, from: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((IpAddr::V4(Ipv4Addr::new(127, 0, 1, from)), 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    async fn connect(&self, from: u8) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
        let config = tls::client_config(tls::load_roots(&self.folder.path().join("chain")).unwrap()).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(config).connect(name, self.knock(from).await).await.unwrap()
    }

    /// Asks, and says what the answer's header is.
    async fn ask(&self, from: u8, question: &str, token: Option<&str>) -> String {
        let field = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let mut connection = self.connect(from).await;
        let question = format!("{question} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n");
        connection.write_all(question.as_bytes()).await.unwrap();
        head(&mut connection).await
    }

    async fn status(&self, from: u8, question: &str, token: Option<&str>) -> u16 {
        status_of(&self.ask(from, question, token).await)
    }
}

/// All until the end of the header, or of the connection.
async fn head(connection: &mut (impl AsyncRead + Unpin)) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(octet) => heard.push(octet),
            Err(_) => break,
        }
    }
    String::from_utf8(heard).unwrap()
}

#[track_caller]
fn status_of(head: &str) -> u16 {
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer: {head:?}"))
}

#[tokio::test]
async fn every_route_is_for_its_role_and_those_who_have_more() {
    let open = open().await;
    for (number, (question, role)) in (1..).zip(routes::roles()) {
        let refused = [(None, 401), (Some(WRONG), 401), (Some(READ_ONLY), 403), (Some(OPERATOR), 403)];
        let refused = refused.map(|(token, status)| {
            let has = match token {
                Some(OPERATOR) => access::Role::Operator,
                Some(READ_ONLY) => access::Role::ReadOnly,
                _ => access::Role::Anybody,
            };
            (token, (has < role).then_some(status))
        });
        for (token, expected) in refused {
            let status = open.status(number, &question, token).await;
            match expected {
                Some(expected) => assert_eq!(status, expected, "{question} {token:?}"),
                None => assert!(![401, 403, 404, 405, 429].contains(&status), "{question} {token:?}: {status}"),
            }
        }
    }
}

#[tokio::test]
async fn a_browser_is_told_what_it_must_not_do_with_any_answer() {
    let open = open().await;
    for (question, token) in
        [("GET /healthz", None), ("GET /v1/status", Some(OPERATOR)), ("GET /v1/status", None), ("GET /x", None)]
    {
        let head = open.ask(1, question, token).await.to_lowercase();
        for field in [
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "frame-ancestors 'none'",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(field), "{question}: {field} is not in {head}");
        }
        assert!(!head.contains("access-control-") && !head.contains("set-cookie"), "{head}");
    }
}

#[tokio::test]
async fn whoever_guesses_must_wait_and_nobody_else() {
    let open = open().await;
    for _ in 0..10 {
        assert_eq!(open.status(1, "GET /v1/status", Some(WRONG)).await, 401);
    }
    let head = open.ask(1, "GET /v1/status", Some(WRONG)).await;
    assert!(status_of(&head) == 429 && head.contains("retry-after: "), "{head}");
    assert_eq!(open.status(1, "GET /healthz", None).await, 200);
    assert_eq!(open.status(1, "GET /v1/status", Some(OPERATOR)).await, 200);
    assert_eq!(open.status(2, "GET /v1/status", Some(WRONG)).await, 401);
}

#[tokio::test]
async fn a_mailferry_that_stops_is_alive_and_not_ready() {
    let open = open().await;
    assert_eq!(open.status(1, "GET /readyz", None).await, 200);
    assert_eq!(open.status(1, "HEAD /readyz", None).await, 200);
    open.context.standing.drain();
    assert_eq!(open.status(1, "GET /readyz", None).await, 503);
    assert_eq!(open.status(1, "GET /healthz", None).await, 200);
    let mut connection = open.connect(1).await;
    connection.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.ends_with("{\"ok\":false,\"reason\":\"this mailferry stops: send new clients elsewhere\"}"),
        "{answer}"
    );
}

#[tokio::test]
async fn tokens_and_certificates_are_replaced_without_a_restart() {
    let open = open().await;
    assert_eq!(open.status(1, "GET /v1/status", Some(OPERATOR)).await, 200);
    let path = open.folder.path().join("operator");
    std::fs::write(&path, "another-Pa55-0123456789abcdefghijklmn").unwrap();
    let keys = Keys { tls: None, tokens: Tokens::load(Some(&path), None).unwrap() };
    open.entrance.replace(Keys { tls: open.entrance.tls(), ..keys.clone() });
    assert_eq!(open.status(1, "GET /v1/status", Some(OPERATOR)).await, 401);
    assert_eq!(open.status(1, "GET /v1/status", Some(READ_ONLY)).await, 401);
    assert_eq!(open.status(1, "GET /v1/status", Some("another-Pa55-0123456789abcdefghijklmn")).await, 200);
    open.entrance.replace(keys);
    let mut clear = open.knock(1).await;
    clear.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(status_of(&head(&mut clear).await), 200);
}

#[tokio::test]
async fn hostile_questions_over_tls_are_refused_or_cut() {
    let open = open().await;
    let (long, many) = ("x".repeat(64 * 1024), "X: y\r\n".repeat(100));
    let drip = "POST /v1/kick HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    for (question, expected) in [
        (format!("GET /v1/status HTTP/1.1\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET /v1/status HTTP/1.1\r\n{many}\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), 414),
        ("\u{0}\u{1}\r\n\r\n".to_owned(), 400),
        // Before anything of a body is read, it is known who asks.
        (format!("{drip}Content-Length: 99999999999\r\n\r\n{{}}"), 401),
        (format!("{drip}Authorization: Bearer {OPERATOR}\r\nContent-Length: 99999999999\r\n\r\n{{}}"), 413),
        (format!("{drip}Authorization: Bearer {long}\r\nContent-Length: 2\r\n\r\n{{}}"), 431),
    ] {
        let mut connection = open.connect(1).await;
        // A server that has heard enough may close before it has heard all.
        let _ = connection.write_all(question.as_bytes()).await;
        let head = head(&mut connection).await;
        assert!(head.is_empty() || [expected, 431].contains(&status_of(&head)), "{question:.60}: {head}");
    }
    let mut clear = open.knock(1).await;
    clear.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(!head_or_alert(&mut clear).await.starts_with(b"HTTP"), "clear text where TLS is spoken");
    assert_eq!(open.status(1, "GET /healthz", None).await, 200);
}

async fn head_or_alert(connection: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let _ = connection.read_to_end(&mut heard).await;
    heard
}

/// How long until the other side closes, at most two minutes, while this is said again and again.
async fn cut_after(mut connection: impl AsyncRead + AsyncWrite + Unpin, said: &[u8], every: Duration) -> Duration {
    let (began, mut heard) = (Instant::now(), [0; 1024]);
    let deadline = began + Duration::from_secs(120);
    while Instant::now() < deadline {
        let _ = connection.write_all(said).await;
        if let Ok(Ok(0) | Err(_)) = timeout(every, connection.read(&mut heard)).await {
            return began.elapsed();
        }
    }
    panic!("not cut");
}

#[tokio::test(start_paused = true)]
async fn the_slow_are_cut_at_a_deadline_that_nothing_prolongs() {
    let open = open().await;
    let second = Duration::from_secs(1);
    let (least, most) = (Duration::from_secs(4), Duration::from_secs(12));
    let silent = cut_after(open.knock(1).await, b"", second).await;
    assert!((least..most).contains(&silent), "no handshake: {silent:?}");
    let dripping = cut_after(open.connect(1).await, b"G", second).await;
    assert!((least..most).contains(&dripping), "no end of the header: {dripping:?}");
    let mut body = open.connect(1).await;
    let begin = format!(
        "POST /v1/kick HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPERATOR}\r\nContent-Type: \
         application/json\r\nContent-Length: 1000\r\n\r\n"
    );
    body.write_all(begin.as_bytes()).await.unwrap();
    let dripping = cut_after(body, b"{", second).await;
    assert!((least..most).contains(&dripping), "no end of the body: {dripping:?}");
}

#[tokio::test(start_paused = true)]
async fn who_fills_all_places_pushes_himself_out() {
    let open = open().await;
    let mut silent = Vec::new();
    for _ in 0..REMOTE_MAX * 2 {
        silent.push(open.knock(1).await);
    }
    let began = Instant::now();
    assert_eq!(open.status(2, "GET /v1/status", Some(OPERATOR)).await, 200);
    assert!(began.elapsed() < Duration::from_secs(4), "not before the silent ones were cut by their deadline");
    let mut first = silent.remove(0);
    assert!(head_or_alert(&mut first).await.is_empty());
}

#[tokio::test]
async fn whoever_is_being_answered_when_mailferry_ends_hears_the_answer() {
    // Who hears of the end first is left to chance.
    for _ in 0..16 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let socket = Some(Socket { path: path.clone(), is_demanded: true });
        let settings = Settings { socket, state_file: folder.path().join("states"), ..Settings::default() };
        let context = leaks::context(0);
        let whom = (&context.site().islands, &context.holds);
        let admin = Admin::open(&settings, Keys::default(), whom, None, &mut Passed::default()).unwrap();
        let (stop, drain) = drain::channel();
        let ((reloads, mut ordered), (take_overs, _)) = (mpsc::channel(1), mpsc::channel(1));
        let serving = tokio::spawn(admin.serve(Arc::clone(&context), Orders { reloads, take_overs }, drain));
        let mut asker = UnixStream::connect(&path).await.unwrap();
        asker.write_all(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let order = ordered.recv().await.unwrap();
        drop(stop);
        serving.await.unwrap();
        tokio::task::yield_now().await;
        order.answer(Err("the last word".to_owned()));
        let mut answer = String::new();
        asker.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("{\"error\":\"the last word\",\"meant\":[]}"), "{answer:?}");
    }
}

/// All until the end of the next event, or of the connection, which is `None`.
async fn event(connection: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut heard = Vec::new();
    while !heard.ends_with(b"\n\n") {
        heard.push(timeout(Duration::from_secs(10), connection.read_u8()).await.expect("it goes on").ok()?);
    }
    Some(String::from_utf8(heard).unwrap())
}

#[tokio::test]
async fn a_stream_ends_with_its_token_or_what_that_gives_and_no_other_one_does() {
    const NEW: &str = "another-Pa55-0123456789abcdefghijklmn";
    let open = open().await;
    let listen = async |token: &str| {
        let mut connection = open.connect(1).await;
        let question = format!("GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
        connection.write_all(question.as_bytes()).await.unwrap();
        assert_eq!(status_of(&head(&mut connection).await), 200);
        connection
    };
    let with = |operator: &str, read_only: &str| {
        let path = |name: &str| open.folder.path().join(name);
        std::fs::write(path("operator"), operator).unwrap();
        std::fs::write(path("read-only"), read_only).unwrap();
        let tokens = Tokens::load(Some(&path("operator")), Some(&path("read-only"))).unwrap();
        open.entrance.replace(Keys { tls: open.entrance.tls(), tokens });
    };
    // One of them does not read.
    let (mut operator, mut silent, mut reader) =
        (listen(OPERATOR).await, listen(OPERATOR).await, listen(READ_ONLY).await);
    assert!(event(&mut operator).await.unwrap().contains("\"may_order\":true"));
    with(OPERATOR, READ_ONLY);
    assert!(event(&mut operator).await.is_some() && event(&mut operator).await.is_some(), "nothing has changed");
    with(NEW, READ_ONLY);
    assert!(event(&mut operator).await.is_none() || event(&mut operator).await.is_none());
    let heard = timeout(Duration::from_secs(10), silent.read_to_end(&mut Vec::new())).await;
    heard.expect("nobody cuts it").unwrap_err();
    for _ in 0..3 {
        assert!(event(&mut reader).await.unwrap().contains("\"may_order\":false"));
    }
    // It would be taken, for something else.
    with(READ_ONLY, NEW);
    let heard = [event(&mut reader).await, event(&mut reader).await];
    assert!(heard.contains(&None), "{heard:?}");
    assert_eq!(open.status(1, "GET /v1/events", Some(READ_ONLY)).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlives_a_question_and_there_are_so_many() {
    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use axum::{Extension, Router};

    async fn events(Extension(streaming): Extension<serve::Streaming>) -> Body {
        if !streaming.begin(access::Pass::without_token(access::Role::Operator)) {
            return Body::from("full");
        }
        Body::from_stream(futures_util::stream::once(async {
            sleep(Duration::from_secs(300)).await;
            Ok::<_, std::convert::Infallible>(Bytes::from_static(b"late"))
        }))
    }
    let (listener, address) = access::open(SocketAddr::from(([127, 0, 0, 1], 0)), &mut Passed::default()).unwrap();
    let (_stop, drain) = drain::channel();
    let door = Door::Remote(Arc::new(listener), Entrance::new(Keys::default()));
    let open = watch::Sender::new(Stand::Open);
    tokio::spawn(serve::serve(door, open.subscribe(), Router::new().route("/", get(events)), drain));
    let ask = || async move {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let all = join_all((0..20).map(|_| ask())).await;
    let late = all.iter().filter(|answer| answer.contains("late")).count();
    let full = all.iter().filter(|answer| answer.ends_with("full")).count();
    assert_eq!((late, full), (16, 4), "{all:?}");
}
