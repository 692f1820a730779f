//! User → route: which island a user belongs to, and the name to log in with there.
//!
//! Answers are four and never mixed up: found, not found, ambiguous, unavailable. The two sources ([`ldap`],
//! [`mod@file`]) stand behind one [`cache`]. This part knows users and islands' names, but neither nodes nor protocols.
//! A failed lookup never becomes a route: there is no default island.

pub mod cache;
pub mod file;
mod keep;
pub mod ldap;
pub mod snapshot;
pub mod template;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use self::cache::{Answer, Cache};
use self::ldap::Patience;
use crate::drain::Drain;
use crate::metrics;
use crate::names::{IslandName, UserName};

/// The directory behind its cache. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Directory {
    cache: Cache,
    source: Arc<Source>,
    /// Where routes are kept over a restart; `None` also where that file is somebody else's.
    file: Option<Arc<Path>>,
}

enum Source {
    Ldap(ldap::Ldap),
    File(file::File),
    #[cfg(feature = "testkit")]
    Script(Script),
}

/// What a test wants the directory to say.
#[cfg(feature = "testkit")]
type Script = Box<dyn Fn(UserName) -> ScriptFuture + Send + Sync>;

/// What one question to a scripted directory comes to. It may take as long as it likes: clocks may be paused.
#[cfg(feature = "testkit")]
pub type ScriptFuture = Pin<Box<dyn Future<Output = Result<Route, LookupError>> + Send>>;

/// Why there is no directory. The texts are for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// The file cannot be read, or has bad lines: all of them are told.
    #[error(transparent)]
    File(#[from] file::FileError),
    /// Nothing to ask.
    #[error("no LDAP server: give at least one URL")]
    NoServers,
    /// A URL wants TLS, and whoever built the directory gave none.
    #[error("{0} needs TLS, which is not configured")]
    TlsMissing(String),
    /// The certificate could not be verified.
    #[error("{0}: TLS to an IPv6 address is not supported: write the name that its certificate has")]
    TlsToIpv6(String),
}

impl Directory {
    /// Must be called inside a tokio runtime.
    ///
    /// Reads the file, or prepares for the LDAP servers without connecting to them; then reads the routes that were
    /// kept over a restart, which blocks for about a second for a million of them. `tls` serves `ldaps://` and
    /// StartTLS; it may be absent where [`ldap::Settings::uses_tls`] is false for all URLs.
    ///
    /// # Errors
    /// When the settings cannot work, whatever the servers do. A server that is down is no error.
    pub fn new(settings: &Settings, tls: Option<Arc<ClientConfig>>) -> Result<Self, DirectoryError> {
        let source = match &settings.source {
            SourceSettings::Ldap(ldap) => Source::Ldap(ldap::Ldap::new(ldap, tls.as_ref(), None)?),
            SourceSettings::File(file) => Source::File(file::File::new(file)?),
        };
        Ok(Self::over(source, &settings.cache))
    }

    /// The same routes with another configuration: what the cache holds stays, whichever of its settings change, and also
    /// where the authorities for TLS do. Reads no routes that were kept, but looks whether they may be kept in another
    /// file. Blocks, for about a second where a million routes go into a cache of another capacity.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn succeed(&self, settings: &Settings, tls: Option<Arc<ClientConfig>>) -> Result<Self, DirectoryError> {
        let source = match &settings.source {
            SourceSettings::Ldap(ldap) => {
                let old = if let Source::Ldap(old) = &*self.source { Some(old) } else { None };
                Arc::new(Source::Ldap(ldap::Ldap::new(ldap, tls.as_ref(), old)?))
            }
            SourceSettings::File(_) => Arc::clone(&self.source),
        };
        let file = settings.cache.file.as_deref();
        let file = match (file, &self.file) {
            (Some(file), Some(old)) if *file == **old => self.file.clone(),
            (file, _) => file.filter(|path| keep::may_be_kept_in(path)).map(Arc::from),
        };
        Ok(Self { cache: self.cache.succeed(&settings.cache), source, file })
    }

    fn over(source: Source, settings: &cache::Settings) -> Self {
        let cache = Cache::new(settings);
        let file = settings.file.as_deref().filter(|path| keep::restore(&cache, path)).map(Arc::from);
        Self { cache, source: Arc::new(source), file }
    }

    /// A directory whose answers a test gives, behind the real cache. Opens no socket. Named `script` in answers.
    #[cfg(feature = "testkit")]
    pub fn scripted(
        cache: &cache::Settings,
        answer: impl Fn(UserName) -> ScriptFuture + Send + Sync + 'static,
    ) -> Self {
        Self::over(Source::Script(Box::new(answer)), cache)
    }

    /// The user's route, from the cache where it is fresh there; it is looked up in the runtime inside which the directory was
    /// made. Dropping the future
    /// does not cancel the lookup, whose answer serves others. Takes `connect_timeout` + twice `timeout` for each LDAP
    /// server that is in service, at most; with none that answers, twice as long for the trial of one and its answer.
    ///
    /// # Errors
    /// See [`LookupError`]; never mixed up.
    pub async fn locate(&self, user: &UserName) -> Result<Located, LookupError> {
        let edition = self.edition().await;
        if let Some(known) = self.cache.believed(user, edition).await {
            return known;
        }
        // Elsewhere: most logins have no use for the room that it takes.
        Box::pin(self.cache.ask_for(user, edition, self.asking(user, Wanted::Route))).await
    }

    /// The user's route as the directory says it now, for a login that was refused on a route from the cache: has the
    /// user been moved? What it says replaces what the cache has, unless the directory is in trouble. One question for
    /// all who ask at once; an answer of the last second to such a question is given again, as [`Found::Cached`]. `None` where more
    /// than 50 such questions a second are asked, of all users together: then the directory is not asked, because
    /// guessed passwords must not flood it. Takes as long as [`Self::locate`], and cannot be cancelled either.
    ///
    /// # Errors
    /// See [`LookupError`]. An old route is never given: a directory that is unavailable is an error.
    pub async fn locate_afresh(&self, user: &UserName) -> Option<Result<Located, LookupError>> {
        self.cache.locate_afresh(user, self.edition().await, self.asking(user, Wanted::News)).await
    }

    /// Keeps the routes over a restart: writes them every minute if any has changed, and once more when the signal
    /// comes, for which stopping waits. To be run as a task of its own; returns at once where no file is set, or one
    /// that is not mailferry's own. The next start reads what was written as old routes: they serve while the directory is unavailable.
    pub async fn keep(self, drain: Drain) {
        if let Some(path) = self.file {
            keep::keep(self.cache, path, drain).await;
        }
    }

    /// What is known of its servers, in their order; of a file, that it is one.
    pub fn servers(&self) -> Vec<Server> {
        match &*self.source {
            Source::Ldap(ldap) => ldap.servers(),
            Source::File(file) => vec![Server { name: file.name(), out: None }],
            #[cfg(feature = "testkit")]
            Source::Script(_) => Vec::new(),
        }
    }

    /// What is counted of its LDAP servers, in their order.
    pub fn tallies(&self) -> Vec<(Arc<str>, Arc<metrics::DirectoryServer>)> {
        match &*self.source {
            Source::Ldap(ldap) => ldap.tallies(),
            Source::File(_) => Vec::new(),
            #[cfg(feature = "testkit")]
            Source::Script(_) => Vec::new(),
        }
    }

    /// What is counted of its cache.
    pub fn tally(&self) -> &metrics::Cache {
        self.cache.tally()
    }

    /// Users in the cache now, and most of them.
    pub async fn cached(&self) -> (u64, u64) {
        self.cache.filling().await
    }

    /// Look-ups of the last minute, doubts not counted, and those of them that the cache answered by itself; both without
    /// the running second.
    pub fn lately(&self) -> (u64, u64) {
        self.cache.lately()
    }

    /// Forgets what the cache has of a user, or of all. Says whether there was anything.
    pub async fn flush(&self, user: Option<&UserName>) -> bool {
        self.cache.flush(user).await
    }

    /// All names in the cache that lead to one mailbox, by its name on the nodes: those for which the directory says this
    /// login. Looks at the whole cache, some tenths of a second for a million routes, in a thread that may block.
    pub async fn names_of(&self, login: &UserName) -> Vec<UserName> {
        let (cache, login) = (self.cache.clone(), login.clone());
        tokio::task::spawn_blocking(move || cache.names_of(&login)).await.unwrap_or_default()
    }

    /// Which edition of the source the cache's answers must be of.
    async fn edition(&self) -> u64 {
        match &*self.source {
            Source::Ldap(_) => 0,
            #[cfg(feature = "testkit")]
            Source::Script(_) => 0,
            Source::File(file) => file.edition().await,
        }
    }

    fn asking(&self, user: &UserName, wanted: Wanted) -> impl FnOnce() -> AskFuture + Send + use<> {
        let (cache, source, user) = (self.cache.clone(), Arc::clone(&self.source), user.clone());
        move || {
            Box::pin(async move {
                match &*source {
                    Source::Ldap(ldap) => {
                        let patience = match wanted {
                            Wanted::Route if !cache.has_old_route(&user).await => Patience::ForTrials,
                            Wanted::Route | Wanted::News => Patience::None,
                        };
                        ldap.ask(&user, patience).await
                    }
                    Source::File(file) => file.ask(&user).await,
                    #[cfg(feature = "testkit")]
                    Source::Script(answer) => answer(user).await.map(|route| (route, Arc::from("script"))),
                }
            })
        }
    }
}

/// One place that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The URL, or the file.
    pub name: Arc<str>,
    /// Why it is out of service, if it is.
    pub out: Option<Arc<str>>,
}

/// What a look-up is for.
#[derive(Clone, Copy)]
enum Wanted {
    /// A route, if need be an old one.
    Route,
    /// Has it changed? There is a route already.
    News,
}

type AskFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Where routes come from and how long they are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The directory itself.
    pub source: SourceSettings,
    /// The cache in front of it.
    pub cache: cache::Settings,
}

/// The kinds of directory.
#[expect(clippy::large_enum_variant, reason = "there is one of it in the whole program")]
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSettings {
    /// LDAP servers (RFC 4511).
    Ldap(ldap::Settings),
    /// A text file.
    File(file::Settings),
}

/// What the directory says of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The user's island, in the directory's spelling.
    pub island: IslandName,
    /// The name to log in with on the node, where it is not the one that the client typed.
    pub login: Option<UserName>,
}

/// A route and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The route.
    pub route: Route,
    /// Where it came from.
    pub found: Found,
}

/// Where a route came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Asked for this login; the text names the server or file that answered.
    Asked(Arc<str>),
    /// From the cache, within its lifetime.
    Cached {
        /// Since the directory said so.
        age: Duration,
    },
    /// From the cache beyond its lifetime, because the directory is unavailable.
    Stale {
        /// Since the directory said so.
        age: Duration,
    },
}

/// Why there is no route. The texts are for the operator's log, never for a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The directory answered, and knows no such user.
    #[error("no such user")]
    NotFound,
    /// The directory answered, but not with exactly one island: an operator's error in the data.
    #[error("the directory's answer is ambiguous: {0}")]
    Ambiguous(Arc<str>),
    /// No server answered, or the file cannot be read.
    #[error("the directory is unavailable: {0}")]
    Unavailable(Arc<str>),
}

#[cfg(test)]
mod tests;
