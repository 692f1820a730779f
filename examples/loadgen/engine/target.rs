//! Where to log in: protocol, address, and whether TLS comes first. Server certificates are always checked.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Imap,
    Pop3,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
        })
    }
}

/// An address, and what is spoken there.
pub(crate) struct Target {
    pub(crate) protocol: Protocol,
    /// `host:port`.
    pub(crate) address: String,
    /// TLS from the first octet; clear text without it.
    pub(crate) tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    /// The server's certificate must be for the host of the address.
    pub(crate) fn new(protocol: Protocol, address: &str, trust: Option<&TlsConnector>) -> Result<Self, String> {
        let (host, _) = address.rsplit_once(':').ok_or_else(|| format!("{address} is not HOST:PORT"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| format!("{address}: {error}"))?;
        let tls = trust.map(|connector| (connector.clone(), name));
        Ok(Self { protocol, address: address.to_owned(), tls })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls.is_some() { "s" } else { "" };
        write!(f, "{}{tls}://{}", self.protocol, self.address)
    }
}

/// Trusts the certificate authorities of a PEM file. Sessions are never resumed: every login is a client of its own.
pub(crate) fn trust(ca: &Path) -> Result<TlsConnector, String> {
    let wrong = |error: &dyn fmt::Display| format!("{}: {error}", ca.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| wrong(&error))? {
        roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}
