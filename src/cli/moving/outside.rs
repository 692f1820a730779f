//! What happens to a move from outside: Ctrl-C and other signals, Enter, and the site's command, which runs on the
//! operator's terminal with the operator's rights.

use std::io::{self, BufRead as _, IsTerminal as _, stdin};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use rustix::termios::{QueueSelector, tcflush};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::terminal::{Input, Lent};

/// How long a command that is to end may take, before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How often it is looked whether all of it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Something happened.
enum Event {
    /// The move is to end.
    Signal,
    /// Ctrl-Z.
    Stop,
    Enter,
    Ended(io::Result<ExitStatus>),
}

/// The move is to be put back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interrupted;

/// What a command came to.
#[derive(Debug)]
pub(super) enum Ran {
    /// It has ended.
    Ended(ExitStatus),
    /// It could not be started, or waited for.
    Not(io::Error),
    /// It took too long, and was ended.
    TooLong,
}

/// Listens from its beginning on, to signals and to Enter.
pub(super) struct Outside {
    events: Receiver<Event>,
    sender: Sender<Event>,
    has_entered: bool,
    /// What a command may read.
    input: Input,
    /// How long a command that is to end may take, before it is killed.
    grace: Duration,
    _signals: Runtime,
}

impl Outside {
    pub(super) fn listen(runtime: Runtime) -> Self {
        let (sender, events) = channel();
        let stop = SignalKind::from_raw(Signal::TSTP.as_raw());
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), stop] {
            let sender = sender.clone();
            let event = move || if kind == stop { Event::Stop } else { Event::Signal };
            runtime.spawn(async move {
                let Ok(mut signals) = signal(kind) else { return };
                while signals.recv().await.is_some() && sender.send(event()).is_ok() {}
            });
        }
        Self { events, sender, has_entered: false, input: Input::now(), grace: GRACE, _signals: runtime }
    }

    /// Enter counts from now on, where somebody sits at a terminal, and what was typed before does not. Says whether that is
    /// so.
    pub(super) fn hear_enter(&self) -> bool {
        let is_terminal = stdin().is_terminal();
        if is_terminal {
            // It stands in the terminal's queue, and answered nothing.
            let _ = tcflush(stdin(), QueueSelector::IFlush);
            let sender = self.sender.clone();
            std::thread::spawn(move || {
                let mut line = String::new();
                if stdin().lock().read_line(&mut line).is_ok_and(|octets| octets > 0) {
                    let _ = sender.send(Event::Enter);
                }
            });
        }
        is_terminal
    }

    /// Whether Enter was pressed.
    pub(super) fn has_entered(&self) -> bool {
        self.has_entered
    }

    /// Waits so long, or less if something happens.
    pub(super) fn pause(&mut self, time: Duration) -> Result<(), Interrupted> {
        match self.events.recv_timeout(time) {
            Ok(Event::Signal) => return Err(Interrupted),
            Ok(Event::Enter) => self.has_entered = true,
            // A user who is held does not wait for a job that somebody has stopped. No command runs; and there is a sender
            // here.
            Ok(Event::Stop | Event::Ended(_)) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        Ok(())
    }

    /// Runs a command of the shell to its end, with these variables. It has a group of processes of its own, so that all of it
    /// can be ended, and the terminal if that is ours.
    pub(super) fn run(
        &mut self,
        command: &str,
        variables: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Ran, Interrupted> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]).envs(variables.iter().copied());
        shell.process_group(0);
        if self.input == Input::Nothing {
            shell.stdin(Stdio::null());
        }
        let child = match shell.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Ran::Not(error)),
        };
        let group = Group(Pid::from_child(&child));
        let lent = if self.input == Input::Terminal { Lent::to(group.0) } else { None };
        // It may have stood still because it asked before it had the terminal.
        group.tell(Signal::CONT);
        self.wait_beside(child);
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Ended(Ok(status))) => {
                    if !status.success() {
                        // Nothing of what is put back goes on behind it. (Ctrl-C may have ended the shell alone.)
                        drop(lent);
                        self.end(&group);
                    }
                    return Ok(Ran::Ended(status));
                }
                Ok(Event::Ended(Err(error))) => return Ok(Ran::Not(error)),
                Ok(Event::Enter) => {}
                Ok(Event::Stop) => group.tell(Signal::CONT),
                Ok(Event::Signal) => {
                    // Else we were ended with it.
                    drop(lent);
                    self.end(&group);
                    return Err(Interrupted);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    drop(lent);
                    self.end(&group);
                    return Ok(Ran::TooLong);
                }
            }
        }
    }

    fn wait_beside(&self, mut child: Child) {
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            let _ = sender.send(Event::Ended(child.wait()));
        });
    }

    /// Returns when the command has ended with all that it has started, by hook or by crook.
    fn end(&mut self, group: &Group) {
        group.tell(Signal::TERM);
        // Who stands still hears nothing.
        group.tell(Signal::CONT);
        let deadline = Instant::now() + self.grace;
        while group.is_there() {
            if Instant::now() >= deadline {
                return group.tell(Signal::KILL);
            }
            // Whatever happens meanwhile does not make it faster.
            let _ = self.events.recv_timeout(LOOK);
        }
    }
}

/// The command, and what it has started.
struct Group(Pid);

impl Group {
    /// One that has ended does not hear it.
    fn tell(&self, signal: Signal) {
        let _ = kill_process_group(self.0, signal);
    }

    fn is_there(&self) -> bool {
        test_kill_process_group(self.0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside() -> Outside {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // Whoever runs the tests keeps his terminal.
        Outside { input: Input::Ours, ..Outside::listen(runtime) }
    }

    #[test]
    fn a_command_sees_the_variables_and_its_code_is_told() {
        let deadline = Instant::now() + GRACE;
        let ran = outside().run("exit \"$CODE\"", &[("CODE", "7")], deadline).unwrap();
        assert!(matches!(ran, Ran::Ended(status) if status.code() == Some(7)), "{ran:?}");
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended() {
        let ran = outside().run("sleep 1000", &[], Instant::now()).unwrap();
        assert!(matches!(ran, Ran::TooLong), "{ran:?}");
    }

    /// What has no ear for SIGTERM is killed, also where the shell itself has ended.
    #[test]
    fn a_command_that_takes_too_long_is_killed_with_all_that_it_has_started() {
        for whole in [
            "sh -c \"trap '' TERM; echo \\$\\$ >$FILE; sleep 1000\" & sleep 1000",
            "trap '' TERM; echo $$ >$FILE; sleep 1000",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("pid");
            let mut outside = outside();
            outside.grace = Duration::from_millis(100);
            let command = whole.replace("$FILE", &file.display().to_string());
            let is_written = || std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n'));
            std::thread::scope(|scope| {
                let sender = outside.sender.clone();
                scope.spawn(move || {
                    while !is_written() {
                        std::thread::yield_now();
                    }
                    sender.send(Event::Signal).unwrap();
                });
                assert_eq!(outside.run(&command, &[], Instant::now() + 100 * GRACE).unwrap_err(), Interrupted);
            });
            assert_gone(&std::fs::read_to_string(&file).unwrap());
        }
    }

    #[test]
    fn of_a_command_that_fails_nothing_goes_on_and_what_one_has_left_behind_that_succeeds_does() {
        for (code, goes_on) in [(3, false), (0, true)] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("pid");
            let command = format!("sleep 1000 & echo $! >'{}'; exit {code}", file.display());
            let ran = outside().run(&command, &[], Instant::now() + 100 * GRACE).unwrap();
            assert!(matches!(ran, Ran::Ended(status) if status.code() == Some(code)), "{ran:?}");
            let pid = std::fs::read_to_string(&file).unwrap();
            if goes_on {
                let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
                rustix::process::kill_process(pid, Signal::KILL).unwrap();
            } else {
                assert_gone(&pid);
            }
        }
    }

    #[test]
    fn a_command_that_is_stopped_goes_on() {
        let deadline = Instant::now() + 100 * GRACE;
        let mut outside = outside();
        outside.sender.send(Event::Stop).unwrap();
        let sender = outside.sender.clone();
        let (ended, ends) = channel::<()>();
        let stopping = std::thread::spawn(move || {
            while ends.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                sender.send(Event::Stop).unwrap();
            }
        });
        let ran = outside.run("kill -STOP $$; exit 3", &[], deadline).unwrap();
        assert!(matches!(ran, Ran::Ended(status) if status.code() == Some(3)), "{ran:?}");
        drop(ended);
        stopping.join().unwrap();
    }

    fn assert_gone(pid: &str) {
        let is_gone = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
            // Whoever inherits it may take his time to hear of its end.
            status.map_or(true, |status| status.contains("State:\tZ"))
        };
        let deadline = Instant::now() + 2 * GRACE;
        while !is_gone() {
            assert!(Instant::now() < deadline, "process {pid} goes on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_command_is_ended_with_all_that_it_has_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let mut outside = outside();
        let (sender, written) = (outside.sender.clone(), file.clone());
        let interrupting = std::thread::spawn(move || {
            while !std::fs::read_to_string(&written).is_ok_and(|pid| pid.ends_with('\n')) {
                std::thread::yield_now();
            }
            sender.send(Event::Signal).unwrap();
        });
        let command = format!("sleep 1000 & echo $! >'{}'; sleep 1000", file.display());
        assert_eq!(outside.run(&command, &[], Instant::now() + 100 * GRACE).unwrap_err(), Interrupted);
        interrupting.join().unwrap();
        assert_gone(&std::fs::read_to_string(&file).unwrap());
    }

    #[test]
    fn a_signal_ends_the_command_and_every_pause() {
        let mut outside = outside();
        outside.sender.send(Event::Signal).unwrap();
        assert_eq!(outside.run("sleep 1000", &[], Instant::now() + 100 * GRACE).unwrap_err(), Interrupted);
        outside.sender.send(Event::Enter).unwrap();
        assert_eq!((outside.pause(GRACE), outside.has_entered()), (Ok(()), true));
        outside.sender.send(Event::Signal).unwrap();
        assert_eq!(outside.pause(GRACE), Err(Interrupted));
    }
}
