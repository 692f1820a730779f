//! How the tests of both dialogues talk, and what must hold for whatever octets in whatever pieces.

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::client::Client;
use super::node::Hello;
use crate::names::UserName;
use crate::proto::{
    Channel, Claim, Credentials, Goodbye, HelloStep, Input, NodeAnswer, NodeFault, NodeLogin, NodeRefusal, Offer,
    Protocol, Refusal, RefusalKind, ReplayStep, Step,
};
use crate::secret::Secret;
use crate::testkit::dialogues::client_is_chunking_proof;

pub(super) fn offer(channel: Channel) -> Offer {
    Offer {
        hostname: "mail.example.net".into(),
        auth_failed_text: "Authentication failed.".into(),
        channel,
        cleartext_login: false,
        extensions: Default::default(),
        master_users: [].into(),
        is_trusted: false,
    }
}

/// Where nodes take tokens and can do much.
pub(super) fn all(channel: Channel) -> Offer {
    let words = [&b"AUTH=XOAUTH2"[..], b"AUTH=OAUTHBEARER", b"IDLE", b"IMAP4rev2", b"MOVE"];
    Offer { extensions: Arc::new(words.into_iter().collect()), ..offer(channel) }
}

/// One thing that a dialogue said, and how many octets it had used by then.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Reply(String),
    StartTls(String, usize),
    Introduced(String, Claim),
    /// Tag, user (and who acts for him), password or token, mechanism.
    Login([String; 4], usize),
    Close(String, Goodbye),
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).expect("what we say is text")
}

/// R-IMAP-01: whole lines, each untagged, a continuation, or one status behind a tag; no more than one of those that
/// answer.
fn lawful(octets: &[u8]) -> String {
    let said = text(octets);
    let lines = said.strip_suffix("\r\n").unwrap_or_else(|| panic!("no line end: {said:?}"));
    let mut answers = 0;
    for line in lines.split("\r\n") {
        let (first, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no space: {line:?}"));
        assert!(line.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{line:?}");
        if first == "*" {
            answers += usize::from(rest.starts_with("BAD "));
        } else {
            let status = ["OK ", "NO ", "BAD "].iter().any(|status| rest.starts_with(status));
            assert!(first == "+" || status && !first.is_empty(), "{line:?}");
            answers += 1;
        }
    }
    assert!(answers <= 1, "{said:?}");
    said
}

fn shown(octets: &[u8]) -> String {
    octets.escape_ascii().to_string()
}

/// What a node is made to say of every token, in base64: `{"status":"401"}`.
pub(super) const CHALLENGE: &str = "eyJzdGF0dXMiOiI0MDEifQ==";

/// Feeds a client's octets in pieces of the given sizes, over and over, and refuses every login, a token in a node's words.
/// Also checks what must always hold: nothing is held beyond its bound, and after the end nothing is said or read.
pub(super) fn talk(offer: &Offer, octets: &[u8], sizes: &[usize]) -> Vec<Said> {
    let mut client = Client::new(offer.clone());
    let mut input = Input::new();
    let (mut said, mut fed, mut rest) = (Vec::new(), 0, octets);
    for size in sizes.iter().cycle() {
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        input.push(piece);
        (fed, rest) = (fed + piece.len(), behind);
        loop {
            let step = client.step(&mut input);
            assert!(client.held() < 64 * 1024, "{} octets are held", client.held());
            let used = fed - input.len();
            match step {
                Step::Wait => break,
                Step::Reply(line) | Step::Decline(line, _) => said.push(Said::Reply(lawful(&line))),
                Step::Introduced(line, claim) => said.push(Said::Introduced(lawful(&line), claim)),
                Step::Login(request, to) => {
                    let tag = shown(&to.tag);
                    let master = request.master.map_or(String::new(), |name| format!("*{}", shown(name.as_bytes())));
                    let user = shown(request.user.as_bytes()) + &master;
                    let secret = shown(request.credentials.secret().expose());
                    said.push(Said::Login([tag, user, secret, request.mechanism.into()], used));
                    match request.credentials {
                        Credentials::Password(_) => drop(client.refuse(to, Refusal::AuthenticationFailed)),
                        Credentials::Token(..) => {
                            said.push(Said::Reply(lawful(&client.relay_refusal(to, &token_refusal()))));
                        }
                    }
                }
                Step::StartTls(line) => said.push(Said::StartTls(lawful(&line), used)),
                Step::Close(line, why) => said.push(Said::Close(lawful(&line), why)),
            }
            if matches!(said.last(), Some(Said::StartTls(..) | Said::Close(..))) {
                let left = input.len();
                assert!(matches!(client.step(&mut input), Step::Wait) && input.len() == left);
                return said;
            }
        }
        if rest.is_empty() {
            break;
        }
    }
    said
}

fn token_refusal() -> NodeRefusal {
    let (kind, text) = (RefusalKind::WrongPassword, b"[AUTHENTICATIONFAILED] bad token".to_vec());
    NodeRefusal { kind, text, challenge: Some(CHALLENGE.into()) }
}

/// R-IMAP-12: what is said to one segment is said to single octets.
pub(super) fn transcript(offer: &Offer, octets: &[u8]) -> Vec<Said> {
    let at_once = talk(offer, octets, &[usize::MAX]);
    assert_eq!(talk(offer, octets, &[1]), at_once, "{}", shown(octets));
    at_once
}

/// The transcript in one text: our lines, and `<login tag user password mechanism>`, `<tls>`, `<close reason>`, `<from
/// address to address ttl>`.
pub(super) fn rendered(offer: &Offer, octets: &[u8]) -> String {
    transcript(offer, octets)
        .into_iter()
        .map(|said| match said {
            Said::Reply(line) => line,
            Said::Login(login, _) => format!("<login {}>", login.join(" ")),
            Said::StartTls(line, _) => format!("{line}<tls>"),
            Said::Introduced(line, Claim { client, connected, ttl }) => {
                let address = |it: Option<SocketAddr>| it.map_or("-".to_owned(), |it| it.to_string());
                let ttl = ttl.map_or("-".to_owned(), |it| it.to_string());
                format!("{line}<from {} to {} ttl {ttl}>", address(client), address(connected))
            }
            Said::Close(line, why) => format!("{line}<close {why:?}>"),
        })
        .collect()
}

/// What a node brings a login to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// What was sent, and nothing was decided.
    Waiting(Vec<String>),
    /// What was sent, and the octets used up to here.
    StartTls(Vec<String>, usize),
    /// What was sent, the untagged lines, capabilities and text, and the octets used.
    Accepted(Vec<String>, String, [String; 2], usize),
    /// What was sent, how it is meant, the text.
    Refused(Vec<String>, String, String),
    Fault(NodeFault),
}

/// Feeds a node's octets in pieces of the given sizes, through greeting and login.
pub(super) fn consult(starttls: bool, login: (&[u8], &[u8]), octets: &[u8], sizes: &[usize]) -> Outcome {
    let mut sent = Vec::new();
    match run(starttls, login, octets, sizes, &mut sent) {
        Ok(Some(outcome)) => outcome(sent),
        Ok(None) => Outcome::Waiting(sent),
        Err(fault) => Outcome::Fault(fault),
    }
}

type Finish = Box<dyn FnOnce(Vec<String>) -> Outcome>;

fn run(
    starttls: bool,
    (user, password): (&[u8], &[u8]),
    octets: &[u8],
    sizes: &[usize],
    sent: &mut Vec<String>,
) -> Result<Option<Finish>, NodeFault> {
    let (mut input, mut fed, mut rest, mut sizes) = (Input::new(), 0, octets, sizes.iter().cycle());
    // Says whether there was anything left to feed.
    let mut feed = |input: &mut Input| {
        let (piece, behind) = rest.split_at(sizes.next().copied().unwrap_or(1).min(rest.len()));
        input.push(piece);
        (fed, rest) = (fed + piece.len(), behind);
        (!piece.is_empty()).then_some(fed)
    };
    let mut hello = Hello::new(starttls, None);
    let mut total = 0;
    loop {
        match hello.step(&mut input)? {
            HelloStep::Send(line) => sent.push(text(&line)),
            HelloStep::Ready => break,
            HelloStep::StartTls => {
                let used = total - input.len();
                return Ok(Some(Box::new(move |sent| Outcome::StartTls(sent, used))));
            }
            HelloStep::Wait => match feed(&mut input) {
                Some(fed) => total = fed,
                None => return Ok(None),
            },
        }
    }
    let user = UserName::new(user).expect("a lawful name");
    let mut replay = hello.replay(&NodeLogin::by_password(user, Secret::new(password.to_vec())))?;
    loop {
        match replay.step(&mut input)? {
            ReplayStep::Send(line) => sent.push(shown(line.expose())),
            ReplayStep::Wait => match feed(&mut input) {
                Some(fed) => total = fed,
                None => return Ok(None),
            },
            ReplayStep::Answer(NodeAnswer::Accepted(said)) => {
                let used = total - input.len();
                return Ok(Some(Box::new(move |sent| {
                    Outcome::Accepted(sent, shown(&said.untagged), [shown(&said.capabilities), shown(&said.text)], used)
                })));
            }
            ReplayStep::Answer(NodeAnswer::Refused(said)) => {
                assert!(replay.step(&mut input).is_err(), "a decision is final");
                return Ok(Some(Box::new(move |sent| {
                    Outcome::Refused(sent, format!("{:?}", said.kind), shown(&said.text))
                })));
            }
        }
    }
}

/// What clients and attackers are made of.
fn client_octets() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "a ",
        "b2 ",
        "\r\n",
        "\n",
        "\r",
        " ",
        "LOGIN ",
        "login",
        "bob",
        "\"se\\\"cret\"",
        "\"{5}\"",
        "{5}\r\n",
        "{5+}\r\n",
        "{3+}",
        "hello",
        "{4097}",
        "{5000+}\r\n",
        "{99999999999999999999+}\r\n",
        "AUTHENTICATE PLAIN",
        "AUTHENTICATE LOGIN",
        // user=bob ^A auth=Bearer x ^A ^A
        "a AUTHENTICATE XOAUTH2 dXNlcj1ib2IBYXV0aD1CZWFyZXIgeAEB\r\n",
        // n,a=bob, ^A auth=Bearer x ^A ^A
        "a AUTHENTICATE OAUTHBEARER\r\nbixhPWJvYiwBYXV0aD1CZWFyZXIgeAEB\r\n",
        "AQ==\r\n",
        "a ID (\"x-originating-ip\" \"192.0.2.7\" \"x-proxy-ttl\" \"3\")\r\n",
        " AGJvYgBzZWNyZXQ=",
        "=",
        "*",
        "Ym9i",
        "a AUTHENTICATE PLAIN\r\n",
        "a LOGIN {3+}\r\nbob {3+}\r\nxyz\r\n",
        "a LOGIN bob secret\r\n",
        "a CAPABILITY\r\n",
        "a NOOP\r\n",
        "a LOGOUT\r\n",
        "a STARTTLS\r\n",
        "ID (",
        "a ID NIL\r\n",
        "\"name\" \"x\"",
        "NIL",
        ")",
        "GET ",
        "HE",
        "\0",
        "\x16\x03",
        "\u{fc}",
    ];
    let word = proptest::sample::select(words.to_vec()).prop_map(|word: &str| word.as_bytes().to_vec());
    let noise = vec(any::<u8>(), 0..20);
    let run = (any::<u8>(), prop_oneof![8180_usize..8200, 36_850_usize..36_870, 65_530_usize..65_540]);
    let run = run.prop_map(|(octet, count)| vec![octet; count]);
    vec(prop_oneof![30 => word, 4 => noise, 1 => run], 0..60).prop_map(|parts| parts.concat())
}

/// What nodes and those who would like to be one are made of.
fn node_octets() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n",
        "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n",
        "* OK hi\r\n",
        "* CAPABILITY IMAP4rev1 LITERAL+ UNAUTHENTICATE\r\n",
        "+ \r\n",
        "+\r\n",
        "* ",
        "OK",
        "NO ",
        "BYE",
        "f1 OK go\r\n",
        "f2 OK done\r\n",
        "f3 OK in\r\n",
        "f3 OK [CAPABILITY IMAP4rev1] in\r\n",
        "f4 OK done\r\n",
        "f3 NO [UNAVAILABLE] later\r\n",
        "f3 BAD\r\n",
        "f3 ",
        "\r\n",
        "\n",
        "[ALERT]",
        "\u{fc}",
        " ",
        "* LIST () \"/\" {5}\r\n",
        "{99999999999999999999}\r\n",
        "{70000}\r\n",
        "hello",
        "(((((",
        "* 1 FETCH (",
        "INTERNALDATE NIL",
        "[BADCHARSET ({5}",
        "[REFERRAL imap://x/] ",
        "\0",
        "\r",
    ];
    let word = proptest::sample::select(words.to_vec()).prop_map(|word: &str| word.as_bytes().to_vec());
    let noise = vec(any::<u8>(), 0..20);
    let run = (any::<u8>(), prop_oneof![8180_usize..8200, 65_530_usize..65_540]);
    let run = run.prop_map(|(octet, count)| vec![octet; count]);
    vec(prop_oneof![30 => word, 4 => noise, 1 => run], 0..40).prop_map(|parts| parts.concat())
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![3 => 1_usize..20, 1 => 20_usize..9000], 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_octets_of_a_client_in_any_pieces_are_the_same(
        octets in client_octets(),
        sizes in sizes(),
        clear: bool,
        is_trusted: bool,
    ) {
        let offer = Offer { is_trusted, ..all(if clear { Channel::Upgradable } else { Channel::Tls }) };
        prop_assert_eq!(talk(&offer, &octets, &sizes), talk(&offer, &octets, &[usize::MAX]));
    }

    #[test]
    fn r_imap_01_whatever_a_client_says_it_hears_lawful_lines(choice: u8, octets in client_octets()) {
        client_is_chunking_proof(Protocol::Imap, &[&[choice], octets.as_slice()].concat());
    }

    #[test]
    fn any_octets_of_a_node_in_any_pieces_are_the_same(octets in node_octets(), sizes in sizes(), starttls: bool) {
        // A greeting in front, so that most cases get as far as the login.
        let octets = [b"* OK [CAPABILITY IMAP4rev1] hi\r\n", octets.as_slice()].concat();
        let login: (&[u8], &[u8]) = (b"bob", b"s\xfccret");
        let at_once = consult(starttls, login, &octets, &[usize::MAX]);
        prop_assert_eq!(consult(starttls, login, &octets, &sizes), at_once);
    }
}
