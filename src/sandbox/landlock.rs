//! Files by Landlock (landlock(7), Linux 5.13 and later): written below a few folders, executed nowhere.
//!
//! Only what is named in [`handled`] is ever denied. Reading is not: the next configuration may have its files
//! elsewhere, and modes guard secrets. Neither are sockets: TCP goes wherever nodes are, and the resolver of the C
//! library and the journal have theirs in the file system.

use std::path::PathBuf;

use landlock::{
    AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, make_bitflags,
};

use super::Files;

/// What is denied where no folder allows it. Older kernels do not know all of it, and deny what they know.
fn handled() -> BitFlags<AccessFs> {
    let elsewhere = make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock | MakeSym | MakeFifo | Refer | IoctlDev});
    elsewhere | within()
}

/// What is allowed within a folder: to write, make, rename and remove files and the sockets of commands.
fn within() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeSock | RemoveFile | MakeDir | RemoveDir})
}

/// For the calling thread, and those that it will start.
pub(super) fn restrict(folders: &[PathBuf]) -> Files {
    try_restrict(folders).unwrap_or_else(|error| Files::Unrestricted(error.to_string()))
}

fn try_restrict(folders: &[PathBuf]) -> Result<Files, RulesetError> {
    let mut ruleset = Ruleset::default().handle_access(handled())?.create()?;
    let (mut open, mut absent) = (Vec::new(), Vec::new());
    for folder in folders {
        // What is not there yet, or is no folder, or not ours to see: nothing was ever to be written there.
        match PathFd::new(folder).ok().filter(|_| folder.is_dir()) {
            Some(it) => {
                ruleset = ruleset.add_rule(PathBeneath::new(it, within()))?;
                open.push(folder.clone());
            }
            None => absent.push(folder.clone()),
        }
    }
    Ok(match ruleset.restrict_self()?.landlock {
        LandlockStatus::Available { effective_abi, .. } => {
            Files::Restricted { abi: effective_abi.to_string(), folders: open, absent }
        }
        LandlockStatus::NotEnabled => Files::Unrestricted("Landlock is off in this kernel".to_owned()),
        LandlockStatus::NotImplemented => Files::Unrestricted("this kernel has no Landlock".to_owned()),
    })
}
