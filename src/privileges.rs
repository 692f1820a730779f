//! Whose rights this process has: from root to the user of the configuration, once, before it has a second thread.
//!
//! Of root's rights one is left, to listen below port 1024, because a later configuration may have such listeners.
//! Nothing here ever takes a right back, and no right is kept for what could be done before.

use std::ffi::CString;
use std::io;
use std::sync::OnceLock;

use nix::unistd::{Group, User, getgrouplist};
use rustix::process::{Gid, Uid, geteuid};

/// Who mailferry is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The user; `None` for whoever started it.
    pub user: Option<String>,
    /// The group; `None` for the user's primary one. Never without a user.
    pub group: Option<String>,
}

/// A user of this machine, as the system knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number, never 0.
    pub uid: u32,
    /// The group that it has.
    pub gid: u32,
    /// All groups that it is in, `gid` among them.
    pub groups: Vec<u32>,
}

/// Why nobody can be this user.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is none of this name.
    #[error("there is no user {0}")]
    NoUser(String),
    /// There is no such group.
    #[error("there is no group {0}")]
    NoGroup(String),
    /// It is root by another name.
    #[error("user {0} is root, who has all rights")]
    Root(String),
    /// The system could not say.
    #[error("the system does not tell about {name}: {reason}")]
    Untold {
        /// Of whom.
        name: String,
        /// The system's words.
        reason: io::Error,
    },
}

/// Why this process does not become who it is to be.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// There is nobody to become.
    #[error("{0}")]
    Account(#[from] AccountError),
    /// Only root becomes somebody else.
    #[error(
        "cannot become user {name}: started by user number {started_by}; start it as root or as {name}, or remove `user`"
    )]
    NotRoot {
        /// Who it is to be.
        name: String,
        /// Who it is.
        started_by: u32,
    },
    /// What one thread gives away, the others would keep.
    #[error("cannot give rights away: this process has {0} threads already")]
    Threads(usize),
    /// The kernel refused.
    #[error("cannot {what}: {reason}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// The system's words.
        reason: io::Error,
    },
}

/// What became of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It was root, and is this user now.
    Became(Account),
    /// It was root and still is: nobody said who else it should be.
    Root,
    /// It is who started it, and was not root.
    Unchanged,
}

impl Account {
    /// Asks the system. Blocks, where users come from the network.
    ///
    /// # Errors
    /// There is no such user or group, or it is root.
    pub fn find(user: &str, group: Option<&str>) -> Result<Self, AccountError> {
        let found = User::from_name(user).map_err(|reason| untold(user, reason))?;
        let found = found.ok_or_else(|| AccountError::NoUser(format!("{user:?}")))?;
        if found.uid.is_root() {
            return Err(AccountError::Root(format!("{user:?}")));
        }
        let gid = match group {
            None => found.gid,
            Some(name) => nix::unistd::Gid::from_raw(self::group(name)?),
        };
        // A name with a NUL is nobody's, and was not found.
        let name = CString::new(user).map_err(|_| AccountError::NoUser(format!("{user:?}")))?;
        let groups = getgrouplist(&name, gid).map_err(|reason| untold(user, reason))?;
        let groups = groups.into_iter().map(nix::unistd::Gid::as_raw).collect();
        Ok(Self { name: user.to_owned(), uid: found.uid.as_raw(), gid: gid.as_raw(), groups })
    }
}

/// A group's number. Asks the system; blocks, where groups come from the network.
///
/// # Errors
/// There is none of this name.
pub fn group(name: &str) -> Result<u32, AccountError> {
    let found = Group::from_name(name).map_err(|reason| untold(name, reason))?;
    found.map(|group| group.gid.as_raw()).ok_or_else(|| AccountError::NoGroup(format!("{name:?}")))
}

fn untold(name: &str, reason: nix::Error) -> AccountError {
    AccountError::Untold { name: format!("{name:?}"), reason: io::Error::from_raw_os_error(reason as i32) }
}

/// The number of the user that this process is.
pub fn user_number() -> u32 {
    geteuid().as_raw()
}

static BECAME: OnceLock<Account> = OnceLock::new();

/// Who this process is, by what [`become_user`] has made of it.
pub fn identity() -> Identity {
    match BECAME.get() {
        Some(account) => Identity::Became(account.clone()),
        None if geteuid().is_root() => Identity::Root,
        None => Identity::Unchanged,
    }
}

/// Makes this process the user that it is to be, in one step that is not taken back. To be called while there is one
/// thread: see [`alone`].
///
/// # Errors
/// There is no such user, this process may not become it, or the kernel refused; it may be half done then, and the
/// process should end.
pub fn become_user(settings: &Settings) -> Result<Identity, PrivilegeError> {
    let started_by = geteuid();
    let Some(user) = &settings.user else {
        return Ok(if started_by.is_root() { Identity::Root } else { Identity::Unchanged });
    };
    let account = Account::find(user, settings.group.as_deref())?;
    if started_by.is_root() {
        give_away(&account)?;
        let _ = BECAME.set(account.clone());
        Ok(Identity::Became(account))
    } else if started_by == Uid::from_raw(account.uid) {
        Ok(Identity::Unchanged)
    } else {
        Err(PrivilegeError::NotRoot { name: account.name, started_by: started_by.as_raw() })
    }
}

/// Is there one thread? What follows is the calling thread's, and of those that it will start.
///
/// # Errors
/// There are more. Where the system does not tell, there is one.
pub fn alone() -> Result<(), PrivilegeError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 { Err(PrivilegeError::Threads(threads)) } else { Ok(()) }
}

/// No program that this process could start would have more rights than it has (prctl(2), `PR_SET_NO_NEW_PRIVS`).
///
/// # Errors
/// The kernel refused.
#[cfg(target_os = "linux")]
pub fn gain_no_more() -> Result<(), PrivilegeError> {
    rustix::thread::set_no_new_privs(true).map_err(refused("do without new privileges"))
}

/// Only Linux has it.
///
/// # Errors
/// Never.
#[cfg(not(target_os = "linux"))]
pub fn gain_no_more() -> Result<(), PrivilegeError> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn give_away(account: &Account) -> Result<(), PrivilegeError> {
    use rustix::thread::{self, CapabilitySet, CapabilitySets};
    let before = thread::capabilities(None).map_err(refused("read its capabilities"))?;
    // A container's root may not have it.
    let kept = before.permitted & CapabilitySet::NET_BIND_SERVICE;
    for capability in CapabilitySet::all().iter().filter(|it| *it != CapabilitySet::NET_BIND_SERVICE) {
        // Of capabilities that the kernel does not know, and in containers that may not: a bound more, not the one
        // that counts. The sets below are.
        let _ = thread::remove_capability_from_bounding_set(capability);
    }
    thread::set_keep_capabilities(true).map_err(refused("keep a capability"))?;
    let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    // In this order: the user may change neither.
    thread::set_thread_groups(&groups).map_err(refused("set its groups"))?;
    thread::set_thread_res_gid(gid, gid, gid).map_err(refused("set its group"))?;
    thread::set_thread_res_uid(uid, uid, uid).map_err(refused("set its user"))?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    thread::set_capabilities(None, sets).map_err(refused("give up its capabilities"))?;
    thread::set_keep_capabilities(false).map_err(refused("keep no capability"))
}

#[cfg(not(target_os = "linux"))]
fn give_away(_: &Account) -> Result<(), PrivilegeError> {
    let reason = io::Error::from(io::ErrorKind::Unsupported);
    Err(PrivilegeError::Refused { what: "become another user", reason })
}

#[cfg(target_os = "linux")]
fn refused(what: &'static str) -> impl Fn(rustix::io::Errno) -> PrivilegeError {
    move |reason| PrivilegeError::Refused { what, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(user: &str) -> Settings {
        Settings { user: Some(user.to_owned()), group: None }
    }

    #[test]
    fn users_and_groups_are_the_systems() {
        let nobody = Account::find("nobody", None).unwrap();
        assert!(nobody.uid != 0 && nobody.groups.contains(&nobody.gid), "{nobody:?}");
        let in_root = Account::find("nobody", Some("root")).unwrap();
        assert!((in_root.uid, in_root.gid) == (nobody.uid, 0) && in_root.groups.contains(&0), "{in_root:?}");
        for (user, group, said) in [
            ("no-such", None, "there is no user \"no-such\""),
            ("a\nb", None, "there is no user \"a\\nb\""),
            ("a\0b", None, "there is no user \"a\\0b\""),
            ("nobody", Some("no-such"), "there is no group \"no-such\""),
            ("root", None, "user \"root\" is root, who has all rights"),
        ] {
            assert_eq!(Account::find(user, group).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn a_test_has_other_threads_and_must_not_give_rights_away() {
        std::thread::scope(|scope| {
            let (end, ended) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || ended.recv());
            assert!(matches!(alone(), Err(PrivilegeError::Threads(2..))));
            drop(end);
        });
    }

    /// In a thread of its own: on Linux, rights are a thread's.
    #[test]
    fn root_becomes_the_user_and_nobody_else_does() {
        let was_root = geteuid().is_root();
        let became = std::thread::spawn(|| {
            let became = become_user(&settings("nobody"));
            let again = become_user(&settings("nobody"));
            // Nobody is root any more, and cannot become anybody.
            let said = become_user(&settings("daemon")).unwrap_err().to_string();
            assert!(said.starts_with("cannot become user daemon: started by user number "), "{said}");
            (became, again, geteuid().as_raw(), rustix::thread::capabilities(None).unwrap())
        });
        let (became, again, uid, capabilities) = became.join().unwrap();
        let nobody = Account::find("nobody", None).unwrap();
        if was_root {
            assert_eq!(became.unwrap(), Identity::Became(nobody.clone()));
            let only = rustix::thread::CapabilitySet::NET_BIND_SERVICE;
            assert_eq!((capabilities.effective, capabilities.permitted), (only, only));
        }
        if was_root || uid == nobody.uid {
            assert_eq!((again.unwrap(), uid), (Identity::Unchanged, nobody.uid));
        } else {
            let said = again.unwrap_err().to_string();
            assert!(said.contains(&format!("started by user number {uid};")), "{said}");
        }
        let still = if was_root { Identity::Root } else { Identity::Unchanged };
        assert_eq!(become_user(&Settings::default()).unwrap(), still, "the other threads");
    }
}
