//! Pipes inside the kernel, through which bursts go from socket to socket without a copy (splice(2), Linux alone).
//!
//! There are few, for all sessions together, because each has two descriptors and the system gives a user little memory
//! for them. Nobody waits for one: where there is none, octets are copied. A pipe is given back empty, or closed.

#[cfg(target_os = "linux")]
pub(super) use self::linux::Pipe;
#[cfg(not(target_os = "linux"))]
pub(super) use self::none::Pipe;
use super::direction::Event;

/// The most pipes that there may be at once.
pub const MOST: u32 = 32;

/// How a burst ended.
pub(super) enum Burst {
    /// One of the two sides failed, or the source has ended.
    Ended(Event),
    /// Nothing more comes now; the source will tell.
    SourceEmpty,
    /// The destination takes nothing more now, and will tell; this is left.
    Stalled(Pipe),
}

/// Allows so many pipes at once, [`MOST`] at most, from now on and in the whole process. Each has two descriptors.
pub fn allow(count: u32) {
    #[cfg(target_os = "linux")]
    linux::allow(count.min(MOST));
    #[cfg(not(target_os = "linux"))]
    let _ = count;
}

#[cfg(all(test, target_os = "linux"))]
pub(super) use self::linux::{in_use, octets_spliced};

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::task::{Context, Poll, ready};

    use rustix::io::Errno;
    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    use super::super::direction::Event;
    use super::{Burst, MOST};
    use crate::net::AT_ONCE;

    /// What a pipe has room for, in octets of full pages. Segments from a network fill half a page each.
    const ROOM: usize = 256 * 1024;

    const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

    /// All pipes that nobody uses, and how many there are with the others.
    struct Pool {
        idle: Vec<Ends>,
        made: u32,
        most: u32,
    }

    static POOL: Mutex<Pool> = Mutex::new(Pool { idle: Vec::new(), made: 0, most: MOST });

    /// What is read comes out of one end, in the order in which it went into the other.
    struct Ends {
        out: OwnedFd,
        into: OwnedFd,
    }

    /// A pipe in use, and the octets in it.
    pub(in super::super) struct Pipe {
        /// `None` only while it is dropped.
        ends: Option<Ends>,
        filled: usize,
    }

    pub(super) fn allow(count: u32) {
        pool().most = count;
    }

    fn pool() -> MutexGuard<'static, Pool> {
        POOL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl Pipe {
        /// One that is empty, unless all are in use or the system gives none.
        pub(in super::super) fn take() -> Option<Self> {
            let mut pool = pool();
            if let Some(ends) = pool.idle.pop() {
                return Some(Self { ends: Some(ends), filled: 0 });
            }
            if pool.made >= pool.most {
                return None;
            }
            let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
            // A user who has many pipes gets no more room than this; a smaller one is not worth it.
            if fcntl_setpipe_size(&into, ROOM).is_err() {
                return None;
            }
            pool.made += 1;
            Some(Self { ends: Some(Ends { out, into }), filled: 0 })
        }

        fn ends(&self) -> io::Result<&Ends> {
            self.ends.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
        }

        /// Moves octets until either side would wait, fails or ends. The pipe must be empty. Nothing: the system does
        /// not let us, and not an octet was lost.
        pub(in super::super) fn splice(
            mut self,
            cx: &mut Context<'_>,
            from: &TcpStream,
            to: &TcpStream,
            has_read: &mut bool,
            moved: &mut u64,
        ) -> Option<Burst> {
            loop {
                match self.fill(cx, from) {
                    Poll::Pending => return Some(Burst::SourceEmpty),
                    Poll::Ready(Ok(0)) => return Some(Burst::Ended(Event::SourceEnded(None))),
                    Poll::Ready(Ok(_)) => *has_read = true,
                    Poll::Ready(Err(error)) if is_forbidden(&error) => return None,
                    Poll::Ready(Err(error)) => return Some(Burst::Ended(Event::SourceEnded(Some(error)))),
                }
                match self.write(cx, to, moved) {
                    Poll::Pending => return Some(Burst::Stalled(self)),
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Some(Burst::Ended(Event::WriteFailed(error))),
                }
            }
        }

        /// From the socket into the pipe, which is empty: if one of the two would wait, it is the socket.
        fn fill(&mut self, cx: &mut Context<'_>, from: &TcpStream) -> Poll<io::Result<usize>> {
            loop {
                ready!(from.poll_read_ready(cx))?;
                let into = &self.ends()?.into;
                let moved = from.try_io(Interest::READABLE, || Ok(splice(from, None, into, None, AT_ONCE, FLAGS)?));
                match moved {
                    Ok(count) => {
                        self.filled = count;
                        return Poll::Ready(Ok(count));
                    }
                    Err(error) if is_for_now(&error) => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }

        /// From the pipe, as long as there is something in it, into the socket: if one of the two would wait, it is the
        /// socket.
        pub(in super::super) fn write(
            &mut self,
            cx: &mut Context<'_>,
            to: &TcpStream,
            moved: &mut u64,
        ) -> Poll<io::Result<()>> {
            while self.filled > 0 {
                ready!(to.poll_write_ready(cx))?;
                let out = &self.ends()?.out;
                match to.try_io(Interest::WRITABLE, || Ok(splice(out, None, to, None, self.filled, FLAGS)?)) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(count) => {
                        self.filled = self.filled.saturating_sub(count);
                        *moved += count as u64;
                        #[cfg(test)]
                        SPLICED.set(SPLICED.get() + count as u64);
                    }
                    Err(error) if is_for_now(&error) => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            Poll::Ready(Ok(()))
        }

        /// All that is in it.
        pub(in super::super) fn read(&mut self) -> io::Result<Vec<u8>> {
            let mut octets = vec![0; self.filled];
            while self.filled > 0 {
                let at = octets.len() - self.filled;
                let left = octets.get_mut(at..).unwrap_or_default();
                match rustix::io::read(&self.ends()?.out, left) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => self.filled = self.filled.saturating_sub(count),
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Ok(octets)
        }
    }

    /// Back to the others, if it is empty.
    impl Drop for Pipe {
        fn drop(&mut self) {
            let Some(ends) = self.ends.take() else { return };
            let mut pool = pool();
            if self.filled == 0 && pool.made <= pool.most {
                pool.idle.push(ends);
            } else {
                drop(ends);
                pool.made -= 1;
            }
        }
    }

    /// Pipes that are not idle, in the whole process.
    #[cfg(test)]
    pub(in super::super) fn in_use() -> u32 {
        let pool = pool();
        pool.made - u32::try_from(pool.idle.len()).unwrap()
    }

    #[cfg(test)]
    thread_local! {
        static SPLICED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    /// Octets that have come out of pipes into sockets, on this thread.
    #[cfg(test)]
    pub(in super::super) fn octets_spliced() -> u64 {
        SPLICED.get()
    }

    /// Whether it is to be tried again when the socket says so, or at once.
    fn is_for_now(error: &io::Error) -> bool {
        matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
    }

    /// Whether this system, or whoever fenced us in, has no such call for us.
    fn is_forbidden(error: &io::Error) -> bool {
        let forbidden = [Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::INVAL];
        forbidden.map(|errno| Some(errno.raw_os_error())).contains(&error.raw_os_error())
    }
}

/// Without splice(2) there is never a pipe.
#[cfg(not(target_os = "linux"))]
mod none {
    use std::convert::Infallible;
    use std::io;
    use std::task::{Context, Poll};

    use tokio::net::TcpStream;

    use super::Burst;

    pub(in super::super) struct Pipe(Infallible);

    impl Pipe {
        pub(in super::super) fn take() -> Option<Self> {
            None
        }

        pub(in super::super) fn splice(
            self,
            _: &mut Context<'_>,
            _: &TcpStream,
            _: &TcpStream,
            _: &mut bool,
            _: &mut u64,
        ) -> Option<Burst> {
            match self.0 {}
        }

        pub(in super::super) fn write(
            &mut self,
            _: &mut Context<'_>,
            _: &TcpStream,
            _: &mut u64,
        ) -> Poll<io::Result<()>> {
            match self.0 {}
        }

        pub(in super::super) fn read(&mut self) -> io::Result<Vec<u8>> {
            match self.0 {}
        }
    }
}
