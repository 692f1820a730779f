//! The command line: what it offers, what it prints, and the exit codes.

use std::io::{IsTerminal, stderr, stdout};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing::info;

use crate::app::{self, App, notify};
use crate::config::reference::shown;
use crate::config::{self, Settings};
use crate::directory::{Found, Located, LookupError};
use crate::import;
use crate::logging;
use crate::names::{Protocol, UserName, ZoneName};
use crate::routing::{FailBack, Island, Islands, OperatorState, Policy, Table};
use crate::usernames::Names;

/// EX_CONFIG of sysexits.h: the configuration has problems. systemd shows it as "configuration error".
const EXIT_CONFIG: u8 = 78;

/// EX_OSERR of sysexits.h: an address or a file that the configuration names could not be used.
const EXIT_START: u8 = 71;

/// The user that was asked for does not exist.
const EXIT_NOT_FOUND: u8 = 4;

/// The listener that was asked for does not exist: a wrong argument, as clap calls it.
const EXIT_NO_LISTENER: u8 = 2;

/// The directory could not say.
const EXIT_UNAVAILABLE: u8 = 69;

const DEFAULT_CONFIG: &str = "/etc/mailferry/proxy.toml";

/// An IMAP and POP3 routing proxy: it reads a login, asks the directory for the user's island, replays the login on a
/// node there, and from then on moves bytes.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Begin with:
  mailferry check proxy.toml              every problem of a configuration, with its remedy
  mailferry route alice -c proxy.toml     which island and nodes a user's login would go to
  mailferry run -c proxy.toml             serve";

#[derive(Subcommand)]
enum Command {
    /// Serve, in the foreground, until SIGTERM or SIGINT. Logs to standard error. SIGHUP reads the configuration again.
    ///
    /// Exit codes: 0 stopped by a signal, 78 the configuration has problems (all are printed), 71 an address cannot be
    /// listened on or the directory cannot be set up.
    Run {
        /// The configuration.
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Report all problems of a configuration, the files that it names included. Starts nothing.
    ///
    /// What works and is most likely not meant so is told as a warning.
    ///
    /// Exit codes: 0 no problem, 78 problems, which are printed.
    Check {
        /// The configuration.
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Ask the directory where a user's login would go. Nobody is logged in.
    ///
    /// The island's nodes are numbered in the order in which an IMAP login would try them, each with the reason. This
    /// command asks no node and no running mailferry: all nodes count as healthy, and without sessions. Those that the
    /// configuration takes out of service stand last.
    ///
    /// Exit codes: 0 found, 4 no such user, 69 the directory is unavailable, its answer ambiguous or its island not
    /// configured, 71 the directory cannot be set up, 78 the configuration has problems, 2 no such listener.
    Route {
        /// The name, as a client would type it.
        #[arg(value_name = "USER")]
        user: String,
        /// As if it were typed at this listener, which may add a domain: an `address` of the configuration.
        #[arg(short, long, value_name = "ADDRESS")]
        listener: Option<SocketAddr>,
        /// The configuration.
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Turn another proxy's configuration into a proxy.toml to begin with.
    #[command(subcommand)]
    Import(import::command::Proxy),
}

/// Runs the command line and says with which code the process ends.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run { config } => run(&config),
        Command::Check { config } => check(&config),
        Command::Route { user, listener, config } => route(&user, listener, &config),
        Command::Import(proxy) => Ok(import::command::run(&proxy)),
    };
    done.unwrap_or_else(|code| code)
}

fn load(path: &std::path::Path) -> Result<Settings, ExitCode> {
    config::load(path).map_err(|report| {
        complain(&report.render(stderr().is_terminal()));
        ExitCode::from(EXIT_CONFIG)
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        complain(&format!("cannot start the worker threads: {error}"));
        ExitCode::from(EXIT_START)
    })
}

fn run(path: &std::path::Path) -> Result<ExitCode, ExitCode> {
    let settings = load(path)?;
    logging::start(&settings.log);
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let listen_for = |kind| signal(kind).map_err(|error| start_failed(&error));
        let (mut terminate, mut interrupt) =
            (listen_for(SignalKind::terminate())?, listen_for(SignalKind::interrupt())?);
        let mut hangup = listen_for(SignalKind::hangup())?;
        let app = App::start(settings).map_err(|error| start_failed(&error))?;
        notify::ready();
        let reloads = async {
            while hangup.recv().await.is_some() {
                // What came of it is in the log.
                let _ = app.reloader().reload(path).await;
            }
            std::future::pending::<()>().await;
        };
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = reloads => "SIGHUP",
        };
        notify::stopping();
        info!(signal = name, "stopping");
        app.stop().await;
        info!("stopped");
        Ok(ExitCode::SUCCESS)
    });
    // A name look-up that hangs in the system's resolver is not waited for.
    runtime.shutdown_background();
    done
}

fn start_failed(error: &dyn std::error::Error) -> ExitCode {
    complain(&format!("mailferry: {error}"));
    ExitCode::from(EXIT_START)
}

fn check(path: &std::path::Path) -> Result<ExitCode, ExitCode> {
    let settings = load(path)?;
    let (listeners, islands) = (settings.listeners.len(), settings.islands.len());
    let nodes: usize = settings.islands.iter().map(|island| island.nodes.len()).sum();
    config::warnings(&settings).iter().for_each(|warning| complain(&format!("warning: {warning}")));
    say(&format!("{}: no problems; listeners: {listeners}, islands: {islands}, nodes: {nodes}", path.display()));
    Ok(ExitCode::SUCCESS)
}

fn route(user: &str, listener: Option<SocketAddr>, path: &std::path::Path) -> Result<ExitCode, ExitCode> {
    let settings = load(path)?;
    let door = settings.listeners.iter().find(|it| Some(it.address) == listener);
    if let (Some(address), None) = (listener, door) {
        complain(&format!("{address}: no listener has this address"));
        return Ok(ExitCode::from(EXIT_NO_LISTENER));
    }
    logging::start(&settings.log);
    let Some(name) = UserName::new(user.as_bytes()) else {
        complain("a user name has 1 to 255 octets and no line end");
        return Ok(ExitCode::from(EXIT_NOT_FOUND));
    };
    let Some(names) =
        settings.session.usernames.apply(&name, door.and_then(|door| door.default_domain.as_deref()), None)
    else {
        complain(&format!("{name}: the rules of [usernames] allow no such name"));
        return Ok(ExitCode::from(EXIT_NOT_FOUND));
    };
    let islands = Islands::new(settings.islands.clone(), settings.zone.as_ref(), Instant::now().into_std());
    let answer = runtime()?.block_on(async {
        let directory = app::open_directory(&settings).map_err(|error| start_failed(&error))?;
        Ok::<_, ExitCode>(directory.locate(&names.looked_up).await)
    })?;
    match answer {
        Ok(located) => Ok(explain(&name, &names, &located, &islands, settings.zone.as_ref())),
        Err(error) => {
            complain(&format!("{}: {error}", names.looked_up));
            let unknown = matches!(error, LookupError::NotFound);
            Ok(ExitCode::from(if unknown { EXIT_NOT_FOUND } else { EXIT_UNAVAILABLE }))
        }
    }
}

fn explain(user: &UserName, names: &Names, located: &Located, islands: &Islands, zone: Option<&ZoneName>) -> ExitCode {
    let login = located.route.login.as_ref().unwrap_or(&names.on_node);
    say(&format!("user       {user}"));
    if names.looked_up != *user {
        say(&format!("looked up  {}", names.looked_up));
    }
    say(&format!("island     {}", located.route.island));
    say(&format!("log in as  {login}"));
    if let Found::Asked(source) = &located.found {
        say(&format!("answered   {source}"));
    }
    let Some(table) = islands.find(&located.route.island) else {
        complain(&format!("island \"{}\" is not in the configuration; logins fail", located.route.island));
        return ExitCode::from(EXIT_UNAVAILABLE);
    };
    say(&format!("policy     {}", policy(table.island())));
    if let Some(zone) = zone {
        say(&format!("zone       {zone}"));
    }
    for (place, line) in nodes(table, login).iter().enumerate() {
        say(&format!("{:<10} {line}", if place == 0 { "nodes" } else { "" }));
    }
    ExitCode::SUCCESS
}

/// What decides the order of the nodes.
fn policy(island: &Island) -> String {
    let name = match island.policy {
        Policy::Prefer => "prefer",
        Policy::Balance => return "balance".to_owned(),
        Policy::Sticky => "sticky",
    };
    match island.fail_back {
        FailBack::Now => format!("{name}, fail_back now"),
        FailBack::After(time) => format!("{name}, fail_back after {}", shown(time)),
        FailBack::Manual => format!("{name}, fail_back manual"),
    }
}

/// A line for each node of the plan, then for those that are not in it.
fn nodes(table: &Arc<Table>, login: &UserName) -> Vec<String> {
    let plan = table.plan(Protocol::Imap, login, true, Instant::now().into_std()).candidates;
    let planned = plan
        .iter()
        .enumerate()
        .map(|(place, candidate)| (format!("{}.", place + 1), candidate.port.node(), candidate.reason.to_string()));
    let left_out = table.island().nodes.iter().filter_map(|node| {
        let state = match node.state {
            OperatorState::InService => return None,
            OperatorState::Draining => "draining",
            OperatorState::Maintenance => "maintenance",
        };
        Some(("-".to_owned(), node, state.to_owned()))
    });
    // Ranks that are only the places in the file say nothing.
    let is_ranked = (1..).zip(&table.island().nodes).any(|(place, node)| node.rank != place);
    let rows = planned.chain(left_out).map(|(place, node, reason)| {
        let rank = is_ranked.then(|| format!("rank {}", node.rank));
        let weight = (node.weight > NonZeroU32::MIN).then(|| format!("weight {}", node.weight));
        let zone = node.zone.as_ref().map(|zone| format!("zone {zone}"));
        let marks = [Some(reason), rank, weight, zone].into_iter().flatten().collect::<Vec<_>>();
        let ports = (format!("imap {}", node.imap_port), format!("pop3 {}", node.pop3_port));
        [place, node.name.to_string(), node.host.clone(), ports.0, ports.1, marks.join(", ")]
    });
    aligned(&rows.collect::<Vec<_>>())
}

/// Rows with their columns below each other; the last column needs no room behind it.
fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// To standard output. A reader that has gone away is no failure of ours.
fn say(line: &str) {
    let _ = std::io::Write::write_fmt(&mut stdout(), format_args!("{line}\n"));
}

/// To standard error.
fn complain(text: &str) {
    let _ = std::io::Write::write_fmt(&mut stderr(), format_args!("{}\n", text.trim_end()));
}
