//! A login on its way: what a client says, a node hears.
//!
//! The node is our own dialogue with clients, behind a greeting that offers as little or as much as the fuzzer says; so
//! the writer of commands is held against the reader, in every dialect that a node may demand.

use super::dialogues::rich_offer;
use crate::proto::{
    Channel, ClientDialogue, Credentials, Farewell, HelloStep, Input, LoginRequest, NodeHello, NodeLogin, Offer,
    Protocol, Refusal, ReplayStep, Step, TokenMechanism, sasl,
};
use crate::secret::Secret;

/// What IMAP nodes offer. The last one offers what we offer.
const IMAP_OFFERS: [&str; 6] = [
    "IMAP4rev1",
    "IMAP4rev1 LITERAL+",
    "IMAP4rev1 LITERAL-",
    "IMAP4rev1 AUTH=PLAIN",
    "IMAP4rev1 SASL-IR AUTH=PLAIN",
    "IMAP4rev1 SASL-IR LITERAL+ AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER",
];

/// What POP3 nodes offer.
const POP3_OFFERS: [&str; 3] = ["USER\r\n", "SASL PLAIN\r\n", "USER\r\nSASL PLAIN LOGIN XOAUTH2 OAUTHBEARER\r\n"];

/// Asserts that every login in a client's octets means the same to a node that offers little or much, or cannot be said
/// to it at all. The first octet chooses what the node offers.
pub fn logins_mean_the_same_to_a_node(protocol: Protocol, data: &[u8]) {
    let (choice, data) = data.split_first().unwrap_or((&0, data));
    for request in logins(protocol, data) {
        let login = NodeLogin {
            user: request.user.clone(),
            master: request.master.clone(),
            credentials: request.credentials.clone(),
        };
        if let Some(heard) = heard_by_a_node(protocol, *choice, login) {
            assert_same_login(Some(heard), &request);
        }
    }
}

/// Asserts that a SASL message that was understood, written again by us, is understood in the same way.
pub fn sasl_messages_mean_the_same_again(data: &[u8]) {
    let (message, masters) = (Secret::new(data.to_vec()), lenient().master_users);
    if let Ok(login) = sasl::plain(&message, &masters) {
        let again = sasl::plain_message(&login.user, login.master.as_ref(), login.credentials.secret());
        assert_same_login(sasl::plain(&again, &masters).ok(), &login);
    }
    for mechanism in TokenMechanism::ALL {
        let Ok(login) = sasl::token(mechanism, &message) else { continue };
        let Some(again) = sasl::token_message(mechanism, &login.user, login.credentials.secret()) else { continue };
        assert_same_login(sasl::token(mechanism, &again).ok(), &login);
    }
}

fn assert_same_login(heard: Option<LoginRequest>, said: &LoginRequest) {
    let Some(heard) = heard else { panic!("what we say is not understood") };
    assert_eq!(heard.user, said.user, "another user");
    assert_eq!(heard.master, said.master, "another master user");
    // Compared without assert_eq, which would have to show them.
    assert!(is_same(&heard.credentials, &said.credentials), "other credentials");
}

/// Every login of a client that is refused each time.
pub fn logins(protocol: Protocol, data: &[u8]) -> Vec<LoginRequest> {
    let mut input = Input::new();
    input.push(data);
    let mut client = ClientDialogue::new(protocol, lenient());
    let mut logins = Vec::new();
    loop {
        match client.step(&mut input) {
            Step::Wait | Step::Close(..) => return logins,
            Step::Reply(_) | Step::Decline(..) | Step::Introduced(..) => {}
            Step::StartTls(_) => client = client.upgraded(),
            Step::Login(request, to) => {
                client.refuse(to, Refusal::Unavailable);
                logins.push(request);
            }
        }
    }
}

/// An offer under which every login is taken.
fn lenient() -> Offer {
    Offer { cleartext_login: true, ..rich_offer(Channel::Clear) }
}

/// The login that a node understands; `None` where it cannot be said to this one.
fn heard_by_a_node(protocol: Protocol, choice: u8, login: NodeLogin) -> Option<LoginRequest> {
    let mut from_node = Input::new();
    let capabilities = match protocol {
        Protocol::Imap => {
            let offered = IMAP_OFFERS.get(usize::from(choice) % IMAP_OFFERS.len())?;
            from_node.push(format!("* OK [CAPABILITY {offered}] hi\r\n").as_bytes());
            format!("* CAPABILITY {offered}\r\n")
        }
        Protocol::Pop3 => {
            from_node.push(b"+OK hi\r\n");
            format!("+OK\r\n{}.\r\n", POP3_OFFERS.get(usize::from(choice) % POP3_OFFERS.len())?)
        }
    };
    let mut hello = NodeHello::new(protocol, false, None);
    loop {
        match hello.step(&mut from_node) {
            Ok(HelloStep::Ready) => break,
            Ok(HelloStep::Send(_)) => from_node.push(capabilities.as_bytes()),
            Ok(HelloStep::Wait | HelloStep::StartTls) => panic!("the greeting of this node is complete"),
            Err(fault) => panic!("a good node is at fault: {fault}"),
        }
    }
    let mut replay = hello.replay(login).ok()?;
    let mut node = ClientDialogue::new(protocol, lenient());
    let mut to_node = Input::new();
    loop {
        match replay.step(&mut from_node) {
            Ok(ReplayStep::Send(octets)) => to_node.push(octets.expose()),
            Ok(ReplayStep::Wait) => panic!("the node waits for us, and we for it"),
            Ok(ReplayStep::Answer(_)) => panic!("an answer that the node has not given"),
            Err(_) => return None,
        }
        loop {
            match node.step(&mut to_node) {
                Step::Wait => break,
                Step::Reply(answer) => from_node.push(&answer),
                Step::Login(heard, _) => {
                    assert!(to_node.is_empty(), "something is left behind the login");
                    return Some(heard);
                }
                Step::Decline(..) | Step::Introduced(..) | Step::StartTls(_) | Step::Close(..) => {
                    panic!("our own command was not a login: {:?}", node.farewell(Farewell::Timeout))
                }
            }
        }
    }
}

fn is_same(one: &Credentials, other: &Credentials) -> bool {
    let is_same_form = match (one, other) {
        (Credentials::Password(_), Credentials::Password(_)) => true,
        (Credentials::Token(one, _), Credentials::Token(other, _)) => one == other,
        (Credentials::Password(_), Credentials::Token(..)) | (Credentials::Token(..), Credentials::Password(_)) => {
            false
        }
    };
    is_same_form && one.secret().expose() == other.secret().expose()
}
