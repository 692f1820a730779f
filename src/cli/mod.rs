//! The command line: what it offers, and the exit codes. One command a file.
//!
//! `run`, `check`, `route` and `import` work on a configuration. All others ask a running mailferry over its admin socket or by HTTPS
//! (`client`, `remote`), and print what it answers (`print`). Shell completions and man pages are made from the same definitions (`pages`).

mod check;
mod client;
mod flush;
mod hold;
mod islands;
mod levels;
mod moving;
mod node;
mod pages;
mod print;
mod ready;
mod reload;
mod remote;
mod route;
mod run;
mod sessions;
mod status;
mod top;

use std::io::{self, IsTerminal, stderr};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use tokio::runtime::{Builder, Runtime};

use self::client::Asking;
use self::moving::Moving;
use self::print::complain;
use self::sessions::{Kind, Which};
use self::top::Look;
use crate::config::{self, Settings};
use crate::import;

/// EX_CONFIG of sysexits.h: the configuration has problems. systemd shows it as "configuration error".
const EXIT_CONFIG: u8 = 78;

/// EX_OSERR of sysexits.h: an address or a file that the configuration names could not be used.
const EXIT_START: u8 = 71;

/// EX_TEMPFAIL of sysexits.h: stopped, and something was broken off. systemd is told that it is no failure.
const EXIT_CUT: u8 = 75;

/// The user, node, island or session that was asked for does not exist.
const EXIT_NOT_FOUND: u8 = 4;

/// A wrong argument, as clap calls it.
const EXIT_USAGE: u8 = 2;

/// EX_UNAVAILABLE of sysexits.h: the directory could not say, or no mailferry listens.
const EXIT_UNAVAILABLE: u8 = 69;

const DEFAULT_CONFIG: &str = "/etc/mailferry/proxy.toml";

/// An IMAP and POP3 routing proxy: it reads a login, asks the directory for the user's island, replays the login on a
/// node there, and from then on moves bytes.
#[derive(Parser)]
#[command(name = "mailferry", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Begin with:
  mailferry check proxy.toml              every problem of a configuration, with its remedy
  mailferry route alice -c proxy.toml     which island and nodes a user's login would go to
  mailferry run -c proxy.toml             serve
  mailferry status                        how the running one does";

/// What every command to a running mailferry may end with.
const EXIT_CODES: &str = "\
Exit codes: 0 done, 4 no such user, node, island or session, 69 no mailferry listens there, 70 it could not be done, \
77 not permitted, 2 wrong arguments.";

#[derive(Subcommand)]
enum Command {
    /// Serve, in the foreground, until SIGTERM or SIGINT. Logs to standard error. SIGHUP reads the configuration again.
    ///
    /// At the first such signal the sessions end one after the other, as `drain_delay` and `drain_timeout` say, and at the
    /// second one at once.
    ///
    /// Listening sockets that systemd passes (LISTEN_FDS: socket units, its store of descriptors) are used for the listeners
    /// of the same addresses, and all others are bound.
    ///
    /// Exit codes: 0 stopped by a signal, and nothing was broken off, 75 sessions or logins were (the last line of the log
    /// has how many), 78 the configuration has problems (all are printed), 71 an address cannot be
    /// listened on or the directory cannot be set up.
    Run {
        /// The configuration.
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// Take the place of the mailferry that runs, for an upgrade without systemd: nobody's connection is refused.
        ///
        /// The running one is asked at the admin socket of this configuration, and gives its listening sockets to a process
        /// of its own user or root's. It serves on until this one has everything ready; whatever fails before, as a
        /// certificate that cannot be read, leaves it as it was, and this one ends with 71. Then it accepts nobody any more,
        /// and ends when its sessions have ended, as at SIGTERM. Where nobody runs, this is an ordinary start. Under systemd,
        /// `systemctl restart` does it without this.
        #[arg(long)]
        take_over: bool,
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
        /// The answer as JSON, for programs.
        #[arg(long)]
        json: bool,
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
        /// The answer as JSON, for programs; the nodes are those that would be tried.
        #[arg(long)]
        json: bool,
    },
    /// Turn another proxy's configuration into a proxy.toml to begin with.
    #[command(subcommand)]
    Import(import::command::Proxy),
    /// How a running mailferry does: version, sessions, logins, islands in short, directory, cache.
    #[command(after_help = EXIT_CODES)]
    Status {
        #[command(flatten)]
        asking: Asking,
    },
    /// Whether a running mailferry wants new clients, for health checks.
    ///
    /// One that is stopping does not, and is well all the same: `status` says whether it lives.
    ///
    /// Exit codes: 0 it does, 70 it does not, 69 no mailferry listens there, 77 not permitted, 2 wrong arguments.
    Ready {
        #[command(flatten)]
        asking: Asking,
    },
    /// The nodes of each island side by side: state, what the operator wants, reason, sessions, latency.
    #[command(after_help = EXIT_CODES)]
    Islands {
        #[command(flatten)]
        asking: Asking,
    },
    /// The sessions in the relay: user, client, node, age, octets moved.
    #[command(after_help = EXIT_CODES)]
    Sessions {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        asking: Asking,
    },
    /// Users, client networks and nodes that log in most often, have the most sessions, or move the most octets.
    ///
    /// On a terminal it looks again and again until Ctrl-C. Whoever has logged in within the last minute counts, also where
    /// no session is left. TO NODE and TO CLIENT are of the sessions that are there.
    #[command(after_help = EXIT_CODES)]
    Top {
        #[command(flatten)]
        look: Look,
        #[command(flatten)]
        asking: Asking,
    },
    /// End sessions: of a user, of a node, or one.
    ///
    /// A name with `/` is a node, one as the log has for sessions (68f0a1b2-1f) is a session, all others are users'.
    /// The clients come back, to the same node unless it was drained before. More than ten sessions of a node end over
    /// the island's `disconnect_spread`.
    #[command(after_help = EXIT_CODES)]
    Kick {
        /// A user, a session, or ISLAND/NODE.
        #[arg(value_name = "USER|SESSION|NODE")]
        whom: String,
        /// What the name is, where it looks like something else.
        #[arg(long = "as", value_enum, value_name = "KIND")]
        kind: Option<Kind>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Give a node no new sessions; those that it has stay. Survives a restart.
    #[command(after_help = EXIT_CODES)]
    Drain {
        /// The node.
        #[arg(value_name = "ISLAND/NODE")]
        node: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Let a node have sessions again that was drained or in maintenance. Survives a restart.
    #[command(after_help = EXIT_CODES)]
    Undrain {
        /// The node.
        #[arg(value_name = "ISLAND/NODE")]
        node: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Give a node no new sessions, and do not look whether it serves. Survives a restart.
    #[command(after_help = EXIT_CODES)]
    Maintenance {
        /// The node.
        #[arg(value_name = "ISLAND/NODE")]
        node: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Give new logins back to nodes of an island that have returned and are held back by `fail_back`.
    #[command(after_help = EXIT_CODES)]
    FailBack {
        /// The island.
        #[arg(value_name = "ISLAND")]
        island: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Let new logins of a user wait. They do not fail, but after `hold_timeout`, as for the time being.
    ///
    /// The user is held under every spelling, and under other names for which the directory says the same login. Sessions
    /// stay; logins that came before go on, and `holds` says how many (UNDER WAY). Survives a restart. A hold that nobody
    /// ends by `release` ends by itself. Said again, it lasts from then on.
    #[command(after_help = EXIT_CODES)]
    Hold {
        /// The user, as a client would type the name, with its domain if names have one here.
        #[arg(value_name = "USER")]
        user: String,
        /// When it ends by itself, as 90s, 10m or 2h.
        #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
        lasts: Duration,
        #[command(flatten)]
        asking: Asking,
    },
    /// Let the logins of a user go on who is held. They ask the directory, and the cache forgets the user.
    ///
    /// Where the user is being moved by `move` without a command, this is the word that the mail is moved; said again, it
    /// ends the hold.
    #[command(after_help = EXIT_CODES)]
    Release {
        /// The user.
        #[arg(value_name = "USER")]
        user: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// The users who are held: since when, until when, and how many logins wait.
    #[command(after_help = EXIT_CODES)]
    Holds {
        /// This user only.
        #[arg(long)]
        user: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Move a user to another island, as one operation: hold the logins, move the mail, look until the directory says so, end
    /// the old sessions, release.
    ///
    /// The mail is moved, and the directory changed, by a command of the site's, which runs here and not in mailferry; or by
    /// hand, where there is none: Enter, or `mailferry release USER`, says that it is done. Whatever goes wrong, or takes
    /// too long, or is broken off by Ctrl-C, is put back: the logins go on to where the directory says, and no session is ended.
    /// If this process dies, the hold ends by itself. With --json, each step is an object on a line of its own.
    ///
    /// Exit codes: 0 moved, or there already; 75 not moved, and put back; 4 no such user or island, 70 the user is held or
    /// moved by somebody else, or the directory cannot say, 69 no mailferry listens there, or it is gone, 77 not permitted, 2
    /// wrong arguments.
    Move {
        #[command(flatten)]
        moving: Moving,
        #[command(flatten)]
        asking: Asking,
    },
    /// Forget what the cache has of a user, or all of it. The next logins ask the directory.
    ///
    /// While the directory is unavailable, those who were forgotten cannot log in.
    #[command(after_help = EXIT_CODES)]
    Flush {
        /// The user; all without it.
        #[arg(value_name = "USER")]
        user: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Let the running mailferry read its configuration again, and say what has changed and what needs a restart.
    ///
    /// It reads the file that it was started with, as at SIGHUP; `--config` only names the socket. A file with problems
    /// changes nothing, and all of them are told.
    ///
    /// Exit codes: 0 done, 78 the file has problems, 70 it could not be taken up, as where an address cannot be listened
    /// on, 69 no mailferry listens there, or it has not answered yet, 77 not permitted, 2 wrong arguments.
    Reload {
        #[command(flatten)]
        asking: Asking,
    },
    /// Show or change what is logged, until the next start: `debug`, or `session=trace` for one module.
    ///
    /// Levels: error, warn, info, debug, trace. One for all forgets those of modules.
    #[command(after_help = EXIT_CODES)]
    LogsLevel {
        /// The level of all modules, or of one; without it, the levels are shown.
        #[arg(value_name = "LEVEL|MODULE=LEVEL")]
        order: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Print what a shell needs to complete the arguments of mailferry.
    Completions {
        /// The shell.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the man page, or write those of all commands into a folder.
    Man {
        /// The folder.
        #[arg(value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
}

/// What the command line takes, for those who check examples of it.
pub fn definition() -> clap::Command {
    Arguments::command()
}

/// Runs the command line and says with which code the process ends. There must be one thread until `threads_may_begin` is
/// called, once this process has given its rights away; most commands never do.
pub fn main(threads_may_begin: impl FnOnce()) -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run { config, take_over } => run::run(&config, take_over, threads_may_begin),
        Command::Check { config, json } => check::check(&config, json),
        Command::Route { user, listener, config, json } => route::route(&user, listener, &config, json),
        Command::Import(proxy) => Ok(import::command::run(&proxy)),
        Command::Status { asking } => status::status(&asking),
        Command::Ready { asking } => ready::ready(&asking),
        Command::Islands { asking } => islands::islands(&asking),
        Command::Sessions { which, asking } => sessions::sessions(which, &asking),
        Command::Top { look, asking } => top::top(&look, &asking),
        Command::Kick { whom, kind, asking } => sessions::kick(&whom, kind, &asking),
        Command::Drain { node, asking } => node::set(&node, "draining", &asking),
        Command::Undrain { node, asking } => node::set(&node, "in-service", &asking),
        Command::Maintenance { node, asking } => node::set(&node, "maintenance", &asking),
        Command::FailBack { island, asking } => node::fail_back(&island, &asking),
        Command::Hold { user, lasts, asking } => hold::hold(user, lasts, &asking),
        Command::Release { user, asking } => hold::release(user, &asking),
        Command::Holds { user, asking } => hold::holds(user, &asking),
        Command::Move { moving, asking } => moving::move_user(&moving, &asking),
        Command::Flush { user, asking } => flush::flush(user, &asking),
        Command::Reload { asking } => reload::reload(&asking),
        Command::LogsLevel { order, asking } => levels::level(order.as_deref(), &asking),
        Command::Completions { shell } => Ok(pages::completions(shell)),
        Command::Man { folder } => pages::man(folder.as_deref()),
    };
    done.unwrap_or_else(|code| code)
}

fn load(path: &Path) -> Result<Settings, ExitCode> {
    config::load(path).map_err(|report| {
        complain(&report.render(stderr().is_terminal()));
        ExitCode::from(EXIT_CONFIG)
    })
}

/// For whatever a command does. Sessions have threads of their own. With two, a long step of one task keeps no others from
/// being heard: answers of the directory and of probes are among them.
fn runtime() -> Result<Runtime, ExitCode> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|error| no_threads(&error))
}

fn no_threads(error: &io::Error) -> ExitCode {
    start_failed(&io::Error::new(error.kind(), format!("cannot start the threads: {error}")))
}

fn start_failed(error: &dyn std::error::Error) -> ExitCode {
    complain(&format!("mailferry: {error}"));
    ExitCode::from(EXIT_START)
}
