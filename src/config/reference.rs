//! Every key that proxy.toml may have, once: where it stands, what it holds, what is true without it, what it means.
//!
//! The reader takes the defaults and limits from here, unknown keys are compared with it, docs/configuration.md is
//! written from it, and tests hold proxy.toml.example to it. Only keys that work are listed, and no key is read that
//! is not listed. This file knows no setting's type; those belong to the parts that use them.

use std::time::Duration;

/// A part of the file.
#[derive(Debug)]
pub struct Section {
    /// `directory.cache` for `[directory.cache]`.
    pub path: &'static str,
    /// How often it may stand in the file.
    pub form: Form,
    /// What it is about: one sentence.
    pub meaning: &'static str,
    /// In the order of the documentation.
    pub keys: &'static [Key],
}

/// How often a section may stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `[server]`: must be there once.
    Required,
    /// `[log]`: once or not at all.
    Optional,
    /// `[[listener]]`: once or more.
    Repeated,
    /// The entries of a list that is a key of the section above.
    Entries,
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name within the section.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What is true where it is absent.
    pub absent: Absent,
    /// The value of `type` that it belongs to; `None` for both.
    pub only: Option<&'static str>,
    /// What it means: one sentence, or two.
    pub meaning: &'static str,
}

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Text in quotes.
    Text,
    /// A list of texts.
    Texts,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A duration within these limits, both included.
    Duration(Duration, Duration),
    /// A whole number within these limits, both included.
    Integer(u64, u64),
    /// A list of tables, which are a section of their own.
    Tables,
}

/// What is true where a key is absent.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// It must be there, for example with this value, as TOML.
    Refused(&'static str),
    /// This value, as TOML.
    Default(&'static str),
    /// A value that depends on other keys; the words say on which.
    Derived(&'static str),
    /// Nothing; the key turns something on.
    Unset,
}

use Absent::{Default, Derived, Refused, Unset};
use Kind::{Choice, Integer, Switch, Tables, Text, Texts};

impl Section {
    /// The key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The last part of its path: the name that it has in the section above.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// How its header is written.
    pub fn header(&self) -> String {
        match self.form {
            Form::Required | Form::Optional => format!("[{}]", self.path),
            Form::Repeated | Form::Entries => format!("[[{}]]", self.path),
        }
    }
}

/// A duration as the documentation writes it: the shortest form that the reader takes.
pub fn shown(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace("days", "d").replace("day", "d")
}

const fn key(name: &'static str, kind: Kind, absent: Absent, meaning: &'static str) -> Key {
    Key { name, kind, absent, only: None, meaning }
}

const fn ldap(name: &'static str, kind: Kind, absent: Absent, meaning: &'static str) -> Key {
    Key { name, kind, absent, only: Some("ldap"), meaning }
}

const fn file(name: &'static str, kind: Kind, absent: Absent, meaning: &'static str) -> Key {
    Key { name, kind, absent, only: Some("file"), meaning }
}

const fn up_to(most: u64) -> Kind {
    Kind::Duration(Duration::from_millis(1), Duration::from_secs(most))
}

const fn zero_up_to(most: u64) -> Kind {
    Kind::Duration(Duration::ZERO, Duration::from_secs(most))
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Most users remembered, a limit against mistyped figures: some 30 GB of memory.
const CAPACITY_MAX: u64 = 100_000_000;
/// Most LDAP connections for each URL; many searches share one connection.
const POOL_MAX: u64 = 16;

/// All sections, in the order of the documentation.
pub static SECTIONS: [&Section; 9] =
    [&SERVER, &LOG, &TLS, &CERTIFICATES, &LISTENER, &DIRECTORY, &CACHE, &ISLAND, &NODES];

/// `[server]`
pub static SERVER: Section = Section {
    path: "server",
    form: Form::Required,
    meaning: "What all listeners share.",
    keys: &[
        key("hostname", Text, Refused("\"mail.example.net\""), "The name that clients see in greetings."),
        key(
            "login_timeout",
            up_to(HOUR),
            Default("\"60s\""),
            "From the connection to the accepted login; a client that needs longer is disconnected.",
        ),
        key(
            "auth_failure_delay",
            zero_up_to(MINUTE),
            Default("\"3s\""),
            "Refused logins are answered at the next whole multiple of this time since they were received. It must be \
             longer than the nodes' own delay for a wrong password (Dovecot: about 2 s), so that the time does not tell \
             whether the user exists. `\"0s\"` answers at once.",
        ),
        key(
            "auth_failed_text",
            Text,
            Default("\"Authentication failed.\""),
            "The answer to unknown users. Use the words that the nodes use for a wrong password, so that the two cannot \
             be told apart. Printable ASCII, at most 200 characters.",
        ),
    ],
};

/// `[log]`
pub static LOG: Section = Section {
    path: "log",
    form: Form::Optional,
    meaning: "The log goes to standard error, one event a line.",
    keys: &[
        key("format", Choice(&["text", "json"]), Default("\"text\""), "The form of a line."),
        key(
            "level",
            Choice(&["error", "warn", "info", "debug", "trace"]),
            Default("\"info\""),
            "The least important level that is logged.",
        ),
    ],
};

/// `[tls]`
pub static TLS: Section = Section {
    path: "tls",
    form: Form::Optional,
    meaning: "TLS towards clients. Needed when a listener uses TLS, and refused when none does.",
    keys: &[
        key(
            "certificates",
            Tables,
            Refused("[{ chain = \"/etc/mailferry/mail.pem\", key = \"/etc/mailferry/mail.key\" }]"),
            "Chosen by the name that the client asks for (SNI); the first one serves clients that ask for none.",
        ),
        key("min_version", Choice(&["1.2", "1.3"]), Default("\"1.2\""), "The oldest TLS version that is accepted."),
    ],
};

/// The entries of `certificates`.
pub static CERTIFICATES: Section = Section {
    path: "tls.certificates",
    form: Form::Entries,
    meaning: "The entries of `certificates`.",
    keys: &[
        key(
            "chain",
            Text,
            Refused("\"/etc/mailferry/mail.pem\""),
            "A PEM file with the certificate, then its intermediates.",
        ),
        key("key", Text, Refused("\"/etc/mailferry/mail.key\""), "A PEM file with the private key."),
    ],
};

/// `[[listener]]`
pub static LISTENER: Section = Section {
    path: "listener",
    form: Form::Repeated,
    meaning: "An address that clients connect to. At least one; each address once.",
    keys: &[
        key("protocol", Choice(&["imap", "pop3"]), Refused("\"imap\""), "What is spoken there."),
        key(
            "address",
            Text,
            Refused("\"[::]:993\""),
            "IP address and port. `[::]` means every IPv6 and IPv4 address, `0.0.0.0` every IPv4 address.",
        ),
        key(
            "tls",
            Choice(&["implicit", "starttls", "off"]),
            Default("\"implicit\""),
            "TLS from the first octet (ports 993 and 995), after STARTTLS or STLS (143 and 110), or never.",
        ),
        key(
            "cleartext_login",
            Switch,
            Default("false"),
            "Whether passwords are accepted without TLS. Must be `true` with `tls = \"off\"`.",
        ),
    ],
};

/// `[directory]`
pub static DIRECTORY: Section = Section {
    path: "directory",
    form: Form::Required,
    meaning: "Where mailferry learns which island a user belongs to.",
    keys: &[
        key(
            "type",
            Choice(&["ldap", "file"]),
            Refused("\"ldap\""),
            "LDAP servers, or a text file. The other type's keys are refused.",
        ),
        ldap(
            "urls",
            Texts,
            Refused("[\"ldap://ldap1.example.net\"]"),
            "Servers, asked in this order: the next one when the one before is unavailable. `ldap://` or `ldaps://`.",
        ),
        ldap(
            "starttls",
            Switch,
            Default("true"),
            "Demand StartTLS on `ldap://` connections. `ldaps://` has TLS anyway.",
        ),
        ldap(
            "ca",
            Text,
            Unset,
            "A PEM file with the authorities for the servers' certificates; the system's without it.",
        ),
        ldap("bind_dn", Text, Unset, "Whom to bind as; anonymous without it. Needs `bind_password_file`."),
        ldap(
            "bind_password_file",
            Text,
            Unset,
            "A file with the password for `bind_dn`; a line end at its end does not count. Read at each connect.",
        ),
        ldap("base", Text, Refused("\"ou=people,dc=example,dc=net\""), "The entry where searches begin."),
        ldap(
            "scope",
            Choice(&["base", "one", "sub"]),
            Default("\"sub\""),
            "How deep they go: the base itself, its children, or everything from the base down.",
        ),
        ldap(
            "filter",
            Text,
            Default("\"(&(objectClass=inetOrgPerson)(|(uid={user})(mail={user})))\""),
            "How a user is found. `{user}` is the name that the client sent, `{local}` and `{domain}` are its parts \
             before and behind the `@`; all are escaped.",
        ),
        ldap(
            "island_attribute",
            Text,
            Default("\"mailHost\""),
            "The attribute that names the island. A user must have exactly one value of it.",
        ),
        ldap(
            "login_attribute",
            Text,
            Unset,
            "The attribute with the name to log in with on the node; the name that the client sent without it.",
        ),
        ldap("timeout", up_to(MINUTE), Default("\"2s\""), "For one whole search on one server."),
        ldap("connect_timeout", up_to(MINUTE), Default("\"2s\""), "For connecting, TLS and binding."),
        ldap("pool", Integer(1, POOL_MAX), Default("2"), "Connections to each server."),
        file(
            "path",
            Text,
            Refused("\"/etc/mailferry/routes\""),
            "The file with users and their islands; see [The routes file](#the-routes-file).",
        ),
    ],
};

/// `[directory.cache]`
pub static CACHE: Section = Section {
    path: "directory.cache",
    form: Form::Optional,
    meaning: "What the directory said is remembered for a while. A new version of a routes file is believed at once.",
    keys: &[
        key(
            "capacity",
            Integer(1, CAPACITY_MAX),
            Default("200_000"),
            "Most users remembered, at some 330 octets each; beyond it the least used are forgotten first.",
        ),
        key("ttl", up_to(7 * DAY), Default("\"5m\""), "How long a route is used before the directory is asked again."),
        key("negative_ttl", zero_up_to(DAY), Default("\"30s\""), "How long it is believed that a user does not exist."),
        key(
            "stale",
            up_to(30 * DAY),
            Default("\"1d\""),
            "How long an old route serves while the directory is unavailable, counted from when the directory said it. \
             Not less than `ttl`.",
        ),
    ],
};

/// `[[island]]`
pub static ISLAND: Section = Section {
    path: "island",
    form: Form::Repeated,
    meaning: "A mail cluster of its own, served by nodes that all have the same mail. At least one.",
    keys: &[
        key("name", Text, Refused("\"a\""), "What the directory calls the island, and the log too."),
        key("match", Texts, Default("[]"), "Other spellings in the directory that mean this island."),
        key(
            "tls",
            Choice(&["implicit", "starttls", "off"]),
            Default("\"starttls\""),
            "How nodes are reached. What is configured happens, or the node is not used.",
        ),
        key("ca", Text, Unset, "A PEM file with the authorities for the nodes' certificates; the system's without it."),
        key("connect_timeout", up_to(5 * MINUTE), Default("\"5s\""), "For connecting to one node."),
        key(
            "greeting_timeout",
            up_to(5 * MINUTE),
            Default("\"10s\""),
            "From the connection until the node is ready for a login: greeting, TLS, capabilities.",
        ),
        key("login_timeout", up_to(5 * MINUTE), Default("\"30s\""), "From the login until the node's answer to it."),
        key(
            "nodes",
            Tables,
            Refused("[{ name = \"left\", host = \"10.1.0.11\" }]"),
            "The servers of the island, in order of preference. At least one.",
        ),
    ],
};

/// The entries of `nodes`.
pub static NODES: Section = Section {
    path: "island.nodes",
    form: Form::Entries,
    meaning: "The entries of `nodes`; `[[island.nodes]]` tables mean the same.",
    keys: &[
        key("name", Text, Refused("\"left\""), "Unique within the island."),
        key("host", Text, Refused("\"10.1.0.11\""), "Name or address to connect to."),
        key(
            "imap_port",
            Integer(1, 65535),
            Derived("143, or 993 where the island has `tls = \"implicit\"`"),
            "Where IMAP is spoken.",
        ),
        key(
            "pop3_port",
            Integer(1, 65535),
            Derived("110, or 995 where the island has `tls = \"implicit\"`"),
            "Where POP3 is spoken.",
        ),
        key("tls_name", Text, Derived("`host`"), "The name that the node's certificate must have."),
    ],
};
