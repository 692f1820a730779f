//! `[island.probe]`: how nodes are checked.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeTable;

use super::document::{Notes, Section};
use super::files::NamedFile;
use super::reference::PROBE;
use super::value;
use crate::names::UserName;
use crate::routing::{Check, Probe};

/// How far a probe goes.
#[derive(Clone, Copy)]
enum Depth {
    Greeting,
    Command,
    Login,
}

pub(super) fn read(island: &DeTable<'_>, notes: &Notes) -> Option<Probe> {
    let probe = Section::one(island, &PROBE, notes)?;
    let depths = [("greeting", Depth::Greeting), ("command", Depth::Command), ("login", Depth::Login)];
    let depth = probe.choice("check", &depths);
    let user = probe.parsed("user", value::user_name);
    let password_file = probe.path("password_file");
    let interval = probe.duration("interval");
    let timeout = probe.duration("timeout");
    let (fall, rise) = (count(&probe, "fall"), count(&probe, "rise"));
    let depth = depth?;
    let check = match depth.get_ref() {
        Depth::Greeting => refuse_login(&probe).then_some(Check::Greeting),
        Depth::Command => refuse_login(&probe).then_some(Check::Command),
        Depth::Login => login(&probe, &depth, user, password_file),
    };
    let (interval, timeout) = (interval?.into_inner(), timeout?.into_inner());
    Some(Probe { check: check?, interval, timeout, fall: fall?, rise: rise? })
}

/// A login needs a name and a password.
fn login(
    probe: &Section<'_>,
    depth: &Spanned<Depth>,
    user: Option<Spanned<UserName>>,
    password_file: Option<Spanned<PathBuf>>,
) -> Option<Check> {
    for (name, example) in [("user", "mailferry-probe"), ("password_file", "/etc/mailferry/probe.secret")] {
        if probe.span_of(name).is_none() {
            let message = format!("`check` is \"login\" without `{name}`");
            probe.notes().problem(depth.span(), message, format!("add {name} = \"{example}\", or write another check"));
        }
    }
    if let Some(file) = &password_file {
        let file = NamedFile::Password { of: "user", path: file.get_ref().clone(), span: file.span() };
        probe.notes().file(file);
    }
    Some(Check::Login { user: user?.into_inner(), password_file: password_file?.into_inner() })
}

/// Without a login they are of no use. Whether they are absent.
fn refuse_login(probe: &Section<'_>) -> bool {
    let names = ["user", "password_file"];
    for name in names {
        probe.refuse(name, "without check = \"login\"", "remove it, or write check = \"login\"");
    }
    names.iter().all(|name| probe.span_of(name).is_none())
}

fn count(probe: &Section<'_>, name: &str) -> Option<u32> {
    u32::try_from(probe.integer(name)?.into_inner()).ok()
}
