//! Every option that a perdition.conf can have (Perdition 2.2, with what the last version before knew), and why some
//! have no counterpart. docs/migrating.md has the same options in its table; a test compares the two.

use strsim::damerau_levenshtein;

/// Edits that a slip of the pen makes at most.
const SLIP_MAX: usize = 2;

/// An option.
#[derive(Debug)]
pub struct Known {
    /// Its long form, without `--`.
    pub name: &'static str,
    /// Its short form, without `-`.
    pub short: Option<char>,
    /// What stands behind it.
    pub takes: Takes,
    /// Why there is no counterpart, and what to do; `None` where it is translated.
    pub gone: Option<&'static str>,
}

/// What stands behind an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It is a switch: that it is there turns it on.
    Nothing,
    /// Anything.
    Text,
    /// Digits; Perdition does not start with anything else.
    Number,
}

use Takes::{Nothing, Number, Text};

const fn kept(name: &'static str, short: Option<char>, takes: Takes) -> Known {
    Known { name, short, takes, gone: None }
}

const fn gone(name: &'static str, short: Option<char>, takes: Takes, why: &'static str) -> Known {
    Known { name, short, takes, gone: Some(why) }
}

const SERVICE: &str = "gone: the service manager does it; mailferry stays in the foreground (mailferry.service)";
const USER: &str = "gone: the service manager does it; `user` and `group` of [server] do where root starts mailferry";
const STRICT: &str = "gone: a node's certificate that is not valid is refused; have the nodes' certificates signed by an \
                      authority of your own, and name it as `ca` of the island";
const CIPHERS: &str =
    "gone: the TLS library has only ciphers that are good; `min_version` of [tls] says the oldest version";
const ORDER: &str =
    "gone: nothing to choose; TLS 1.3 and the good ciphers of 1.2 are offered, the library's order counts";
const COMPRESSION: &str = "gone: compression under TLS gives secrets away (CRIME)";
const CAP: &str = "gone: the newest version that both sides know is used";
const OWN_ANSWER: &str = "gone: clients always get the node's own answer to the login, with its capabilities";

/// All of them, in the order of Perdition's help.
pub const OPTIONS: &[Known] = &[
    kept("add_domain", Some('A'), Text),
    gone(
        "authenticate_in",
        Some('a'),
        Nothing,
        "gone: the node alone judges the password; a check of PAM beside it would need root",
    ),
    kept("authenticate_timeout", None, Number),
    kept("no_bind_banner", Some('B'), Nothing),
    kept("bind_address", Some('b'), Text),
    gone(
        "connection_logging",
        Some('C'),
        Nothing,
        "gone: no octet of a dialogue is ever logged; each login and each end has one line that says what happened",
    ),
    gone(
        "connect_relog",
        None,
        Number,
        "gone: for POP before SMTP, read the log's lines for logins and ends (log.format = \"json\")",
    ),
    gone(
        "client_server_specification",
        Some('c'),
        Nothing,
        "gone: clients do not choose servers; the directory says where a user's mail is",
    ),
    kept("domain_delimiter", Some('D'), Text),
    kept("debug", Some('d'), Nothing),
    kept("explicit_domain", Some('e'), Text),
    gone(
        "log_facility",
        Some('F'),
        Text,
        "gone: the log goes to standard error, which systemd gives to the journal (and that to syslog, if wanted)",
    ),
    gone("config_file", Some('f'), Text, "gone: without effect in a file; mailferry run --config FILE"),
    gone("group", Some('g'), Text, USER),
    gone("help", Some('h'), Nothing, "gone: without effect in a file"),
    gone("inetd_mode", Some('i'), Nothing, SERVICE),
    kept("capability", Some('I'), Text),
    kept("imap_capability", None, Text),
    gone(
        "managesieve_capability",
        None,
        Text,
        "gone: mailferry does not speak ManageSieve; let Perdition go on with it",
    ),
    kept("pop_capability", None, Text),
    kept("connection_limit", Some('L'), Number),
    kept("listen_port", Some('l'), Text),
    gone("log_passwd", None, Text, "gone: no password is ever logged"),
    kept("map_library", Some('M'), Text),
    kept("map_library_opt", Some('m'), Text),
    gone(
        "no_lookup",
        Some('n'),
        Nothing,
        "gone: names are looked up beside the logins and kept (resolve_interval); addresses need no look-up",
    ),
    gone("ok_line", Some('O'), Text, OWN_ANSWER),
    gone("server_ok_line", None, Nothing, OWN_ANSWER),
    gone("server_resp_line", Some('o'), Nothing, OWN_ANSWER),
    kept("protocol", Some('P'), Text),
    kept("outgoing_port", Some('p'), Text),
    kept("strip_domain", Some('S'), Text),
    kept("outgoing_server", Some('s'), Text),
    gone(
        "timeout",
        Some('t'),
        Number,
        "gone: who is logged in may be silent (IDLE is, for half an hour); TCP keepalive finds clients that are no more",
    ),
    gone("username", Some('u'), Text, USER),
    kept("username_from_database", Some('U'), Nothing),
    kept("quiet", Some('q'), Nothing),
    kept("query_key", None, Text),
    kept("login_disabled", None, Nothing),
    kept("lower_case", None, Text),
    gone("pid_file", None, Text, SERVICE),
    gone("no_daemon", None, Nothing, SERVICE),
    gone("tcp_keepalive", None, Nothing, "gone: always on, towards clients and nodes, after two minutes of silence"),
    kept("ssl_mode", None, Text),
    kept("ssl_ca_chain_file", None, Text),
    kept("ssl_ca_file", None, Text),
    kept("ssl_ca_path", None, Text),
    gone(
        "ssl_ca_accept_self_signed",
        None,
        Nothing,
        "gone: an authority that is named as `ca` of the island is trusted",
    ),
    kept("ssl_cert_file", None, Text),
    gone("ssl_dh_params_file", None, Text, "gone: no key exchange of mailferry has parameters"),
    gone("ssl_cert_accept_expired", None, Nothing, STRICT),
    gone("ssl_cert_accept_not_yet_valid", None, Nothing, STRICT),
    gone("ssl_cert_accept_self_signed", None, Nothing, STRICT),
    gone("ssl_cert_verify_depth", None, Number, "gone: the TLS library has a limit of its own"),
    kept("ssl_key_file", None, Text),
    gone("ssl_listen_ciphers", None, Text, CIPHERS),
    gone("ssl_outgoing_ciphers", None, Text, CIPHERS),
    gone("ssl_no_cert_verify", None, Nothing, STRICT),
    gone(
        "ssl_no_client_cert_verify",
        None,
        Nothing,
        "gone: clients are asked for a certificate only where a listener has `client_ca`",
    ),
    kept("ssl_no_cn_verify", None, Nothing),
    kept("ssl_passphrase_fd", None, Number),
    kept("ssl_passphrase_file", None, Text),
    kept("ssl_listen_min_proto_version", None, Text),
    gone("ssl_outgoing_min_proto_version", None, Text, "gone: to nodes it is TLS 1.2 or 1.3"),
    gone("ssl_listen_max_proto_version", None, Text, CAP),
    gone("ssl_outgoing_max_proto_version", None, Text, CAP),
    gone("ssl_listen_compression", None, Nothing, COMPRESSION),
    gone("ssl_outgoing_compression", None, Nothing, COMPRESSION),
    gone("ssl_no_cipher_server_preference", None, Nothing, ORDER),
];

/// The option of this long or short form.
pub(super) fn find(name: &str) -> Option<&'static Known> {
    let mut letters = name.chars();
    let letter = letters.next().filter(|_| letters.next().is_none());
    OPTIONS.iter().find(|known| known.name == name || letter.is_some() && known.short == letter)
}

/// The option that may have been meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    // Longer than any: nobody's slip, and not worth the time.
    if name.len() > 64 {
        return None;
    }
    let distance = |known: &Known| damerau_levenshtein(name, known.name);
    let near = OPTIONS.iter().min_by_key(|known| distance(known))?;
    (distance(near) <= SLIP_MAX && name.len() > SLIP_MAX).then_some(near.name)
}
