//! `loadgen logins`: so many clients at a time log in and go, one login after the other. What does a login cost?

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::client::Client;
use super::door::{Door, DoorArguments};
use super::figures::permille;
use super::measured::{Measured, Output};
use super::proxy::{Spent, Watch};

/// How long the proxy may clear up behind the last client before its CPU is read.
pub(super) const SETTLE: Duration = Duration::from_millis(300);

/// After this time a client gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Milliseconds, microseconds of a second.
pub(super) const MILLI: f64 = 1e3;
pub(super) const MICRO: f64 = 1e6;

/// Logs in again and again, so many clients at a time, each on a connection of its own that ends behind the login.
///
/// A latency counts from the connect to the positive answer to the login. CPU is that of the proxy's processes (--pid)
/// for each login that the node (--counts) has seen.
#[derive(Args)]
pub(crate) struct Logins {
    #[command(flatten)]
    pub(crate) door: DoorArguments,
    /// Clients at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: u32,
    /// Logins in all.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) count: u64,
    /// Stop after this time, whatever the count.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// Logins before that do not count.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) warm_up: u64,
    #[command(flatten)]
    pub(crate) watch: Watch,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl Logins {
    pub(crate) async fn run(&self) -> Result<usize, String> {
        self.measure().await?.write(&self.output)
    }

    pub(crate) async fn measure(&self) -> Result<Measured, String> {
        let door = Arc::new(self.door.door().await?);
        let mut measured = Measured::new(format!("logins, {door}, {} at a time", self.in_flight));
        self.storm(&door, self.warm_up, &mut measured).await;
        sleep(SETTLE).await;
        let before = self.watch.before().await?;
        let start = Instant::now();
        let mut latencies = self.storm(&door, self.count, &mut measured).await;
        let took = start.elapsed().as_secs_f64();
        sleep(SETTLE).await;
        let Spent { cpu, counted } = self.watch.since(&before).await?;
        let logins = counted.map_or(latencies.len() as u64, |counted| counted.logins);
        if logins != latencies.len() as u64 {
            measured.troubles.push(format!("{} clients logged in, the node saw {logins}", latencies.len()));
        }
        measured.add("logins", logins as f64, "");
        measured.add("rate", logins as f64 / took, "logins/s");
        for (name, rank) in [("p50", 500), ("p99", 990), ("max", 1000)] {
            measured.add(name, permille(&mut latencies, rank).map(|latency| latency * MILLI), "ms");
        }
        measured.add("cpu", cpu.map(|cpu| cpu.seconds * MICRO / logins as f64), "µs/login");
        cpu.iter().for_each(|cpu| cpu.tell(&mut measured));
        Ok(measured)
    }

    /// The latencies of those who got in.
    async fn storm(&self, door: &Arc<Door>, count: u64, measured: &mut Measured) -> Vec<Duration> {
        let turns = Arc::new(AtomicU64::new(0));
        let deadline = Instant::now() + self.duration;
        let mut clients = JoinSet::new();
        for _ in 0..self.in_flight {
            let (door, turns) = (Arc::clone(door), Arc::clone(&turns));
            clients.spawn(async move {
                let (mut latencies, mut troubles) = (Vec::new(), Vec::new());
                while Instant::now() < deadline {
                    let turn = turns.fetch_add(1, Ordering::Relaxed);
                    if turn >= count {
                        break;
                    }
                    let start = Instant::now();
                    match timeout(PATIENCE, Client::log_in(&door, turn)).await {
                        Ok(Ok(client)) => {
                            latencies.push(start.elapsed());
                            client.close().await;
                        }
                        Ok(Err(words)) => troubles.push(words),
                        Err(_) => troubles.push(format!("no login within {PATIENCE:?}")),
                    }
                }
                (latencies, troubles)
            });
        }
        let mut latencies = Vec::new();
        for (more, troubles) in clients.join_all().await {
            latencies.extend(more);
            measured.troubles.extend(troubles);
        }
        latencies
    }
}
