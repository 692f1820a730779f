//! A mailferry at an address: the way to it by HTTPS, and the token.
//!
//! Its certificate is always verified, and a token goes over no network in clear text.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use axum::http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::net::tls;
use crate::secret::{Secret, read_password};

/// Where a mailferry listens for commands with a token.
pub(super) struct Remote {
    host: String,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    token: Option<Secret>,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// Octets in both directions.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Remote {
    /// Reads the address, the token's file and that of the authorities. Blocks for a moment.
    ///
    /// # Errors
    /// Why one of them cannot be used, with a remedy.
    pub(super) fn new(address: &str, token: Option<&Path>, ca: Option<&Path>) -> Result<Self, String> {
        let wrong = || format!("{}: no address as https://mail.example.net:8443", address.escape_debug());
        let uri: Uri = address.parse().map_err(|_| wrong())?;
        let host = uri.host().map(|host| host.trim_start_matches('[').trim_end_matches(']').to_owned());
        let host = host.filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let has_path = uri.path_and_query().is_some_and(|it| it.as_str() != "/" && !it.as_str().is_empty());
        if has_path || uri.authority().is_none_or(|it| it.as_str().contains('@')) {
            return Err(wrong());
        }
        let (port, tls) = match uri.scheme_str() {
            Some("https") => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
                let roots = match ca {
                    Some(path) => tls::load_roots(path),
                    None => tls::system_roots(),
                };
                let roots = roots.map_err(|error| format!("{error}: name a PEM file of the authority with --ca"))?;
                let config = tls::client_config(roots).map_err(|error| format!("TLS: {error}"))?;
                (443, Some((config, name)))
            }
            Some("http") if is_here(&host) => (80, None),
            Some("http") => {
                return Err(format!(
                    "{address}: the token would go over the network in clear text: write https://, or go through a tunnel \
                     to an address of this machine"
                ));
            }
            _ => return Err(wrong()),
        };
        let token = token.map(read_password).transpose();
        let token = token.map_err(|error| format!("{error}: name the file of your token with --token-file"))?;
        Ok(Self { host, port: uri.port_u16().unwrap_or(port), tls, token })
    }

    /// Host and port, as a URL and the field `Host` have them.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The field that shows the token. `None`: there is none.
    ///
    /// # Errors
    /// It cannot stand in a header.
    pub(super) fn authorization(&self) -> Option<Result<HeaderValue, String>> {
        let token = self.token.as_ref()?;
        let field = Secret::new([b"Bearer ", token.expose()].concat());
        let field = HeaderValue::from_bytes(field.expose()).map(|mut field| {
            field.set_sensitive(true);
            field
        });
        Some(field.map_err(|_| "the file of the token holds no token".to_owned()))
    }

    /// Connects. An error of TLS is told with its remedy.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let Some((config, name)) = &self.tls else { return Ok(Box::new(stream)) };
        match TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(explained(error)),
        }
    }
}

/// Whether whatever goes there stays on this machine.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn explained(error: io::Error) -> io::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let said = match tls {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "its certificate is of no known authority: name the authority's file with --ca".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "its certificate is for another name: ask it by the name that the certificate has".to_owned(),
        Some(rustls::Error::InvalidMessage(_)) => "it does not speak TLS there: perhaps http:// is meant".to_owned(),
        Some(other) => format!("TLS: {other}"),
        None => return error,
    };
    io::Error::other(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_or_of_this_machine() {
        let ca = concat!(env!("CARGO_MANIFEST_DIR"), "/src/testkit/tls/chain.pem");
        let remote = |address: &str| Remote::new(address, None, Some(Path::new(ca)));
        for (address, shown) in [
            ("https://mail.example.net:8443", "https://mail.example.net:8443"),
            ("https://mail.example.net/", "https://mail.example.net:443"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://localhost", "http://localhost:80"),
        ] {
            let made = remote(address).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(made.to_string(), shown);
        }
        for (address, said) in [
            ("mail.example.net:8443", "no address as https://"),
            ("127.0.0.1:8443", "no address as https://"),
            ("/run/mailferry/admin.sock", "no address as https://"),
            ("ftp://mail.example.net", "no address as https://"),
            ("https://", "no address as https://"),
            ("https://me@mail.example.net", "no address as https://"),
            ("https://mail.example.net/v1/status", "no address as https://"),
            ("http://mail.example.net:8080", "in clear text: write https://"),
            ("http://192.0.2.1:8080", "in clear text: write https://"),
            ("http://localhost.example.net", "in clear text: write https://"),
        ] {
            let told = remote(address).err().unwrap_or_default();
            assert!(told.contains(said), "{address}: {told:?}");
        }
    }

    #[test]
    fn a_token_is_shown_and_an_unusable_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let remote = || Remote::new("http://127.0.0.1:1", Some(&path), None);
        assert!(remote().err().unwrap().contains("name the file of your token with --token-file"));
        std::fs::write(&path, "token-Pa55-0123456789\n").unwrap();
        let field = remote().ok().unwrap().authorization().unwrap().unwrap();
        assert_eq!(field.as_bytes(), b"Bearer token-Pa55-0123456789");
        assert!(!format!("{field:?}").contains("Pa55"));
        std::fs::write(&path, "token-Pa55\nmore").unwrap();
        assert!(remote().ok().unwrap().authorization().unwrap().is_err());
        assert!(Remote::new("http://127.0.0.1:1", None, None).ok().unwrap().authorization().is_none());
    }
}
