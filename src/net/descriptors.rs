//! File descriptors: how many this process may have, how many clients that is, and one that is kept for the day when
//! there are none.
//!
//! Without a free descriptor nobody can be accepted, not even to be told so: clients would hang in the kernel's queue.
//! Nothing here opens a connection.

use std::fs::File;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::pump::PIPES_MAX;

/// Eleven descriptors for five clients: for each client its own and its node's; and for every fifth one a third, which is
/// that of the node that is dialled beside a slow one, or that of a client that is leaving and holds its own still.
/// Whoever has logged in needs none, and those are most.
const ELEVEN: u64 = 11;
const FIVE: u64 = 5;

/// A pipe's two ends.
const PER_PAIR: u64 = 2;

/// Of so many descriptors that the process may have, a pair is a pipe's.
const PER_PIPE: u64 = 128;

/// What the process may have, and what of it clients may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// What the process may have.
    pub limit: u64,
    /// What of it is not for clients.
    pub reserve: u64,
}

impl Descriptors {
    /// Raises the process's soft limit to the hard one, as far as the system lets it. `reserve`: see [`Self::reserve`].
    pub fn raise(reserve: u64) -> Self {
        let before = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: before.maximum, ..before };
        let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised.current } else { before.current };
        // No limit at all: as many as the kernel could number.
        Self { limit: limit.unwrap_or(u64::from(u32::MAX)), reserve }
    }

    /// Pipes that there are descriptors for.
    pub fn pipes(&self) -> u32 {
        u32::try_from(self.limit / PER_PIPE).unwrap_or(u32::MAX).min(PIPES_MAX)
    }

    /// Clients that there are descriptors for: at least one.
    pub fn clients(&self) -> u32 {
        let others = self.reserve + PER_PAIR * u64::from(self.pipes());
        let clients = self.limit.saturating_sub(others) / ELEVEN * FIVE;
        u32::try_from(clients.max(1)).unwrap_or(u32::MAX)
    }

    /// The limit that is needed for so many clients.
    pub fn needed(&self, clients: u32) -> u64 {
        let without_pipes = u64::from(clients).div_ceil(FIVE) * ELEVEN + self.reserve;
        let with = |limit| without_pipes + PER_PAIR * u64::from(Self { limit, ..*self }.pipes());
        // More descriptors have more pipes, so it is found step by step.
        (without_pipes..).find(|limit| *limit >= with(*limit)).unwrap_or(u64::MAX)
    }
}

/// Whether this error means that there was no descriptor for what was tried, in this process or on this machine.
pub fn is_lack(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lack = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
    lack.contains(&error.raw_os_error())
}

/// A descriptor that is kept in order to be given up.
pub struct Spare(Option<File>);

impl Spare {
    /// One is taken, if there is one.
    pub fn take() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Gives it up, and says whether there was one.
    pub fn give_up(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Takes it again, if it is not there and there is one.
    pub fn take_again(&mut self) {
        if self.0.is_none() {
            *self = Self::take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_clients_have_eleven_descriptors() {
        // Limit, reserve, clients.
        for (limit, reserve, clients) in [
            (64, 40, 10),
            (1024, 40, 440),
            (524_288, 48, 238_260),
            // Far too few: one is served nevertheless.
            (40, 40, 1),
            (10, 40, 1),
            (u64::MAX, 40, u32::MAX),
        ] {
            let descriptors = Descriptors { limit, reserve };
            assert_eq!(descriptors.clients(), clients, "{descriptors:?}");
        }
    }

    #[test]
    fn the_limit_that_is_needed_is_enough_and_one_less_is_not() {
        for reserve in [0, 7, 40] {
            for clients in (5..3000).step_by(5) {
                let limit = Descriptors { limit: 0, reserve }.needed(clients);
                assert_eq!(Descriptors { limit, reserve }.clients(), clients);
                assert!(Descriptors { limit: limit - 1, reserve }.clients() < clients);
            }
            let odd = Descriptors { limit: 0, reserve }.needed(1001);
            assert!(Descriptors { limit: odd, reserve }.clients() >= 1001);
        }
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = Descriptors::raise(40);
        let now = getrlimit(Resource::Nofile);
        assert_eq!((now.current, now.current), (now.maximum, Some(raised.limit)));
    }

    #[test]
    fn only_a_lack_of_descriptors_is_one() {
        let lack = |errno: i32| is_lack(&io::Error::from_raw_os_error(errno));
        assert!(lack(rustix::io::Errno::MFILE.raw_os_error()) && lack(rustix::io::Errno::NFILE.raw_os_error()));
        assert!(!lack(rustix::io::Errno::NOMEM.raw_os_error()) && !is_lack(&io::Error::other("EMFILE")));
    }
}
