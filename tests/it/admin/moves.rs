//! Users who are held and moved: what the commands say, where the logins go, and that everything is put back.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::{Duration, Instant, sleep};

use super::site::{Done, Folder, Program, Running, site};
use crate::client::{Client, DEADLINE};
use crate::node::FakeNode;
use crate::program;
use crate::take_over::place::Mover;

/// A site where `al` is another name of alice's, and not that of her mailbox.
async fn known_by_two_names() -> (FakeNode, FakeNode, Folder) {
    let (left, right, folder) = site().await;
    let users = "alice a alice\nal a alice\nalina a\nbob b\n";
    std::fs::write(folder.path("users"), users).unwrap();
    (left, right, folder)
}

/// What changes the directory, as a site's command does it: alice is on island b.
fn moves_alice(folder: &Folder) -> String {
    let users = folder.path("users").display().to_string();
    format!("sed 's/ a alice$/ b alice/' {users} >{users}.new && mv {users}.new {users}")
}

/// A client whose login is not answered yet.
async fn logs_in(running: &Running<'_>, user: &str) -> Client {
    let mut client = Client::clear(running.address).await;
    client.line().await;
    client.send(format!("a LOGIN {user} right-Pa55\r\n")).await;
    client
}

/// The user's hold, as soon as it is so.
async fn hold_that(running: &Running<'_>, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let done = running.command(&["holds", "--json"]).await.json();
        if let Some(hold) = done["holds"].as_array().unwrap().iter().find(|hold| is_so(hold)) {
            return hold.clone();
        }
        assert!(Instant::now() < deadline, "{done}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The islands of the logins that were accepted, in their order.
async fn islands(running: &Running<'_>, count: usize) -> Vec<String> {
    let lines = running.log.many(&["\"message\":\"login\"", "\"outcome\":\"accepted\""], count).await;
    let island = |line: &String| line.split("\"island\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    lines.iter().map(island).collect()
}

/// The steps of a move that was told with `--json`.
fn steps(done: &Done) -> Vec<Value> {
    done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn names(steps: &[Value]) -> Vec<&str> {
    steps.iter().map(|step| step["step"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn logins_of_a_user_who_is_held_wait_and_go_on_at_the_release() {
    let (_left, _right, folder) = known_by_two_names().await;
    let running = folder.run().await;
    let _before = running.log_in("al").await;
    let said = running.command(&["hold", "Alice", "--for", "2h"]).await.said();
    assert!(said.starts_with("alice is held, for "), "{said}");
    assert!(said.ends_with("; sessions: 1, logins under way: 0\n"), "{said}");
    let mut waiting = [logs_in(&running, "alice").await, logs_in(&running, "AL").await];
    running.log_in("bob").await;
    let hold = hold_that(&running, |hold| hold["waiting"] == 2).await;
    assert_eq!((&hold["user"], &hold["account"], &hold["sessions"]), (&"alice".into(), &"alice".into(), &1.into()));
    let holds = running.command(&["holds"]).await.said();
    let row: Vec<&str> = holds.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((&row[..2], &row[row.len() - 4..]), (&["alice", "alice"][..], &["2", "0", "1", "-"][..]), "{holds}");
    let status = running.command(&["status"]).await.said();
    assert!(status.contains("held  1 users, for whom 2 logins wait"), "{status}");
    assert!(running.command(&["sessions"]).await.said().contains("  al (held)  "));
    assert!(hold["ends_in_s"].as_u64().unwrap() > 3600, "{hold}");
    let again = running.command(&["hold", "alice"]).await.said();
    assert!(again.starts_with("alice is held still, for "), "{again}");
    assert!(hold_that(&running, |hold| hold["user"] == "alice").await["ends_in_s"].as_u64().unwrap() <= 600);
    let said = running.command(&["release", "alice"]).await.said();
    assert!(said.starts_with("alice is released after ") && said.ends_with("; logins that waited: 2\n"), "{said}");
    for client in &mut waiting {
        assert!(client.line().await.starts_with("a OK"));
    }
    let logins = running.log.many(&["\"message\":\"login\"", "\"outcome\":\"accepted\""], 4).await;
    assert!(
        logins[2..].iter().all(|it| it.contains("\"route\":\"asked\"") && it.contains("\"held_ms\":")),
        "{logins:?}"
    );
    running.log.line(&["operator: hold", "\"user\":\"alice\"", "\"uid\":"]).await;
    running.log.line(&["operator: release", "\"waited\":2", "\"uid\":"]).await;
}

#[tokio::test]
async fn a_mailbox_is_released_and_kicked_by_any_of_its_names() {
    let (_left, _right, folder) = known_by_two_names().await;
    let running = folder.run().await;
    let mut session = running.log_in("alice").await;
    running.command(&["hold", "alice"]).await.said();
    assert_eq!(running.command(&["kick", "al"]).await.said(), "1 sessions end\n");
    session.kicked().await;
    // Nobody has logged in by this name: the directory alone knows whose it is.
    let said = running.command(&["release", "al"]).await.said();
    assert!(said.starts_with("alice is released after "), "{said}");
    running.command(&["hold", "alina"]).await.said();
    for (user, expected) in [("al", "al is not held"), ("nobody", "nobody is not held")] {
        let done = running.command(&["release", user]).await;
        assert_eq!(done.code, 4);
        assert!(done.err.starts_with(expected), "{}", done.err);
    }
}

#[tokio::test]
async fn who_is_not_released_hears_that_it_is_for_the_time_being() {
    let (left, _right, folder) = site().await;
    folder.replace("[admin]", "hold_timeout = \"100ms\"\n[admin]");
    let running = folder.run().await;
    running.command(&["hold", "alice"]).await.said();
    let mut client = logs_in(&running, "alice").await;
    assert!(client.line().await.starts_with("a NO [UNAVAILABLE]"));
    running.log.line(&["\"outcome\":\"held\"", "\"level\":\"INFO\"", "the operator holds the user"]).await;
    assert!(left.logins().is_empty());
}

#[tokio::test]
async fn a_hold_survives_a_crash_and_a_reload_and_ends_by_itself() {
    let (_left, _right, folder) = known_by_two_names().await;
    let running = folder.run().await;
    running.command(&["hold", "alice"]).await.said();
    running.kill().await;
    let running = folder.run().await;
    running.log.line(&["the user is held as before the restart", "\"user\":\"alice\"", "\"left_s\":59"]).await;
    folder.replace("mail.example.net", "new.example.net");
    running.command(&["reload"]).await.said();
    let mut other = logs_in(&running, "al").await;
    let hold = hold_that(&running, |hold| hold["waiting"] == 1).await;
    assert_eq!(hold["account"], "alice");
    running.command(&["hold", "alice", "--for", "1s"]).await.said();
    assert!(other.line().await.starts_with("a OK"));
    running.log.line(&["\"level\":\"WARN\"", "a hold has ended by itself", "\"waited\":1"]).await;
    let deadline = Instant::now() + DEADLINE;
    while std::fs::read_to_string(folder.path("operator.json")).unwrap().contains("alice") {
        assert!(Instant::now() < deadline, "it is forgotten in the file too");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn who_cannot_be_held_released_or_moved_is_told() {
    let (_left, _right, folder) = site().await;
    let running = folder.run().await;
    let _client = running.log_in("alice").await;
    running.command(&["hold", "alina"]).await.said();
    let cases: [(&[&str], i32, &str); 9] = [
        (&["hold", "alise"], 4, "the directory knows no user alise; did you mean alice?"),
        (&["hold", "alice", "--for", "0s"], 2, "a hold lasts a second to 24 hours"),
        (&["hold", "alice", "--for", "25h"], 2, "a hold lasts a second to 24 hours"),
        (&["release", "alice"], 4, "alice is not held"),
        (&["release", "alinna"], 4, "alinna is not held; did you mean alina?"),
        (&["holds", "--user", "bob"], 4, "bob is not held"),
        (&["move", "alice", "c"], 4, "no such island: c; did you mean a?"),
        (&["move", "nobody", "b"], 4, "the directory knows no user nobody"),
        (&["move", "alina", "b"], 70, "alina is held already, since 20"),
    ];
    for (arguments, code, expected) in cases {
        let done = running.command(arguments).await;
        assert_eq!(done.code, code, "{arguments:?}: {}", done.err);
        assert!(done.err.starts_with(expected), "{arguments:?}: {}", done.err);
    }
    assert_eq!(running.command(&["move", "alice", "a"]).await.said(), "alice is on a already\n");
    let json = running.command(&["holds", "--json"]).await.json();
    assert_eq!(json["holds"].as_array().unwrap().len(), 1, "nothing of it has held anybody");
}

#[tokio::test]
async fn a_move_holds_runs_the_command_waits_for_the_directory_kicks_and_releases() {
    let (_left, _right, folder) = known_by_two_names().await;
    let running = folder.run().await;
    let mut old = [running.log_in("alice").await, running.log_in("al").await];
    let mut stranger = running.log_in("alina").await;
    // The command goes on when a login waits, and sees what it is to know.
    let go = folder.path("go");
    let said = folder.path("said");
    let command = format!(
        "until [ -e {} ]; do sleep 0.02; done; echo \"$MAILFERRY_USER $MAILFERRY_ACCOUNT $MAILFERRY_FROM $MAILFERRY_TO\" >{} && {}",
        go.display(),
        said.display(),
        moves_alice(&folder)
    );
    let arguments = ["move", "alice", "b", "--timeout", "30s", "--command", &command, "--json"];
    let during = async {
        hold_that(&running, |hold| hold["move_to"] == "b").await;
        let waiting = logs_in(&running, "alice").await;
        hold_that(&running, |hold| hold["waiting"] == 1).await;
        assert!(old[0].command("b", "NOOP").await.starts_with("b OK"), "nobody is kicked before the mail is moved");
        std::fs::write(&go, "").unwrap();
        waiting
    };
    let (done, mut waiting) = tokio::join!(running.command(&arguments), during);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{}", done.out);
    let steps = steps(&done);
    let expected = ["checked", "held", "quiet", "command", "looking", "found", "kicked", "released", "moved"];
    assert_eq!(names(&steps), expected);
    assert_eq!((&steps[0]["from"], &steps[0]["to"], &steps[0]["account"]), (&"a".into(), &"b".into(), &"alice".into()));
    assert_eq!((&steps[6]["kicked"], &steps[7]["waited"], &steps[8]["verified"]), (&2.into(), &1.into(), &true.into()));
    assert_eq!(std::fs::read_to_string(said).unwrap(), "alice alice a b\n");
    assert!(waiting.line().await.starts_with("a OK"));
    for client in &mut old {
        client.kicked().await;
    }
    assert!(stranger.command("b", "NOOP").await.starts_with("b OK"));
    // The cache had another name of hers, which is forgotten too.
    running.log_in("al").await;
    assert_eq!(islands(&running, 5).await[3..], ["b", "b"]);
    assert_eq!(running.command(&["holds", "--json"]).await.json()["holds"], serde_json::json!([]));
    assert_eq!(running.command(&["move", "alice", "b"]).await.said(), "alice is on b already\n");
}

#[tokio::test]
async fn kicked_first_the_sessions_are_gone_when_the_command_begins() {
    let (_left, _right, folder) = known_by_two_names().await;
    let running = folder.run().await;
    let mut old = running.log_in("al").await;
    let command = format!(
        "{} holds --config {} --json | grep -q '\"sessions\":0' && {}",
        program::PATH,
        folder.path("proxy.toml").display(),
        moves_alice(&folder)
    );
    let said = running
        .command(&["move", "alice", "b", "--timeout", "30s", "--kick-first", "--command", &command])
        .await
        .said();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "alice: from a to b");
    assert!(lines[1].starts_with("held: new logins wait, for ") && lines[1].contains("; sessions: 1, "), "{said}");
    assert_eq!(
        (lines[3], lines[lines.len() - 3], lines[lines.len() - 1]),
        ("old sessions that end: 1", "old sessions that end: 0", "alice is on b"),
        "{said}"
    );
    old.kicked().await;
}

/// Nothing is changed: the session lives, nobody is held, and a login goes to the old island.
async fn assert_put_back(running: &Running<'_>, old: &mut Client, done: &Done, reason: &str) {
    assert_eq!(done.code, 75, "{}{}", done.out, done.err);
    let expected = format!("alice is not moved: {reason}; put back: logins go to a, as the directory says\n");
    assert_eq!(done.err, expected);
    assert!(old.command("b", "NOOP").await.starts_with("b OK"));
    assert_eq!(running.command(&["holds", "--json"]).await.json()["holds"], serde_json::json!([]));
    running.log_in("alice").await;
    assert_eq!(islands(running, 2).await, ["a", "a"]);
}

#[tokio::test]
async fn a_command_that_fails_puts_everything_back() {
    let (_left, _right, folder) = known_by_two_names().await;
    let running = folder.run().await;
    let mut old = running.log_in("al").await;
    let done = running.command(&["move", "alice", "b", "--command", "exit 3"]).await;
    assert_put_back(&running, &mut old, &done, "the command has failed: exit status: 3").await;
}

#[tokio::test]
async fn a_directory_that_does_not_change_in_time_puts_everything_back() {
    let (_left, _right, folder) = known_by_two_names().await;
    let running = folder.run().await;
    let mut old = running.log_in("al").await;
    let done = running.command(&["move", "alice", "b", "--timeout", "3s", "--command", "true"]).await;
    assert_put_back(&running, &mut old, &done, "too long for the directory").await;
}

#[tokio::test]
async fn without_a_command_the_release_is_the_word_that_the_mail_is_moved() {
    let (_left, _right, folder) = known_by_two_names().await;
    let running = folder.run().await;
    let mut old = running.log_in("alice").await;
    let mover = Program::new(["move", "alice", "b", "--timeout", "30s", "--config"]).arg(folder.path("proxy.toml"));
    let mover = Mover::begins(mover).await;
    sh(&moves_alice(&folder)).await;
    let word = running.command(&["release", "alice"]).await.said();
    assert_eq!(word, "alice is being moved: the move goes on; said again, this ends the hold\n");
    let (code, said) = mover.ends().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("move the mail and change the directory now; then mailferry release alice\n"), "{said}");
    assert!(said.ends_with("alice is on b"), "{said}");
    old.kicked().await;
}

#[tokio::test]
async fn a_move_that_is_interrupted_or_whose_hold_somebody_ends_is_put_back() {
    let (_left, _right, folder) = known_by_two_names().await;
    let running = folder.run().await;
    let mut old = running.log_in("alice").await;
    let (done, ()) = tokio::join!(running.command(&["move", "alice", "b", "--timeout", "30s"]), async {
        hold_that(&running, |hold| hold["move_to"] == "b").await;
        running.command(&["release", "alice"]).await.said();
        // The word is given; the directory has not changed, and now he wants an end.
        let said = running.command(&["release", "alice"]).await.said();
        assert!(said.starts_with("alice is released after "), "{said}");
    });
    assert_eq!(done.code, 75, "{}", done.err);
    assert!(done.err.contains("somebody has ended the hold"), "{}", done.err);
    let mover = Program::new(["move", "alice", "b", "--command", "sleep 1000", "--config"]);
    let (told, tells) = mpsc::channel();
    let mover = mover.arg(folder.path("proxy.toml")).start(move |line| told.send(line + "\n").unwrap());
    let pid = Pid::from_child(&mover.child);
    hold_that(&running, |hold| hold["move_to"] == "b").await;
    kill_process(pid, Signal::INT).unwrap();
    let code = spawn_blocking(move || mover.ends()).await.unwrap();
    let done = Done { code: code.unwrap(), out: String::new(), err: tells.iter().collect() };
    assert_put_back(&running, &mut old, &done, "interrupted").await;
}

/// What stands in a file, as soon as it has a whole line.
async fn written(path: &Path) -> String {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.ends_with('\n') {
            return text;
        }
        assert!(Instant::now() < deadline, "nothing in {}", path.display());
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn at_a_terminal_the_command_may_ask_and_is_cut_off_with_all_that_it_has_started() {
    let (_left, _right, folder) = known_by_two_names().await;
    let running = folder.run().await;
    // A shell that has jobs, at a terminal of its own.
    let shell =
        "sh -mc '\"$FERRY\" move alice b --timeout 60s --command \"$MOVE\" --config \"$CONFIG\"; echo $? >$CODE'";
    let started =
        Program::through("/bin/sh", &["-c", "export FERRY=\"$0\" SHELL=/bin/sh; exec script -qefc \"$JOB\" /dev/null"])
            .env("JOB", shell)
            .env("MOVE", "echo >$ASKS; read answer </dev/tty; sleep 1000 & echo \"$answer $!\" >$SAID; wait")
            .env("CONFIG", folder.path("proxy.toml"))
            .env("ASKS", folder.path("asks"))
            .env("SAID", folder.path("said"))
            .env("CODE", folder.path("code"))
            .start_holding(Stdio::piped(), Stdio::piped(), |_| ());
    let mut started = started;
    let mut keys = started.child.stdin.take().unwrap();
    written(&folder.path("asks")).await;
    // Ctrl-Z, an answer, and Ctrl-C.
    keys.write_all(b"\x1ayes\n").unwrap();
    let said = written(&folder.path("said")).await;
    let child = said.trim().strip_prefix("yes ").unwrap_or_else(|| panic!("{said}")).to_owned();
    keys.write_all(b"\x03").unwrap();
    assert_eq!(written(&folder.path("code")).await, "75\n");
    let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
    assert!(status.is_empty() || status.contains("State:\tZ"), "{status}");
    assert_eq!(running.command(&["holds", "--json"]).await.json()["holds"], serde_json::json!([]));
    drop(keys);
    assert_eq!(spawn_blocking(move || started.ends()).await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_move_goes_on_when_mailferry_is_restarted_meanwhile() {
    let (_left, _right, folder) = known_by_two_names().await;
    let running = folder.run().await;
    let go = folder.path("go");
    let command = format!("until [ -e {} ]; do sleep 0.02; done; {}", go.display(), moves_alice(&folder));
    let arguments = ["move", "al", "b", "--timeout", "30s", "--command", &command];
    let during = async {
        hold_that(&running, |hold| hold["move_to"] == "b").await;
        running.kill().await;
        let running = folder.run().await;
        std::fs::write(&go, "").unwrap();
        running
    };
    let (done, running) = tokio::join!(folder.command(&arguments), during);
    assert!(done.said().ends_with("al is on b\n"));
    running.log_in("alice").await;
    assert_eq!(islands(&running, 1).await, ["b"]);
}

#[tokio::test]
async fn without_mailferry_a_move_leaves_the_hold_to_its_end() {
    let (_left, _right, folder) = site().await;
    let done = folder.command(&["move", "alice", "b"]).await;
    assert_eq!((done.code, done.out.as_str()), (69, ""));
    assert!(done.err.contains("no mailferry listens there"), "{}", done.err);
    assert!(!Path::new(&folder.path("operator.json")).exists());
}

async fn sh(command: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    assert!(spawn_blocking(move || shell.status().unwrap()).await.unwrap().success());
}
