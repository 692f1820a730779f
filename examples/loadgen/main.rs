//! loadgen: logs in to a mail proxy, at a fixed rate or as fast as it goes, and tells what a login, an idle session, a
//! transfer and a round trip take and cost. Its own mail server stands behind the proxy.
//!
//! `rate` is what the outages are measured with (`engine` does its work, `report` shows it); `bench` is all the rest.
//! Never prints a password of a user.

mod bench;
mod engine;
mod events;
mod json;
mod rate;
mod report;

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use bench::bulk::Bulk;
use bench::certificates::Certificates;
use bench::hold::Hold;
use bench::logins::Logins;
use bench::lookup::Lookup;
use bench::node::Node;
use bench::noop::Noop;
use bench::page::Page;
use bench::soak::Soak;
use rate::Rate;

/// Some login was lost, or some session, transfer or answer.
const EXIT_LOST: u8 = 1;
/// There was nothing to measure: an argument, a file or an event's command was wrong.
const EXIT_TROUBLE: u8 = 2;

/// Measures mail proxies. Exit codes: 0 all went well, 1 something was lost, 2 nothing could be measured.
#[derive(Parser)]
#[command(name = "loadgen")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Rate(Rate),
    Logins(Logins),
    Hold(Hold),
    Bulk(Bulk),
    Noop(Noop),
    Soak(Soak),
    Node(Node),
    Lookup(Lookup),
    Certificates(Certificates),
    Page(Page),
}

#[tokio::main]
async fn main() -> ExitCode {
    take_all_descriptors();
    match run(&Arguments::parse().command).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(EXIT_LOST),
        Err(words) => {
            let _ = writeln!(stderr(), "loadgen: {words}");
            ExitCode::from(EXIT_TROUBLE)
        }
    }
}

/// How much was lost.
async fn run(command: &Command) -> Result<usize, String> {
    match command {
        Command::Rate(rate) => rate.run().await,
        Command::Logins(logins) => logins.run().await,
        Command::Hold(hold) => hold.run().await,
        Command::Bulk(bulk) => bulk.run().await,
        Command::Noop(noop) => noop.run().await,
        Command::Soak(soak) => soak.run().await,
        Command::Node(node) => node.run().await.map(|()| 0),
        Command::Lookup(lookup) => lookup.run().await.map(|()| 0),
        Command::Certificates(certificates) => certificates.run().map(|()| 0),
        Command::Page(page) => page.run().map(|()| 0),
    }
}

/// As many connections as the system allows.
fn take_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
