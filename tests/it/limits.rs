//! How much is too much: connections, wrong passwords, sessions, time.
//!
//! Clients come from addresses of their own (127.x.y.z), so that each test has its networks for itself in the log.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use mailferry::limits;
use mailferry::testkit::settings;
use mailferry::usernames::{DomainRule, NodeName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Client, DEADLINE, Origin, text};
use crate::node::{Conn, FakeNode, PROMPTLY, WRONG};
use crate::resources;
use crate::site::{Door, Site, Spec, log_len, log_since, log_so_far};

const IMAP_FULL: &str = "* BYE [UNAVAILABLE] Too many connections, please try again later";

fn spec(node: u16, change: impl FnOnce(&mut limits::Settings)) -> Spec {
    let mut limits = settings::limits();
    change(&mut limits);
    Spec { limits, ..Spec::new(&[node]) }
}

const fn some(limit: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(limit)
}

fn address(network: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(127, 9, network, host).into()
}

async fn from(site: &Site, from: IpAddr, door: Door) -> Client {
    let mut client = Client::clear_from(from, site.address(door)).await;
    let greeting = client.line().await;
    assert!(greeting.starts_with("* OK ") || greeting.starts_with("+OK "), "{greeting}");
    client
}

/// A node that greets and never answers a login.
async fn silent() -> FakeNode {
    FakeNode::start(|mut conn: Conn| async move {
        conn.send("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi\r\n").await;
        conn.closed().await;
    })
    .await
}

/// Ends a session, and waits until mailferry has.
async fn leave(mut client: Client) {
    client.command("z", "LOGOUT").await;
    client.closed().await;
    let from = client.from;
    drop(client);
    from.line("session ended").await;
}

/// Waits until this is so.
async fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it does not come to be");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Closed without a word, in whatever way.
async fn cut(socket: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, socket.read_to_end(&mut rest)).await.expect("not cut in time");
    assert!(rest.is_empty(), "a word: {:?}", text(&rest));
}

#[tokio::test]
async fn the_oldest_stranger_hears_that_it_must_go_and_the_new_one_comes_in() {
    let node = FakeNode::imap().await;
    let site = Site::start(spec(node.port, |it| it.unauthenticated = some(2).unwrap())).await;
    let mut first = site.greeted(Door::ImapTls).await;
    let mut second = site.greeted(Door::Pop3Clear).await;
    let mut third = site.greeted(Door::ImapClear).await;
    assert_eq!(first.line().await, IMAP_FULL);
    first.closed().await;
    let ended = first.from.line("session ended").await;
    assert!(ended.contains("\"why\":\"too-many-connections\"") && ended.contains("\"who\":\"proxy\""), "{ended}");
    let _fourth = site.greeted(Door::ImapStartTls).await;
    assert_eq!(second.line().await, "-ERR [SYS/TEMP] too many connections, try again later");
    second.closed().await;
    // Who has logged in is safe.
    assert!(third.command("a", "LOGIN alice third-Pa55").await.starts_with("a OK "));
    for _ in 0..20 {
        site.greeted(Door::ImapClear).await;
    }
    assert!(third.command("b", "NOOP").await.starts_with("b OK "));
    site.end(&["third-Pa55"]).await;
}

#[tokio::test]
async fn a_stranger_must_go_in_whatever_state_it_is() {
    let node = silent().await;
    let site = Site::start(spec(node.port, |it| it.unauthenticated_per_network = some(1).unwrap())).await;
    // In the middle of a handshake: nothing can be said.
    let mut shaking = TcpStream::connect(site.address(Door::ImapTls)).await.unwrap();
    shaking.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    Origin::of(&shaking);
    // While a node judges its login.
    let mut waiting = site.greeted(Door::ImapClear).await;
    cut(&mut shaking).await;
    waiting.send("a LOGIN alice waiting-Pa55\r\n").await;
    node.connected().await;
    let mut halfway = site.greeted(Door::ImapClear).await;
    assert_eq!(waiting.line().await, IMAP_FULL);
    waiting.closed().await;
    node.all_closed(PROMPTLY).await;
    // In the middle of a line, and of STARTTLS.
    halfway.send("a LOGIN al").await;
    let mut upgrading = site.greeted(Door::ImapStartTls).await;
    assert_eq!(halfway.line().await, IMAP_FULL);
    upgrading.send("a STARTTLS\r\n").await;
    assert!(upgrading.line().await.starts_with("a OK "));
    let _last = site.greeted(Door::ImapClear).await;
    upgrading.closed().await;
    site.end(&["waiting-Pa55"]).await;
}

#[tokio::test]
async fn a_stranger_that_reads_nothing_makes_place_as_promptly() {
    let site = Site::start(spec(FakeNode::dead().await, |it| it.unauthenticated = some(1).unwrap())).await;
    let mut deaf = TcpStream::connect(site.address(Door::ImapClear)).await.unwrap();
    let from = Origin::of(&deaf);
    let commands = b"a CAPABILITY\r\n".repeat(10_000);
    // Until nothing more goes in: mailferry waits for the client to take its answers, for half a minute.
    while timeout(Duration::from_millis(300), deaf.write_all(&commands)).await.is_ok_and(|done| done.is_ok()) {}
    assert!(from.lines("session ended").is_empty());
    let _next = site.greeted(Door::ImapClear).await;
    let ended = from.line("session ended").await;
    assert!(ended.contains("\"why\":\"too-many-connections\""), "{ended}");
    site.end(&[]).await;
}

#[tokio::test]
async fn above_the_limit_of_all_a_newcomer_hears_why_and_never_clear_text_where_tls_is_spoken() {
    let node = FakeNode::imap().await;
    let site = Site::start(spec(node.port, |it| it.connections = some(1))).await;
    let mut inside = site.greeted(Door::ImapClear).await;
    assert!(inside.command("a", "LOGIN alice inside-Pa55").await.starts_with("a OK "));
    for door in [Door::ImapClear, Door::ImapStartTls] {
        let mut outside = Client::clear(site.address(door)).await;
        assert_eq!(outside.line().await, IMAP_FULL);
        outside.closed().await;
    }
    let mut outside = Client::clear(site.address(Door::Pop3Clear)).await;
    assert_eq!(outside.line().await, "-ERR [SYS/TEMP] too many connections, try again later");
    outside.closed().await;
    for door in [Door::ImapTls, Door::Pop3Tls] {
        cut(&mut TcpStream::connect(site.address(door)).await.unwrap()).await;
    }
    // The place is free as soon as the session has ended.
    leave(inside).await;
    site.greeted(Door::ImapTls).await;
    site.end(&["inside-Pa55"]).await;
}

#[tokio::test]
async fn one_address_cannot_push_others_out_however_many_connections_it_opens() {
    let node = FakeNode::imap().await;
    let site = Site::start(spec(node.port, |it| it.unauthenticated = some(4).unwrap())).await;
    let mut good = from(&site, address(20, 1), Door::ImapClear).await;
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(from(&site, address(20, 2), Door::ImapClear).await);
    }
    assert_eq!(flood[0].line().await, IMAP_FULL);
    assert!(good.command("a", "LOGIN alice patient-Pa55").await.starts_with("a OK "));
    site.end(&["patient-Pa55"]).await;
}

#[tokio::test]
async fn each_network_has_its_own_places_and_exempt_ones_as_many_as_they_like() {
    let node = FakeNode::imap().await;
    let site = Site::start(spec(node.port, |it| {
        it.connections_per_network = some(1);
        it.exempt_networks = vec!["127.9.2.9/32".parse().unwrap()];
    }))
    .await;
    let mut inside = from(&site, address(2, 1), Door::ImapClear).await;
    assert!(inside.command("a", "LOGIN alice network-Pa55").await.starts_with("a OK "));
    let mut outside = Client::clear_from(address(2, 1), site.address(Door::ImapClear)).await;
    assert_eq!(outside.line().await, IMAP_FULL);
    outside.closed().await;
    let mut outside = Client::clear_from(address(2, 1), site.address(Door::ImapTls)).await;
    // Without a handshake.
    outside.closed().await;
    let log = log_so_far();
    let told = log.lines().filter(|line| line.contains("a client's network") && line.contains("\"127.9.2.1\""));
    assert_eq!(told.count(), 1);
    let _elsewhere = from(&site, address(2, 2), Door::ImapClear).await;
    let mut many = Vec::new();
    for _ in 0..5 {
        let mut exempt = from(&site, address(2, 9), Door::ImapClear).await;
        assert!(exempt.command("a", "LOGIN alice network-Pa55").await.starts_with("a OK "));
        many.push(exempt);
    }
    site.end(&["network-Pa55"]).await;
}

#[tokio::test]
async fn more_connections_than_there_are_descriptors_for_are_not_promised() {
    let node = FakeNode::imap().await;
    let before = log_len();
    let site = Site::start(spec(node.port, |it| it.connections = some(1_000_000_007))).await;
    let log = log_since(before);
    let warning = log.lines().find(|line| line.contains("\"wanted\":1000000007")).expect("no warning");
    // Eleven descriptors for five clients, and those that clients do not have.
    let number = |name: &str| resources::number(warning, name);
    assert_eq!(number("needed") - number("limit"), (200_000_002 - number("possible") / 5) * 11 - slack(&number));
    assert!(warning.contains(&format!("LimitNOFILE={}", number("needed"))), "{warning}");
    site.end(&[]).await;
}

/// What of the limit is too little for five more clients.
fn slack(number: &impl Fn(&str) -> u64) -> u64 {
    let reserve = number("needed") - 200_000_002 * 11;
    (number("limit") - reserve) % 11
}

#[tokio::test]
async fn r_res_05_a_network_that_fails_too_often_is_not_tried_any_more_and_told_so() {
    let node = FakeNode::imap().await;
    let pop3 = FakeNode::pop3().await;
    let site = Site::start(Spec {
        pop3_port: Some(pop3.port),
        ..spec(node.port, |it| {
            it.failed_logins_per_network = some(6);
            it.exempt_networks = vec!["127.9.3.9/32".parse().unwrap()];
        })
    })
    .await;
    let mut guesser = from(&site, address(3, 1), Door::ImapClear).await;
    for tag in ["a", "b", "c", "d", "e"] {
        let user = if tag == "c" { "nobody" } else { "alice" };
        assert!(guesser.command(tag, &format!("LOGIN {user} {WRONG}")).await.contains(" NO [AUTHENTICATIONFAILED] "));
    }
    assert!(guesser.line().await.starts_with("* BYE "));
    let mut guesser = from(&site, address(3, 1), Door::ImapClear).await;
    assert!(guesser.command("a", &format!("LOGIN alice {WRONG}")).await.contains(" NO [AUTHENTICATIONFAILED] "));
    let (asked, logins) = (node.connections() + pop3.connections(), node.logins().len());
    // The right password as well, on the same connection and on others, whoever asks.
    assert!(guesser.command("b", "LOGIN alice right-Pa55").await.starts_with("b NO [LIMIT] "));
    assert!(guesser.line().await.starts_with("* BYE "));
    guesser.closed().await;
    for user in ["alice", "nobody"] {
        let mut guesser = from(&site, address(3, 1), Door::ImapClear).await;
        assert!(guesser.command("a", &format!("LOGIN {user} right-Pa55")).await.starts_with("a NO [LIMIT] "));
        assert!(guesser.line().await.starts_with("* BYE "));
        let mut guesser = from(&site, address(3, 1), Door::Pop3Clear).await;
        assert!(guesser.ask(&format!("USER {user}")).await.starts_with("+OK"));
        assert!(guesser.ask("PASS right-Pa55").await.starts_with("-ERR [SYS/TEMP] "));
        assert!(text(&guesser.rest().await).starts_with("-ERR [SYS/TEMP] "));
    }
    assert_eq!((node.connections() + pop3.connections(), node.logins().len()), (asked, logins), "a node was asked");
    let line = guesser.from.line("login").await;
    assert!(line.contains("\"outcome\":\"wrong-password\""), "{line}");
    assert_eq!(guesser.from.lines("login").len(), 2);
    assert!(guesser.from.lines("login")[1].contains("\"outcome\":\"too-many-failures\""));
    // Others are not concerned.
    let mut other = from(&site, address(3, 2), Door::ImapClear).await;
    assert!(other.command("a", "LOGIN alice right-Pa55").await.starts_with("a OK "));
    // Webmail has wrong passwords all day.
    for _ in 0..3 {
        let mut exempt = from(&site, address(3, 9), Door::ImapClear).await;
        for _ in 0..4 {
            exempt.command("a", &format!("LOGIN alice {WRONG}")).await;
        }
        assert!(exempt.command("b", "LOGIN alice right-Pa55").await.starts_with("b OK "));
    }
    let log = log_so_far();
    let told: Vec<_> = log.lines().filter(|line| line.contains("\"network\":\"127.9.3.")).collect();
    assert!(told.len() == 1 && told[0].contains("127.9.3.1\"") && told[0].contains("\"level\":\"WARN\""), "{told:?}");
    site.end(&["right-Pa55", WRONG]).await;
}

#[tokio::test]
async fn r_res_05_many_guesses_at_once_are_no_more_than_one_after_the_other() {
    let node = FakeNode::imap().await;
    let site = Site::start(spec(node.port, |it| it.failed_logins_per_network = some(3))).await;
    let mut guesses = Vec::new();
    for _ in 0..20 {
        let mut client = from(&site, address(21, 1), Door::ImapClear).await;
        guesses.push(tokio::spawn(async move { client.command("a", &format!("LOGIN alice {WRONG}")).await }));
    }
    let mut answers = Vec::new();
    for guess in guesses {
        answers.push(guess.await.unwrap());
    }
    let count = |what: &str| answers.iter().filter(|answer| answer.contains(what)).count();
    assert_eq!((count("[AUTHENTICATIONFAILED]"), count("[LIMIT]"), node.logins().len()), (3, 17, 3));
    // Right ones are let in however many there are.
    let mut right = Vec::new();
    for _ in 0..20 {
        let mut client = from(&site, address(21, 2), Door::ImapClear).await;
        right.push(tokio::spawn(async move { client.command("a", "LOGIN alice crowded-Pa55").await }));
    }
    for login in right {
        let answer = login.await.unwrap();
        assert!(answer.starts_with("a OK "), "{answer}");
    }
    site.end(&["crowded-Pa55", WRONG]).await;
}

#[tokio::test]
async fn r_res_05_whoever_does_not_wait_for_the_answer_has_failed_too() {
    let node = silent().await;
    let site = Site::start(spec(node.port, |it| it.failed_logins_per_network = some(2))).await;
    let guesser = address(16, 1);
    for count in 1..=2 {
        let mut client = from(&site, guesser, Door::ImapClear).await;
        client.send("a LOGIN alice abandoned-Pa55\r\n").await;
        until(|| text(&node.seen.octets.get()).matches("AUTHENTICATE PLAIN").count() == count).await;
        let from = client.from;
        drop(client);
        from.line("session ended").await;
    }
    let mut client = from(&site, guesser, Door::ImapClear).await;
    let answer = client.command("a", "LOGIN alice abandoned-Pa55").await;
    assert_eq!(answer, "a NO [LIMIT] Too many failed logins, please try again later");
    site.end(&["abandoned-Pa55"]).await;
}

/// A login that comes so late that its refusal could not wait for the beat: whoever could be refused in time would be
/// told so, and whoever could not would have had a try for nothing.
#[tokio::test(start_paused = true)]
async fn r_res_05_a_login_in_the_last_beat_is_not_tried_and_tells_nothing() {
    let node = FakeNode::imap().await;
    let (auth_failure_delay, login_timeout) = (Duration::from_secs(3), Duration::from_secs(20));
    let site = Site::start(Spec { auth_failure_delay, login_timeout, ..spec(node.port, |_| {}) }).await;
    for user in ["alice", "nobody"] {
        for password in [WRONG, "late-Pa55"] {
            let mut client = from(&site, address(17, 1), Door::ImapClear).await;
            sleep(Duration::from_secs(18)).await;
            let began = Instant::now();
            let answer = client.command("a", &format!("LOGIN {user} {password}")).await;
            assert_eq!(answer, "a NO [UNAVAILABLE] Temporary failure, please try again later", "{user}");
            assert_eq!(began.elapsed().as_millis() / 100, 20, "{user}");
        }
    }
    assert!(node.logins().is_empty());
    site.end(&["late-Pa55", WRONG]).await;
}

#[tokio::test]
async fn logins_that_fail_for_whatever_reason_come_to_an_end() {
    let node = FakeNode::imap().await;
    let site = Site::start(spec(node.port, |_| {})).await;
    let mut client = from(&site, address(18, 1), Door::ImapClear).await;
    assert_eq!(client.command("i", "ID (\"x-proxy-ttl\" \"1\")").await, "i OK ID done");
    client.send("a LOGIN alice circling-Pa55\r\n".repeat(100)).await;
    let answers = text(&client.rest().await);
    assert_eq!(answers.matches("a NO [SERVERBUG] ").count(), 10, "{answers}");
    assert!(answers.ends_with("* BYE Too many failed logins\r\n"), "{answers}");
    // Anybody can cause it: each has its line, and one of them is a warning.
    let lines = client.from.lines("login");
    let warnings = lines.iter().filter(|line| line.contains("\"level\":\"WARN\"")).count();
    assert_eq!((lines.len(), warnings), (10, 1));
    site.end(&["circling-Pa55"]).await;
}

#[tokio::test]
async fn however_a_user_is_typed_the_sessions_are_counted_together() {
    let node = FakeNode::imap().await;
    let mut spec = spec(node.port, |it| it.sessions_per_user = some(1));
    spec.session.usernames.domain = DomainRule::Strip;
    spec.session.usernames.on_node = NodeName::Typed;
    let site = Site::start(spec).await;
    let mut first = from(&site, address(19, 1), Door::ImapClear).await;
    assert!(first.command("a", "LOGIN alice@one spelt-Pa55").await.starts_with("a OK "));
    let mut second = from(&site, address(19, 2), Door::ImapClear).await;
    assert!(second.command("a", "LOGIN alice@two spelt-Pa55").await.starts_with("a NO [LIMIT] "));
    site.end(&["spelt-Pa55"]).await;
}

/// The clock is paused: it moves only while everybody waits for a timer.
#[tokio::test(start_paused = true)]
async fn r_res_05_refusals_come_later_and_later_and_at_the_same_time_for_known_and_unknown_users() {
    let node = FakeNode::imap().await;
    let site = Site::start(Spec {
        auth_failure_delay: Duration::from_secs(2),
        ..spec(node.port, |it| it.failed_login_delay_max = Duration::from_secs(5))
    })
    .await;
    let elapsed = |began: Instant| (began.elapsed() + Duration::from_millis(500)).as_secs();
    for users in [["alice", "nobody"], ["nobody", "alice"]] {
        let origin = address(4, users[0].len() as u8);
        let mut took = Vec::new();
        for count in 0..10 {
            let mut client = from(&site, origin, Door::ImapClear).await;
            let began = Instant::now();
            let refused = client.command("a", &format!("LOGIN {} {WRONG}", users[count % 2])).await;
            assert!(refused.starts_with("a NO [AUTHENTICATIONFAILED] "), "{refused}");
            took.push(elapsed(began));
            // A right password is answered at once, whatever was before.
            let began = Instant::now();
            assert!(client.command("b", "LOGIN alice right-Pa55").await.starts_with("b OK "));
            assert_eq!(elapsed(began), 0);
        }
        // Two seconds, and 1, 2, 4, 5 more, on the beat of two.
        assert_eq!(took, [2, 2, 2, 2, 2, 4, 4, 6, 8, 8]);
    }
    site.end(&["right-Pa55", WRONG]).await;
}

/// Whoever tries on many connections at once does not get more tries for the same time.
#[tokio::test(start_paused = true)]
async fn r_res_05_refusals_that_wait_at_the_same_time_count_for_each_other() {
    let node = FakeNode::imap().await;
    let site = Site::start(Spec {
        auth_failure_delay: Duration::from_secs(1),
        ..spec(node.port, |it| it.failed_login_delay_max = Duration::from_secs(30))
    })
    .await;
    let mut guesses = Vec::new();
    for _ in 0..9 {
        let mut client = from(&site, address(5, 1), Door::ImapClear).await;
        guesses.push(tokio::spawn(async move {
            let began = Instant::now();
            client.command("a", "LOGIN nobody guess-Pa55").await;
            began.elapsed().as_secs()
        }));
    }
    let mut took = Vec::new();
    for guess in guesses {
        took.push(guess.await.unwrap());
    }
    took.sort_unstable();
    assert_eq!(took, [1, 1, 1, 1, 1, 2, 3, 5, 9]);
    site.end(&["guess-Pa55"]).await;
}

#[tokio::test]
async fn a_user_has_so_many_sessions_and_the_node_is_left_in_order() {
    let node = FakeNode::imap().await;
    let pop3 = FakeNode::pop3().await;
    let site = Site::start(Spec {
        pop3_port: Some(pop3.port),
        ..spec(node.port, |it| {
            it.sessions_per_user = some(3);
            it.sessions_per_user_and_network = some(2);
        })
    })
    .await;
    let login = "LOGIN alice seat-Pa55";
    let mut inside = Vec::new();
    for _ in 0..2 {
        let mut client = from(&site, address(6, 1), Door::ImapClear).await;
        assert!(client.command("a", login).await.starts_with("a OK "));
        inside.push(client);
    }
    let mut third = from(&site, address(6, 1), Door::ImapClear).await;
    assert_eq!(third.command("a", login).await, "a NO [LIMIT] Too many sessions of this user");
    let mut elsewhere = from(&site, address(6, 2), Door::ImapClear).await;
    assert!(elsewhere.command("a", login).await.starts_with("a OK "));
    let mut fourth = from(&site, address(6, 3), Door::Pop3Clear).await;
    assert!(fourth.ask("USER ALICE").await.starts_with("+OK"));
    // The file knows only alice.
    assert!(fourth.ask("PASS seat-Pa55").await.starts_with("-ERR [AUTH] "));
    assert!(fourth.ask("USER alice").await.starts_with("+OK"));
    assert_eq!(fourth.ask("PASS seat-Pa55").await, "-ERR [IN-USE] too many sessions of this user");
    // Whoever does not know the password does not learn it.
    assert!(third.command("b", &format!("LOGIN alice {WRONG}")).await.starts_with("b NO [AUTHENTICATIONFAILED] "));
    assert!(third.command("c", login).await.starts_with("c NO [LIMIT] "));
    until(|| node.commands() == ["f6 LOGOUT", "f6 LOGOUT"] && pop3.commands() == ["QUIT"]).await;
    let line = third.from.line("login").await;
    assert!(line.contains("\"outcome\":\"too-many-sessions\"") && line.contains("\"level\":\"INFO\""), "{line}");
    // A place is free when a session has ended, for the same connection as well.
    leave(inside.pop().unwrap()).await;
    assert!(third.command("d", login).await.starts_with("d OK "));
    site.end(&["seat-Pa55", WRONG]).await;
}

/// What is said at the deadline.
const LATE: [(Door, &str, &str); 2] =
    [(Door::ImapClear, "a NOOP\r\n", "* BYE "), (Door::Pop3Clear, "CAPA\r\n", "-ERR ")];

#[tokio::test(start_paused = true)]
async fn r_res_01_one_octet_every_two_seconds_is_cut_at_the_login_deadline() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for (door, command, goodbye) in LATE {
        let began = Instant::now();
        let mut client = site.greeted(door).await;
        // Whole commands, so that it is not the deadline of one command that ends it.
        let octets = command.bytes().cycle();
        for octet in octets.take(29) {
            sleep(Duration::from_secs(2)).await;
            client.send([octet]).await;
        }
        let heard = text(&client.rest().await);
        let (before, last) = heard.trim_end().rsplit_once("\r\n").expect("no answers");
        assert!(last.starts_with(goodbye) && !before.contains(goodbye), "{heard}");
        assert_eq!(began.elapsed().as_secs(), 60, "{door:?}");
    }
    site.end(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn r_res_01_a_command_that_never_ends_is_cut_at_its_own_deadline() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for (door, _, goodbye) in LATE {
        let mut client = site.greeted(door).await;
        let began = Instant::now();
        for _ in 0..14 {
            sleep(Duration::from_secs(2)).await;
            client.send("x").await;
        }
        assert!(client.line().await.starts_with(goodbye));
        client.closed().await;
        assert_eq!(began.elapsed().as_secs(), 30, "{door:?}");
    }
    site.end(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn r_res_02_no_login_is_cut_the_same_way_and_commands_do_not_prolong_it() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for (door, command, goodbye) in LATE {
        let began = Instant::now();
        let mut client = site.greeted(door).await;
        for _ in 0..11 {
            sleep(Duration::from_secs(5)).await;
            client.send(command).await;
        }
        let heard = text(&client.rest().await);
        assert!(heard.trim_end().rsplit("\r\n").next().unwrap().starts_with(goodbye), "{heard}");
        assert_eq!(began.elapsed().as_secs(), 60, "{door:?}");
        let ended = client.from.line("session ended").await;
        assert!(ended.contains("\"why\":\"timeout\"") && ended.contains("\"who\":\"proxy\""), "{ended}");
    }
    site.end(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn r_res_03_five_hundred_idle_connections_do_not_delay_a_good_login() {
    let node = FakeNode::imap().await;
    let site = Site::with(&[node.port]).await;
    let mut idle = Vec::new();
    for place in 0..500 {
        // Silent ones, ones in the middle of a handshake, ones in the middle of a line.
        let door = [Door::ImapClear, Door::ImapTls, Door::Pop3Clear][place % 3];
        let mut socket = TcpStream::connect(site.address(door)).await.unwrap();
        if place % 2 == 0 {
            socket.write_all(&[0x16, 3, 1, 2]).await.unwrap();
        }
        idle.push(socket);
    }
    let began = Instant::now();
    let mut client = site.greeted(Door::ImapClear).await;
    assert!(client.command("a", "LOGIN alice idle-Pa55").await.starts_with("a OK "));
    assert!(began.elapsed() < Duration::from_secs(1), "it had to wait for a timer");
    drop(idle);
    site.end(&["idle-Pa55"]).await;
}

#[tokio::test]
async fn r_res_04_a_client_that_does_not_read_its_answers_is_cut() {
    let site =
        Site::start(Spec { login_timeout: Duration::from_secs(1), ..Spec::new(&[FakeNode::dead().await]) }).await;
    let mut socket = TcpStream::connect(site.address(Door::ImapClear)).await.unwrap();
    let from = Origin::of(&socket);
    let commands = b"a CAPABILITY\r\n".repeat(10_000);
    // Until nothing more goes in, or the connection is cut.
    let writing = async { while socket.write_all(&commands).await.is_ok() {} };
    timeout(DEADLINE, writing).await.expect("not cut in time");
    let ended = from.line("session ended").await;
    assert!(ended.contains("\"why\":\"timeout\"") && ended.contains("\"stage\":\"login\""), "{ended}");
    site.end(&[]).await;
}

/// The lines about a client that an operator sees.
fn lines_about(from: Origin) -> Vec<String> {
    let mut lines = from.lines("login");
    lines.extend(from.lines("session ended"));
    lines
}

#[tokio::test(start_paused = true)]
async fn r_tls_08_an_unfinished_handshake_is_cut_at_its_deadline() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    for beginning in [&[0x16][..], &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]] {
        let mut socket = TcpStream::connect(site.address(Door::ImapTls)).await.unwrap();
        let (from, began) = (Origin::of(&socket), Instant::now());
        // The kernel keeps who says nothing at all to itself for a second, of its own time.
        for octet in beginning {
            socket.write_all(&[*octet]).await.unwrap();
            sleep(Duration::from_millis(900)).await;
        }
        let cut = timeout(DEADLINE * 2, socket.read(&mut [0; 1])).await.expect("not cut in time");
        assert!(matches!(cut, Ok(0) | Err(_)), "a word before the handshake");
        assert_eq!(began.elapsed().as_secs(), 10, "{beginning:?}");
        let ended = from.line("session ended").await;
        assert!(ended.contains("\"stage\":\"tls\"") && ended.contains("\"why\":\"timeout\""), "{ended}");
    }
    site.end(&[]).await;
}

#[tokio::test]
async fn r_tls_08_a_garbage_hello_and_one_of_64_kib_are_cut_promptly_and_logged_once() {
    let site = Site::with(&[FakeNode::dead().await]).await;
    // A ClientHello that says it is so long, of which there is so much, in records of the largest size.
    let hello = |says: u32, len: usize| {
        let mut hello = [&[1], &says.to_be_bytes()[1..], &[3, 3]].concat();
        hello.resize(len, 0);
        let record = |part: &[u8]| [&[0x16, 3, 1], &(part.len() as u16).to_be_bytes()[..], part].concat();
        hello.chunks(16 * 1024).flat_map(record).collect::<Vec<u8>>()
    };
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 1000],
        hello(100, 104),
        hello(0xffff, 0xffff + 4),
        hello(0x1_0000, 0x4000),
        hello(0xff_ffff, 0x1_0000),
    ] {
        let mut socket = TcpStream::connect(site.address(Door::ImapTls)).await.unwrap();
        let from = Origin::of(&socket);
        // It may be cut before all was sent.
        let _ = socket.write_all(&garbage).await;
        let ended = from.line("session ended").await;
        assert!(ended.contains("\"stage\":\"tls\"") && ended.contains("\"why\":\"tls-failed\""), "{ended}");
        assert!(resources::number(&ended, "total_ms") < 10_000, "it was cut at the deadline");
        let mut rest = Vec::new();
        let _ = timeout(DEADLINE, socket.read_to_end(&mut rest)).await.expect("not cut in time");
        assert!(rest.is_empty() || rest[0] == 0x15, "{:?}", text(&rest));
        assert_eq!(lines_about(from).len(), 1);
    }
    site.end(&[]).await;
}
