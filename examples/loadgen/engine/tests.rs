//! The engine against servers that answer line by line from a table, or not at all.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Long enough for whatever is answered, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(2);

/// What a server says to a command that begins so; `None` closes the connection.
type Table = &'static [(&'static str, Option<&'static str>)];

const IMAP: Table = &[
    ("a LOGIN \"anna\" \"An\\\"na-Ferry\"", Some("* 1 untagged\r\na OK in\r\n")),
    ("a STATUS INBOX", Some("* STATUS INBOX (MESSAGES 3)\r\na OK\r\n")),
    ("a LOGOUT", Some("* BYE\r\na OK\r\n")),
];
const POP3: Table = &[
    ("USER anna", Some("+OK\r\n")),
    ("PASS An\"na-Ferry", Some("+OK\r\n")),
    ("STAT", Some("+OK 3 900\r\n")),
    ("QUIT", Some("+OK\r\n")),
];

#[tokio::test]
async fn a_login_is_served_when_all_of_it_is_answered() {
    for (protocol, greeting, table) in [(Protocol::Imap, "* OK hi\r\n", IMAP), (Protocol::Pop3, "+OK hi\r\n", POP3)] {
        let visits = run(protocol, Some(greeting), table).await;
        assert!(visits.iter().all(|visit| matches!(visit.end, End::Served)), "{protocol}: {:?}", ends(&visits));
    }
}

#[tokio::test]
async fn what_goes_wrong_before_the_answer_is_lost_and_behind_it_cut() {
    let cases: [(Option<&str>, Table, &str); 7] = [
        (Some("* BYE full\r\n"), &[], "lost greeting: * BYE full"),
        (Some("* OK hi\r\n"), &[("", None)], "lost login: the connection was closed"),
        (Some("* OK hi\r\n"), &[("", Some("a NO [UNAVAILABLE] later\r\n"))], "lost login: a NO [UNAVAILABLE] later"),
        (Some("* OK hi\r\n"), &[("", Some("a OK"))], "lost login: nothing more within 2s"),
        (Some("* OK hi\r\n"), &[("a L", Some("a OK\r\n")), ("", None)], "cut mailbox: the connection was closed"),
        (Some("* OK hi\r\n"), &[("a L", Some("a OK\r\n")), ("", Some("a OK\r\n"))], "cut mailbox: no status in []"),
        (
            Some("* OK hi\r\n"),
            &[("a LOGIN", Some("a OK\r\n")), ("a S", Some("* STATUS INBOX\r\na OK\r\n")), ("", Some("a BAD\r\n"))],
            "cut logout: a BAD",
        ),
    ];
    for (greeting, table, expected) in cases {
        let visits = run(Protocol::Imap, greeting, table).await;
        assert_eq!(ends(&visits), vec![expected; visits.len()]);
    }
}

/// However long each of them waits, the next ones start when they are due.
#[tokio::test]
async fn logins_start_by_the_clock_and_not_after_one_another() {
    let visits = run(Protocol::Imap, None, &[]).await;
    assert_eq!(ends(&visits), vec!["lost greeting: nothing more within 2s"; 20]);
    let due: Vec<_> = visits.iter().map(|visit| visit.due.as_millis()).collect();
    assert_eq!(due, (0..20).map(|n| n * 10).collect::<Vec<u128>>());
    assert!(visits.iter().all(|visit| visit.latency >= LIMIT));
}

#[tokio::test]
async fn no_password_is_told_when_the_server_repeats_it() {
    let visits = run(Protocol::Pop3, Some("+OK\r\n"), &[("USER", Some("-ERR not An\"na-Ferry\r\n"))]).await;
    assert_eq!(ends(&visits)[0], "lost login: -ERR not (password)");
}

#[tokio::test]
async fn idle_sessions_are_told_when_they_end() {
    let table: Table = &[("a LOGIN", Some("a OK\r\n\0"))]; // and closes
    let load = Arc::new(load(Protocol::Imap, server(Some("* OK\r\n"), table).await));
    let start = Instant::now();
    let mut held = Held::open(&load, 3).await;
    while held.is_waiting().await {}
    let report = held.close(start);
    assert_eq!((report.opened, report.refused.len(), report.ends.len()), (3, 0, 3));
    let refusing = Arc::new(self::load(Protocol::Imap, server(Some("* BYE\r\n"), &[]).await));
    let report = Held::open(&refusing, 2).await.close(start);
    assert_eq!((report.opened, report.refused, report.ends.len()), (0, vec!["* BYE".to_owned(); 2], 0));
}

/// 20 logins, 10 ms apart.
async fn run(protocol: Protocol, greeting: Option<&'static str>, table: Table) -> Vec<Visit> {
    let load = load(protocol, server(greeting, table).await);
    Arc::new(load).run(Instant::now()).await
}

fn load(protocol: Protocol, port: u16) -> Load {
    let user = User { name: "anna".into(), island: "a".into(), password: "An\"na-Ferry".into() };
    Load {
        targets: vec![Target::new(protocol, &format!("127.0.0.1:{port}"), None).unwrap()],
        users: vec![user],
        rate: 100,
        duration: Duration::from_millis(200),
        limit: LIMIT,
        addresses: 3,
    }
}

fn ends(visits: &[Visit]) -> Vec<String> {
    let tell = |visit: &Visit| match &visit.end {
        End::Served => "served".to_owned(),
        End::Cut(Trouble { stage, words }) => format!("cut {stage}: {words}"),
        End::Lost(Trouble { stage, words }) => format!("lost {stage}: {words}"),
    };
    visits.iter().map(tell).collect()
}

/// Its port. Without a greeting it says nothing at all; a NUL in an answer closes the connection.
async fn server(greeting: Option<&'static str>, table: Table) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            match greeting {
                Some(greeting) => drop(tokio::spawn(answer(socket, greeting, table))),
                None => silent.push(socket),
            }
        }
    });
    port
}

async fn answer(socket: TcpStream, greeting: &'static str, table: Table) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    socket.write_all(greeting.as_bytes()).await?;
    let mut line = String::new();
    while socket.read_line(&mut line).await? > 0 {
        let Some((_, Some(answer))) = table.iter().find(|(command, _)| line.starts_with(command)) else { break };
        socket.write_all(answer.trim_end_matches('\0').as_bytes()).await?;
        if answer.ends_with('\0') {
            break;
        }
        line.clear();
    }
    Ok(())
}
