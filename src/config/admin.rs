//! `[admin]`: the operator's way in.
//!
//! What would let anybody in who can connect, or send a token over a network in clear text, is refused here.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeTable;

use super::document::{Notes, Section};
use super::files::NamedFile;
use super::reference::ADMIN;
use super::value::{self, Wrong, wrong};
use crate::admin::{Settings, Socket};
use crate::net::tls::CertificateFiles;

/// Longest path of a socket, in octets: `sun_path` of unix(7) has 108 and ends with a NUL.
const SOCKET_MAX: usize = 107;

/// Where commands come in, if the folder is there and nobody says otherwise.
const SOCKET: &str = "/run/mailferry/admin.sock";

/// Keys that say something of the address.
const OF_THE_ADDRESS: [&str; 5] = ["tls", "chain", "key", "operator_token_file", "read_only_token_file"];

/// `[admin]`, and what others must know of it.
pub(super) struct Admin {
    /// `None`: something is wrong, which was noted.
    pub(super) settings: Option<Settings>,
    /// Where it stands, if it is listened on.
    pub(super) address: Option<Spanned<SocketAddr>>,
    /// Whether it may use the certificates of the listeners.
    pub(super) may_use_listeners_tls: bool,
}

pub(super) fn read(root: &DeTable<'_>, notes: &Notes) -> Admin {
    let Some(admin) = Section::one(root, &ADMIN, notes) else {
        return Admin { settings: None, address: None, may_use_listeners_tls: true };
    };
    let state_file = admin.path("state_file");
    let socket = socket(&admin);
    let socket_group = socket_group(&admin, socket.as_ref().is_none_or(Option::is_some));
    let remote = remote(&admin, root.contains_key("tls"));
    let (address, may_use_listeners_tls) = match &remote {
        None => (None, true),
        Some(remote) => {
            (remote.address.clone(), remote.address.is_some() && remote.tls && remote.certificate.is_none())
        }
    };
    let settings = || {
        let Remote { address, tls, certificate, operator_token_file, read_only_token_file } = remote?;
        Some(Settings {
            socket: socket?,
            socket_group: socket_group?,
            address: address.map(Spanned::into_inner),
            tls,
            certificate,
            operator_token_file,
            read_only_token_file,
            state_file: state_file?.into_inner(),
            config: notes.name().to_owned(),
        })
    };
    Admin { settings: settings(), address, may_use_listeners_tls }
}

/// The outer `None`: wrong, which was noted.
fn socket(admin: &Section<'_>) -> Option<Option<Socket>> {
    if admin.span_of("socket").is_none() {
        let is_demanded = admin.span_of("socket_group").is_some();
        return Some(Some(Socket { path: SOCKET.into(), is_demanded }));
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

/// The outer `None`: wrong, which was noted.
fn socket_group(admin: &Section<'_>, has_socket: bool) -> Option<Option<String>> {
    if admin.span_of("socket_group").is_none() {
        return Some(None);
    }
    if !has_socket {
        admin.refuse("socket_group", "without a socket", "remove it, or write a path for `socket`");
    }
    let group = admin.parsed("socket_group", |text| value::printable(text).map(|()| text.to_owned()))?;
    admin.notes().file(NamedFile::Group { name: group.get_ref().clone(), span: group.span() });
    Some(Some(group.into_inner()))
}

/// What is said of the address.
struct Remote {
    address: Option<Spanned<SocketAddr>>,
    tls: bool,
    certificate: Option<CertificateFiles>,
    operator_token_file: Option<PathBuf>,
    read_only_token_file: Option<PathBuf>,
}

/// `None`: wrong, which was noted.
fn remote(admin: &Section<'_>, has_listeners_tls: bool) -> Option<Remote> {
    let tls = match admin.span_of("tls") {
        Some(_) => admin.choice("tls", &[("on", true), ("off", false)]),
        None => Some(Spanned::new(admin.span(), true)),
    };
    let (chain, key) = (admin.path("chain"), admin.path("key"));
    let (operator, read_only) = (admin.path("operator_token_file"), admin.path("read_only_token_file"));
    if admin.span_of("address").is_none() {
        for key in OF_THE_ADDRESS {
            admin.refuse(key, "without `address`", "add address = \"127.0.0.1:8443\", or remove it");
        }
        let (operator_token_file, read_only_token_file) = (None, None);
        return Some(Remote { address: None, tls: true, certificate: None, operator_token_file, read_only_token_file });
    }
    let (address, tls) = (admin.parsed("address", address)?, tls?);
    let certificate = if *tls.get_ref() {
        certificate(admin, chain, key)
    } else {
        refuse_clear_text(admin, *address.get_ref(), tls.span());
        None
    };
    let is_named = admin.span_of("chain").is_some() || admin.span_of("key").is_some();
    if *tls.get_ref() && !is_named && !has_listeners_tls {
        let remedy = "add `chain` and `key`, or [tls]; for a balancer or a proxy on this machine, tls = \"off\"";
        admin.notes().problem(address.span(), "TLS without a certificate", remedy);
    }
    let place = |path: &Option<Spanned<PathBuf>>| path.as_ref().map(|path| (path.get_ref().clone(), path.span()));
    admin.notes().file(NamedFile::Tokens { operator: place(&operator), read_only: place(&read_only) });
    Some(Remote {
        address: Some(address),
        tls: tls.into_inner(),
        certificate,
        operator_token_file: operator.map(Spanned::into_inner),
        read_only_token_file: read_only.map(Spanned::into_inner),
    })
}

/// Only who is on this machine already could read what goes over it, and only as root.
fn refuse_clear_text(admin: &Section<'_>, address: SocketAddr, tls: Range<usize>) {
    if !address.ip().to_canonical().is_loopback() {
        let message = "tokens would go over the network in clear text";
        let remedy = "remove it, or write an address of this machine alone: \"127.0.0.1:8080\" or \"[::1]:8080\"";
        admin.notes().problem(tls, message, remedy);
    }
    for key in ["chain", "key"] {
        admin.refuse(key, "with tls = \"off\"", "remove it, or tls");
    }
}

fn certificate(
    admin: &Section<'_>,
    chain: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
) -> Option<CertificateFiles> {
    match (chain, key) {
        (Some(chain), Some(key)) => {
            let (chain_span, key_span) = (chain.span(), key.span());
            let files = CertificateFiles { chain: chain.into_inner(), key: key.into_inner() };
            admin.notes().file(NamedFile::Certificate { files: files.clone(), chain_span, key_span });
            Some(files)
        }
        (Some(_), None) => {
            admin.refuse("chain", "without `key`", "add the file of its private key");
            None
        }
        (None, Some(_)) => {
            admin.refuse("key", "without `chain`", "add the file of its certificate");
            None
        }
        (None, None) => None,
    }
}

fn address(text: &str) -> Result<SocketAddr, Wrong> {
    let remedy = "write \"127.0.0.1:8443\", or another address of this machine with a port";
    text.parse().map_err(|_| wrong("is not an IP address and port", remedy))
}
