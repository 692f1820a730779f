//! Where measuring clients log in, from which addresses, and as whom.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::lookup_host;
use tokio_rustls::TlsConnector;

use crate::engine::Protocol;

/// Loopback addresses in 127.0.0.0/16 that clients use before they begin again.
const SOURCES_MAX: u32 = 60_000;

/// TLS sessions that a client keeps for resumption.
const RESUMABLE: usize = 4096;

#[derive(Args)]
pub(crate) struct DoorArguments {
    /// Log in here with IMAP.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "pop3", conflicts_with = "pop3")]
    pub(crate) imap: Option<String>,
    /// Log in here with POP3.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) pop3: Option<String>,
    /// How TLS begins, if it does. Clients speak TLS 1.3, and prefer X25519 and AES-128-GCM.
    #[arg(long, value_enum, default_value_t = Tls::Off)]
    pub(crate) tls: Tls,
    /// Certificate authorities (PEM) that the server's certificate must be from.
    #[arg(long, value_name = "FILE", required_if_eq_any = [("tls", "implicit"), ("tls", "starttls")])]
    pub(crate) ca: Option<PathBuf>,
    /// The name that the certificate must have; the host's without it.
    #[arg(long, value_name = "NAME")]
    pub(crate) tls_name: Option<String>,
    /// Resume TLS sessions; without it every handshake is a full one.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Come from N loopback addresses in turns, 127.0.1.1, 127.0.1.2 and so on; 0 leaves the address to the kernel.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=i64::from(SOURCES_MAX)))]
    pub(crate) sources: u32,
    /// Log in as user1, user2 and so on up to this number, in turns. The password is `secret`.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) users: u32,
}

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tls {
    Off,
    Implicit,
    Starttls,
}

/// A server that clients can log in to.
pub(crate) struct Door {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<(Tls, TlsConnector, ServerName<'static>)>,
    sources: u32,
    users: u32,
    text: String,
}

impl DoorArguments {
    /// Looks the host up, IPv4 first, and reads the authorities.
    pub(crate) async fn door(&self) -> Result<Door, String> {
        let (protocol, place) = match (&self.imap, &self.pop3) {
            (Some(place), _) => (Protocol::Imap, place),
            (None, Some(place)) => (Protocol::Pop3, place),
            (None, None) => return Err("neither --imap nor --pop3".into()),
        };
        let wrong = |error: &dyn std::fmt::Display| format!("{place}: {error}");
        let mut found: Vec<SocketAddr> = lookup_host(place).await.map_err(|error| wrong(&error))?.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        let address = *found.first().ok_or_else(|| wrong(&"no address"))?;
        let host = place.rsplit_once(':').map_or(place.as_str(), |(host, _)| host).to_owned();
        let name = ServerName::try_from(self.tls_name.clone().unwrap_or(host)).map_err(|error| wrong(&error))?;
        let tls = match self.tls {
            Tls::Off => None,
            begins => Some((begins, self.connector()?, name)),
        };
        let how = match self.tls {
            Tls::Off => "clear text",
            Tls::Implicit if self.resume => "TLS, resumed",
            Tls::Implicit => "TLS",
            Tls::Starttls => "STARTTLS",
        };
        let text = format!("{protocol} at {place}, {how}");
        Ok(Door { protocol, address, tls, sources: self.sources, users: self.users, text })
    }

    fn connector(&self) -> Result<TlsConnector, String> {
        let ca = self.ca.as_deref().ok_or("TLS needs --ca")?;
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", ca.display());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| wrong(&error))? {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        }
        let provider = CryptoProvider {
            // The second one for Perdition, which knows no other: the client hears so and asks again.
            kx_groups: vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1],
            cipher_suites: vec![
                aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
                aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            ],
            ..aws_lc_rs::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let resumed = || Resumption::in_memory_sessions(RESUMABLE);
        config.resumption = if self.resume { resumed() } else { Resumption::disabled() };
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

impl Door {
    /// Who logs in on this turn.
    pub(crate) fn user(&self, turn: u64) -> String {
        format!("user{}", turn % u64::from(self.users) + 1)
    }

    /// From where; `None` leaves it to the kernel.
    pub(crate) fn source(&self, turn: u64) -> Option<Ipv4Addr> {
        let turn = turn.checked_rem(u64::from(self.sources)).filter(|_| self.address.is_ipv4())?;
        let [network, host] = [turn / 250, turn % 250].map(|part| u8::try_from(part + 1).unwrap_or(u8::MAX));
        Some(Ipv4Addr::new(127, 0, network, host))
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_from_many_addresses_as_many_users() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let door =
            |sources| Door { protocol: Protocol::Imap, address, tls: None, sources, users: 3, text: String::new() };
        let from = |sources, turn| door(sources).source(turn).map(|address| address.to_string());
        assert_eq!(from(0, 7), None);
        let turns = [(0, "127.0.1.1"), (1, "127.0.1.2"), (249, "127.0.1.250"), (250, "127.0.2.1"), (600, "127.0.1.1")];
        for (turn, expected) in turns {
            assert_eq!(from(600, turn).as_deref(), Some(expected), "{turn}");
        }
        assert_eq!([0, 1, 2, 3].map(|turn| door(0).user(turn)), ["user1", "user2", "user3", "user1"]);
    }
}
