//! `loadgen bulk`: messages through the proxy as fast as it goes. What does a GiB cost?

use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::door::DoorArguments;
use super::logins::SETTLE;
use super::measured::{Measured, Output};
use super::proxy::{Spent, Watch};
use crate::engine::Protocol;

const MIB: u64 = 1024 * 1024;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Octets that a client reads or writes at once.
const BLOCK: usize = 256 * 1024;

/// Moves messages between the node and one or more sessions, and tells what the proxy's processes spend on a GiB.
#[derive(Args)]
pub(crate) struct Bulk {
    #[command(flatten)]
    pub(crate) door: DoorArguments,
    /// Which way.
    #[arg(long, value_enum, default_value_t = Direction::Down)]
    pub(crate) direction: Direction,
    /// Sessions at a time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) sessions: u32,
    /// Octets of a message.
    #[arg(long, value_name = "N", default_value_t = 64 * MIB, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) message: u64,
    /// No message begins after this time.
    #[arg(long = "for", value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    #[command(flatten)]
    pub(crate) watch: Watch,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// From the node to the client.
    Down,
    /// From the client to the node (IMAP).
    Up,
}

impl Bulk {
    pub(crate) async fn run(&self) -> Result<usize, String> {
        self.measure().await?.write(&self.output)
    }

    pub(crate) async fn measure(&self) -> Result<Measured, String> {
        let door = self.door.door().await?;
        if door.protocol == Protocol::Pop3 && self.direction == Direction::Up {
            return Err("POP3 stores no messages".into());
        }
        let way = if self.direction == Direction::Down { "download" } else { "upload" };
        let mut measured = Measured::new(format!("{way}, {door}, {} sessions", self.sessions));
        let mut clients = Vec::new();
        for turn in 0..self.sessions {
            clients.push(Client::log_in(&door, turn.into()).await?);
        }
        sleep(SETTLE).await;
        let before = self.watch.before().await?;
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for client in clients {
            tasks.spawn(transfer(client, self.direction, self.message, start + self.duration));
        }
        let (mut octets, mut open) = (0, Vec::new());
        for (moved, client, trouble) in tasks.join_all().await {
            octets += moved;
            open.push(client);
            measured.troubles.extend(trouble);
        }
        let took = start.elapsed().as_secs_f64();
        let Spent { cpu, counted } = self.watch.since(&before).await?;
        let seen = counted.map_or(octets, |counted| match self.direction {
            Direction::Down => counted.sent,
            Direction::Up => counted.received,
        });
        if seen != octets {
            measured.troubles.push(format!("{octets} octets at the clients, {seen} at the node"));
        }
        measured.add("octets", octets as f64, "");
        measured.add("rate", octets as f64 / MIB as f64 / took, "MiB/s");
        measured.add("cpu", cpu.map(|cpu| cpu.seconds * GIB / octets as f64), "s/GiB");
        cpu.iter().for_each(|cpu| cpu.tell(&mut measured));
        for client in open {
            client.close().await;
        }
        Ok(measured)
    }
}

async fn transfer(
    mut client: Client,
    direction: Direction,
    message: u64,
    until: Instant,
) -> (u64, Client, Option<String>) {
    let mut scratch = vec![b'x'; BLOCK];
    let mut moved = 0;
    loop {
        let done = match direction {
            Direction::Down => client.download(message, &mut scratch).await,
            Direction::Up => client.upload(message, &scratch).await,
        };
        if let Err(words) = done {
            return (moved, client, Some(words));
        }
        moved += message;
        if Instant::now() >= until {
            return (moved, client, None);
        }
    }
}
