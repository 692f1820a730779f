//! Settings → parts, as far as that can fail: certificates, authorities, the directory, sockets. Nothing of it is in use
//! before all of it is there, so that whatever fails changes nothing.
//!
//! A part is taken over from what runs where neither its settings nor its files have changed: sockets stay open, the
//! cache stays warm, and tickets for TLS sessions stay good.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::StartError;
use super::files::Prints;
use crate::admin;
use crate::config::Settings;
use crate::config::diff::pair_listeners;
use crate::directory::{Directory, SourceSettings};
use crate::names::{IslandName, Protocol};
use crate::net::listen::Passed;
use crate::net::tls::{self, CertificateFiles};
use crate::net::workers::Workers;
use crate::routing::{Island, NodeTls};
use crate::server::{Listener, ListenerSettings, ListenerTls};

/// What a running configuration was made of, for the next one.
pub(super) struct Made {
    pub(super) settings: Settings,
    pub(super) prints: Prints,
    /// TLS of each listener, in the order of the configuration.
    pub(super) tls: Vec<Option<Arc<ServerConfig>>>,
    pub(super) node_tls: HashMap<IslandName, Arc<ClientConfig>>,
    pub(super) directory: Directory,
    /// Of the operators' address.
    pub(super) keys: admin::Keys,
    /// The files of certificates, and when the first of each expires, in seconds since 1970.
    pub(super) expiries: Vec<(PathBuf, i64)>,
}

/// All that can fail, done.
pub(super) struct Parts {
    pub(super) made: Made,
    /// In the order of the configuration.
    pub(super) sockets: Vec<Socket>,
    /// Whether the directory is another one than before.
    pub(super) is_other_directory: bool,
}

/// A listener's socket.
pub(super) enum Socket {
    /// It is open already, at this place of the old configuration.
    Kept(usize),
    /// It was bound for this.
    New(Box<Listener>),
}

/// Prepares everything. Listeners take their sockets from those that were `passed`, where there is one for them. Blocks
/// while it reads files; must be called inside a tokio runtime.
pub(super) fn prepare(
    settings: Settings,
    old: Option<&Made>,
    passed: &mut Passed,
    workers: &Workers,
) -> Result<Parts, StartError> {
    // Before anything is read: what changes meanwhile is seen by the next look.
    let prints = Prints::take(&settings);
    let new = New { settings: &settings, prints: &prints, old };
    let pairs = pair_listeners(old.map_or(&[], |old| &old.settings.listeners), &settings.listeners);
    let server_tls = settings.listeners.iter().zip(&pairs).map(|(it, pair)| new.server_tls(it, *pair));
    let server_tls = server_tls.collect::<Result<Vec<_>, _>>()?;
    let mut roots = Roots::default();
    let mut node_tls = HashMap::new();
    for island in settings.islands.iter().filter(|island| island.tls != NodeTls::Off) {
        node_tls.insert(island.name.clone(), new.node_tls(island, &mut roots)?);
    }
    let (directory, is_other_directory) = new.directory(&mut roots)?;
    let keys = new.keys()?;
    let mut sockets = Vec::new();
    for (number, ((it, tls), pair)) in settings.listeners.iter().zip(&server_tls).zip(pairs).enumerate() {
        sockets.push(match pair {
            Some(place) => Socket::Kept(place),
            None => {
                let bound = Listener::open(it, tls.as_ref(), passed, workers.place(number));
                Socket::New(Box::new(bound.map_err(|reason| StartError::Bind { address: it.address, reason })?))
            }
        });
    }
    // Read once more: whoever replaces a file in between has it read again by the next look at the files.
    let expires = |it: &CertificateFiles| Some((it.chain.clone(), tls::expires_at(it)?));
    let expiries = certificates(&settings).filter_map(expires).collect::<BTreeMap<_, _>>().into_iter().collect();
    let made = Made { settings, prints, tls: server_tls, node_tls, directory, keys, expiries };
    Ok(Parts { made, sockets, is_other_directory })
}

/// Those that are shown to somebody, clients or operators.
fn certificates(settings: &Settings) -> impl Iterator<Item = &CertificateFiles> {
    let admin = Some(&settings.admin).filter(|admin| admin.address.is_some() && admin.tls);
    let own = admin.and_then(|admin| admin.certificate.as_ref());
    settings.tls.iter().flat_map(|tls| &tls.certificates).chain(own)
}

/// What is to come, beside what runs.
struct New<'a> {
    settings: &'a Settings,
    prints: &'a Prints,
    old: Option<&'a Made>,
}

impl New<'_> {
    /// Whether this file is the one that was read for what runs.
    fn is_unchanged(&self, path: Option<&Path>) -> bool {
        self.old.is_some_and(|old| self.prints.agree(&old.prints, path))
    }

    /// TLS towards the clients of one listener. Protocols have the names that they have in ALPN.
    fn server_tls(
        &self,
        listener: &ListenerSettings,
        pair: Option<usize>,
    ) -> Result<Option<Arc<ServerConfig>>, StartError> {
        let Some(tls) = self.settings.tls.as_ref().filter(|_| listener.tls != ListenerTls::Off) else {
            return Ok(None);
        };
        let files = tls.certificates.iter().flat_map(|it| [&it.chain, &it.key]).chain(&listener.client_ca);
        let is_unchanged = self.old.is_some_and(|old| {
            let before = pair.and_then(|place| old.settings.listeners.get(place));
            let is_same = |before: &ListenerSettings| {
                before.protocol == listener.protocol && before.client_ca == listener.client_ca
            };
            old.settings.tls.as_ref() == Some(tls) && before.is_some_and(is_same)
        });
        if is_unchanged && files.into_iter().all(|path| self.is_unchanged(Some(path))) {
            let known = self.old.zip(pair).and_then(|(old, place)| old.tls.get(place)).and_then(Option::as_ref);
            if let Some(known) = known {
                return Ok(Some(Arc::clone(known)));
            }
        }
        let protocol = match listener.protocol {
            Protocol::Imap => &b"imap"[..],
            Protocol::Pop3 => b"pop3",
        };
        Ok(Some(tls::server_config(tls, protocol, listener.client_ca.as_deref())?))
    }

    /// TLS towards the nodes of one island.
    fn node_tls(&self, island: &Island, roots: &mut Roots) -> Result<Arc<ClientConfig>, StartError> {
        let before = self.old.and_then(|old| {
            let before = old.settings.islands.iter().find(|before| before.name == island.name)?;
            old.node_tls.get(&island.name).filter(|_| before.ca == island.ca)
        });
        match before.filter(|_| self.is_unchanged(island.ca.as_deref())) {
            Some(known) => Ok(Arc::clone(known)),
            None => roots.client_config(island.ca.as_ref()),
        }
    }

    /// What operators find behind their address. Read anew each time: tickets of theirs are few.
    fn keys(&self) -> Result<admin::Keys, StartError> {
        let admin = &self.settings.admin;
        if admin.address.is_none() {
            return Ok(admin::Keys::default());
        }
        let tokens = admin::Tokens::load(admin.operator_token_file.as_deref(), admin.read_only_token_file.as_deref())?;
        let own = admin.certificate.as_ref().map(|files| {
            let min_version = self.settings.tls.as_ref().map_or(tls::Version::Tls12, |tls| tls.min_version);
            tls::ServerSettings { certificates: vec![files.clone()], min_version }
        });
        let tls = match own.as_ref().or(self.settings.tls.as_ref()).filter(|_| admin.tls) {
            Some(settings) => Some(tls::server_config(settings, b"http/1.1", None)?),
            // The listeners do without, and the address is as it was until the next start.
            None if admin.tls => self.old.and_then(|old| old.keys.tls.clone()),
            None => None,
        };
        Ok(admin::Keys { tls, tokens })
    }

    /// The directory, and whether it is another one. Its cache is kept as long as the routes come from the same source.
    fn directory(&self, roots: &mut Roots) -> Result<(Directory, bool), StartError> {
        let settings = &self.settings.directory;
        let ca = match &settings.source {
            SourceSettings::Ldap(ldap) => ldap.ca.as_deref(),
            SourceSettings::File(_) => None,
        };
        let same_source = self.old.filter(|old| old.settings.directory.source == settings.source);
        match same_source {
            Some(old) if old.settings.directory == *settings && self.is_unchanged(ca) => {
                Ok((old.directory.clone(), false))
            }
            Some(old) => Ok((old.directory.succeed(settings, directory_tls(self.settings, roots)?)?, true)),
            None => Ok((directory(self.settings, roots)?, true)),
        }
    }
}

/// The directory alone, for asking it where a user would go.
///
/// # Errors
/// Its certificate authorities or its file cannot be used.
pub fn open_directory(settings: &Settings) -> Result<Directory, StartError> {
    directory(settings, &mut Roots::default())
}

fn directory(settings: &Settings, roots: &mut Roots) -> Result<Directory, StartError> {
    let tls = directory_tls(settings, roots)?;
    Ok(Directory::new(&settings.directory, tls)?)
}

fn directory_tls(settings: &Settings, roots: &mut Roots) -> Result<Option<Arc<ClientConfig>>, StartError> {
    match &settings.directory.source {
        SourceSettings::Ldap(ldap) if ldap.urls.iter().any(|url| ldap.uses_tls(url)) => {
            Ok(Some(roots.client_config(ldap.ca.as_ref())?))
        }
        SourceSettings::Ldap(_) | SourceSettings::File(_) => Ok(None),
    }
}

/// TLS configurations by the file of their authorities, so that each file is loaded once.
#[derive(Default)]
struct Roots(HashMap<Option<PathBuf>, Arc<ClientConfig>>);

impl Roots {
    fn client_config(&mut self, ca: Option<&PathBuf>) -> Result<Arc<ClientConfig>, StartError> {
        if let Some(known) = self.0.get(&ca.cloned()) {
            return Ok(Arc::clone(known));
        }
        let roots: RootCertStore = match ca {
            Some(path) => tls::load_roots(path)?,
            None => tls::system_roots()?,
        };
        let config = tls::client_config(roots)?;
        self.0.insert(ca.cloned(), Arc::clone(&config));
        Ok(config)
    }
}
