//! What a peer can say behind the handshake, to us and to rustls: both hear the same, and refuse the same.

use std::io;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConnection, ConnectionCommon, ServerConnection};

use super::super::driver::Driver;
use super::super::handshake::{Handshake, Say};
use super::*;
use crate::testkit::tls::{Configurations, configurations};

mod handshakes;

fn configuration() -> Configurations {
    configurations(&rustls::version::TLS13).unwrap()
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

fn server() -> UnbufferedServerConnection {
    UnbufferedServerConnection::new(configuration().0).unwrap()
}

fn client() -> UnbufferedClientConnection {
    UnbufferedClientConnection::new(configuration().1, localhost()).unwrap()
}

/// A connection that somebody talks to.
trait Victim {
    /// Hears these octets: what it has to say, and what it heard or why it hears no more.
    fn hear(&mut self, octets: &[u8]) -> (Vec<u8>, Result<Vec<u8>, Error>);
}

struct Ours<S: Side> {
    driver: Driver<S>,
    input: Vec<u8>,
    /// What it says as soon as it may.
    first: &'static [u8],
}

impl<S: Side> Ours<S> {
    fn new(side: S) -> Self {
        Self { driver: Driver::new(side), input: Vec::new(), first: b"" }
    }
}

impl<S: Side> Victim for Ours<S> {
    fn hear(&mut self, octets: &[u8]) -> (Vec<u8>, Result<Vec<u8>, Error>) {
        let (mut heard, mut out) = (Vec::new(), Outgoing::new());
        self.input.extend_from_slice(octets);
        let deliver = &mut |it: &[u8]| heard.extend_from_slice(it);
        let used = self.driver.receive(&mut self.input, &mut self.first, deliver, &mut out);
        self.input.drain(..used);
        let failure = self.driver.failure().cloned();
        (out.filled().to_vec(), failure.map_or(Ok(heard), Err))
    }
}

impl<Data> Victim for ConnectionCommon<Data> {
    fn hear(&mut self, mut octets: &[u8]) -> (Vec<u8>, Result<Vec<u8>, Error>) {
        let mut heard = Vec::new();
        let mut result = Ok(());
        loop {
            if !octets.is_empty() {
                self.read_tls(&mut octets).unwrap();
            }
            if let Err(error) = self.process_new_packets() {
                result = Err(error);
                break;
            }
            match io::Read::read_to_end(&mut self.reader(), &mut heard) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => panic!("{error}"),
                _ if octets.is_empty() => break,
                _ => {}
            }
        }
        let mut out = Vec::new();
        while self.wants_write() {
            self.write_tls(&mut out).unwrap();
        }
        (out, result.map(|()| heard))
    }
}

/// Somebody who has the keys and keeps to nothing.
struct Liar {
    sending: Keys,
    receiving: Keys,
    /// What the victim says to it.
    heard: Vec<u8>,
}

impl Liar {
    /// Shakes hands with this victim, which hears and says `first` octets.
    fn with<S: Side>(side: S, victim: &mut dyn Victim) -> Self {
        let mut shaking = Handshake::new(side);
        let mut input: Vec<u8> = if S::IS_SERVER { victim.hear(&[]).0 } else { Vec::new() };
        loop {
            let mut out = Outgoing::new();
            let progress = shaking.run(&mut input, &mut Say::Nothing, &mut |_| {}, &mut out);
            assert!(progress.failure.is_none(), "{:?}", progress.failure);
            input.drain(..progress.used);
            let (answer, result) = victim.hear(out.filled());
            result.unwrap();
            input.extend(answer);
            if shaking.is_over() {
                let (secrets, _) = shaking.part().unwrap();
                return Self { sending: Keys::new(secrets.tx), receiving: Keys::new(secrets.rx), heard: input };
            }
        }
    }

    fn seal(&mut self, kind: ContentType, plain: &[u8]) -> Vec<u8> {
        let mut record = vec![0; plain.len() + OVERHEAD];
        let keys = self.sending.expand().unwrap();
        self.sending.seal(&keys, kind, plain, &mut record).unwrap();
        record
    }

    /// What is in the records that the victim has said.
    fn open(&mut self, said: &[u8]) -> Vec<(ContentType, Vec<u8>)> {
        self.heard.extend_from_slice(said);
        let keys = self.receiving.expand().unwrap();
        let mut found = Vec::new();
        while let Some(length) = protected_length(&self.heard).unwrap() {
            let mut record: Vec<u8> = self.heard.drain(..length).collect();
            let message = self.receiving.open(&keys, &mut record).unwrap();
            found.push((message.typ, message.payload.to_vec()));
        }
        found
    }
}

const DATA: ContentType = ContentType::ApplicationData;
const HANDSHAKE: ContentType = ContentType::Handshake;
const ALERT: ContentType = ContentType::Alert;
const PADDED: ContentType = ContentType::Unknown(0);
const KEY_UPDATE: &[u8] = &[24, 0, 0, 1, 0];

/// What is said in one go: records to be sealed.
type Said<'a> = Vec<(ContentType, &'a [u8])>;

/// Its name, what is said, and the alert that it gets.
type Lie = (&'static str, Said<'static>, Option<AlertDescription>);

/// Lies, and the alert that they get, if any.
fn lies() -> Vec<Lie> {
    const ALL: &[u8] = &[0x61; LONGEST];
    const TOO_LONG: &[u8] = &[0x61; LONGEST + 1];
    use AlertDescription as Alert;
    vec![
        ("data", vec![(DATA, b"a"), (DATA, b""), (DATA, ALL)], None),
        ("32 times nothing", [vec![(DATA, &b"a"[..])], vec![(DATA, b""); 32], vec![(DATA, b"b")]].concat(), None),
        ("33 times nothing", vec![(DATA, b""); 33], Some(Alert::UnexpectedMessage)),
        ("padding", vec![(PADDED, b"abc\x17\0\0\0"), (DATA, b"d")], None),
        ("padding only", vec![(DATA, b"a"), (PADDED, b"\0\0\0")], Some(Alert::UnexpectedMessage)),
        ("a longer record", vec![(DATA, TOO_LONG)], Some(Alert::RecordOverflow)),
        ("change_cipher_spec", vec![(ContentType::ChangeCipherSpec, b"\x01")], Some(Alert::UnexpectedMessage)),
        ("heartbeat", vec![(ContentType::Heartbeat, b"\x01")], Some(Alert::UnexpectedMessage)),
        ("user_canceled", vec![(ALERT, &[1, 90]), (DATA, b"a")], None),
        ("a fatal alert", vec![(DATA, b"a"), (ALERT, &[2, 40])], None),
        ("an alert without its end", vec![(ALERT, &[2])], Some(Alert::DecodeError)),
        ("no alert", vec![(ALERT, &[])], Some(Alert::UnexpectedMessage)),
        ("an alert and something", vec![(ALERT, &[2, 40, 0])], Some(Alert::DecodeError)),
        ("no message", vec![(HANDSHAKE, b"")], Some(Alert::UnexpectedMessage)),
        ("a finished", vec![(HANDSHAKE, &[20, 0, 0, 1, 0])], Some(Alert::UnexpectedMessage)),
        ("a hello", vec![(HANDSHAKE, &[1, 0, 0, 1, 0])], Some(Alert::UnexpectedMessage)),
        ("a key update of nothing", vec![(HANDSHAKE, &[24, 0, 0, 0])], Some(Alert::DecodeError)),
        ("a key update of two", vec![(HANDSHAKE, &[24, 0, 0, 2, 0, 0])], Some(Alert::DecodeError)),
        ("a key update of a kind", vec![(HANDSHAKE, &[24, 0, 0, 1, 2])], Some(Alert::IllegalParameter)),
        ("key update and more", vec![(HANDSHAKE, &[24, 0, 0, 1, 0, 24])], Some(Alert::UnexpectedMessage)),
        ("old keys behind a key update", vec![(HANDSHAKE, KEY_UPDATE), (DATA, b"a")], Some(Alert::BadRecordMac)),
        ("data in a message", vec![(HANDSHAKE, &[24, 0]), (DATA, b"a")], Some(Alert::UnexpectedMessage)),
        ("an alert in a message", vec![(HANDSHAKE, &[24, 0]), (ALERT, &[2, 40])], Some(Alert::UnexpectedMessage)),
    ]
}

/// What we call by another name than rustls, which reads a message before it asks whether it may stand there.
const OTHER_WORDS: &[&str] = &["heartbeat", "no alert", "a hello"];

/// What rustls does not mind and RFC 8446 (§5.4) does.
const STRICTER: &str = "no message";

fn same_words(name: &str, ours: &Result<Vec<u8>, Error>, theirs: &Result<Vec<u8>, Error>) {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => assert!(ours == theirs, "{name}: {} octets, not {}", ours.len(), theirs.len()),
        (Err(_), Err(_)) if OTHER_WORDS.contains(&name) => {}
        (Err(ours), Err(theirs)) => assert_eq!(ours, theirs, "{name}"),
        (Err(_), Ok(_)) if name == STRICTER => {}
        (ours, theirs) => panic!("{name}: {ours:?}, rustls {theirs:?}"),
    }
}

/// Says it to both, and looks at the alert that ours answers with.
fn tell(
    name: &str,
    said: &Said<'_>,
    alert: Option<AlertDescription>,
    (mut us, ours): (Liar, &mut dyn Victim),
    (mut them, theirs): (Liar, &mut dyn Victim),
) {
    let seal = |liar: &mut Liar| said.iter().flat_map(|(kind, plain)| liar.seal(*kind, plain)).collect::<Vec<u8>>();
    let (answer, our_words) = ours.hear(&seal(&mut us));
    let (_, their_words) = theirs.hear(&seal(&mut them));
    same_words(name, &our_words, &their_words);
    let told: Vec<_> = us.open(&answer).into_iter().filter(|(kind, _)| *kind == ALERT).collect();
    let expected: Vec<_> = alert.into_iter().map(|alert| (ALERT, vec![FATAL, u8::from(alert)])).collect();
    assert_eq!(told, expected, "{name}");
}

#[test]
fn a_server_hears_and_refuses_what_rustls_does() {
    for (name, said, alert) in lies() {
        let mut ours = Ours::new(server());
        let mut theirs = ServerConnection::new(configuration().0).unwrap();
        let us = Liar::with(client(), &mut ours);
        let them = Liar::with(client(), &mut *theirs);
        tell(name, &said, alert, (us, &mut ours), (them, &mut *theirs));
    }
}

#[test]
fn a_client_hears_and_refuses_what_rustls_does() {
    for (name, said, alert) in lies() {
        let mut ours = Ours::new(client());
        let mut theirs = ClientConnection::new(configuration().1, localhost()).unwrap();
        let us = Liar::with(server(), &mut ours);
        let them = Liar::with(server(), &mut *theirs);
        tell(name, &said, alert, (us, &mut ours), (them, &mut *theirs));
    }
}

#[test]
fn what_is_no_protected_record_is_refused_as_soon_as_that_is_seen() {
    let cases: [(&[u8], AlertDescription); 5] = [
        (b"G", AlertDescription::UnexpectedMessage),
        (&[21, 3, 3, 0, 2, 2, 40], AlertDescription::UnexpectedMessage),
        (&[20, 3, 3, 0, 1, 1], AlertDescription::UnexpectedMessage),
        (&[23, 3, 3, 0x41, 1], AlertDescription::RecordOverflow),
        (&[23, 3, 3, 0, 3, 1, 2, 3], AlertDescription::BadRecordMac),
    ];
    for (octets, alert) in cases {
        let mut ours = Ours::new(server());
        let mut liar = Liar::with(client(), &mut ours);
        let (answer, result) = ours.hear(octets);
        result.unwrap_err();
        assert_eq!(liar.open(&answer).pop(), Some((ALERT, vec![FATAL, u8::from(alert)])), "{octets:?}");
        // It is deaf from then on, and says nothing more.
        let sealed = liar.seal(DATA, b"a");
        assert!(matches!(ours.hear(&sealed), (said, Err(_)) if said.is_empty()));
    }
}

#[test]
fn messages_spread_over_records_of_one_octet_are_heard() {
    let mut ours = Ours::new(client());
    let mut liar = Liar::with(server(), &mut ours);
    // A ticket: lifetime, age_add, nonce, ticket, extensions.
    let ticket = [4, 0, 0, 15, 0, 0, 1, 0, 1, 2, 3, 4, 1, 9, 0, 1, 7, 0, 0];
    for octet in ticket.iter().chain(KEY_UPDATE) {
        let record = liar.seal(HANDSHAKE, &[*octet]);
        assert_eq!(ours.hear(&record).1.unwrap(), b"");
    }
    // The old keys are no good any more.
    let record = liar.seal(DATA, b"a");
    assert_eq!(ours.hear(&record).1.unwrap_err(), Error::DecryptError);
}

#[test]
fn a_ticket_that_says_something_twice_gets_the_alert_that_rustls_has_for_it() {
    let mut ours = Ours::new(client());
    let mut liar = Liar::with(server(), &mut ours);
    let early_data = [0, 42, 0, 4, 0, 0, 0, 0];
    let ticket = [&[4, 0, 0, 31, 0, 0, 1, 0, 1, 2, 3, 4, 1, 9, 0, 1, 7, 0, 16][..], &early_data, &early_data].concat();
    let record = liar.seal(HANDSHAKE, &ticket);
    let (answer, result) = ours.hear(&record);
    assert!(matches!(result, Err(Error::InvalidMessage(InvalidMessage::DuplicateExtension(_)))), "{result:?}");
    let expected = (ALERT, vec![FATAL, u8::from(AlertDescription::IllegalParameter)]);
    assert_eq!(liar.open(&answer).pop(), Some(expected));
}

#[test]
fn a_ticket_without_an_end_is_refused_before_it_is_kept() {
    let mut ours = Ours::new(client());
    let mut liar = Liar::with(server(), &mut ours);
    let record = liar.seal(HANDSHAKE, &[4, 1, 0, 0, 0]);
    assert_eq!(ours.hear(&record).1.unwrap_err(), InvalidMessage::HandshakePayloadTooLarge.into());
}

/// A conversation of two that keep to the protocol.
fn pair() -> (Ours<UnbufferedServerConnection>, Ours<UnbufferedClientConnection>) {
    let (mut server, mut client) = (Ours::new(server()), Ours::new(client()));
    let mut said = client.hear(&[]).0;
    while !said.is_empty() {
        let (answer, result) = server.hear(&said);
        result.unwrap();
        said = client.hear(&answer).0;
    }
    assert!(server.driver.traffic().is_some() && client.driver.traffic().is_some(), "still in rustls' hands");
    (server, client)
}

fn say<S: Side>(from: &mut Ours<S>, plain: &[u8]) -> Vec<u8> {
    let mut out = Outgoing::new();
    from.driver.send(&mut from.input, plain, &mut out).unwrap();
    out.filled().to_vec()
}

#[test]
fn keys_are_renewed_before_they_are_worn_out() {
    let (mut server, mut client) = pair();
    let limit = server.driver.cipher_suite().unwrap().tls13().unwrap().common.confidentiality_limit;
    assert_eq!(limit, 1 << 24, "AES-GCM");
    let wear = |server: &mut Ours<_>, client: &mut Ours<_>, used| {
        server.driver.traffic().unwrap().sending.wear(used);
        client.driver.traffic().unwrap().receiving.wear(used);
    };
    let mut sees = |used: u64, expected: usize| {
        wear(&mut server, &mut client, used);
        let said = say(&mut server, b"abc");
        assert_eq!(said.len(), expected, "at {used}");
        assert_eq!(client.hear(&said).1.unwrap(), b"abc", "at {used}");
    };
    sees(limit - 2, 3 + OVERHEAD);
    sees(limit - 1, KEY_UPDATE.len() + OVERHEAD + 3 + OVERHEAD);
    // In the middle of a burst, too.
    wear(&mut server, &mut client, limit - 2);
    let much = vec![0x61; 3 * LONGEST];
    let said = say(&mut server, &much);
    assert_eq!(said.len(), much.len() + 3 * OVERHEAD + KEY_UPDATE.len() + OVERHEAD);
    assert_eq!(client.hear(&said).1.unwrap(), much);
}

#[test]
fn whoever_asks_for_new_keys_gets_them_once_before_the_next_octet() {
    let (mut server, mut client) = pair();
    let mut out = Outgoing::new();
    for _ in 0..3 {
        client.driver.renew_keys(&mut out).unwrap();
    }
    let (answer, result) = server.hear(out.filled());
    assert_eq!((answer, result.unwrap()), (vec![], vec![]), "an answer grew while nobody read");
    let said = say(&mut server, b"abc");
    assert_eq!(said.len(), KEY_UPDATE.len() + OVERHEAD + 3 + OVERHEAD);
    assert_eq!(client.hear(&said).1.unwrap(), b"abc");
    assert_eq!(say(&mut server, b"abc").len(), 3 + OVERHEAD);
}

#[test]
fn messages_that_carry_nothing_are_counted() {
    let (mut server, mut client) = pair();
    let mut renew = |server: &mut Ours<_>| {
        let mut out = Outgoing::new();
        client.driver.renew_keys(&mut out).unwrap();
        server.hear(out.filled()).1
    };
    for _ in 0..FUTILE_MAX {
        renew(&mut server).unwrap();
    }
    assert_eq!(renew(&mut server).unwrap_err(), PeerMisbehaved::TooManyKeyUpdateRequests.into());
    // Octets in between are a reason to go on.
    let (mut server, mut client) = pair();
    for _ in 0..3 * FUTILE_MAX {
        let mut out = Outgoing::new();
        client.driver.renew_keys(&mut out).unwrap();
        server.hear(out.filled()).1.unwrap();
        let said = say(&mut client, b"a");
        assert_eq!(server.hear(&said).1.unwrap(), b"a");
    }
}

#[test]
fn a_burst_that_fails_leaves_no_number_to_be_used_again() {
    let (mut server, mut client) = pair();
    server.driver.traffic().unwrap().sending.wear(u64::MAX - 2);
    client.driver.traffic().unwrap().receiving.wear(u64::MAX - 2);
    // The last number is for the new keys.
    let mut out = Outgoing::new();
    server.driver.send(&mut [], b"abc", &mut out).unwrap();
    assert_eq!(client.hear(out.filled()).1.unwrap(), b"abc");
    // Behind it there is none: no last words, no end in order, and nothing later either.
    server.driver.traffic().unwrap().sending.wear(u64::MAX - 1);
    out.clear();
    server.driver.send(&mut [], b"abc", &mut out).unwrap_err();
    assert_eq!(server.driver.failure(), Some(&Error::EncryptError));
    server.driver.close(&mut [], &mut out);
    server.driver.traffic().unwrap().sending.wear(0);
    server.driver.send(&mut [], b"abc", &mut out).unwrap_err();
    server.driver.close(&mut [], &mut out);
    let octets = say(&mut client, b"abc");
    assert!(matches!(server.hear(&octets), (said, Err(_)) if said.is_empty()));
    assert_eq!(out.filled().len(), 0);
}

#[test]
fn each_side_closes_on_its_own_and_hears_on() {
    let (mut server, mut client) = pair();
    let mut out = Outgoing::new();
    client.driver.renew_keys(&mut out).unwrap();
    assert_eq!(server.hear(out.filled()).1.unwrap(), b"");
    // New keys are owed before application data only (RFC 8446 §4.6.3).
    out.clear();
    server.driver.close(&mut [], &mut out);
    server.driver.close(&mut [], &mut out);
    assert_eq!(out.filled().len(), 2 + OVERHEAD, "one close_notify");
    assert!(server.driver.send(&mut [], b"abc", &mut out).is_err());
    // What stands behind it is not looked at.
    client.hear(&[out.filled(), b"rubbish"].concat()).1.unwrap();
    assert!(client.driver.has_peer_closed() && client.input.is_empty());
    assert_eq!(client.hear(b"rubbish"), (vec![], Ok(vec![])));
    out.clear();
    client.driver.renew_keys(&mut out).unwrap();
    let said = [out.filled(), &say(&mut client, b"abc")].concat();
    assert_eq!(server.hear(&said), (vec![], Ok(b"abc".to_vec())));
    // Nothing may stand behind our close_notify, not even why we hear no more.
    assert!(matches!(server.hear(b"rubbish"), (said, Err(_)) if said.is_empty()));
}

#[test]
fn sequence_numbers_end_before_they_begin_again() {
    let mut ours = Ours::new(server());
    let mut liar = Liar::with(client(), &mut ours);
    liar.sending.wear(u64::MAX - 2);
    liar.seal(DATA, b"the last one");
    let keys = liar.sending.expand().unwrap();
    let mut room = [0; OVERHEAD];
    assert_eq!(liar.sending.seal(&keys, DATA, b"", &mut room), Err(Error::EncryptError));
}
