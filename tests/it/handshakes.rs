//! R-TLS: which handshakes succeed, and the alerts of those that do not: versions, ALPN, client certificates.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};

use mailferry::net::tls::{CertificateFiles, load_roots};
use mailferry::server::ListenerTls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

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
    if upgrade.is_some() {
        stream.write_all(b"a NOOP\r\n").await.unwrap();
    }
    let first = line(&mut stream).await.expect("a line under TLS");
    assert!(!first.is_empty());
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

#[tokio::test]
async fn r_tls_06_early_data_is_off() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for (door, upgrade, _) in WAYS {
        let mut config = ClientConfig::clone(&site.client_tls());
        config.enable_early_data = true;
        let config = Arc::new(config);
        // The second one resumes the first one's session, and could say something at once if it was allowed to.
        for resumed in [false, true] {
            let mut stream = accepted(site.address(door), upgrade, &config).await;
            assert_eq!(
                stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
                resumed,
                "{door:?}"
            );
            assert!(!stream.get_ref().1.is_early_data_accepted());
            assert!(stream.get_mut().1.early_data().is_none(), "{door:?}: early data is offered");
        }
    }
    site.end(&[]).await;
}

/// What `openssl s_client` says, after it was told this, and once the log has so many lines with this word.
async fn s_client(address: SocketAddr, options: &[&str], told: &str, awaited: Option<(&str, usize)>) -> String {
    let mut command = tokio::task::spawn_blocking({
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let told = told.to_owned();
        move || {
            let mut child = std::process::Command::new("openssl")
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

#[tokio::test]
async fn r_tls_06_old_versions_and_renegotiation_are_refused() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for (door, upgrade, protocol) in WAYS {
        let starttls = if upgrade.is_some() { vec!["-starttls", protocol] } else { Vec::new() };
        let talk = |version: &'static str| [&starttls[..], &[version, "-cipher", "DEFAULT@SECLEVEL=0"]].concat();
        for old in ["-tls1", "-tls1_1"] {
            let said = s_client(site.address(door), &talk(old), "", None).await;
            assert!(said.contains("SSL alert number"), "{door:?} {old}: {said}");
            assert!(said.contains("no peer certificate available"), "{door:?} {old}: {said}");
        }
        // The same words get in with a version of today.
        let said = s_client(site.address(door), &talk("-tls1_2"), "", None).await;
        assert!(said.contains("CN=") || said.contains("CN ="), "{door:?}: {said}");
        assert!(!said.contains("SSL alert number"), "{door:?}: {said}");
    }
    for (door, upgrade, protocol) in WAYS {
        let starttls = if upgrade.is_some() { vec!["-starttls", protocol] } else { Vec::new() };
        // A line that begins with R makes it ask for another handshake.
        let options = [&starttls[..], &["-tls1_2"]].concat();
        let refusals = log_lines(&["NoRenegotiation"]).len();
        let said = s_client(site.address(door), &options, "R\n", Some(("NoRenegotiation", refusals + 1))).await;
        assert!(said.contains("RENEGOTIATING"), "{door:?}: {said}");
        assert_eq!(said.matches("RENEGOTIATING\ndepth=").count(), 0, "{door:?}: {said}");
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
