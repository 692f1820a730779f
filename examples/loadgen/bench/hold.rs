//! `loadgen hold`: sessions that log in and then wait, as most mail clients do most of the time. What does one cost?

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::door::{Door, DoorArguments};
use super::figures::slope;
use super::logins::PATIENCE;
use super::measured::{Measured, Output};
use super::processes::{self, Memory};
use super::proxy::Watch;

const KIB: f64 = 1024.0;

/// Sessions that are opened or woken at a time.
const AT_A_TIME: usize = 32;

/// Opens sessions that go idle (IMAP: IDLE), tells at each step what the proxy's processes hold in memory, and at the
/// end how many of the sessions are alive and answer.
///
/// The slope is what one more session costs between the first step and the last. `slab` is the kernel's memory of the
/// whole machine: the client's and the node's sockets are in it too.
#[derive(Args)]
pub(crate) struct Hold {
    #[command(flatten)]
    pub(crate) door: DoorArguments,
    /// How many sessions are open at each step; ascending.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1000, 9000])]
    pub(crate) steps: Vec<u64>,
    /// How long everything is left alone before memory is read.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) settle: Duration,
    /// How long the sessions are held before each is asked whether it is alive.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) answer_after: Duration,
    #[command(flatten)]
    pub(crate) watch: Watch,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl Hold {
    pub(crate) async fn run(&self) -> Result<usize, String> {
        self.measure().await?.write(&self.output)
    }

    pub(crate) async fn measure(&self) -> Result<Measured, String> {
        let door = Arc::new(self.door.door().await?);
        let mut measured = Measured::new(format!("idle sessions, {door}"));
        let before = self.memory()?;
        tell(&mut measured, 0, before);
        let mut points = Vec::new();
        let mut clients: Vec<Client> = Vec::new();
        let mut wanted = 0;
        for &step in &self.steps {
            open(&door, wanted..step, &mut clients, &mut measured.troubles).await;
            wanted = wanted.max(step);
            sleep(self.settle).await;
            if let Some(memory) = self.memory()? {
                tell(&mut measured, clients.len() as u64, Some(memory));
                points.push((clients.len() as f64, memory));
            }
        }
        self.slopes(&mut measured, &points);
        if let Some(counted) = self.watch.counted().await? {
            measured.add("at the node", counted.sessions as f64, "sessions");
        }
        sleep(self.answer_after).await;
        let opened = clients.len();
        let mut clients = wake(clients, &mut measured.troubles).await;
        measured.add("opened", opened as f64, "sessions");
        measured.add("alive", clients.len() as f64, "sessions");
        sleep(self.settle).await;
        self.tell_again(&mut measured, "rss anon, woken", "pss, woken", clients.len())?;
        close(&mut clients).await;
        sleep(self.settle).await;
        self.tell_again(&mut measured, "rss anon, closed", "pss, closed", 0)?;
        Ok(measured)
    }

    fn memory(&self) -> Result<Option<Memory>, String> {
        if self.watch.pid.is_empty() { Ok(None) } else { processes::memory(&self.watch.pid).map(Some) }
    }

    fn slopes(&self, measured: &mut Measured, points: &[(f64, Memory)]) {
        let of = |pick: fn(&Memory) -> u64| {
            let points: Vec<_> = points.iter().map(|(sessions, memory)| (*sessions, pick(memory) as f64)).collect();
            slope(&points)
        };
        let kib = |octets: Option<f64>| octets.map(|octets| octets / KIB);
        measured.add("rss anon slope", kib(of(|memory| memory.rss_anon)), "KiB/session");
        measured.add("pss slope", kib(of(|memory| memory.pss)), "KiB/session");
        measured.add("page tables slope", kib(of(|memory| memory.page_tables)), "KiB/session");
        measured.add("slab slope", kib(of(|memory| memory.slab)), "KiB/session");
        measured.add("descriptors slope", of(|memory| memory.descriptors), "/session");
    }

    fn tell_again(
        &self,
        measured: &mut Measured,
        rss: &'static str,
        pss: &'static str,
        left: usize,
    ) -> Result<(), String> {
        if let Some(memory) = self.memory()? {
            measured.add_at(rss, left as u64, memory.rss_anon as f64 / KIB, "KiB");
            measured.add_at(pss, left as u64, memory.pss as f64 / KIB, "KiB");
        }
        Ok(())
    }
}

fn tell(measured: &mut Measured, sessions: u64, memory: Option<Memory>) {
    let Some(memory) = memory else { return };
    measured.add_at("rss anon", sessions, memory.rss_anon as f64 / KIB, "KiB");
    measured.add_at("pss", sessions, memory.pss as f64 / KIB, "KiB");
    measured.add_at("page tables", sessions, memory.page_tables as f64 / KIB, "KiB");
    measured.add_at("slab", sessions, memory.slab as f64 / KIB, "KiB");
    measured.add_at("descriptors", sessions, memory.descriptors as f64, "");
    measured.add_at("processes", sessions, memory.processes as f64, "");
}

/// Opens the sessions with these numbers.
async fn open(door: &Arc<Door>, turns: std::ops::Range<u64>, clients: &mut Vec<Client>, troubles: &mut Vec<String>) {
    let next = Arc::new(AtomicU64::new(turns.start));
    let mut tasks = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (door, next, end) = (Arc::clone(door), Arc::clone(&next), turns.end);
        tasks.spawn(async move {
            let (mut opened, mut troubles) = (Vec::new(), Vec::new());
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                if turn >= end {
                    return (opened, troubles);
                }
                let session = async {
                    let mut client = Client::log_in(&door, turn).await?;
                    client.idle().await?;
                    Ok(client)
                };
                match timeout(PATIENCE, session).await {
                    Ok(Ok(client)) => opened.push(client),
                    Ok(Err(words)) => troubles.push(words),
                    Err(_) => troubles.push(format!("no session within {PATIENCE:?}")),
                }
            }
        });
    }
    for (opened, words) in tasks.join_all().await {
        clients.extend(opened);
        troubles.extend(words);
    }
}

/// Those that answer.
async fn wake(clients: Vec<Client>, troubles: &mut Vec<String>) -> Vec<Client> {
    let mut tasks = JoinSet::new();
    for group in groups(clients) {
        tasks.spawn(async move {
            let (mut alive, mut troubles) = (Vec::new(), Vec::new());
            for mut client in group {
                match timeout(PATIENCE, client.wake()).await {
                    Ok(Ok(())) => alive.push(client),
                    Ok(Err(words)) => troubles.push(format!("an idle session: {words}")),
                    Err(_) => troubles.push(format!("an idle session: no answer within {PATIENCE:?}")),
                }
            }
            (alive, troubles)
        });
    }
    let mut all = Vec::new();
    for (alive, words) in tasks.join_all().await {
        all.extend(alive);
        troubles.extend(words);
    }
    all
}

async fn close(clients: &mut Vec<Client>) {
    let mut tasks = JoinSet::new();
    for group in groups(std::mem::take(clients)) {
        tasks.spawn(async move {
            for client in group {
                client.close().await;
            }
        });
    }
    tasks.join_all().await;
}

fn groups(clients: Vec<Client>) -> Vec<Vec<Client>> {
    let mut groups: Vec<Vec<Client>> = (0..AT_A_TIME).map(|_| Vec::new()).collect();
    for (turn, client) in clients.into_iter().enumerate() {
        groups[turn % AT_A_TIME].push(client);
    }
    groups
}
