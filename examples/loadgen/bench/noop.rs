//! `loadgen noop`: one question after the other in sessions that are open. How long does a round trip take?

use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::client::Client;
use super::door::DoorArguments;
use super::figures::permille;
use super::logins::{MICRO, PATIENCE};
use super::measured::{Measured, Output};
use super::proxy::{Spent, Watch};

/// Sends NOOP after NOOP, and tells how long the answers take and what the proxy's processes spend on one.
#[derive(Args)]
pub(crate) struct Noop {
    #[command(flatten)]
    pub(crate) door: DoorArguments,
    /// Sessions at a time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) sessions: u32,
    /// Questions in each session.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
    /// Questions before that do not count.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) warm_up: u32,
    #[command(flatten)]
    pub(crate) watch: Watch,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl Noop {
    pub(crate) async fn run(&self) -> Result<usize, String> {
        self.measure().await?.write(&self.output)
    }

    pub(crate) async fn measure(&self) -> Result<Measured, String> {
        let door = self.door.door().await?;
        let mut measured = Measured::new(format!("round trips, {door}, {} sessions", self.sessions));
        let mut clients = Vec::new();
        for turn in 0..self.sessions {
            let mut client = Client::log_in(&door, turn.into()).await?;
            ask(&mut client, self.warm_up).await?;
            clients.push(client);
        }
        let before = self.watch.before().await?;
        let mut tasks = JoinSet::new();
        for mut client in clients {
            let count = self.count;
            tasks.spawn(async move {
                let answers = ask(&mut client, count).await;
                (client, answers)
            });
        }
        let (mut latencies, mut open) = (Vec::new(), Vec::new());
        for (client, answers) in tasks.join_all().await {
            open.push(client);
            match answers {
                Ok(more) => latencies.extend(more),
                Err(words) => measured.troubles.push(words),
            }
        }
        let Spent { cpu, counted } = self.watch.since(&before).await?;
        let asked = latencies.len() as u64;
        if let Some(counted) = counted.filter(|counted| counted.commands != asked) {
            measured
                .troubles
                .push(format!("{asked} answers at the clients, {} questions at the node", counted.commands));
        }
        measured.add("round trips", asked as f64, "");
        for (name, rank) in [("p50", 500), ("p99", 990)] {
            measured.add(name, permille(&mut latencies, rank).map(|latency| latency * MICRO), "µs");
        }
        measured.add("cpu", cpu.map(|cpu| cpu.seconds * MICRO / asked as f64), "µs/round trip");
        cpu.iter().for_each(|cpu| cpu.tell(&mut measured));
        for client in open {
            client.close().await;
        }
        Ok(measured)
    }
}

async fn ask(client: &mut Client, count: u32) -> Result<Vec<Duration>, String> {
    let mut latencies = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let start = Instant::now();
        match timeout(PATIENCE, client.command("NOOP")).await {
            Ok(answer) => answer?,
            Err(_) => return Err(format!("no answer within {PATIENCE:?}")),
        }
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}
