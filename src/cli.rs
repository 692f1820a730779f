//! The command line: what it offers, what it prints, and the exit codes.

use std::io::{IsTerminal, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::app::{self, App};
use crate::config::{self, Settings};
use crate::directory::{Found, Located, LookupError};
use crate::logging;
use crate::names::{Protocol, UserName};
use crate::routing::Islands;

/// EX_CONFIG of sysexits.h: the configuration has problems. systemd shows it as "configuration error".
const EXIT_CONFIG: u8 = 78;

/// EX_OSERR of sysexits.h: an address or a file that the configuration names could not be used.
const EXIT_START: u8 = 71;

/// The user that was asked for does not exist.
const EXIT_NOT_FOUND: u8 = 4;

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
    /// Serve, in the foreground, until SIGTERM or SIGINT. Logs to standard error.
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
    /// Exit codes: 0 no problem, 78 problems, which are printed.
    Check {
        /// The configuration.
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Ask the directory where a user's login would go. Nobody is logged in.
    ///
    /// Exit codes: 0 found, 4 no such user, 69 the directory is unavailable, its answer ambiguous or its island not
    /// configured, 71 the directory cannot be set up, 78 the configuration has problems.
    Route {
        /// The name, as a client would type it.
        #[arg(value_name = "USER")]
        user: String,
        /// The configuration.
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
}

/// Runs the command line and says with which code the process ends.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run { config } => run(&config),
        Command::Check { config } => check(&config),
        Command::Route { user, config } => route(&user, &config),
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
        let name = loop {
            tokio::select! {
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "SIGINT",
                _ = hangup.recv() => warn!("SIGHUP ignored: a changed configuration needs a restart"),
            }
        };
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
    say(&format!("{}: no problems; listeners: {listeners}, islands: {islands}, nodes: {nodes}", path.display()));
    Ok(ExitCode::SUCCESS)
}

fn route(user: &str, path: &std::path::Path) -> Result<ExitCode, ExitCode> {
    let settings = load(path)?;
    logging::start(&settings.log);
    let Some(name) = UserName::new(user.as_bytes()) else {
        complain("a user name has 1 to 255 octets and no line end");
        return Ok(ExitCode::from(EXIT_NOT_FOUND));
    };
    let islands = Islands::new(settings.islands.clone(), settings.zone.as_ref(), Instant::now().into_std());
    let answer = runtime()?.block_on(async {
        let directory = app::open_directory(&settings).map_err(|error| start_failed(&error))?;
        Ok::<_, ExitCode>(directory.locate(&name).await)
    })?;
    match answer {
        Ok(located) => Ok(explain(&name, &located, &islands)),
        Err(error) => {
            complain(&format!("{name}: {error}"));
            let unknown = matches!(error, LookupError::NotFound);
            Ok(ExitCode::from(if unknown { EXIT_NOT_FOUND } else { EXIT_UNAVAILABLE }))
        }
    }
}

fn explain(user: &UserName, located: &Located, islands: &Islands) -> ExitCode {
    let login = located.route.login.as_ref().unwrap_or(user);
    say(&format!("user       {user}"));
    say(&format!("island     {}", located.route.island));
    say(&format!("log in as  {login}"));
    if let Found::Asked(source) = &located.found {
        say(&format!("answered   {source}"));
    }
    let Some(table) = islands.find(&located.route.island) else {
        complain(&format!("island \"{}\" is not in the configuration; logins fail", located.route.island));
        return ExitCode::from(EXIT_UNAVAILABLE);
    };
    let plan = table.plan(Protocol::Imap, login, true, Instant::now().into_std());
    for (rank, candidate) in plan.candidates.iter().enumerate() {
        let label = if rank == 0 { "nodes" } else { "" };
        let (node, reason) = (candidate.port.node(), candidate.reason);
        let (name, host, imap, pop3) = (&node.name, &node.host, node.imap_port, node.pop3_port);
        say(&format!("{label:<10} {}. {name}  {host}  imap {imap}  pop3 {pop3}  {reason}", rank + 1));
    }
    ExitCode::SUCCESS
}

/// To standard output. A reader that has gone away is no failure of ours.
fn say(line: &str) {
    let _ = std::io::Write::write_fmt(&mut stdout(), format_args!("{line}\n"));
}

/// To standard error.
fn complain(text: &str) {
    let _ = std::io::Write::write_fmt(&mut stderr(), format_args!("{}\n", text.trim_end()));
}
