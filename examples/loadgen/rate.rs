//! `loadgen rate`: logs in at a fixed rate, and tells how many logins were lost and how long the others took.

use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use crate::engine::{self, Held, Load, Protocol, Target};
use crate::events::{self, Event};
use crate::report::{Phase, Report};

/// Logs in to a mail proxy at a fixed rate, and tells how many logins were lost and how long the others took.
///
/// Each login is a client of its own: a fresh connection, TLS (with --ca), the login, one question that only the mailbox
/// can answer (STATUS INBOX, STAT), and a polite end. The clock starts the logins, whatever happens to earlier ones, and
/// a latency counts from the moment when the login was due to its positive answer: no waiting is left out.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Rate {
    /// Log in here with IMAP. With --pop3 as well, the two take turns.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "pop3")]
    imap: Option<String>,
    /// Log in here with POP3.
    #[arg(long, value_name = "HOST:PORT")]
    pop3: Option<String>,
    /// Use TLS from the first octet, and trust these certificate authorities (PEM). Clear text without it.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Who logs in, in turns: lines of name, island, mail address, password, separated by tabs.
    #[arg(long, value_name = "FILE")]
    users: PathBuf,
    /// Only the users of this island.
    #[arg(long, value_name = "NAME")]
    island: Option<String>,
    /// Logins started in a second.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long logins are started.
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// After this time a login is lost, whatever it waits for.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Come from N addresses, 127.0.1.1, 127.0.2.1 and so on (needs a server on the loopback): limits and health checks
    /// count client addresses. 0 leaves the address to the kernel.
    #[arg(long, value_name = "N", default_value_t = 0)]
    addresses: u8,
    /// Before the load, open N sessions that then stay idle, and tell when the server ends them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    hold: u32,
    /// When the event begins: figures are then given for before, during and after.
    #[arg(long, value_name = "TIME", requires = "event_end", value_parser = humantime::parse_duration)]
    event_at: Option<Duration>,
    /// When it is over. A login counts where it was due.
    #[arg(long, value_name = "TIME", requires = "event_at", value_parser = humantime::parse_duration)]
    event_end: Option<Duration>,
    /// A shell command that is run when the event begins.
    #[arg(long, value_name = "COMMAND", requires = "event_at")]
    event: Option<String>,
    /// A shell command that is run when it is over.
    #[arg(long, value_name = "COMMAND", requires = "event_at")]
    event_over: Option<String>,
    /// Print one JSON object; times are in milliseconds.
    #[arg(long)]
    json: bool,
    /// Print rows of a Markdown table, one for each phase, with this name in front; all the rest goes to standard error.
    #[arg(long, value_name = "NAME")]
    rows: Option<String>,
}

const AFTER_HELP: &str = "\
Columns:
  logins   started
  lost     without a positive answer to the login, whatever the reason
  cut      logged in, then cut off before the polite end: what a node that dies does to its sessions
  p50 …    latencies of the logins that succeeded (half of them took at most p50)

Exit codes: 0 no login was lost, 1 some were, 2 nothing could be measured.

Examples:
  loadgen rate --imap localhost:993 --ca ca.pem --users users.tsv --rate 50 --for 10s
  loadgen rate --imap localhost:993 --pop3 localhost:995 --ca ca.pem --users users.tsv \\
               --event-at 10s --event 'kill -STOP 4711' --event-end 20s --event-over 'kill -CONT 4711'

scripts/outages.sh runs it against a whole site whose nodes die, freeze and restart.";

impl Rate {
    /// How many logins were lost.
    pub(crate) async fn run(&self) -> Result<usize, String> {
        let load = Arc::new(self.load()?);
        let held = Held::open(&load, self.hold).await;
        let start = Instant::now();
        let events = events::run(self.events(), start);
        let visits = Arc::clone(&load).run(start).await;
        events.await?;
        let report = Report { title: self.title(&load), visits, phases: self.phases(), held: held.close(start) };
        let text = if self.json { report.json() } else { report.text() };
        let written = match &self.rows {
            None => stdout().write_all(text.as_bytes()),
            Some(name) => {
                stderr().write_all(text.as_bytes()).and_then(|()| stdout().write_all(report.rows(name).as_bytes()))
            }
        };
        written.map_err(|error| error.to_string())?;
        Ok(report.lost())
    }

    /// What the engine is to do.
    fn load(&self) -> Result<Load, String> {
        let trust = self.ca.as_deref().map(engine::trust).transpose()?;
        let target = |protocol, address: &Option<String>| {
            address.as_deref().map(|address| Target::new(protocol, address, trust.as_ref())).transpose()
        };
        let targets = [target(Protocol::Imap, &self.imap)?, target(Protocol::Pop3, &self.pop3)?];
        Ok(Load {
            targets: targets.into_iter().flatten().collect(),
            users: engine::read_users(&self.users, self.island.as_deref())?,
            rate: self.rate,
            duration: self.duration,
            limit: self.timeout,
            addresses: self.addresses,
        })
    }

    /// What is run, and when.
    fn events(&self) -> Vec<Event> {
        let both = [(self.event_at, &self.event), (self.event_end, &self.event_over)];
        both.into_iter().filter_map(|(at, command)| Some(Event { at: at?, command: command.clone()? })).collect()
    }

    /// The parts of the run that are looked at; one without an event.
    fn phases(&self) -> Vec<Phase> {
        let all = Phase { name: "all", from: Duration::ZERO, until: self.duration };
        let (Some(at), Some(end)) = (self.event_at, self.event_end) else { return vec![all] };
        vec![
            all,
            Phase { name: "before", from: Duration::ZERO, until: at },
            Phase { name: "during", from: at, until: end },
            Phase { name: "after", from: end, until: self.duration },
        ]
    }

    /// What is measured, in one line.
    fn title(&self, load: &Load) -> String {
        let targets: Vec<_> = load.targets.iter().map(ToString::to_string).collect();
        let duration = humantime::format_duration(self.duration);
        let held = if self.hold > 0 { format!(", {} idle sessions", self.hold) } else { String::new() };
        format!("{} logins/s for {duration} at {}, {} users{held}", self.rate, targets.join(" and "), load.users.len())
    }
}
