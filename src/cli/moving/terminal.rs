//! The operator's terminal, lent to the command of a move: it may ask its questions there, and Ctrl-C ends it and us.
//!
//! The command has a group of processes of its own, so that all that it starts can be ended, and nothing else. Only the
//! group in the foreground may read from a terminal, and only its members may say which one that is: whoever else tries
//! is stopped. So we are of the command's group while it has the terminal, and bring the terminal home when we leave.

use std::io::{IsTerminal as _, stdin};

use rustix::process::{Pid, getpgrp, getpid, getsid, setpgid};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// The terminal is lent. Dropping it brings it home.
pub(super) struct Lent {
    home: Pid,
    to: Pid,
}

/// What a command gets for its standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Ours, which is no terminal.
    Ours,
    /// The terminal, which is lent.
    Terminal,
    /// Nothing: the terminal is not ours to lend. We are in the background; or it began with us, as under `ssh -t` or in a
    /// container, and the first process of a session can be of no other group. What reads from it would stand still.
    Nothing,
}

impl Input {
    pub(super) fn now() -> Self {
        if !stdin().is_terminal() {
            return Self::Ours;
        }
        let is_first = getsid(None).is_ok_and(|session| session == getpid());
        let is_in_foreground = tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp());
        if is_in_foreground && !is_first { Self::Terminal } else { Self::Nothing }
    }
}

impl Lent {
    /// To a group of this session, with a process that nobody has waited for yet: so it cannot be gone meanwhile. Only for
    /// [`Input::Terminal`]. `None`: the terminal is gone.
    pub(super) fn to(group: Pid) -> Option<Self> {
        let home = getpgrp();
        tcsetpgrp(stdin(), group).ok()?;
        setpgid(None, Some(group)).ok()?;
        Some(Self { home, to: group })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Some process of the command's may have taken it. It is not ours to take then, and the shell gets it behind us.
        if tcgetpgrp(stdin()).is_ok_and(|group| group == self.to) {
            let _ = tcsetpgrp(stdin(), self.home);
        }
        let _ = setpgid(None, Some(self.home));
    }
}
