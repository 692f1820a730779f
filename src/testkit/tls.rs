//! Two TLS drivers that talk to each other, over a wire that cuts, changes, loses and repeats what they say.
//!
//! The property that the driver promises is checked here for tests and the fuzz target alike: what arrives is what was
//! said, from its beginning, without a gap; where nothing was changed on the way all of it arrives; and what a driver
//! leaves to be given to it again is bounded. The certificate is of no use anywhere else.

use std::sync::{Arc, LazyLock};

use rustls::client::UnbufferedClientConnection;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::net::tls::driver::{Driver, Outgoing, Side};

const CHAIN: &[u8] = include_bytes!("tls/chain.pem");
const KEY: &[u8] = include_bytes!("tls/key.pem");

/// Octets that may wait for their end; a connection that needs more is cut, as in [`crate::net::tls::stream`].
const UNFINISHED_MAX: usize = 0xffff;

/// Octets that a driver may have to say to what it was given, apart from plaintext.
const ANSWER_MAX: usize = 8 * 1024;

/// How often one side renews its keys: rustls takes 32 messages about that in a row, the answers to its own among them.
const RENEWALS_MAX: u8 = 12;

/// Octets that one side says in one conversation.
const SAID_MAX: usize = 1024 * 1024;

/// The server's and the client's.
pub type Configurations = (Arc<ServerConfig>, Arc<ClientConfig>);

/// Both sides' configurations for one version: "localhost", no certificates of clients, tickets, the first words in the
/// server's first flight.
pub fn configurations(version: &'static SupportedProtocolVersion) -> Option<Configurations> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = CertificateDer::from_pem_slice(CHAIN).ok()?;
    let mut roots = RootCertStore::empty();
    roots.add(chain.clone()).ok()?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]).ok()?;
    let key = PrivateKeyDer::from_pem_slice(KEY).ok()?;
    let mut server = builder.with_no_client_auth().with_single_cert(vec![chain], key).ok()?;
    server.ticketer = aws_lc_rs::Ticketer::new().ok()?;
    server.send_half_rtt_data = true;
    server.enable_secret_extraction = true;
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).ok()?;
    let mut client = builder.with_root_certificates(roots).with_no_client_auth();
    client.enable_secret_extraction = true;
    Some((Arc::new(server), Arc::new(client)))
}

/// The octet that this side says at this place. Neighbours, sides and records differ.
fn octet(is_server: bool, place: usize) -> u8 {
    let mixed = (place as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8 ^ u8::from(is_server)
}

/// One side of a conversation.
struct End<S: Side> {
    driver: Driver<S>,
    /// What was given to the driver and not used up.
    input: Vec<u8>,
    /// On its way to this side.
    wire: Vec<u8>,
    /// What is still to be said as soon as it may.
    first: Vec<u8>,
    said: usize,
    heard: usize,
    renewals: u8,
    /// The connection below is no more.
    is_cut: bool,
}

impl<S: Side> End<S> {
    fn new(side: S, first: usize) -> Self {
        let first: Vec<u8> = (0..first).map(|place| octet(S::IS_SERVER, place)).collect();
        let said = first.len();
        let (input, wire) = (Vec::new(), Vec::new());
        Self { driver: Driver::new(side), input, wire, first, said, heard: 0, renewals: 0, is_cut: false }
    }

    /// Gives the next so many octets of the wire to the driver. What it has to say goes onto the other side's wire.
    fn hear(&mut self, count: usize, other_wire: &mut Vec<u8>, out: &mut Outgoing) {
        let count = count.min(self.wire.len());
        let arrived: Vec<u8> = self.wire.drain(..count).collect();
        if self.is_cut {
            return;
        }
        self.input.extend(arrived);
        out.clear();
        let had_failed = self.driver.failure().is_some();
        let before = self.heard;
        let used = self.give(out);
        assert!(!had_failed || self.heard == before, "plaintext after a failure");
        assert!(used <= self.input.len(), "more used than given");
        self.input.drain(..used);
        let answer = out.filled().len();
        assert!(answer <= ANSWER_MAX + self.first.len(), "{answer} octets as an answer");
        other_wire.extend(out.filled());
        self.is_cut = self.input.len() > UNFINISHED_MAX;
        let (heard, answered) = (self.heard, out.filled().len());
        assert_eq!(self.give(out), 0, "the same again is used up");
        assert_eq!((self.heard, out.filled().len()), (heard, answered), "something came of nothing");
    }

    fn give(&mut self, out: &mut Outgoing) -> usize {
        let Self { driver, input, first, heard, .. } = self;
        let mut left: &[u8] = first;
        let mut deliver = |plain: &[u8]| {
            for &heard_octet in plain {
                assert_eq!(heard_octet, octet(!S::IS_SERVER, *heard), "another octet than was said, at {heard}");
                *heard += 1;
            }
        };
        let used = driver.receive(input, &mut left, &mut deliver, out);
        if left.is_empty() {
            first.clear();
        }
        used
    }

    fn say(&mut self, count: usize, other_wire: &mut Vec<u8>, out: &mut Outgoing) {
        let count = count.min(SAID_MAX.saturating_sub(self.said));
        // Behind what is to be said first.
        if self.is_cut || !self.first.is_empty() {
            return;
        }
        let plain: Vec<u8> = (self.said..self.said + count).map(|place| octet(S::IS_SERVER, place)).collect();
        out.clear();
        match self.driver.send(&mut self.input, &plain, out) {
            Ok(()) => self.said += count,
            Err(error) => {
                let may_not = self.driver.is_handshaking() || self.driver.is_closed();
                assert!(may_not || self.driver.failure().is_some(), "{error}");
            }
        }
        other_wire.extend(out.filled());
    }

    fn renew_keys(&mut self, other_wire: &mut Vec<u8>, out: &mut Outgoing) {
        let may = self.renewals < RENEWALS_MAX
            && self.is_whole()
            && !self.driver.is_handshaking()
            && !self.driver.is_closed();
        // There is no such thing before TLS 1.3.
        if may && self.driver.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            self.renewals += 1;
            out.clear();
            self.driver.renew_keys(out).unwrap_or_else(|error| panic!("new keys: {error}"));
            other_wire.extend(out.filled());
        }
    }

    fn close(&mut self, other_wire: &mut Vec<u8>, out: &mut Outgoing) {
        out.clear();
        self.driver.close(&mut self.input, out);
        other_wire.extend(out.filled());
    }

    fn is_whole(&self) -> bool {
        !self.is_cut && self.driver.failure().is_none()
    }
}

/// Two sides and what is on its way between them. All methods are told which side is meant: who hears, who says.
struct Talk {
    server: End<UnbufferedServerConnection>,
    client: End<UnbufferedClientConnection>,
    out: Outgoing,
    /// Something was changed on the way.
    is_changed: bool,
}

impl Talk {
    fn new(is_13: bool, first: usize) -> Option<Self> {
        static CONFIGURATIONS: LazyLock<[Option<Configurations>; 2]> =
            LazyLock::new(|| [&rustls::version::TLS12, &rustls::version::TLS13].map(configurations));
        let (server, client) = CONFIGURATIONS.get(usize::from(is_13))?.as_ref()?;
        let server = UnbufferedServerConnection::new(Arc::clone(server)).ok()?;
        let name = ServerName::try_from("localhost").ok()?;
        let client = UnbufferedClientConnection::new(Arc::clone(client), name).ok()?;
        let (server, client) = (End::new(server, first), End::new(client, 0));
        let mut talk = Self { server, client, out: Outgoing::new(), is_changed: false };
        talk.hear(false, 0);
        Some(talk)
    }

    fn hear(&mut self, is_server: bool, count: usize) {
        match is_server {
            true => self.server.hear(count, &mut self.client.wire, &mut self.out),
            false => self.client.hear(count, &mut self.server.wire, &mut self.out),
        }
    }

    fn say(&mut self, is_server: bool, count: usize) {
        match is_server {
            true => self.server.say(count, &mut self.client.wire, &mut self.out),
            false => self.client.say(count, &mut self.server.wire, &mut self.out),
        }
    }

    fn renew_keys(&mut self, is_server: bool) {
        match is_server {
            true => self.server.renew_keys(&mut self.client.wire, &mut self.out),
            false => self.client.renew_keys(&mut self.server.wire, &mut self.out),
        }
    }

    /// Not where something was changed: an alert behind close_notify is a defect to rustls' own checks in debug builds.
    fn close(&mut self, is_server: bool) {
        match is_server {
            _ if self.is_changed => {}
            true => self.server.close(&mut self.client.wire, &mut self.out),
            false => self.client.close(&mut self.server.wire, &mut self.out),
        }
    }

    /// Changes what is on its way: a bit, or an octet is lost, or comes twice, or these come from nowhere.
    fn change(&mut self, is_server: bool, how: u8, place: usize, foreign: &[u8]) {
        if self.server.driver.is_closed() || self.client.driver.is_closed() {
            return;
        }
        let wire = if is_server { &mut self.server.wire } else { &mut self.client.wire };
        if wire.is_empty() && how % 4 != 3 {
            return;
        }
        self.is_changed = true;
        let place = place % wire.len().max(1);
        match how % 4 {
            0 => wire[place] ^= 1 << (how >> 5),
            1 => drop(wire.drain(place..(place + 1 + usize::from(how)).min(wire.len()))),
            2 => wire.insert(place, wire[place]),
            _ => drop(wire.splice(place..place, foreign.iter().copied())),
        }
    }

    /// Delivers everything that is on its way, in parts of this size, until nobody answers.
    fn settle(&mut self, part: usize) {
        while !self.server.wire.is_empty() || !self.client.wire.is_empty() {
            self.hear(true, part);
            self.hear(false, part);
        }
    }

    fn judge(&mut self) {
        assert!(self.client.heard <= self.server.said && self.server.heard <= self.client.said, "more than was said");
        if self.is_changed {
            return;
        }
        assert!(self.server.is_whole() && self.client.is_whole(), "an untouched connection has failed");
        // Who closes before the handshake is over stays silent.
        if self.server.driver.is_handshaking() || self.client.driver.is_handshaking() {
            return;
        }
        assert_eq!((self.client.heard, self.server.heard), (self.server.said, self.client.said), "not all has arrived");
        assert!(self.server.first.is_empty(), "the first words were not said");
    }
}

/// The property of the fuzz target `tls_driver`: the first octet chooses the version, the second one how much the server
/// says first, and the others are a script of what the two say and of what becomes of it on the way.
pub fn driver_is_sound(data: &[u8]) {
    let [choice, first, script @ ..] = data else { return };
    let Some(mut talk) = Talk::new(choice & 1 == 1, usize::from(*first) * 4) else { panic!("no connection") };
    if choice & 2 == 2 {
        // Begin behind the handshake.
        talk.settle(usize::MAX);
        assert!(!talk.server.driver.is_handshaking() && !talk.client.driver.is_handshaking(), "no handshake");
    }
    let mut script = script;
    while let [act, size, rest @ ..] = script {
        script = rest;
        let (is_server, size) = (act & 1 == 1, usize::from(*size));
        match (act >> 1) % 8 {
            0 => talk.hear(is_server, size + 1),
            1 => talk.hear(is_server, (size + 1) * 256),
            2 => talk.say(is_server, size),
            3 => talk.say(is_server, (size + 1) * 512),
            4 => talk.renew_keys(is_server),
            5 => talk.settle((size + 1) * 64),
            6 => talk.close(is_server),
            _ => {
                let foreign = rest.get(..size).unwrap_or(rest);
                talk.change(is_server, act >> 4 | *act << 4, size * 7, foreign);
            }
        }
    }
    talk.settle(usize::MAX);
    talk.judge();
}
