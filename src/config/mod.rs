//! proxy.toml → settings: the only part that knows how the operator spells them.
//!
//! [`load`] reads the file and looks into the files that it names, [`parse`] takes text and touches nothing. Both say
//! everything that is wrong at once, with places and remedies ([`Report`]); neither ever returns settings that hold a
//! contradiction. The way of the text: `document` reads TOML section by section, `server`, `admin`, `listener`, `usernames`,
//! `limits`, `directory` and `island` (with `probe` and `node`) turn sections into the settings of the parts that own
//! them, `files` looks at the disk. Keys, defaults and limits stand in [`mod@reference`] and nowhere else.

mod admin;
pub mod diff;
mod directory;
mod document;
mod files;
mod island;
mod limits;
mod listener;
mod node;
mod probe;
pub mod reference;
mod report;
mod server;
mod suggest;
mod syntax;
mod usernames;
mod value;
mod warnings;

use std::io::Read as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use report::{Place, Report};
pub use warnings::warnings;

use crate::names::ZoneName;
use crate::{
    admin as admins, directory as directories, limits as counts, logging, net, privileges, routing,
    server as listeners, session,
};
use document::Notes;
use files::NamedFile;
use report::Problem;

/// Largest configuration file, in octets.
const MAX_LEN: u64 = 1024 * 1024;

/// Everything that the file says, each part in the words of the module that uses it.
///
/// It exists only without contradictions: every listener with TLS has a certificate, every island has a node in service, no
/// spelling means two islands, no two listeners want one address. Paths are as they will be opened: what was relative
/// in the file is relative to the file's folder. It holds no secrets, only the names of files with secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Shared by all sessions.
    pub session: session::Settings,
    /// How much is too much.
    pub limits: counts::Settings,
    /// The operator's way in.
    pub admin: admins::Settings,
    /// The log.
    pub log: logging::Settings,
    /// TLS towards clients; absent when no listener uses it.
    pub tls: Option<net::tls::ServerSettings>,
    /// At least one.
    pub listeners: Vec<listeners::ListenerSettings>,
    /// Where routes come from.
    pub directory: directories::Settings,
    /// At least one.
    pub islands: Vec<routing::Island>,
    /// Who this mailferry is.
    pub privileges: privileges::Settings,
    /// Whether it shuts itself in, as far as the kernel lets it.
    pub sandbox: bool,
    /// Threads that serve sessions; `None`: as many as there are processors.
    pub threads: Option<NonZeroU32>,
    /// Where this mailferry stands.
    pub zone: Option<ZoneName>,
    /// How often the names of nodes are looked up.
    pub resolve_interval: Duration,
    /// How it stops.
    pub stop: session::StopSettings,
}

impl Settings {
    /// The folders of all files that mailferry writes: nothing else can be written once it has shut itself in. Whoever
    /// adds a file or a socket that it makes adds it here.
    pub fn written_folders(&self) -> Vec<PathBuf> {
        let socket = self.admin.socket.as_ref().map(|socket| socket.path.as_path());
        let files = [self.directory.cache.file.as_deref(), socket, Some(self.admin.state_file.as_path())];
        let mut folders = Vec::new();
        for folder in files.into_iter().flatten().filter_map(Path::parent) {
            // A name without a folder is in the current one.
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if !folders.iter().any(|known| known == folder) {
                folders.push(folder.to_owned());
            }
        }
        folders
    }
}

/// Reads a configuration file, and looks into the files that it names: certificates and keys load and match,
/// authorities are there and parse, the password can be used, the routes can be read and lead to islands. The user is one. Blocks while
/// it reads.
///
/// # Errors
///
/// Everything that is wrong, not only the first thing.
pub fn load(path: &Path) -> Result<Settings, Report> {
    let name = path.display().to_string();
    let octets = read_file(path).map_err(|error| Report::unreadable(&name, &error))?;
    let text = String::from_utf8(octets).map_err(|error| syntax::not_utf8(&name, &error))?;
    let (settings, mut problems, files) = read(&name, &text);
    problems.extend(files::check(&files));
    finish(&name, &text, settings, problems)
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    // Before it is opened, because opening a pipe would wait.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut octets = Vec::new();
    std::fs::File::open(path)?.take(MAX_LEN + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > MAX_LEN {
        return Err(std::io::Error::other(format!("larger than {MAX_LEN} octets")));
    }
    Ok(octets)
}

/// Parses the text of a configuration file, and touches no file. `name` stands before each problem, and its folder is
/// what relative paths are relative to.
///
/// # Errors
///
/// Everything that is wrong, not only the first thing.
pub fn parse(name: &str, text: &str) -> Result<Settings, Report> {
    let (settings, problems, _) = read(name, text);
    finish(name, text, settings, problems)
}

/// What a text says of the operator's way in, whatever else is wrong with it, and what it says by default where nothing of
/// that can be made out. `None`: just that is wrong. Touches no file.
pub fn admin(name: &str, text: &str) -> Option<admins::Settings> {
    let notes = Notes::new(name);
    let (table, _) = syntax::parse(text);
    admin::read(&table, &notes).settings
}

/// The settings are `None` only where there are problems.
fn read(name: &str, text: &str) -> (Option<Settings>, Vec<Problem>, Vec<NamedFile>) {
    let notes = Notes::new(name);
    let (table, syntax) = syntax::parse(text);
    let broken = !syntax.iter().all(|error| error.is_local);
    let settings = if broken { None } else { resolve(&table, &notes) };
    let (mut problems, files) = notes.into_parts();
    // What a misspelt value makes of its line is already said.
    problems.retain(|problem| !syntax.iter().any(|error| error.same_line(text, problem)));
    problems.extend(syntax.into_iter().map(|error| error.problem));
    (settings, problems, files)
}

fn resolve(table: &toml::de::DeTable<'_>, notes: &Notes) -> Option<Settings> {
    document::check_top(table, notes);
    let server = server::read(table, notes);
    let admin = admin::read(table, notes);
    let log = listener::log(table, notes);
    let listeners = listener::listeners(table, notes);
    listener::keep_off(&listeners, admin.address.as_ref(), notes);
    let tls = listener::tls(table, notes, &listeners, admin.may_use_listeners_tls);
    let usernames = usernames::read(table, notes, &listeners.domains);
    let limits = limits::read(table, notes, server.as_ref());
    let islands = island::read(table, notes, server.as_ref().map(|server| &server.login_timeout));
    let directory = directory::read(table, notes, islands.spellings);
    let server = server?;
    let (zone, resolve_interval) = (server.zone.clone(), server.resolve_interval);
    let (privileges, sandbox, stop) = (server.privileges.clone(), server.sandbox, server.stop.clone());
    let threads = server.threads;
    Some(Settings {
        session: server.session(usernames?),
        limits: limits?,
        admin: admin.settings?,
        log: log?,
        tls: tls?,
        listeners: listeners.settings?,
        directory: directory?,
        islands: islands.settings?,
        privileges,
        sandbox,
        threads,
        zone,
        resolve_interval,
        stop,
    })
}

fn finish(name: &str, text: &str, settings: Option<Settings>, problems: Vec<Problem>) -> Result<Settings, Report> {
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(Report::new(name, text, problems)),
    }
}

/// Asserts that no text is too strange to be judged: there are settings, or problems with places inside the text.
#[cfg(feature = "testkit")]
pub fn parsing_is_sound(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let Err(report) = parse("proxy.toml", text) else { return };
    assert!(report.problems().count() > 0, "no settings, and no reason");
    let lines: Vec<usize> = text.split('\n').map(|line| line.chars().count()).collect();
    for (Place { line, column }, message, _) in report.problems() {
        let length = lines.get(line - 1).copied();
        assert!(length.is_some_and(|length| column <= length + 1), "{line}:{column} is not in the text: {message}");
        assert!(!message.is_empty(), "{line}:{column}: a problem without words");
    }
    assert!(report.render(true).len() >= report.render(false).len());
}
