//! `loadgen soak`: everything that clients do, at once and for long, with many that break off. Does anything stay behind?

mod visit;

use std::io::{Write as _, stderr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use self::visit::{Tally, visit};
use super::door::{Door, DoorArguments, Tls};
use super::measured::{Measured, Output};
use super::processes::{self, Memory};
use super::proxy::Watch;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// Loopback addresses that the clients come from.
const SOURCES: u32 = 64;

/// How often an idle proxy is looked at once more, and after which time each.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// How often memory is looked at while the clients are at work.
const LOOK: Duration = Duration::from_secs(10);

/// Many clients at a time log in, move messages and go, and a third of them break off: at any octet of the handshake, the
/// login or a message, by a reset, some after they have read nothing for a while.
///
/// The base is what the proxy's processes hold after a warm-up of the same clients and a pause; it is compared with what
/// they hold after the load and the same pause. What is measured must serve nobody else.
#[derive(Args)]
pub(crate) struct Soak {
    /// Where to log in, in turns, as PROTOCOL:TLS:HOST:PORT: imap or pop3, and off, implicit or starttls.
    #[arg(long = "door", value_name = "DOOR", required = true)]
    pub(crate) doors: Vec<Place>,
    /// Certificate authorities (PEM) that the server's certificate must be from.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Log in as user1, user2 and so on up to this number, in turns.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) users: u32,
    /// Clients at a time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: u32,
    /// How long they are at work before the base is read.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    pub(crate) warm_up: Duration,
    /// How long they are at work then.
    #[arg(long = "for", value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// The pause before memory is read.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    pub(crate) settle: Duration,
    /// KiB of memory (PSS) above the base that are still the base.
    #[arg(long, value_name = "KIB", default_value_t = 1024)]
    pub(crate) slack: u32,
    #[command(flatten)]
    pub(crate) watch: Watch,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// One of the doors, before its host is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pop3: bool,
    tls: Tls,
    address: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(protocol), Some(tls), Some(address)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("not PROTOCOL:TLS:HOST:PORT".into());
        };
        let pop3 = match protocol {
            "imap" => false,
            "pop3" => true,
            other => return Err(format!("{other} is neither imap nor pop3")),
        };
        Ok(Self { pop3, tls: Tls::from_str(tls, false)?, address: address.to_owned() })
    }
}

impl Soak {
    pub(crate) async fn run(&self) -> Result<usize, String> {
        self.measure().await?.write(&self.output)
    }

    pub(crate) async fn measure(&self) -> Result<Measured, String> {
        let doors = Arc::new(self.doors().await?);
        let mut measured = Measured::new(format!(
            "{} clients at {} doors, {}",
            self.in_flight,
            doors.len(),
            humantime::format_duration(self.duration)
        ));
        self.load(&doors, self.warm_up, Instant::now(), &mut measured).await?;
        sleep(self.settle).await;
        let base = self.quiet().await?;
        let before = self.watch.before().await?;
        let start = Instant::now();
        let (tally, peak) = self.load(&doors, self.duration, start, &mut measured).await?;
        let took = start.elapsed().as_secs_f64();
        sleep(self.settle).await;
        let spent = self.watch.since(&before).await?;
        self.tell(&mut measured, &tally, took);
        if let Some(counted) = spent.counted {
            measured.add("logins at the node", counted.logins as f64, "");
            if counted.sessions > 0 {
                measured.troubles.push(format!("{} sessions are left at the node", counted.sessions));
            }
        }
        measured.add("cpu of the proxy", spent.cpu.map(|cpu| cpu.seconds), "s");
        spent.cpu.iter().for_each(|cpu| cpu.tell(&mut measured));
        if let (Some(base), Some(peak), Some(end)) = (base, peak, self.quiet().await?) {
            self.compare(&mut measured, [("base", base), ("most", peak), ("end", end)]);
        }
        Ok(measured)
    }

    async fn doors(&self) -> Result<Vec<Door>, String> {
        let mut doors = Vec::new();
        for place in &self.doors {
            let (imap, pop3) = if place.pop3 { (None, Some(&place.address)) } else { (Some(&place.address), None) };
            let (imap, pop3) = (imap.cloned(), pop3.cloned());
            let (tls, ca, sources, users) = (place.tls, self.ca.clone(), SOURCES, self.users);
            doors.push(
                DoorArguments { imap, pop3, tls, ca, tls_name: None, resume: false, sources, users }.door().await?,
            );
        }
        Ok(doors)
    }

    fn memory(&self) -> Result<Option<Memory>, String> {
        if self.watch.pid.is_empty() { Ok(None) } else { processes::memory(&self.watch.pid).map(Some) }
    }

    /// Of a few looks the one with the fewest descriptors: it may ask its node just now whether it is well.
    async fn quiet(&self) -> Result<Option<Memory>, String> {
        let mut least = self.memory()?;
        for _ in 0..LOOKS {
            sleep(BETWEEN_LOOKS).await;
            let now = self.memory()?;
            least = least.zip(now).map(|(one, other)| if other.descriptors < one.descriptors { other } else { one });
        }
        Ok(least)
    }

    /// All clients at work until the time is over, and the most memory and descriptors that were seen meanwhile.
    async fn load(
        &self,
        doors: &Arc<Vec<Door>>,
        duration: Duration,
        start: Instant,
        measured: &mut Measured,
    ) -> Result<(Tally, Option<Memory>), String> {
        let until = start + duration;
        let mut clients = JoinSet::new();
        for client in 0..self.in_flight {
            let (doors, step) = (Arc::clone(doors), u64::from(self.in_flight));
            clients.spawn(async move {
                let mut tally = Tally::default();
                let mut turn = u64::from(client);
                while Instant::now() < until {
                    visit(&doors[turn as usize % doors.len()], turn, &mut tally).await;
                    // Not the step alone: each client comes to each door.
                    turn += step + 1;
                }
                tally
            });
        }
        let mut most: Option<Memory> = None;
        let mut next = start;
        while next < until {
            sleep_until(next).await;
            if let Some(memory) = self.memory()? {
                let (seconds, kib) = (start.elapsed().as_secs(), memory.rss_anon as f64 / KIB);
                let _ = writeln!(stderr(), "{seconds:>6} s {kib:>9.0} KiB {:>6} descriptors", memory.descriptors);
                most = Some(most.map_or(memory, |most| larger(most, memory)));
            }
            next += LOOK;
        }
        let mut tally = Tally::default();
        for one in clients.join_all().await {
            tally.add(one);
        }
        measured.troubles.append(&mut tally.troubles);
        Ok((tally, most))
    }

    fn tell(&self, measured: &mut Measured, tally: &Tally, took: f64) {
        for (name, count) in [
            ("visits", tally.visits),
            ("logins", tally.logins),
            ("messages", tally.messages),
            ("cut off in handshakes", tally.cut_greeting),
            ("cut off in logins", tally.cut_login),
            ("cut off in sessions", tally.cut_session),
        ] {
            measured.add(name, count as f64, "");
        }
        measured.add("octets of messages", tally.octets as f64 / MIB, "MiB");
        measured.add("rate", tally.visits as f64 / took, "visits/s");
    }

    fn compare(&self, measured: &mut Measured, moments: [(&str, Memory); 3]) {
        let [(_, base), _, (_, end)] = moments;
        for (name, memory) in moments {
            let named = |what: &str| format!("{what}, {name}");
            measured.add(named("rss anon"), memory.rss_anon as f64 / KIB, "KiB");
            measured.add(named("pss"), memory.pss as f64 / KIB, "KiB");
            measured.add(named("descriptors"), memory.descriptors as f64, "");
            measured.add(named("ends of pipes"), memory.pipes as f64, "");
        }
        // Pipes are kept for later, and how many depends on what came together.
        let [base_others, end_others] = [base, end].map(|memory| memory.descriptors - memory.pipes);
        if end_others > base_others {
            let words = format!("{end_others} descriptors at the end, {base_others} at the base, pipes not counted");
            measured.troubles.push(words);
        }
        let grown = end.pss.saturating_sub(base.pss) as f64 / KIB;
        if grown > f64::from(self.slack) {
            measured.troubles.push(format!("{grown:.0} KiB more than at the base"));
        }
    }
}

fn larger(one: Memory, other: Memory) -> Memory {
    Memory {
        rss_anon: one.rss_anon.max(other.rss_anon),
        pss: one.pss.max(other.pss),
        descriptors: one.descriptors.max(other.descriptors),
        pipes: one.pipes.max(other.pipes),
        ..one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_protocol_tls_and_address() {
        let place = |pop3, tls, address: &str| Ok(Place { pop3, tls, address: address.into() });
        for (text, expected) in [
            ("imap:off:localhost:143", place(false, Tls::Off, "localhost:143")),
            ("pop3:starttls:[::1]:110", place(true, Tls::Starttls, "[::1]:110")),
            ("imap:implicit", Err("not PROTOCOL:TLS:HOST:PORT".into())),
            ("smtp:off:localhost:25", Err("smtp is neither imap nor pop3".into())),
        ] {
            assert_eq!(text.parse::<Place>(), expected, "{text}");
        }
        assert!("imap:ssl:localhost:993".parse::<Place>().is_err());
    }
}
