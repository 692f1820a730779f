//! `mailferry import`: a file in, proxy.toml to standard output, what was not understood to standard error.

use std::fs::File;
use std::io::{Read, Write, stderr, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::{MAX_LEN, Service};

/// EX_DATAERR of sysexits.h: the file, or a line of it, was not understood.
pub const EXIT_NOT_UNDERSTOOD: u8 = 65;

/// EX_NOINPUT of sysexits.h: the file could not be read.
pub const EXIT_UNREADABLE: u8 = 66;

/// Whose configuration.
#[derive(Debug, Subcommand)]
pub enum Proxy {
    /// Perdition's perdition.conf, of version 2.2 and before.
    ///
    /// Prints a proxy.toml with a line for each option: keys that say the same, or a comment with the reason why there
    /// are none. Lines with `judge:` wait for a decision of yours. Passwords are never printed.
    ///
    /// The result begins to work when its islands are those that your map names: Perdition's map names a host for each
    /// user, mailferry's directory names an island, which is one host or several with the same mail. Then `mailferry
    /// check` should find no problem, and `mailferry route USER` show what you expect.
    ///
    /// Lines are read as Perdition reads them, with long and short options; `--option=value` is read too.
    /// docs/migrating.md has every option in a table.
    ///
    /// Exit codes: 0 every line was understood, 65 some were not (the others are printed, these are reported with file
    /// and line) or the file is no text, 66 the file cannot be read.
    #[command(after_help = EXAMPLES)]
    Perdition {
        /// The file; `-` for standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// What Perdition's processes were started as. Without it: what the file says, or the file's name, as in
        /// perdition.imap4s.conf, or all that mailferry can take over.
        #[arg(short, long, value_name = "PROTOCOL", value_delimiter = ',')]
        protocol: Vec<Service>,
    },
}

const EXAMPLES: &str = "\
Examples:
  mailferry import perdition /etc/perdition/perdition.conf > proxy.toml
  grep 'judge:' proxy.toml
  mailferry import perdition --protocol imap4s,pop3s perdition.conf > proxy.toml
  printf '%s\\n' --map_library= --outgoing_server=10.1.0.11 | mailferry import perdition -";

/// Does what the command line asks for, and says with which code the process ends.
pub fn run(proxy: &Proxy) -> ExitCode {
    let Proxy::Perdition { file, protocol } = proxy;
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let octets = match read(file) {
        Ok(octets) => octets,
        Err(error) => {
            complain(&format!("{name}: cannot be read: {error}"));
            return ExitCode::from(EXIT_UNREADABLE);
        }
    };
    let of_file = file.file_name().and_then(|name| name.to_str()).and_then(Service::of_file);
    let asked: Vec<Service> = if protocol.is_empty() { of_file.into_iter().collect() } else { protocol.clone() };
    let imported = match super::perdition(&octets, (!asked.is_empty()).then_some(&asked)) {
        Ok(imported) => imported,
        Err(error) => {
            complain(&format!("{name}: {error}"));
            return ExitCode::from(EXIT_NOT_UNDERSTOOD);
        }
    };
    // A reader that has gone away is no failure of ours.
    let _ = stdout().write_all(imported.toml.as_bytes());
    for trouble in &imported.troubles {
        complain(&format!("{name}:{}: {}", trouble.line, trouble.message));
    }
    complain(&format!("places that wait for a decision of yours (\"judge:\"): {}", imported.judgements()));
    if imported.troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_UNDERSTOOD) }
}

/// One octet more than is allowed at most.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let limit = MAX_LEN as u64 + 1;
    if file == Path::new("-") {
        stdin().take(limit).read_to_end(&mut octets)?;
    } else if std::fs::metadata(file)?.is_file() {
        File::open(file)?.take(limit).read_to_end(&mut octets)?;
    } else {
        // Before it is opened, because opening a pipe would wait.
        return Err(std::io::Error::other("not a regular file"));
    }
    Ok(octets)
}

fn complain(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}
