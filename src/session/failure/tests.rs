//! The table, held to its principles, and printed into docs/failure-modes.md.

use std::fmt::Write as _;

use super::*;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/failure-modes.md");
const BEGIN: &str = "<!-- the table: written by a test, from session/failure.rs -->\n";
const END: &str = "<!-- end of the table -->\n";

fn refused(kind: RefusalKind) -> Failure {
    Failure::Refused(NodeRefusal { kind, text: b"no".to_vec(), challenge: None })
}

fn broken() -> io::Error {
    io::Error::other("…")
}

/// How the documentation calls a failure. No wildcard: a new variant needs a name here, and a place in [`all`].
fn title(failure: &Failure) -> String {
    let title = match failure {
        Failure::Directory(LookupError::NotFound) => "the directory does not know the user",
        Failure::Directory(LookupError::Ambiguous(_)) => "the directory's answer is ambiguous",
        Failure::Directory(LookupError::Unavailable(_)) => "the directory is unavailable, and there is no old answer",
        Failure::UnknownIsland(_) => "the directory names an island that is not configured",
        Failure::ForbiddenName => "the site's rules allow no such name",
        Failure::TooManyFailures => {
            "too many refused logins of the client's network (`limits.failed_logins_per_network`)"
        }
        Failure::TooManySessions => "a node let the user in, who has as many sessions as one may",
        Failure::Held => "the operator holds the user, for longer than `server.hold_timeout`, or mailferry stops",
        Failure::Loop => "the login came through too many proxies",
        Failure::NoNode => "every node is down, draining or in maintenance",
        Failure::NotAdmitted => "the node's queue (`max_login_rate`) is longer than `patience`",
        Failure::OurOwn(_) => "mailferry or its machine lacks descriptors, ports or memory",
        Failure::Connect(_) => "the node refused the connection, or its name has no address",
        Failure::ConnectTimeout => "no connection within `connect_timeout`",
        Failure::Tls(_) => "TLS failed",
        Failure::GreetingTimeout => "no greeting within `greeting_timeout`",
        Failure::Silent => "no greeting before the login's `patience` was over",
        Failure::ClosedBeforeLogin => "the node closed before the login",
        Failure::BeforeLogin(fault) => return format!("{}, before the login", fault_title(*fault)),
        Failure::InsteadOfAnswer(fault) => return format!("{}, at the login", fault_title(*fault)),
        Failure::ClosedBeforeAnswer => "the node closed without an answer to the login",
        Failure::AnswerTimeout => "no answer within `login_timeout`",
        Failure::OutOfTime => "no answer within what `server.login_timeout` or `patience` had left for the node",
        Failure::WentDown => "others found the node down while this login waited for it",
        Failure::Refused(refusal) => match refusal.kind {
            RefusalKind::Temporary => "the node refused: `[UNAVAILABLE]`, `[SERVERBUG]`, `[SYS/TEMP]`",
            RefusalKind::InUse => "the node refused: `[INUSE]`",
            RefusalKind::WrongPassword => "the node refused the password",
            RefusalKind::Other => "the node refused for another reason: `[EXPIRED]`, `[LIMIT]`, `[IN-USE]`…",
        },
        Failure::LoginTimeout => "`server.login_timeout` is over",
        Failure::Abandoned => "the client went away, or mailferry was stopped",
    };
    title.to_owned()
}

fn fault_title(fault: NodeFault) -> &'static str {
    match fault {
        NodeFault::Bye => "the node said BYE, or greeted with `-ERR`",
        NodeFault::Preauth => "the node greeted with PREAUTH",
        NodeFault::Garbage => "the node spoke another protocol",
        NodeFault::TooLong => "the node sent more than the limits allow",
        NodeFault::StartTlsRefused => "the node refused STARTTLS",
        NodeFault::ClearTextInjected => "clear text was injected behind STARTTLS",
        NodeFault::NoMechanism => "the node offers no way to log in with a password",
        NodeFault::TokenUnwanted => "the node does not offer the mechanism of the client's token",
        NodeFault::IntroductionRefused => "the node refused to hear who the client is",
        NodeFault::Inexpressible => "the login cannot be said in the node's only dialect",
        NodeFault::Bad => "the node called what we said bad",
        NodeFault::RefusedUnseen => "the node refused before it had seen the password",
        NodeFault::Referral => "the node answered with a referral",
    }
}

fn all() -> Vec<Failure> {
    let before = [
        NodeFault::Bye,
        NodeFault::Preauth,
        NodeFault::Garbage,
        NodeFault::TooLong,
        NodeFault::StartTlsRefused,
        NodeFault::ClearTextInjected,
        NodeFault::NoMechanism,
        NodeFault::IntroductionRefused,
        NodeFault::TokenUnwanted,
        NodeFault::Bad,
        NodeFault::Inexpressible,
    ];
    let instead = [
        NodeFault::Bye,
        NodeFault::Garbage,
        NodeFault::TooLong,
        NodeFault::RefusedUnseen,
        NodeFault::TokenUnwanted,
        NodeFault::Referral,
        NodeFault::Bad,
    ];
    let mut all = vec![
        Failure::Loop,
        Failure::Held,
        Failure::TooManyFailures,
        Failure::ForbiddenName,
        Failure::Directory(LookupError::NotFound),
        Failure::Directory(LookupError::Ambiguous("two".into())),
        Failure::Directory(LookupError::Unavailable("down".into())),
        Failure::UnknownIsland(IslandName::new("x")),
        Failure::NoNode,
        Failure::NotAdmitted,
        Failure::OurOwn(broken()),
        Failure::Connect(broken()),
        Failure::ConnectTimeout,
        Failure::Tls(broken()),
        Failure::GreetingTimeout,
        Failure::Silent,
        Failure::ClosedBeforeLogin,
    ];
    all.extend(before.map(Failure::BeforeLogin));
    all.extend(instead.map(Failure::InsteadOfAnswer));
    all.extend([Failure::ClosedBeforeAnswer, Failure::AnswerTimeout, Failure::OutOfTime, Failure::WentDown]);
    let kinds = [RefusalKind::Temporary, RefusalKind::InUse, RefusalKind::WrongPassword, RefusalKind::Other];
    all.extend(kinds.map(refused));
    all.extend([Failure::TooManySessions, Failure::LoginTimeout, Failure::Abandoned]);
    all
}

fn table() -> String {
    let mut table = String::from(
        "| what happened | next node? | waits? | asks the directory again? | says of the node | the client hears | told already? |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for failure in all() {
        let verdict = failure.verdict();
        let yes = |is: bool| if is { "yes" } else { "–" };
        let mark = match verdict.mark {
            Mark::None => "–",
            Mark::Unreachable => "unreachable",
            Mark::NotReady => "not ready",
            Mark::LoginFailed => "failed a login",
            Mark::Served => "serves",
        };
        let hears = match verdict.answer {
            Answer::Relay => "the node's own words",
            Answer::Ours(Refusal::Unavailable) => "`[UNAVAILABLE]`, `[SYS/TEMP]`",
            Answer::Ours(Refusal::ServerBug) => "`[SERVERBUG]`, `[SYS/PERM]`",
            Answer::Ours(Refusal::TooManySessions) => "`[LIMIT]`, `[IN-USE]`",
            Answer::Ours(Refusal::TooManyFailures) => "`[LIMIT]`, `[SYS/TEMP]`, goodbye",
            Answer::Ours(Refusal::AuthenticationFailed) => "`[AUTHENTICATIONFAILED]`, `[AUTH]`",
            Answer::Told => "–",
        };
        let (next, waits, again) = (yes(verdict.next_node), yes(verdict.waits), yes(verdict.ask_again));
        let told = yes(verdict.answer == Answer::Told);
        writeln!(table, "| {} | {next} | {waits} | {again} | {mark} | {hears} | {told} |", title(&failure)).unwrap();
    }
    table
}

#[test]
fn the_documentation_shows_the_table() {
    let docs = std::fs::read_to_string(DOCS).unwrap();
    let (before, rest) = docs.split_once(BEGIN).expect("the table's beginning is not marked");
    let (_, after) = rest.split_once(END).expect("the table's end is not marked");
    let right = format!("{before}{BEGIN}\n{}\n{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(DOCS, right).unwrap();
        return;
    }
    assert!(docs == right, "docs/failure-modes.md is out of date; UPDATE_DOCS=1 cargo test rewrites it");
}

#[test]
fn every_failure_stands_in_the_table_once() {
    let mut titles: Vec<_> = all().iter().map(title).collect();
    let count = titles.len();
    titles.sort_unstable();
    titles.dedup();
    assert_eq!(titles.len(), count);
}

#[test]
fn who_cannot_be_and_a_wrong_password_wait_and_count_alike_and_nothing_else_does() {
    for failure in all() {
        let is_guess = matches!(&failure, Failure::Directory(LookupError::NotFound) | Failure::ForbiddenName)
            || matches!(&failure, Failure::Refused(refusal) if refusal.kind == RefusalKind::WrongPassword);
        assert_eq!(failure.verdict().guess, is_guess, "{failure}");
        assert!(!(is_guess && failure.verdict().next_node), "{failure}");
    }
}

#[test]
fn what_is_not_about_the_password_never_sounds_like_it() {
    for failure in all().into_iter().filter(|failure| !failure.verdict().guess) {
        let answer = failure.verdict().answer;
        assert_ne!(answer, Answer::Ours(Refusal::AuthenticationFailed), "{failure}");
        assert!(answer != Answer::Relay || matches!(failure, Failure::Refused(_)), "{failure}");
    }
}

#[test]
fn who_waits_would_have_taken_another_node_and_who_is_told_gets_nothing_more() {
    for failure in all() {
        let verdict = failure.verdict();
        assert!(verdict.next_node || !verdict.waits, "{failure}");
        assert!(verdict.answer != Answer::Told || !verdict.next_node, "{failure}");
        // Whatever the island did, the directory may know better; what the directory did, it has just said.
        // But a token that nobody wants says nothing of the user, and a stranger could have the directory asked with it.
        let is_tokens = matches!(
            failure,
            Failure::BeforeLogin(NodeFault::TokenUnwanted) | Failure::InsteadOfAnswer(NodeFault::TokenUnwanted)
        );
        let is_islands = verdict.next_node || matches!(failure, Failure::Refused(_));
        assert_eq!(verdict.ask_again, is_islands && !is_tokens, "{failure}");
        assert!(!(is_tokens && (verdict.waits || verdict.mark != Mark::None)), "{failure}");
    }
}

#[test]
fn the_next_node_is_tried_unless_the_first_one_has_decided_or_we_were_wrong() {
    let next = |failure: Failure| failure.verdict().next_node;
    assert!(next(Failure::ConnectTimeout) && next(Failure::ClosedBeforeAnswer) && next(Failure::AnswerTimeout));
    assert!(next(refused(RefusalKind::Temporary)) && next(refused(RefusalKind::InUse)));
    assert!(next(Failure::BeforeLogin(NodeFault::Bad)) && next(Failure::InsteadOfAnswer(NodeFault::Bye)));
    assert!(!next(refused(RefusalKind::WrongPassword)) && !next(refused(RefusalKind::Other)));
    assert!(!next(Failure::InsteadOfAnswer(NodeFault::Bad)) && !next(Failure::LoginTimeout));
}

#[test]
fn only_what_a_node_did_says_something_of_its_health() {
    let mark = |failure: Failure| failure.verdict().mark;
    for none in
        [Failure::OurOwn(broken()), Failure::NotAdmitted, Failure::Silent, Failure::OutOfTime, Failure::WentDown]
    {
        assert_eq!(none.verdict().mark, Mark::None, "{none}");
    }
    assert_eq!(
        (mark(Failure::Connect(broken())), mark(Failure::ConnectTimeout)),
        (Mark::Unreachable, Mark::Unreachable)
    );
    assert_eq!((mark(Failure::GreetingTimeout), mark(Failure::AnswerTimeout)), (Mark::NotReady, Mark::LoginFailed));
    assert_eq!(
        (mark(refused(RefusalKind::Temporary)), mark(refused(RefusalKind::InUse))),
        (Mark::LoginFailed, Mark::Served)
    );
    assert_eq!(mark(refused(RefusalKind::WrongPassword)), Mark::Served);
}

#[test]
fn a_node_that_chokes_on_a_long_token_is_not_to_blame() {
    use crate::proto::TokenMechanism;
    use crate::secret::Secret;
    let token = |octets| Credentials::Token(TokenMechanism::XOAuth2, Secret::new(vec![b'x'; octets]));
    let (short, long) = (token(TOKEN_HARMLESS_MAX), token(TOKEN_HARMLESS_MAX + 1));
    // The longest name and what stands around it still make a response that Dovecot hears.
    assert!((TOKEN_HARMLESS_MAX + 255 + 32).div_ceil(3) * 4 < 8192);
    let password = Credentials::Password(Secret::new(vec![b'x'; 1024]));
    for failure in all() {
        let mark = failure.verdict().mark;
        assert_eq!((failure.mark(&short), failure.mark(&password)), (mark, mark), "{failure}");
        let blamed = if mark == Mark::LoginFailed { Mark::None } else { mark };
        assert_eq!(failure.mark(&long), blamed, "{failure}");
    }
}
