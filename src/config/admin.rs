//! `[admin]`: the operator's way in.

use toml::de::DeTable;

use super::document::{Notes, Section};
use super::reference::ADMIN;
use crate::admin::{Settings, Socket};

/// Longest path of a socket, in octets: `sun_path` of unix(7) has 108 and ends with a NUL.
const SOCKET_MAX: usize = 107;

/// Where commands come in, if the folder is there and nobody says otherwise.
const SOCKET: &str = "/run/mailferry/admin.sock";

pub(super) fn read(root: &DeTable<'_>, notes: &Notes) -> Option<Settings> {
    let admin = Section::one(root, &ADMIN, notes)?;
    let state_file = admin.path("state_file");
    let socket = socket(&admin);
    Some(Settings { socket: socket?, state_file: state_file?.into_inner(), config: notes.name().to_owned() })
}

/// The outer `None`: wrong, which was noted.
fn socket(admin: &Section<'_>) -> Option<Option<Socket>> {
    if admin.span_of("socket").is_none() {
        return Some(Some(Socket { path: SOCKET.into(), is_demanded: false }));
    }
    if admin.parsed("socket", |text| Ok(text == "off"))?.into_inner() {
        return Some(None);
    }
    let path = admin.path("socket")?;
    if path.get_ref().as_os_str().len() > SOCKET_MAX {
        let message = format!("`socket` is longer than {SOCKET_MAX} characters, with the folder of this file");
        admin.notes().problem(path.span(), message, format!("name a shorter path, as in {SOCKET}"));
    }
    Some(Some(Socket { path: path.into_inner(), is_demanded: true }))
}
