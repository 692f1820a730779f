//! R-TLS: which handshakes succeed, and the alerts of those that do not: versions, ALPN, client certificates.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use mailferry::net::tls::{CertificateFiles, ServerSettings, Version, client_config, load_roots, server_config};
use mailferry::server::ListenerTls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ProducesTickets;
use rustls::{AlertDescription, ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::client::{DEADLINE, text};
use crate::node::FakeNode;
use crate::site::{Door, Site, Spec, certificate, log_lines, logged};

/// Every way into TLS: the door, the command that begins it, the protocol's name in ALPN, what openssl calls it.
const WAYS: [(Door, Option<&str>, &str); 4] = [
    (Door::ImapTls, None, "imap"),
    (Door::ImapStartTls, Some("s STARTTLS\r\n"), "imap"),
    (Door::Pop3Tls, None, "pop3"),
    (Door::Pop3StartTls, Some("STLS\r\n"), "pop3"),
];

async fn line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(timeout(DEADLINE, stream.read_u8()).await.expect("no line in time")?);
    }
    Ok(text(&line))
}

/// A handshake, by whichever way.
async fn handshake(
    address: SocketAddr,
    upgrade: Option<&str>,
    config: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut socket = TcpStream::connect(address).await?;
    if let Some(upgrade) = upgrade {
        line(&mut socket).await?;
        socket.write_all(upgrade.as_bytes()).await?;
        line(&mut socket).await?;
    }
    let name = "localhost".try_into().unwrap();
    timeout(DEADLINE, TlsConnector::from(Arc::clone(config)).connect(name, socket)).await.expect("no handshake in time")
}

/// A handshake that must succeed, and an answer under TLS.
async fn accepted(address: SocketAddr, upgrade: Option<&str>, config: &Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let mut stream = handshake(address, upgrade, config).await.expect("a handshake");
    if upgrade.is_none() {
        assert!(!line(&mut stream).await.expect("a greeting under TLS").is_empty());
    }
    // The greeting can come before the server has heard the end of the handshake. Tickets come with the first answer.
    stream.write_all(b"a NOOP\r\n").await.unwrap();
    assert!(!line(&mut stream).await.expect("an answer under TLS").is_empty());
    stream
}

/// The alert that ends a handshake. With TLS 1.3 a client thinks that it has succeeded before it hears of its own
/// certificate.
async fn refused(address: SocketAddr, upgrade: Option<&str>, config: &Arc<ClientConfig>) -> AlertDescription {
    let error = match handshake(address, upgrade, config).await {
        Err(error) => error,
        Ok(mut stream) => line(&mut stream).await.expect_err("nothing may be said"),
    };
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        other => panic!("no alert, but {other:?}: {error}"),
    }
}

fn offering(config: &Arc<ClientConfig>, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[tokio::test]
async fn r_tls_07_a_client_that_offers_protocols_must_offer_ours() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for (door, upgrade, ours) in WAYS {
        let other = if ours == "imap" { "pop3" } else { "imap" };
        for foreign in [&["h2", "http/1.1"][..], &["http/1.1"], &[other], &["IMAP", "POP3"], &["managesieve", "h2"]] {
            let config = offering(&site.client_tls(), foreign);
            let alert = refused(site.address(door), upgrade, &config).await;
            assert_eq!(alert, AlertDescription::NoApplicationProtocol, "{door:?} {foreign:?}");
        }
        for own in [&[ours][..], &["h2", ours], &[ours, other]] {
            let stream = accepted(site.address(door), upgrade, &offering(&site.client_tls(), own)).await;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(ours.as_bytes()), "{door:?} {own:?}");
        }
        let stream = accepted(site.address(door), upgrade, &site.client_tls()).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), None, "{door:?}");
    }
    site.end(&[]).await;
}

/// A server that is what ours must not be: it takes early data, and knows the sessions of which it may come.
async fn with_early_data(files: &CertificateFiles) -> SocketAddr {
    let settings = ServerSettings { certificates: vec![files.clone()], min_version: Version::Tls12 };
    let mut config = ServerConfig::clone(&server_config(&settings, b"imap", None).unwrap());
    config.max_early_data_size = 16 * 1024;
    // With tickets that carry it all there is none, whatever the size.
    config.ticketer = Arc::new(NoTickets);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            stream.write_all(b"* OK ready\r\n").await.unwrap();
            stream.read_exact(&mut [0; 8]).await.unwrap();
            stream.write_all(b"a OK done\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    address
}

/// Sessions are kept by the server, and not in tickets.
#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// A client that would send early data.
fn eagerly(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(config);
    config.enable_early_data = true;
    Arc::new(config)
}

#[tokio::test]
async fn r_tls_06_early_data_is_off() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for (door, upgrade, _) in WAYS {
        let config = eagerly(&site.client_tls());
        // The second one resumes the first one's session, and could say something at once if it was allowed to.
        for resumed in [false, true] {
            let stream = accepted(site.address(door), upgrade, &config).await;
            assert_eq!(
                stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
                resumed,
                "{door:?}"
            );
            assert!(!stream.get_ref().1.is_early_data_accepted(), "{door:?}");
        }
    }
    // The same client says something at once to a server that lets it.
    let dir = TempDir::new().unwrap();
    let files = certificate(&dir, "localhost");
    let config = eagerly(&client_config(load_roots(&files.chain).unwrap()).unwrap());
    let address = with_early_data(&files).await;
    for resumed in [false, true] {
        let stream = accepted(address, None, &config).await;
        assert_eq!(stream.get_ref().1.is_early_data_accepted(), resumed);
    }
    site.end(&[]).await;
}

/// What `openssl s_client` says, after it was told this, and once the log has so many lines with this word.
async fn s_client(address: SocketAddr, options: &[&str], told: &str, awaited: Option<(&str, usize)>) -> String {
    let mut command = tokio::task::spawn_blocking({
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let told = told.to_owned();
        move || {
            let mut child = Command::new("openssl")
                .args(["s_client", "-connect", &address.to_string(), "-servername", "localhost"])
                .args(options)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("openssl is missing: apt install openssl");
            let mut stdin = child.stdin.take().unwrap();
            // Whoever was refused listens no more.
            let _ = io::Write::write_all(&mut stdin, told.as_bytes());
            (child, stdin)
        }
    });
    let (mut child, stdin) = timeout(DEADLINE, &mut command).await.unwrap().unwrap();
    if let Some((word, count)) = awaited {
        logged(&[word], count).await;
        child.kill().unwrap();
    }
    drop(stdin);
    let said = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let said = timeout(DEADLINE, said).await.expect("openssl does not end").unwrap();
    text(&[said.stdout, said.stderr].concat())
}

/// A server of openssl's that does what ours must not: old versions, and new handshakes when a client wants one.
struct Obsolete {
    child: Child,
    address: SocketAddr,
}

impl Obsolete {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let files = certificate(&dir, "localhost");
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cipher", "DEFAULT@SECLEVEL=0", "-client_renegotiation"])
            .arg("-cert")
            .arg(&files.chain)
            .arg("-key")
            .arg(&files.key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is missing: apt install openssl");
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = said.find_map(|line| line.strip_prefix("ACCEPT ")?.parse().ok()).expect("openssl listens");
        // Else it would wait for somebody to read what it says.
        std::thread::spawn(move || said.for_each(drop));
        Self { child, address }
    }
}

impl Drop for Obsolete {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `openssl s_client` says when a handshake was refused, and when it succeeded. Anything else is a failure.
fn is_refused(said: &str) -> bool {
    let refused = said.contains("SSL alert number") && said.contains("no peer certificate available");
    let accepted = said.contains("CN=") || said.contains("CN =");
    assert!(refused != accepted, "{said}");
    refused
}

/// Whether another handshake came of the client's wish.
fn is_renegotiated(said: &str) -> bool {
    let (_, behind) = said.split_once("RENEGOTIATING\n").unwrap_or_else(|| panic!("nothing was wished: {said}"));
    behind.contains("depth=")
}

#[tokio::test]
async fn r_tls_06_old_versions_and_renegotiation_are_refused() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    // The same words get in, and the same wish is granted, where a server lets them.
    let obsolete = Obsolete::start();
    for version in ["-tls1", "-tls1_1", "-tls1_2"] {
        let said = s_client(obsolete.address, &[version, "-cipher", "DEFAULT@SECLEVEL=0"], "", None).await;
        assert!(!is_refused(&said), "{version}: {said}");
    }
    // The goodbye behind the wish, so that it ends.
    let said = s_client(obsolete.address, &["-tls1_2"], "R\nQ\n", None).await;
    assert!(is_renegotiated(&said), "{said}");
    for (door, upgrade, protocol) in WAYS {
        let starttls = if upgrade.is_some() { vec!["-starttls", protocol] } else { Vec::new() };
        let talk = |version: &'static str| [&starttls[..], &[version, "-cipher", "DEFAULT@SECLEVEL=0"]].concat();
        for old in ["-tls1", "-tls1_1"] {
            let said = s_client(site.address(door), &talk(old), "", None).await;
            assert!(is_refused(&said), "{door:?} {old}: {said}");
        }
        // With a version of today they get in.
        let said = s_client(site.address(door), &talk("-tls1_2"), "", None).await;
        assert!(!is_refused(&said), "{door:?}: {said}");
    }
    for (door, upgrade, protocol) in WAYS {
        let starttls = if upgrade.is_some() { vec!["-starttls", protocol] } else { Vec::new() };
        // A line that begins with R makes it ask for another handshake.
        let options = [&starttls[..], &["-tls1_2"]].concat();
        let refusals = log_lines(&["NoRenegotiation"]).len();
        let said = s_client(site.address(door), &options, "R\n", Some(("NoRenegotiation", refusals + 1))).await;
        assert!(!is_renegotiated(&said), "{door:?}: {said}");
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_tls_06_a_hello_of_tls_1_1_gets_an_alert() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for minor in [1, 2] {
        let mut socket = TcpStream::connect(site.address(Door::ImapTls)).await.unwrap();
        // A ClientHello with one cipher suite and no extensions.
        let hello = [&[0x01, 0, 0, 41, 0x03, minor][..], &[7; 32], &[0, 0, 2, 0x00, 0x2f, 1, 0]].concat();
        let record = [&[0x16, 0x03, 0x01, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
        socket.write_all(&record).await.unwrap();
        let mut alert = Vec::new();
        timeout(DEADLINE, socket.read_to_end(&mut alert)).await.unwrap().unwrap();
        assert_eq!(alert.first(), Some(&0x15), "an alert: {alert:?}");
    }
    site.end(&[]).await;
}

/// The certificates of this test's clients: one that is believed, and a stranger's.
struct Clients {
    _folder: TempDir,
    known: CertificateFiles,
    stranger: CertificateFiles,
}

/// Spec's `listen` is a plain function, so what it needs stands here.
static CLIENTS: OnceLock<Clients> = OnceLock::new();

fn clients() -> &'static Clients {
    CLIENTS.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let of = |name: &str| {
            let own = TempDir::new_in(folder.path()).unwrap();
            let files = certificate(&own, name);
            // Goes with the folder above it.
            let _ = own.keep();
            files
        };
        let (known, stranger) = (of("known.example"), of("known.example"));
        Clients { _folder: folder, known, stranger }
    })
}

fn roots(site: &Site) -> RootCertStore {
    load_roots(&site.chain()).unwrap()
}

fn showing(
    roots: RootCertStore,
    files: &CertificateFiles,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let chain = CertificateDer::pem_file_iter(&files.chain).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap())
}

fn showing_nothing(roots: RootCertStore, version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::new(builder.with_protocol_versions(&[version]).unwrap().with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test]
async fn a_listener_with_authorities_for_clients_lets_only_their_clients_in() {
    let node = FakeNode::imap().await;
    let ca: fn(&mut mailferry::server::ListenerSettings) = |listener| {
        listener.client_ca = (listener.tls != ListenerTls::Off).then(|| clients().known.chain.clone());
    };
    let site = Site::start(Spec { listen: ca, ..Spec::new(&[node.port]) }).await;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for (door, upgrade, _) in WAYS {
            let known = showing(roots(&site), &clients().known, version);
            for _ in 0..2 {
                let stream = accepted(site.address(door), upgrade, &known).await;
                let kind = stream.get_ref().1.handshake_kind();
                assert_ne!(kind, Some(rustls::HandshakeKind::Resumed), "{door:?}: each one shows its certificate");
            }
            let stranger = showing(roots(&site), &clients().stranger, version);
            let alert = refused(site.address(door), upgrade, &stranger).await;
            let expected =
                [AlertDescription::UnknownCA, AlertDescription::DecryptError, AlertDescription::CertificateUnknown];
            assert!(expected.contains(&alert), "{door:?}: {alert:?}");
            let alert = refused(site.address(door), upgrade, &showing_nothing(roots(&site), version)).await;
            // TLS 1.2 has no better word (RFC 8446 §6.2 came later).
            let expected = [AlertDescription::CertificateRequired, AlertDescription::HandshakeFailure];
            assert!(expected.contains(&alert), "{door:?}: {alert:?}");
        }
    }
    // The certificate opens the door. Who the user is, it does not say.
    let known = showing(roots(&site), &clients().known, &rustls::version::TLS13);
    let mut stream = accepted(site.address(Door::ImapTls), None, &known).await;
    stream.write_all(b"a AUTHENTICATE EXTERNAL =\r\nb LOGIN alice secret-Pa55\r\n").await.unwrap();
    assert!(line(&mut stream).await.unwrap().starts_with("a NO "));
    assert!(line(&mut stream).await.unwrap().starts_with("b OK "));
    assert_eq!(node.logins(), [("alice".to_owned(), "secret-Pa55".to_owned())]);
    site.end(&["secret-Pa55"]).await;
}

#[tokio::test]
async fn a_ticket_of_one_listener_opens_no_other_one() {
    let ca: fn(&mut mailferry::server::ListenerSettings) = |listener| {
        listener.client_ca = (listener.tls == ListenerTls::StartTls).then(|| clients().known.chain.clone());
    };
    let site = Site::start(Spec { listen: ca, ..Spec::new(&[FakeNode::dead().await]) }).await;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let config = showing_nothing(roots(&site), version);
        for _ in 0..2 {
            accepted(site.address(Door::ImapTls), None, &config).await;
        }
        let stream = accepted(site.address(Door::ImapTls), None, &config).await;
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed), "there is a ticket");
        let alert = refused(site.address(Door::ImapStartTls), WAYS[1].1, &config).await;
        let expected = [AlertDescription::CertificateRequired, AlertDescription::HandshakeFailure];
        assert!(expected.contains(&alert), "{alert:?}");
        // Nor one that demands nothing, but speaks another protocol.
        let stream = accepted(site.address(Door::Pop3Tls), None, &config).await;
        assert_ne!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    }
    site.end(&[]).await;
}
