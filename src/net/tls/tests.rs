//! Certificates chosen by SNI, and files that cannot be used.

use rcgen::{CertifiedKey as Generated, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};
use tempfile::TempDir;

use super::*;

struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn certificate(&self, stem: &str, names: &[&str]) -> CertificateFiles {
        let names = names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let Generated { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let chain = self.write(&format!("{stem}.pem"), &cert.pem());
        let key = self.write(&format!("{stem}.key"), &signing_key.serialize_pem());
        CertificateFiles { chain, key }
    }
}

/// The certificate that a client gets which asks for `name`, or the error that ends the handshake.
fn presented(server: &Arc<ServerConfig>, roots: &Path, name: &str) -> Result<Vec<u8>, rustls::Error> {
    let client = client_config(load_roots(roots).unwrap()).unwrap();
    Ok(shaken(server, client, name)?.peer_certificates().unwrap()[0].to_vec())
}

/// A client after its handshake, or the error that ended it.
fn shaken(
    server: &Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    name: &str,
) -> Result<ClientConnection, rustls::Error> {
    let mut client = ClientConnection::new(client, ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(client)
}

#[test]
fn r_tls_06_no_listener_takes_early_data() {
    let files = Files::new();
    let settings =
        ServerSettings { certificates: vec![files.certificate("mail", &["localhost"])], min_version: Version::Tls12 };
    // The library's own sign, because tickets without a state on our side would not let a client try.
    assert_eq!(server_config(&settings, b"x", None).unwrap().max_early_data_size, 0);
}

#[test]
fn r_tls_06_a_listener_takes_nothing_older_than_it_says() {
    let files = Files::new();
    let certificate = files.certificate("mail", &["localhost"]);
    let (tls12, tls13) = (&rustls::version::TLS12, &rustls::version::TLS13);
    let client = |version| {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
        let roots = load_roots(&certificate.chain).unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    };
    for (min_version, version, is_taken) in [
        (Version::Tls12, tls12, true),
        (Version::Tls12, tls13, true),
        (Version::Tls13, tls12, false),
        (Version::Tls13, tls13, true),
    ] {
        let settings = ServerSettings { certificates: vec![certificate.clone()], min_version };
        let shaken = shaken(&server_config(&settings, b"x", None).unwrap(), client(version), "localhost");
        match shaken {
            Ok(client) => assert!(is_taken && client.protocol_version() == Some(version.version)),
            Err(error) => assert!(!is_taken && matches!(error, rustls::Error::PeerIncompatible(_)), "{error}"),
        }
    }
}

#[test]
fn the_certificate_is_chosen_by_sni_and_the_first_one_is_the_default() {
    let files = Files::new();
    let sets: [(&str, &[&str]); 3] =
        [("default", &["mail.example.net"]), ("other", &["mail.example.org"]), ("wild", &["*.Example.com"])];
    let certificates: Vec<_> = sets.iter().map(|(stem, names)| files.certificate(stem, names)).collect();
    let der = |index: usize| read_certificates(&certificates[index].chain).unwrap()[0].to_vec();
    let roots: Vec<_> = certificates.iter().map(|it| std::fs::read_to_string(&it.chain).unwrap()).collect();
    let roots = files.write("roots.pem", &roots.concat());
    let settings = ServerSettings { certificates: certificates.clone(), min_version: Version::Tls12 };
    let server = server_config(&settings, b"x", None).unwrap();
    assert_eq!(presented(&server, &roots, "mail.example.net").unwrap(), der(0));
    assert_eq!(presented(&server, &roots, "mail.example.org").unwrap(), der(1));
    assert_eq!(presented(&server, &roots, "pop.example.com").unwrap(), der(2));
    // Nobody's name: the default is shown, and the client judges.
    for unknown in ["mail.example.info", "a.b.example.com", "example.com"] {
        let refused = presented(&server, &roots, unknown).unwrap_err();
        assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{unknown}: {refused}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let files = Files::new();
    let good = files.certificate("good", &["a.example"]);
    let other = files.certificate("other", &["b.example"]);
    let empty = files.write("empty.pem", "nothing here\n");
    let missing = files.dir.path().join("missing.pem");
    let cases = [
        (CertificateFiles { chain: missing.clone(), key: good.key.clone() }, &missing, "No such file"),
        (CertificateFiles { chain: empty.clone(), key: good.key.clone() }, &empty, "no certificate"),
        (CertificateFiles { chain: good.chain.clone(), key: empty.clone() }, &empty, "no private key"),
        (CertificateFiles { chain: good.chain.clone(), key: other.key.clone() }, &other.key, "is not the key of"),
    ];
    for (pair, path, reason) in cases {
        let error = load_certificate(&pair).unwrap_err();
        assert_eq!(&error.path, path);
        assert!(error.reason.contains(reason), "{error}");
        let told: Vec<_> = certificate_problems(&pair).iter().map(ToString::to_string).collect();
        assert_eq!(told, [error.to_string()]);
    }
    let both = certificate_problems(&CertificateFiles { chain: empty.clone(), key: missing.clone() });
    assert_eq!(both.iter().map(|error| &error.path).collect::<Vec<_>>(), [&empty, &missing]);
    assert!(certificate_problems(&good).is_empty());
    assert!(load_certificate(&good).is_ok());
    assert!(load_roots(&empty).unwrap_err().reason.contains("no certificate"));
}
