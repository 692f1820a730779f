//! What happens to a move from outside: Ctrl-C and other signals, Enter, and the site's command, which runs on the
//! operator's terminal with the operator's rights.

use std::io::{self, BufRead as _, IsTerminal as _, stdin};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// How long a command that is to end may take, before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Something happened.
enum Event {
    Signal,
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
    /// Whether somebody sits at a terminal.
    is_terminal: bool,
    _signals: Runtime,
}

impl Outside {
    pub(super) fn listen(runtime: Runtime) -> Self {
        let (sender, events) = channel();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let sender = sender.clone();
            runtime.spawn(async move {
                let Ok(mut signals) = signal(kind) else { return };
                while signals.recv().await.is_some() && sender.send(Event::Signal).is_ok() {}
            });
        }
        Self { events, sender, has_entered: false, is_terminal: stdin().is_terminal(), _signals: runtime }
    }

    /// Enter counts from now on, where somebody sits at a terminal. Says whether that is so.
    pub(super) fn hear_enter(&self) -> bool {
        if self.is_terminal {
            let sender = self.sender.clone();
            std::thread::spawn(move || {
                let mut line = String::new();
                if stdin().lock().read_line(&mut line).is_ok_and(|octets| octets > 0) {
                    let _ = sender.send(Event::Enter);
                }
            });
        }
        self.is_terminal
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
            // None runs; and there is a sender here.
            Ok(Event::Ended(_)) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        Ok(())
    }

    /// Runs a command of the shell to its end, with these variables. At a terminal it can be typed to; else it has a group of
    /// processes of its own, so that all of it can be ended.
    pub(super) fn run(
        &mut self,
        command: &str,
        variables: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Ran, Interrupted> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]).envs(variables.iter().copied());
        let has_group = !self.is_terminal;
        if has_group {
            shell.process_group(0);
        }
        let child = match shell.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Ran::Not(error)),
        };
        let process = Process { pid: Pid::from_child(&child), has_group };
        self.wait_beside(child);
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Ended(Ok(status))) => return Ok(Ran::Ended(status)),
                Ok(Event::Ended(Err(error))) => return Ok(Ran::Not(error)),
                Ok(Event::Enter) => {}
                Ok(Event::Signal) => {
                    self.end(&process);
                    return Err(Interrupted);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    self.end(&process);
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

    /// Returns when the command has ended, by hook or by crook.
    fn end(&mut self, process: &Process) {
        process.tell(Signal::TERM);
        let deadline = Instant::now() + GRACE;
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Ended(_)) => return,
                Ok(Event::Enter | Event::Signal) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return process.tell(Signal::KILL),
            }
        }
    }
}

/// The command.
struct Process {
    pid: Pid,
    has_group: bool,
}

impl Process {
    /// One that has ended does not hear it.
    fn tell(&self, signal: Signal) {
        let _ = if self.has_group { kill_process_group(self.pid, signal) } else { kill_process(self.pid, signal) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside() -> Outside {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Outside { is_terminal: false, ..Outside::listen(runtime) }
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
        let pid = std::fs::read_to_string(&file).unwrap();
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
