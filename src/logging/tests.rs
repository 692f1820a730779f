//! Levels, what is summed up of lines that repeat, and what a journal gets: a socket of ours stands in for journald.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tracing::subscriber::with_default;
use tracing::{debug, error, trace};

use super::*;

fn levels() -> Levels {
    Levels { level: Level::INFO, modules: BTreeMap::new() }
}

#[test]
fn a_module_has_its_own_level_and_all_others_the_common_one() {
    let changed = levels().with(Some("session"), Level::TRACE).unwrap();
    let changed = changed.with(Some("mailferry::session::relay"), Level::WARN).unwrap();
    let targets = targets(&changed);
    let cases = [
        ("mailferry::session", Level::TRACE, true),
        ("mailferry::session::connect", Level::TRACE, true),
        ("mailferry::session::relay", Level::INFO, false),
        ("mailferry::probe", Level::DEBUG, false),
        ("mailferry::probe", Level::INFO, true),
        ("hyper::proto", Level::INFO, false),
        ("ldap3", Level::ERROR, false),
    ];
    for (target, level, is_heard) in cases {
        assert_eq!(targets.would_enable(target, &level), is_heard, "{target} {level}");
    }
    assert_eq!(changed.with(None, Level::DEBUG).unwrap().modules.len(), 0, "all of them");
}

#[test]
fn libraries_are_never_heard_below_warnings() {
    let trace = levels().with(None, Level::TRACE).unwrap();
    assert!(!targets(&trace).would_enable("rustls", &Level::WARN));
    assert!(!targets(&trace).would_enable("hyper", &Level::INFO));
    for foreign in ["ldap3", "rustls", "", "session=x", "sessions", "hyper", "Session", "mailferry"] {
        assert!(matches!(levels().with(Some(foreign), Level::TRACE), Err(LevelError::Unknown(_))), "{foreign}");
    }
}

#[test]
fn there_are_not_endlessly_many_levels() {
    let many = (0..LEVELS_MAX)
        .fold(levels(), |levels, number| levels.with(Some(&format!("net::m{number}")), Level::DEBUG).unwrap());
    assert_eq!(many.with(Some("net::more"), Level::DEBUG), Err(LevelError::TooMany));
}

/// A keeper, what it let through, and the time.
struct Kept {
    floods: Floods,
    admitted: Mutex<Vec<bool>>,
    now: Mutex<std::time::Instant>,
}

impl Kept {
    fn new(failures: Failures) -> Arc<Self> {
        let (floods, now) = (Floods::new(failures), Mutex::new(Instant::now().into_std()));
        Arc::new(Self { floods, admitted: Mutex::default(), now })
    }

    /// How many of these events are written.
    fn written(self: &Arc<Self>, events: impl FnOnce()) -> usize {
        with_default(tracing_subscriber::registry().with(Listener(Arc::clone(self))), events);
        std::mem::take(&mut *self.admitted.lock().unwrap()).into_iter().filter(|is_written| *is_written).count()
    }

    /// Time passes, and what is due is said.
    fn after(&self, seconds: u64) -> Vec<Sum> {
        *self.now.lock().unwrap() += Duration::from_secs(seconds);
        self.floods.sums(*self.now.lock().unwrap())
    }
}

struct Listener(Arc<Kept>);

impl Layer<Registry> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, Registry>) {
        let is_admitted = self.0.floods.admit(event, || *self.0.now.lock().unwrap());
        self.0.admitted.lock().unwrap().push(is_admitted);
    }
}

fn cut(url: &str, times: u32) {
    for time in 0..times {
        warn!(target: "mailferry::directory::ldap::guard", url, reason = format!("reason {time}"), "LDAP connection cut");
    }
}

#[test]
fn what_repeats_is_written_at_first_then_summed_up_and_at_last_told_to_be_over() {
    let kept = Kept::new(Failures::All);
    assert_eq!(kept.written(|| cut("ldap://one", 1000)), 5);
    assert_eq!(kept.written(|| cut("ldap://other", 3)), 3, "what is about another one is another line");
    assert_eq!(kept.after(59), []);
    let sum = |left_out, within, last: &str, is_over| Sum {
        line: "LDAP connection cut".to_owned(),
        about: "url=ldap://one".to_owned(),
        left_out,
        within: Duration::from_secs(within),
        last: last.to_owned(),
        is_over,
    };
    assert_eq!(kept.after(1), [sum(995, 60, "reason 999", false)]);
    assert_eq!(kept.written(|| cut("ldap://one", 100)), 5, "one in twelve seconds");
    assert_eq!(kept.after(30), []);
    assert_eq!(kept.after(30), [sum(95, 60, "reason 99", false)]);
    assert_eq!(kept.after(60), [sum(1090, 180, "reason 99", true)]);
    assert_eq!(kept.after(600), []);
    assert_eq!(kept.written(|| cut("ldap://one", 5)), 5);
}

#[test]
fn records_and_what_was_asked_for_are_never_left_out() {
    let records = || {
        for number in 0..100 {
            info!(target: "mailferry::session::record", outcome = "node-failed", island = "a", "login");
            info!(target: "mailferry::session::record", who = "client", number, "session ended");
            info!(target: "mailferry::admin::orders", uid = 0, "operator: kick");
            info!(target: "mailferry::admin::holds", uid = 0, "operator: hold");
            warn!(target: "mailferry::admin::state", user = "anna", "not held again");
            error!(target: "mailferry::app::reload", file = "x", "problem of the configuration");
            debug!(target: "mailferry::net", "x");
            trace!(target: "mailferry::net", "x");
        }
    };
    assert_eq!(Kept::new(Failures::All).written(records), 800);
    assert_eq!(Kept::new(Failures::Summary).written(records), 705, "the failed logins are summed up");
}

/// The text of each file that is no test, with its target.
fn sources() -> Vec<(String, String)> {
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut sources) = (vec![src.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|it| it != "rs") || path.ends_with("tests.rs") {
                continue;
            }
            let file = path.strip_prefix(&src).unwrap().with_extension("");
            let target = format!("mailferry::{}", file.to_str().unwrap().replace('/', "::"));
            sources.push((target, std::fs::read_to_string(&path).unwrap()));
        }
    }
    sources
}

fn is_record(target: &str) -> bool {
    floods::RECORDS.iter().any(|record| floods::is_of(target, record))
}

/// But for wrong tokens, which strangers cause.
#[test]
fn every_line_of_what_operators_do_comes_from_where_nothing_is_left_out() {
    let mut lines = 0;
    for (target, text) in sources() {
        for line in text.lines().filter(|line| line.contains("\"operator: ")) {
            assert_eq!(is_record(&target), !line.contains("wrong token"), "{target}: {}", line.trim());
            lines += 1;
        }
    }
    assert!(lines > 10, "{lines}");
}

#[test]
fn every_error_is_a_record_or_says_what_it_is_about() {
    let mut errors = 0;
    for (target, text) in sources() {
        for fields in text.split(" error!(").skip(1).map(|rest| rest.split(");").next().unwrap()) {
            let mut words = fields.split('"').next().unwrap().split(|letter: char| !letter.is_alphanumeric());
            let is_about = words.any(|word| floods::SUBJECTS.contains(&word));
            assert!(is_record(&target) || is_about, "{target}: error!({fields})");
            errors += 1;
        }
    }
    assert!(errors >= 5, "{errors}");
}

#[test]
fn the_first_error_of_each_kind_is_written_whatever_else_is() {
    let kept = Kept::new(Failures::Summary);
    let warnings = || (0..5000).for_each(|host| warn!(target: "mailferry::net", host, "name cannot be resolved"));
    kept.written(warnings);
    let down = || {
        for island in 0..3000 {
            error!(target: "mailferry::session::signal", island, protocol = "imap", "island has no node in service");
        }
    };
    assert_eq!(kept.written(down), 3000, "no warning takes an error's place");
    let accept = |reason: &str, times: u32| {
        for _ in 0..times {
            error!(target: "mailferry::server", address = "192.0.2.1:143", reason, "cannot accept");
        }
    };
    assert_eq!(kept.written(|| accept("too many open files", 100)), 5);
    assert_eq!(kept.written(|| accept("out of memory", 1)), 1, "another reason is another error");
    // All that a library tells by way of `log` comes from one place.
    let library = |text: &str| error!(target: "log", "{text}");
    assert_eq!(kept.written(|| (0..100).for_each(|_| library("one defect"))), 5);
    assert_eq!(kept.written(|| library("another defect")), 1);
    let mut about: Vec<String> = kept.after(60).into_iter().map(|sum| sum.about).filter(|it| !it.is_empty()).collect();
    about.sort_unstable();
    assert_eq!(about, ["address=192.0.2.1:143: too many open files", "one defect"]);
}

#[test]
fn however_many_errors_there_are_memory_is_bounded() {
    let kept = Kept::new(Failures::All);
    let many = || (0..20_000).for_each(|island| error!(target: "mailferry::session::signal", island, "no node"));
    assert_eq!(kept.written(many), 16 * 1024 + 5);
}

#[test]
fn failed_logins_are_summed_up_by_outcome_and_node_where_that_is_wanted() {
    let kept = Kept::new(Failures::All);
    let storm = || {
        for _ in 0..100 {
            for outcome in ["accepted", "node-failed", "wrong-password"] {
                info!(target: "mailferry::session::record", %outcome, island = "a", node = "left", "login");
            }
        }
    };
    assert_eq!(kept.written(storm), 300);
    kept.floods.set(Failures::Summary);
    assert_eq!(kept.written(storm), 110);
    let mut about: Vec<String> = kept.after(60).into_iter().map(|sum| sum.about).collect();
    about.sort_unstable();
    assert_eq!(about, ["outcome=node-failed island=a node=left", "outcome=wrong-password island=a node=left"]);
}

#[test]
fn however_many_things_there_are_memory_is_bounded() {
    let kept = Kept::new(Failures::All);
    let many = || (0..5000).for_each(|host| warn!(target: "mailferry::net", host, "name cannot be resolved"));
    let written = kept.written(many);
    assert_eq!(written, 1024 + 5, "beyond, they are one kind");
    let sums = kept.after(60);
    assert_eq!((sums.len(), sums[0].left_out, sums[0].about.as_str()), (1, 5000 - 1029, ""));
    kept.after(60);
    assert_eq!(kept.written(many), 1029, "all were forgotten");
}

/// A journal of ours.
struct FakeJournal {
    folder: tempfile::TempDir,
    socket: Option<UnixDatagram>,
}

type Fields = BTreeMap<String, String>;

impl FakeJournal {
    fn new() -> Self {
        let mut journal = Self { folder: tempfile::tempdir().unwrap(), socket: None };
        journal.begin();
        journal
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("socket")
    }

    fn begin(&mut self) {
        let socket = UnixDatagram::bind(self.path()).unwrap();
        socket.set_nonblocking(true).unwrap();
        self.socket = Some(socket);
    }

    fn end(&mut self) {
        self.socket = None;
        std::fs::remove_file(self.path()).unwrap();
    }

    /// The entries so far; a name that stands there twice is an error.
    fn entries(&self) -> Vec<Fields> {
        let mut room = vec![0; 1 << 18];
        let mut entries = Vec::new();
        while let Ok(count) = self.socket.as_ref().unwrap().recv(&mut room) {
            if count > 0 {
                entries.push(parsed(&room[..count]));
            }
        }
        entries
    }
}

/// As <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/> has it.
fn parsed(mut entry: &[u8]) -> Fields {
    let mut fields = Fields::new();
    let line = |entry: &[u8]| entry.iter().position(|octet| *octet == b'\n').unwrap();
    while !entry.is_empty() {
        let (head, rest) = entry.split_at(line(entry));
        let (name, value);
        if let Some(equals) = head.iter().position(|octet| *octet == b'=') {
            (name, value, entry) = (&head[..equals], &head[equals + 1..], &rest[1..]);
        } else {
            let (length, rest) = rest[1..].split_at(8);
            let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
            assert_eq!(rest[length], b'\n');
            (name, value, entry) = (head, &rest[..length], &rest[length + 1..]);
        }
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        assert_eq!(fields.insert(text(name), text(value)), None, "{} stands there twice", text(name));
    }
    fields
}

fn logged(journal: &FakeJournal, events: impl FnOnce()) -> Vec<Fields> {
    let layer = Journal::open(&journal.path()).unwrap();
    with_default(tracing_subscriber::registry().with(layer), events);
    journal.entries()
}

#[test]
fn a_journal_gets_a_field_for_each_value_and_the_right_priority() {
    let journal = FakeJournal::new();
    let entries = logged(&journal, || {
        info!(target: "mailferry::session::record", user = "alice", total_ms = 7, node = %"left", none = None::<&str>, "login");
        error!("e");
        warn!("w");
        debug!("d");
        trace!("t");
    });
    let expected = [
        ("MESSAGE", "login user=\"alice\" total_ms=7 node=left"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "mailferry"),
        ("MAILFERRY_MODULE", "session::record"),
        ("MAILFERRY_USER", "alice"),
        ("MAILFERRY_TOTAL_MS", "7"),
        ("MAILFERRY_NODE", "left"),
    ];
    assert_eq!(entries[0], expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let priorities: Vec<&str> = entries.iter().map(|entry| entry["PRIORITY"].as_str()).collect();
    assert_eq!(priorities, ["6", "3", "4", "7", "7"]);
}

#[test]
fn r_log_02_no_value_forges_a_field_or_a_line_of_the_journal() {
    let journal = FakeJournal::new();
    let hostile = "x\r\nPRIORITY=0\n_UID=0\nMAILFERRY_NODE=right\n\x1b[2J\0";
    let entries = logged(&journal, || {
        warn!(user = hostile, priority = hostile, message_id = hostile, reason = %hostile, "login");
        warn!(reason = %"é".repeat(5000), "{hostile}");
    });
    let names: Vec<&str> = entries[0].keys().map(String::as_str).collect();
    let ours = ["MESSAGE_ID", "MODULE", "PRIORITY", "REASON", "USER"].map(|name| format!("MAILFERRY_{name}"));
    let mut expected: Vec<&str> =
        ours.iter().map(String::as_str).chain(["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"]).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for name in ["USER", "REASON", "PRIORITY"] {
        assert_eq!(entries[0][&format!("MAILFERRY_{name}")], hostile);
    }
    for entry in &entries {
        assert_eq!(entry["PRIORITY"], "4");
        assert!(!entry["MESSAGE"].contains(|c: char| c.is_control()), "{entry:?}");
    }
    assert_eq!(
        entries[1]["MAILFERRY_REASON"],
        "é".repeat(1024),
        "a long value is cut, and not in the midst of a letter"
    );
}

#[test]
fn a_journal_that_is_gone_or_takes_nothing_costs_lines_and_no_time() {
    let mut journal = FakeJournal::new();
    let layer = Journal::open(&journal.path()).unwrap();
    with_default(tracing_subscriber::registry().with(layer), || {
        journal.end();
        (0..3).for_each(|_| info!("lost"));
        journal.begin();
        info!("heard again");
        let heard: Vec<String> =
            journal.entries().into_iter().map(|mut entry| entry.remove("MESSAGE").unwrap()).collect();
        assert_eq!(heard, ["heard again", "3 lines were lost: the journal did not take them"]);
        // As much as the kernel holds, and a moment's patience once.
        (0..1_500).for_each(|_| info!("nobody reads"));
        let held = journal.entries().len();
        assert!((1..1_500).contains(&held), "{held}");
        info!("read again");
        let last = journal.entries().pop().unwrap();
        assert_eq!(last["MESSAGE"], format!("{} lines were lost: the journal did not take them", 1_500 - held));
        assert_eq!(last["PRIORITY"], "4");
    });
}

#[test]
fn without_a_journal_the_log_is_text_and_says_why() {
    let nowhere = tempfile::tempdir().unwrap();
    let (_, trouble) = lines(Format::Journald, &nowhere.path().join("socket"));
    assert_eq!(trouble.unwrap().kind(), io::ErrorKind::NotFound);
    assert!(lines(Format::Journald, &FakeJournal::new().path()).1.is_none());
    assert!(lines(Format::Text, nowhere.path()).1.is_none() && lines(Format::Json, nowhere.path()).1.is_none());
}

#[test]
fn what_is_left_out_reaches_no_journal_and_the_sum_does() {
    let journal = FakeJournal::new();
    let (lines, _) = lines(Format::Journald, &journal.path());
    let floods = Arc::new(Floods::new(Failures::All));
    let summing = Summing { lines, floods: Arc::clone(&floods) };
    let level = Levels { level: Level::INFO, modules: BTreeMap::new() };
    with_default(tracing_subscriber::registry().with(summing.with_filter(targets(&level))), || {
        cut("ldap://one", 100);
        debug!(target: "mailferry::net", "not asked for");
        let later = |minutes: u32| Instant::now().into_std() + minutes * PERIOD;
        floods.sums(later(1)).into_iter().chain(floods.sums(later(2))).for_each(say);
    });
    let entries = journal.entries();
    let messages: Vec<&str> = entries.iter().map(|entry| entry["MESSAGE"].as_str()).collect();
    assert_eq!(messages.len(), 7, "{messages:?}");
    assert!(messages[..5].iter().all(|message| message.starts_with("LDAP connection cut url=")), "{messages:?}");
    let sum = |entry: &Fields| {
        ["PRIORITY", "MAILFERRY_LINE", "MAILFERRY_ABOUT", "MAILFERRY_LEFT_OUT", "MAILFERRY_LAST"]
            .map(|name| entry[name].clone())
    };
    assert_eq!(sum(&entries[5]), ["4", "LDAP connection cut", "url=ldap://one", "95", "reason 99"]);
    assert_eq!(sum(&entries[6]), ["6", "LDAP connection cut", "url=ldap://one", "95", "reason 99"]);
    assert!(messages[6].starts_with("a line is no longer repeated"), "{messages:?}");
}
