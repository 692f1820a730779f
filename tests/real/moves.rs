//! A user is moved by `mailferry move` while his clients are there: no mail is lost, and nobody is refused.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use crate::program::{Program, Started};
use crate::site::{Protocol, Site, Tls, User};

/// For each answer: longer than a login may wait.
const PATIENCE: Duration = Duration::from_secs(45);

/// With a socket for the operator. anna has accounts on both islands, and lives on a.
fn site() -> Site {
    let admin = "[admin]\nsocket = \"$FOLDER/mailferry/admin.sock\"\nstate_file = \"$FOLDER/mailferry/operator.json\"\n\n[log]\n";
    let site = Site::with_ferry(&[("[log]\n", admin)]);
    site.order("copy anna b");
    site.order("copy anna a");
    site
}

/// Copies the mailbox as it is, and changes the directories.
const MOVE: &str = r#"set -e
. "$SITE/site.env"
until [ -e "$FOLDER/go" ]; do sleep 0.02; done
rm -rf "$FOLDER/island-$MAILFERRY_TO/mail/$MAILFERRY_ACCOUNT"
cp -a "$FOLDER/island-$MAILFERRY_FROM/mail/$MAILFERRY_ACCOUNT" "$FOLDER/island-$MAILFERRY_TO/mail/"
for port in $LDAPS $LDAPS2; do
    LDAPTLS_CACERT=$CA ldapmodify -H "ldaps://127.0.0.1:$port" -x -D "cn=operator,dc=example,dc=net" \
        -y "$FOLDER/directory/bind.secret" >/dev/null <<END
dn: uid=$MAILFERRY_ACCOUNT,ou=people,dc=example,dc=net
changetype: modify
replace: mailHost
mailHost: $MAILFERRY_TO
END
done"#;

/// `mailferry move`, as an operator's script runs it.
struct Mover {
    started: Started,
    steps: mpsc::Receiver<String>,
    words: mpsc::Receiver<String>,
}

impl Mover {
    fn start(site: &Site, user: &str, island: &str, more: &[&str]) -> Self {
        let program = Program::new(["move", user, island, "--timeout", "40s", "--json", "--socket"]);
        let program = program.arg(site.path("FOLDER").join("mailferry/admin.sock"));
        let program = more.iter().fold(program, |program, argument| program.arg(argument));
        let ((step, steps), (word, words)) = (mpsc::channel(), mpsc::channel());
        // Nobody may listen any more.
        let tell = |to: mpsc::Sender<String>| move |line| drop(to.send(line));
        let started = program.env("SITE", site.path("FOLDER")).follow(tell(step), tell(word));
        Self { started, steps, words }
    }

    /// Returns when it tells of this step.
    fn comes_to(&mut self, step: &str) -> String {
        loop {
            let Ok(line) = self.steps.recv() else {
                panic!("it ends before it comes to {step}: {}", self.words());
            };
            if line.contains(&format!("\"step\":\"{step}\"")) {
                return line;
            }
        }
    }

    fn words(&mut self) -> String {
        self.words.iter().collect()
    }

    /// Its exit code.
    fn ends(&mut self) -> Option<i32> {
        self.started.child.wait().unwrap().code()
    }
}

/// Returns when so many logins wait.
fn until_waiting(site: &Site, count: usize) {
    let socket = site.path("FOLDER").join("mailferry/admin.sock");
    site.eventually("logins wait", || {
        let holds = Program::new(["holds", "--json", "--socket"]).arg(&socket).run();
        holds.out.contains(&format!("\"waiting\":{count}"))
    });
}

/// An IMAP client that is there for long, and speaks for itself.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    /// Sends its login; the answer comes when it comes.
    fn logs_in(site: &Site, name: &str, user: &User) -> Self {
        let doors = site.doors().into_iter().filter(|door| door.tls == Tls::Off);
        let door = doors.filter(|door| door.protocol == Protocol::Imap).find(|door| door.host == "localhost").unwrap();
        site.will_use(&user.password);
        let mut client = Self::at(door.port);
        assert!(client.line().starts_with("* OK"));
        client.say(&format!("a LOGIN {name} {}", user.password));
        client
    }

    /// Has connected to this port, and read nothing.
    pub(crate) fn at(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// All up to the answer with this beginning.
    pub(crate) fn until(&mut self, beginning: &str) -> String {
        let mut all = String::new();
        while !all.lines().last().is_some_and(|line| line.starts_with(beginning)) {
            let line = self.line();
            assert!(!line.is_empty(), "closed before {beginning}: {all}");
            all += &line;
        }
        all
    }

    /// The subjects in the mailbox, in order.
    pub(crate) fn subjects(&mut self) -> Vec<String> {
        self.say("s SELECT INBOX");
        self.until("s OK");
        self.say("f FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]");
        let all = self.until("f OK");
        all.lines().filter_map(|line| line.strip_prefix("Subject: ")).map(str::to_owned).collect()
    }

    /// The other side has closed.
    pub(crate) fn is_closed(&mut self) -> bool {
        while !self.line().is_empty() {}
        true
    }
}

/// Mail arrives for somebody on an island.
fn deliver(site: &Site, island: &str, uid: &str, subject: &str) {
    let maildir: PathBuf = site.path("FOLDER").join(format!("island-{island}/mail/{uid}/Maildir"));
    let (tmp, new) = (maildir.join("tmp").join(subject), maildir.join("new").join(subject));
    fs::write(&tmp, format!("From: <harbour@example.net>\r\nSubject: {subject}\r\n\r\nAhoy.\r\n")).unwrap();
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(tmp, new).unwrap();
}

#[test]
fn no_mail_is_lost_and_nobody_is_refused_while_a_user_is_moved() {
    let site = site();
    let anna = site.user("anna");
    deliver(&site, "a", "anna", "before");
    // By another name than the operator's, which is in the cache from now on.
    let mut idle = Client::logs_in(&site, &anna.mail, anna);
    idle.until("a OK");
    idle.say("s SELECT INBOX");
    assert!(idle.until("s OK").contains("* 4 EXISTS"));
    idle.say("i IDLE");
    idle.until("+ ");
    let mut mover = Mover::start(&site, "anna", "b", &["--command", MOVE]);
    mover.comes_to("command");
    deliver(&site, "a", "anna", "during");
    assert!(idle.until("* 5 EXISTS").contains("EXISTS"), "the old session is served until the mail has moved");
    let mut waiting = [&anna.uid, &anna.mail].map(|name| Client::logs_in(&site, name, anna));
    until_waiting(&site, 2);
    fs::write(site.path("FOLDER").join("go"), "").unwrap();
    let released = mover.comes_to("released");
    mover.comes_to("moved");
    assert_eq!(mover.ends(), Some(0));
    assert!(released.contains("\"waited\":2"), "{released}");
    assert!(idle.is_closed(), "the old session is kicked");
    deliver(&site, "b", "anna", "after");
    for client in &mut waiting {
        client.until("a OK");
        let subjects = client.subjects();
        assert_eq!(subjects.len(), 6, "{subjects:?}");
        for subject in ["before", "during", "after"] {
            assert!(subjects.iter().any(|it| it == subject), "{subject} is missing in {subjects:?}");
        }
    }
    let islands: Vec<String> = site.ferry_logins("anna").into_iter().map(|login| login.island).collect();
    assert_eq!(islands, ["b"], "by the name of the log");
    let islands: Vec<String> = site.ferry_logins(&anna.mail).into_iter().map(|login| login.island).collect();
    assert_eq!(islands, ["a", "b"]);
}

#[test]
fn a_move_whose_command_fails_leaves_the_user_where_he_was() {
    let site = site();
    let anna = site.user("anna");
    let mut old = Client::logs_in(&site, &anna.uid, anna);
    old.until("a OK");
    let fails = "until [ -e \"$SITE/go\" ]; do sleep 0.02; done; exit 1";
    let mut mover = Mover::start(&site, "anna", "b", &["--command", fails]);
    mover.comes_to("command");
    let mut waiting = Client::logs_in(&site, &anna.mail, anna);
    until_waiting(&site, 1);
    fs::write(site.path("FOLDER").join("go"), "").unwrap();
    let put_back = mover.words();
    assert_eq!(mover.ends(), Some(75), "{put_back}");
    assert!(mover.steps.iter().any(|line| line.contains("\"step\":\"put-back\"")));
    waiting.until("a OK");
    assert_eq!(waiting.subjects().len(), 3);
    assert_eq!(old.subjects().len(), 3, "it was not kicked");
    assert!(site.ferry_logins("anna").iter().chain(&site.ferry_logins(&anna.mail)).all(|login| login.island == "a"));
}
