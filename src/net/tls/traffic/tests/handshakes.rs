//! Where rustls' part of a connection ends and ours begins: no octet is lost, said twice or read with the wrong keys there,
//! whatever the handshake was like and however it comes in.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::*;

const GREETING: &[u8] = b"* hello";
const WORDS: &[u8] = b"words right behind the handshake";

type Pair = (Ours<UnbufferedServerConnection>, Ours<UnbufferedClientConnection>);

/// Hears it in parts, and says what came of it.
fn hear_parts(it: &mut dyn Victim, octets: &[u8], part: usize, heard: &mut Vec<u8>) -> Vec<u8> {
    let mut said = Vec::new();
    for part in octets.chunks(part) {
        let (answer, result) = it.hear(part);
        said.extend(answer);
        heard.extend(result.unwrap());
    }
    said
}

/// Shakes hands over a wire that delivers in parts, the server's first words as early as can be, and new keys and words of
/// the client's right behind its Finished. Each flight is changed on the way as `lay` says. Says how many octets the
/// server's flights have.
fn meet((server, client): &Configurations, part: usize, lay: fn(Vec<u8>) -> Vec<u8>) -> (Pair, usize) {
    let mut server = Ours::new(UnbufferedServerConnection::new(Arc::clone(server)).unwrap());
    let mut client = Ours::new(UnbufferedClientConnection::new(Arc::clone(client), localhost()).unwrap());
    server.first = GREETING;
    let (mut server_heard, mut client_heard, mut flights) = (Vec::new(), Vec::new(), 0);
    let mut said = client.hear(&[]).0;
    let mut has_spoken = false;
    while !said.is_empty() {
        let answer = hear_parts(&mut server, &lay(said), part, &mut server_heard);
        flights += answer.len();
        said = hear_parts(&mut client, &answer, part, &mut client_heard);
        if !client.driver.is_handshaking() && !std::mem::replace(&mut has_spoken, true) {
            let mut out = Outgoing::new();
            client.driver.renew_keys(&mut out).unwrap();
            client.driver.send(&mut client.input, WORDS, &mut out).unwrap();
            said.extend_from_slice(out.filled());
        }
    }
    assert_eq!((client_heard.as_slice(), server_heard.as_slice()), (GREETING, WORDS));
    assert!(server.driver.traffic().is_some() && client.driver.traffic().is_some(), "still in rustls' hands");
    assert!(server.input.is_empty() && client.input.is_empty());
    ((server, client), flights)
}

fn talk((mut server, mut client): Pair) {
    for _ in 0..2 {
        let said = say(&mut server, b"from the server");
        assert_eq!(client.hear(&said).1.unwrap(), b"from the server");
        let said = say(&mut client, b"from the client");
        assert_eq!(server.hear(&said).1.unwrap(), b"from the client");
    }
}

/// What [`configuration`] has, with these providers, and without tickets where clients are asked for certificates.
fn configurations_with(server: CryptoProvider, client: CryptoProvider, asks: bool) -> Configurations {
    let chain = CertificateDer::from_pem_slice(include_bytes!("../../../../testkit/tls/chain.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../../../testkit/tls/key.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(chain.clone()).unwrap();
    let roots = Arc::new(roots);
    let provider = Arc::new(server);
    let versions = &[&rustls::version::TLS13];
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
    let builder = match asks {
        true => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider);
            builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        }
        false => builder.with_no_client_auth(),
    };
    let mut server = builder.with_single_cert(vec![chain], key).unwrap();
    server.enable_secret_extraction = true;
    server.send_half_rtt_data = !asks;
    server.send_tls13_tickets = if asks { 0 } else { 2 };
    let builder = ClientConfig::builder_with_provider(Arc::new(client)).with_protocol_versions(versions).unwrap();
    let mut client = builder.with_root_certificates(roots).with_no_client_auth();
    client.enable_secret_extraction = true;
    (Arc::new(server), Arc::new(client))
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

#[test]
fn each_kind_of_handshake_ends_in_our_hands_however_it_is_cut() {
    let one_group = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::SECP384R1], ..provider() };
    let mut kinds = vec![
        ("as always", configurations_with(provider(), provider(), false)),
        ("certificates asked for, no tickets", configurations_with(provider(), provider(), true)),
        ("HelloRetryRequest", configurations_with(one_group, provider(), false)),
    ];
    for suite in provider().cipher_suites.into_iter().filter(|suite| suite.tls13().is_some()) {
        let one_suite = CryptoProvider { cipher_suites: vec![suite], ..provider() };
        kinds.push(("one suite", configurations_with(one_suite, provider(), false)));
    }
    for (name, (mut server, mut client)) in kinds {
        // Messages in many records, too.
        for most in [None, Some(64)] {
            Arc::make_mut(&mut server).max_fragment_size = most;
            Arc::make_mut(&mut client).max_fragment_size = most;
            for part in [1, 7, 100, usize::MAX] {
                println!("{name}, records of {most:?}, parts of {part}");
                talk(meet(&(Arc::clone(&server), Arc::clone(&client)), part, |flight| flight).0);
            }
        }
    }
}

#[test]
fn a_ticket_that_we_have_read_is_good() {
    let configurations = configuration();
    let (first, long) = meet(&configurations, usize::MAX, |flight| flight);
    let (second, short) = meet(&configurations, 1, |flight| flight);
    // No certificate is shown again.
    assert!(short + 300 < long, "{short} octets, {long} before");
    talk(first);
    talk(second);
}

/// A record that is not protected, with these octets of a message.
fn plain(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    [&[22, 3, 1], &length[..], message].concat()
}

/// A hello in records of one octet.
fn spread(flight: Vec<u8>) -> Vec<u8> {
    match flight.split_first_chunk::<5>() {
        Some((&[22, _, _, high, low], hello)) if hello.len() == usize::from(u16::from_be_bytes([high, low])) => {
            hello.chunks(1).flat_map(plain).collect()
        }
        _ => flight,
    }
}

#[test]
fn a_hello_in_records_of_one_octet_is_heard() {
    for part in [1, 3, 6, 1000, usize::MAX] {
        talk(meet(&configuration(), part, spread).0);
    }
}

/// rustls takes records in clear that are longer than RFC 8446 (§5.1) allows, and wants to see them again.
#[test]
fn a_hello_in_records_that_are_too_long_is_no_harm() {
    for (length, is_taken) in [(LONGEST, true), (LONGEST + 257, true), (LONGEST + 2047, true), (LONGEST + 2048, false)]
    {
        for part in [1000, usize::MAX] {
            let mut ours = Ours::new(server());
            let mut hello = vec![0; length];
            hello[..4].copy_from_slice(&[1, 0, 0xff, 0]);
            let mut result = Ok(Vec::new());
            for part in plain(&hello).chunks(part) {
                result = result.and(ours.hear(part).1);
            }
            assert_eq!(result.is_ok(), is_taken, "{length} octets: {result:?}");
            if is_taken {
                assert_eq!(ours.hear(&plain(b"0")), (vec![], Ok(vec![])), "{length} octets");
                assert_eq!(ours.input.len(), length + 5 + 6);
                let answer = ours.hear(&plain(&[0; LONGEST])[..3]);
                assert_eq!(answer, (vec![], Ok(vec![])), "{length} octets");
            }
        }
    }
}
