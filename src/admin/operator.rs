//! Who asks, as the log tells it. What he may do is no matter of this file, but of `access`.

use std::net::SocketAddr;

use tracing::field::{DisplayValue, display};

/// Who asks: a user of this machine by the kernel's word, or somebody at an address, whose token says what he may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator {
    /// The user's number, if the system tells.
    pub(super) uid: Option<u32>,
    /// The process, if the system tells.
    pub(super) pid: Option<i32>,
    /// Whence he comes; `None`: over the socket.
    pub(super) remote: Option<SocketAddr>,
}

impl Operator {
    /// Whence he comes, for the log; nothing over the socket.
    pub(super) fn client(&self) -> Option<DisplayValue<SocketAddr>> {
        self.remote.map(display)
    }
}
