//! TLS for both directions, each with a configuration of its own: what one side demands never leaks into the other
//! (CVE-2013-4584).
//!
//! One provider (aws-lc-rs), TLS 1.2 or newer, no renegotiation, no early data. Towards clients the certificate is
//! chosen by SNI without keeping anything per name, and a client that names protocols must name ours; towards nodes the
//! certificate is always verified.

pub mod driver;
mod expiry;
mod handshake;
mod outgoing;
mod records;
pub mod stream;
mod traffic;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

/// Largest file with certificates or a key, in octets. All the authorities of a system take a quarter of it.
const MAX_FILE_LEN: u64 = 1024 * 1024;

/// TLS towards clients.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// Chosen by SNI; the first one serves clients that name nobody or somebody unknown.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version accepted.
    pub min_version: Version,
}

/// Where a certificate lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and its intermediates, as PEM.
    pub chain: PathBuf,
    /// The private key, as PEM.
    pub key: PathBuf,
}

/// TLS versions that may be the oldest one accepted (RFC 8996 forbids older ones).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// rustls lists both versions, but not TLS 1.3 alone.
static TLS13_ONLY: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

impl Version {
    fn and_newer(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => rustls::ALL_VERSIONS,
            Self::Tls13 => TLS13_ONLY,
        }
    }
}

/// A file with certificates or keys that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct CertificateError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl CertificateError {
    fn new(path: &Path, reason: impl ToString) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// What one listener uses. A client that offers protocols by ALPN (RFC 7301) without `protocol` hears
/// no_application_protocol, so that a browser cannot be led here (ALPACA); one that offers none gets in. With
/// `client_ca`, a client must show a certificate of these authorities; whose it is, is not looked at.
///
/// Each listener has a configuration of its own: a ticket of one must not open the door of another one that demands
/// certificates, because whoever resumes a session shows none.
///
/// # Errors
/// The first certificate, or list of authorities, that cannot be loaded.
pub fn server_config(
    settings: &ServerSettings,
    protocol: &[u8],
    client_ca: Option<&Path>,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let certificates = settings.certificates.iter().map(Certificate::load).collect::<Result<Vec<_>, _>>()?;
    let unusable = |error: rustls::Error| CertificateError::new(Path::new("TLS"), error);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(settings.min_version.and_newer())
        .map_err(unusable)?;
    let builder = match client_ca {
        Some(path) => builder.with_client_cert_verifier(client_verifier(path)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(BySni(certificates)));
    config.alpn_protocols = vec![protocol.to_vec()];
    config.max_early_data_size = 0;
    // For the driver, which goes on without rustls behind the handshake.
    config.enable_secret_extraction = true;
    if client_ca.is_some() {
        // Every handshake proves the certificate anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        // Stateless tickets: resumption costs no memory, and one ticket is as good as the usual two.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
        config.send_tls13_tickets = 1;
        // The greeting goes out with our first flight: a round trip less (RFC 8446 §4.4.4). It is the same for everybody,
        // and nobody proves who he is by TLS here.
        config.send_half_rtt_data = true;
    }
    Ok(Arc::new(config))
}

fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let roots = Arc::new(load_roots(path)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
    verifier.map_err(|error| CertificateError::new(path, error))
}

/// What connections to nodes or directory servers use: the certificate must chain to `roots`.
///
/// # Errors
/// Never with this provider; the type is rustls' own.
pub fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // As above.
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

/// The authorities of a PEM file.
///
/// # Errors
/// The file cannot be read, holds no certificate, or one that is none.
pub fn load_roots(path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|error| CertificateError::new(path, error))?;
    }
    Ok(roots)
}

/// The authorities that the system trusts.
///
/// # Errors
/// There are none (on Debian: the package ca-certificates is missing).
pub fn system_roots() -> Result<RootCertStore, CertificateError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(CertificateError::new(Path::new("the system's certificate authorities"), "none found"));
    }
    Ok(roots)
}

/// A certificate with its key, which must belong together.
///
/// # Errors
/// A file cannot be read or parsed, or the key is not the certificate's.
pub fn load_certificate(files: &CertificateFiles) -> Result<Arc<CertifiedKey>, CertificateError> {
    pair(files, read_certificates(&files.chain)?, read_key(&files.key)?)
}

/// When the first of these certificates, the intermediate ones included, is good no more: in seconds since 1970. `None`: they
/// cannot be read.
pub fn expires_at(files: &CertificateFiles) -> Option<i64> {
    let chain = read_certificates(&files.chain).ok()?;
    chain.iter().map(|it| expiry::not_after(it)).collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// Everything that [`load_certificate`] would stumble over: each file on its own, then whether they belong together.
pub fn certificate_problems(files: &CertificateFiles) -> Vec<CertificateError> {
    match (read_certificates(&files.chain), read_key(&files.key)) {
        (Ok(chain), Ok(key)) => pair(files, chain, key).err().into_iter().collect(),
        (chain, key) => chain.err().into_iter().chain(key.err()).collect(),
    }
}

fn pair(
    files: &CertificateFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, CertificateError> {
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            CertificateError::new(&files.key, format!("is not the key of {}", files.chain.display()))
        }
        other => CertificateError::new(&files.key, other),
    })
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    check_size(path)?;
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| CertificateError::new(path, explain(&error)))?;
    if certificates.is_empty() {
        return Err(CertificateError::new(path, "holds no certificate in PEM form"));
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    check_size(path)?;
    PrivateKeyDer::from_pem_file(path).map_err(|error| CertificateError::new(path, explain(&error)))
}

/// Before a file is opened, because opening a pipe would wait, and reading a device never end.
fn check_size(path: &Path) -> Result<(), CertificateError> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(CertificateError::new(path, "not a regular file")),
        Ok(metadata) if metadata.len() > MAX_FILE_LEN => {
            Err(CertificateError::new(path, format!("larger than {MAX_FILE_LEN} octets")))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(CertificateError::new(path, error)),
    }
}

/// The PEM reader's words, as an operator would say them.
fn explain(error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => error.to_string(),
        rustls::pki_types::pem::Error::NoItemsFound => "holds no private key in PEM form".to_owned(),
        other => other.to_string(),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Certificates in the order of the configuration.
#[derive(Debug)]
struct BySni(Vec<Certificate>);

#[derive(Debug)]
struct Certificate {
    key: Arc<CertifiedKey>,
    /// The DNS names it is good for, in lower case; `*.` stands for one label.
    names: Vec<String>,
}

impl Certificate {
    fn load(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let key = load_certificate(files)?;
        let leaf = key.end_entity_cert().map_err(|error| CertificateError::new(&files.chain, error))?;
        let leaf = webpki::EndEntityCert::try_from(leaf)
            .map_err(|error| CertificateError::new(&files.chain, format!("{error:?}")))?;
        let names = leaf.valid_dns_names().map(str::to_ascii_lowercase).collect();
        Ok(Self { key, names })
    }

    /// RFC 6125 §6.4.3: a wildcard stands for exactly one, the leftmost, label.
    fn serves(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| own == name || own.strip_prefix("*.").is_some_and(|own| parent == Some(own)))
    }
}

thread_local! {
    /// The name in the last hello that this thread has read. rustls tells it to nobody else without buffers of its own,
    /// and a hello is read from its first to its last octet in one call.
    static ASKED: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// The name in the hello that was read since this was asked the last time, if one was.
fn take_asked_name() -> Option<Box<str>> {
    ASKED.take()
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        ASKED.set(hello.server_name().map(Box::from));
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let signs = |it: &&Certificate| it.key.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = self.0.iter().filter(|it| name.as_deref().is_some_and(|name| it.serves(name))).find(signs);
        // A default for unknown names rather than an alert: clients are configured with all sorts of names, and the
        // client, not the server, decides whether the certificate will do.
        named.or_else(|| self.0.iter().find(signs)).or_else(|| self.0.first()).map(|it| Arc::clone(&it.key))
    }
}

#[cfg(test)]
mod tests;
