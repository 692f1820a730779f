//! The keys of `[limits]`. Data only: nothing is read or decided here.

use super::Absent::Default;
use super::Kind::{Integer, IntegerOr, Texts};
use super::{DAY, Form, MINUTE, Section, key, up_to, zero_up_to};

/// Most connections, sessions and failed logins: a limit against mistyped figures.
const COUNT_MAX: u64 = 10_000_000;
/// Most failed logins on one connection.
const FAILED_LOGINS_MAX: u64 = 100;

/// `[limits]`
pub static LIMITS: Section = Section {
    path: "limits",
    form: Form::Optional,
    meaning: "How much is too much. A network is an IPv4 address or an IPv6 /64. Counted by each mailferry for itself.",
    keys: &[
        key(
            "connections",
            IntegerOr("auto", 1, COUNT_MAX),
            Default("\"auto\""),
            "Most connections of clients. `\"auto\"`: as many as there are file descriptors for (`LimitNOFILE`). Beyond \
             it a connection without a login makes room, as for `unauthenticated`; where all have logged in, the new one hears \
             goodbye.",
        ),
        key(
            "connections_per_network",
            IntegerOr("off", 1, COUNT_MAX),
            Default("1000"),
            "Most connections of one network. Not more than `connections`. A webmail or a large office behind one address \
             needs more, or belongs to `exempt_networks`.",
        ),
        key(
            "unauthenticated",
            Integer(1, COUNT_MAX),
            Default("4096"),
            "Most connections that have not logged in. Beyond it the oldest is closed of the IPv4 address or IPv6 /48 that \
             has the most of them. Not more than `connections`.",
        ),
        key(
            "unauthenticated_per_network",
            Integer(1, COUNT_MAX),
            Default("512"),
            "The same for one network, of which the oldest is closed. Not more than `unauthenticated` and `connections_per_network`.",
        ),
        key(
            "failed_logins",
            Integer(1, FAILED_LOGINS_MAX),
            Default("5"),
            "Most refused logins on one connection. After the last one it is closed.",
        ),
        key(
            "failed_logins_per_network",
            IntegerOr("off", 1, COUNT_MAX),
            Default("300"),
            "Most refused logins of one network within `failed_login_memory`. Beyond it none of its logins is tried until \
             some of them are forgotten, not even with a right password; sessions that are there stay. An IPv6 /48 may have \
             eight times as many.",
        ),
        key(
            "failed_login_memory",
            up_to(DAY),
            Default("\"10m\""),
            "How long a refused login counts against its network.",
        ),
        key(
            "failed_login_delay_max",
            zero_up_to(5 * MINUTE),
            Default("\"15s\""),
            "A network that goes on being refused waits longer and longer for its refusals, up to this time on top of \
             `auth_failure_delay`. Both together must be less than the `login_timeout` of `[server]`. `\"0s\"`: nobody \
             waits longer than others.",
        ),
        key(
            "sessions_per_user",
            IntegerOr("off", 1, COUNT_MAX),
            Default("\"off\""),
            "Most sessions of one user, IMAP and POP3 together. Mail clients open five and more each. Nodes have such \
             limits too, and know of all sessions.",
        ),
        key(
            "sessions_per_user_and_network",
            IntegerOr("off", 1, COUNT_MAX),
            Default("\"off\""),
            "Most sessions of one user from one network. Not more than `sessions_per_user`.",
        ),
        key(
            "exempt_networks",
            Texts,
            Default("[]"),
            "Networks for which no limit per network holds, as `\"192.0.2.0/24\"` or one address: webmails and other \
             proxies that speak for many users.",
        ),
    ],
};
