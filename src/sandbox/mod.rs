//! What this process may still do to the machine: write where it keeps something, start no program, ask the kernel for
//! nothing that serving mail does not need.
//!
//! As much as the kernel has, and an honest word on what it has not. It narrows what the user's rights allow and
//! replaces none of them: who may read a key is the file's mode. Nothing here is ever taken back.

#[cfg(target_os = "linux")]
mod landlock;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod seccomp;

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Files and folders.
    pub files: Files,
    /// Calls of the kernel.
    pub calls: Calls,
}

/// What may be done with files. They can all be read, as far as the user may: a new configuration may name others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// Written only here, and executed nowhere.
    Restricted {
        /// What of Landlock this kernel has and mailferry knows.
        abi: String,
        /// The folders in which, and below which, files may be written.
        folders: Vec<PathBuf>,
        /// Those that could not be opened: nothing can be written in them, also if they are made later.
        absent: Vec<PathBuf>,
    },
    /// Whatever the user may, and why it is so.
    Unrestricted(String),
}

/// What may be asked of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Calls {
    /// All but so many calls, which answer EPERM.
    Denied(usize),
    /// Whatever the user may, and why it is so.
    Unrestricted(String),
}

impl Report {
    /// Of a process that was told to do without.
    pub fn off() -> Self {
        let reason = || "sandbox = false".to_owned();
        Self { files: Files::Unrestricted(reason()), calls: Calls::Unrestricted(reason()) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "files: {}; calls: {}", self.files, self.calls)
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restricted { abi, folders, .. } if folders.is_empty() => {
                write!(f, "none is written or executed (Landlock {abi})")
            }
            Self::Restricted { abi, folders, .. } => {
                let folders: Vec<String> = folders.iter().map(|folder| format!("{folder:?}")).collect();
                write!(f, "written only below {}, none is executed (Landlock {abi})", folders.join(", "))
            }
            Self::Unrestricted(reason) => write!(f, "not restricted ({reason})"),
        }
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(count) => write!(f, "{count} are denied (seccomp)"),
            Self::Unrestricted(reason) => write!(f, "not restricted ({reason})"),
        }
    }
}

/// What the first thread of this process was given, and all that it started.
static IN_FORCE: OnceLock<Report> = OnceLock::new();

/// What is in force in this process.
pub fn in_force() -> Report {
    IN_FORCE.get().cloned().unwrap_or_else(Report::off)
}

/// Shuts the calling thread in, and those that it will start. `folders`: where files may be written.
///
/// What the kernel has not is left out, and told. It implies that no program can gain rights.
#[cfg(target_os = "linux")]
pub fn enter(folders: &[PathBuf]) -> Report {
    // In this order: the second denies nothing of the first, but may one day.
    let files = landlock::restrict(folders);
    let report = Report { files, calls: calls() };
    let _ = IN_FORCE.set(report.clone());
    report
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn calls() -> Calls {
    seccomp::restrict()
}

/// Numbers of calls differ, and nobody has looked at these.
#[cfg(all(target_os = "linux", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn calls() -> Calls {
    Calls::Unrestricted("no list of calls for this kind of processor".to_owned())
}

/// Only Linux has anything of it.
#[cfg(not(target_os = "linux"))]
pub fn enter(_: &[PathBuf]) -> Report {
    let reason = || "only Linux has a sandbox".to_owned();
    Report { files: Files::Unrestricted(reason()), calls: Calls::Unrestricted(reason()) }
}

#[cfg(test)]
mod tests;
