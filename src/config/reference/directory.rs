//! The keys of `[directory]` and `[directory.cache]`. Data only: nothing is read or decided here.

use super::Absent::{Default, Refused, Unset};
use super::Kind::{Choice, Integer, Switch, Text, Texts};
use super::{DAY, Form, MINUTE, Section, file, key, ldap, up_to, zero_up_to};

/// Most users remembered, a limit against mistyped figures: some 30 GB of memory.
const CAPACITY_MAX: u64 = 100_000_000;
/// Most LDAP connections for each URL; many searches share one connection.
const POOL_MAX: u64 = 16;

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
            "Servers, asked in this order: the next one when the one before is unavailable, or beside it when it has not \
             answered for a quarter of a second. `ldap://` or `ldaps://`.",
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
            "How a user is found. `{user}` is the name that is looked up (see [User names](#user-names)), `{local}` and \
             `{domain}` are its parts before and behind the `@`; all are escaped.",
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
            "The attribute with the name to log in with on the node; without it, `on_node` in `[usernames]` says which.",
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
        key(
            "file",
            Text,
            Unset,
            "A file that mailferry writes, and reads at its start: the routes it knows, so that a restart while the \
             directory is unavailable loses nobody. They are old routes from then on: the directory is asked first. It \
             holds names and islands, no passwords. Its folder must exist, and the user mailferry runs as must be \
             allowed to write there.",
        ),
    ],
};
