//! A running load of logins at mailferry's TLS doors, IMAP and POP3 in turns, while the site is given orders.
//!
//! The engine is that of `examples/loadgen`. Says nothing of how long logins took: this machine has other work too.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::time::{Instant, sleep_until};

use crate::site::Site;
use engine::{End, Load, Protocol, Target, Trouble, Visit};

#[path = "../../examples/loadgen/engine/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the example uses the rest")]
mod engine;

/// Logins a second: what two busy cores can do without optimisation.
const RATE: u32 = 30;

/// When a client has waited enough. The nodes' own time limits in a test must be shorter.
const CLIENT_PATIENCE: Duration = Duration::from_secs(8);

/// From how many addresses the clients come: health believes no single client.
const ADDRESSES: u8 = 20;

/// A part of a test: for so many milliseconds logins go on, and at some of them the site is told something.
pub(crate) struct Under<'a> {
    pub(crate) milliseconds: u64,
    /// When, in milliseconds from the beginning, and what; in order.
    pub(crate) orders: &'a [(u64, &'a str)],
}

/// What became of the logins.
pub(crate) struct Logins(Vec<Visit>);

impl Under<'_> {
    /// Everybody logs in, again and again. The passwords are noted for the search in the logs.
    pub(crate) fn load(&self, site: &Site) -> Logins {
        for user in site.users() {
            site.will_use(&user.password);
        }
        let load = Arc::new(load(site, Duration::from_millis(self.milliseconds)));
        let start = Instant::now();
        let visits = thread::scope(|scope| {
            let visits = scope.spawn(|| runtime().block_on(load.run(start)));
            let clock = runtime();
            for (at, order) in self.orders {
                clock.block_on(async { sleep_until(start + Duration::from_millis(*at)).await });
                site.order(order);
            }
            visits.join().unwrap()
        });
        assert_eq!(visits.len() as u64, u64::from(RATE) * self.milliseconds / 1000, "the load was another one");
        Logins(visits)
    }
}

impl Logins {
    /// Panics with what those heard who were lost.
    pub(crate) fn assert_none_lost(&self) {
        let lost = self.0.iter().filter_map(|visit| match &visit.end {
            End::Lost(Trouble { stage, words }) => {
                let Visit { due, user, protocol, latency, .. } = visit;
                Some(format!("{user} {protocol}, due at {due:?}, after {latency:?}: {stage}: {words}"))
            }
            End::Served | End::Cut(_) => None,
        });
        let lost: Vec<_> = lost.collect();
        assert!(lost.is_empty(), "{} of {} logins were lost:\n{}", lost.len(), self.0.len(), lost.join("\n"));
    }
}

fn load(site: &Site, duration: Duration) -> Load {
    let trust = engine::trust(&site.path("CA")).unwrap();
    let doors = [(Protocol::Imap, "FERRY_IMAPS"), (Protocol::Pop3, "FERRY_POP3S")];
    let target = |(protocol, port)| {
        let address = format!("localhost:{}", site.value(port));
        Target::new(protocol, &address, Some(&trust)).unwrap()
    };
    Load {
        targets: doors.map(target).into(),
        users: engine::read_users(&site.path("USERS"), None).unwrap(),
        rate: RATE,
        duration,
        limit: CLIENT_PATIENCE,
        addresses: ADDRESSES,
    }
}

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
