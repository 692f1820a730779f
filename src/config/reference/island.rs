//! The keys of `[[island]]`, its probes and its nodes. Data only: nothing is read or decided here.

use super::Absent::{Default, Derived, Refused, Unset};
use super::Kind::{Choice, Integer, Tables, Text, Texts};
use super::{Form, HOUR, MINUTE, Section, key, or_off_up_to, up_to, zero_up_to};

/// Highest login rate, probe count, weight and rank: limits against mistyped figures.
const RATE_MAX: u64 = 100_000;
const PROBES_MAX: u64 = 100;
const WEIGHT_MAX: u64 = 1000;
const RANK_MAX: u64 = 1000;

/// `[[island]]`
pub static ISLAND: Section = Section {
    path: "island",
    form: Form::Repeated,
    meaning: "A mail cluster of its own, served by nodes that all have the same mail. At least one.",
    keys: &[
        key("name", Text, Refused("\"a\""), "What the directory calls the island, and the log too."),
        key("match", Texts, Default("[]"), "Other spellings in the directory that mean this island."),
        key(
            "policy",
            Choice(&["prefer", "balance", "sticky"]),
            Default("\"prefer\""),
            "Which of the nodes in service gets a login; see [Which node gets a login](#which-node-gets-a-login).",
        ),
        key(
            "fail_back",
            Text,
            Default("\"after 60s\""),
            "When a node that was down and has returned gets its users back: `\"now\"`, when it has been in service for \
             some time, as in `\"after 60s\"` (at most 7 days), or `\"manual\"`: not by itself, but by \
             `mailferry fail-back`, or with a restart. Until then it stands by for the others. Nobody who is logged in elsewhere is cut for it. Longer \
             where nodes come back cold or by fits and starts. Refused with `policy = \"balance\"`, where a node that \
             returned fills up by itself.",
        ),
        key(
            "tls",
            Choice(&["implicit", "starttls", "off"]),
            Default("\"starttls\""),
            "How nodes are reached. What is configured happens, or the node is not used.",
        ),
        key(
            "forward",
            Choice(&["off", "proxy", "id"]),
            Default("\"off\""),
            "How nodes learn the client's address: not at all; by a PROXY header of version 2 that begins each \
             connection, probes included; or by ID (IMAP) and XCLIENT (POP3), as Dovecot reads them from its \
             `login_trusted_networks`. The nodes must be set up for it.",
        ),
        key("ca", Text, Unset, "A PEM file with the authorities for the nodes' certificates; the system's without it."),
        key(
            "connect_timeout",
            up_to(5 * MINUTE),
            Default("\"5s\""),
            "For connecting to one node, over all its addresses. Then the next node is tried.",
        ),
        key(
            "greeting_timeout",
            up_to(5 * MINUTE),
            Default("\"10s\""),
            "From the connection until the node is ready for a login: greeting, TLS, capabilities. Then the next node is \
             tried. When all nodes are silent, it is `patience` that ends it.",
        ),
        key(
            "login_timeout",
            up_to(5 * MINUTE),
            Default("\"20s\""),
            "From the login until the node's answer to it. Then the next node is tried. Two nodes that both stay silent, \
             and `patience`, should fit into the `login_timeout` of `[server]`.",
        ),
        key(
            "hedge",
            or_off_up_to(MINUTE),
            Default("\"250ms\""),
            "How long a node may take to greet before the next one is dialled beside it: what a frozen node costs a \
             login. The first to greet gets the credentials, the other is closed without them. Longer where nodes are \
             far away or slow to greet. `\"off\"` where two nodes must never be tried at the same time. Less than \
             `connect_timeout` and `greeting_timeout` together.",
        ),
        key(
            "patience",
            zero_up_to(5 * MINUTE),
            Default("\"5s\""),
            "How long a login waits when no node can serve it, for one to return, before the client hears of a temporary \
             failure. As long as a take-over of the island's storage or database takes. `\"0s\"` does not wait. Less than \
             the `login_timeout` of `[server]`.",
        ),
        key(
            "disconnect_spread",
            zero_up_to(HOUR),
            Default("\"5s\""),
            "Over how long the clients of a node are disconnected when its sessions die together, so that they do not \
             all come back in the same second. Longer for some ten thousands of clients a node. `\"0s\"`: all at once.",
        ),
        key(
            "max_login_rate",
            Integer(1, RATE_MAX),
            Unset,
            "Most logins a second that each node gets, IMAP and POP3 together; as many as come without it. What is more \
             waits in turn, at most for `patience`. Set it to what a node can take at its best, so that one which has \
             just lost its neighbour is not run over. Needs `patience`.",
        ),
        key(
            "nodes",
            Tables,
            Refused("[{ name = \"left\", host = \"10.1.0.11\" }]"),
            "The servers of the island, in order of preference. At least one, and one of them in service.",
        ),
    ],
};

/// `[island.probe]`
pub static PROBE: Section = Section {
    path: "island.probe",
    form: Form::Optional,
    meaning: "How mailferry finds out whether a node serves, for IMAP and POP3 apart. Logins that fail count too.",
    keys: &[
        key(
            "check",
            Choice(&["greeting", "command", "login"]),
            Default("\"greeting\""),
            "How far a probe goes: until the node has greeted, through one command that needs no login, or through a login. \
             Choose `\"command\"` where nodes greet although they are frozen, and `\"login\"` where nodes answer although \
             they cannot reach their mail or users, or where all logins come from one address (a webmail): what fails \
             behind the connect counts only when two clients see it, or a probe does.",
        ),
        key(
            "user",
            Text,
            Unset,
            "Who logs in, with `check = \"login\"`: a mailbox that is for nothing else and exists on every node. Needs \
             `password_file`.",
        ),
        key(
            "password_file",
            Text,
            Unset,
            "A file with the password for `user`; a line end at its end does not count. Read at each probe.",
        ),
        key(
            "interval",
            up_to(HOUR),
            Default("\"5s\""),
            "From one probe of a node to the next, give or take a tenth. Shorter finds a dead node sooner, and costs \
             each node a connection each time, for every mailferry. After a login that failed, the next probe does not \
             wait for it.",
        ),
        key("timeout", up_to(MINUTE), Default("\"2s\""), "For one whole probe, from connecting to the last answer."),
        key(
            "fall",
            Integer(1, PROBES_MAX),
            Default("3"),
            "So many failures in a row take a node down. More where nodes are slow now and then.",
        ),
        key(
            "rise",
            Integer(1, PROBES_MAX),
            Default("2"),
            "So many passed probes in a row bring it back. More where nodes come back by fits and starts.",
        ),
    ],
};

/// The entries of `nodes`.
pub static NODES: Section = Section {
    path: "island.nodes",
    form: Form::Entries,
    meaning: "The entries of `nodes`; `[[island.nodes]]` tables mean the same.",
    keys: &[
        key(
            "name",
            Text,
            Refused("\"left\""),
            "Unique within the island. With `policy = \"sticky\"` it decides whose node this is, so every mailferry must \
             call it the same.",
        ),
        key(
            "host",
            Text,
            Refused("\"10.1.0.11\""),
            "Name or address to connect to. A name stands for all its addresses, IPv6 and IPv4, of this one node.",
        ),
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
        key(
            "weight",
            Integer(1, WEIGHT_MAX),
            Default("1"),
            "The node's share of the users or sessions, relative to the other nodes': 2 for a machine twice as strong. \
             Refused with `policy = \"prefer\"`, which does not share.",
        ),
        key(
            "rank",
            Integer(1, RANK_MAX),
            Derived("its place in `nodes`, from 1"),
            "The node's place in the order of preference, the smallest first. Of nodes with the same rank, one in the \
             `zone` of `[server]` comes first. Only with `policy = \"prefer\"`.",
        ),
        key(
            "zone",
            Text,
            Unset,
            "The room or data centre where the node stands; compared with the `zone` of `[server]`, octet for octet.",
        ),
        key(
            "state",
            Choice(&["in-service", "draining", "maintenance"]),
            Default("\"in-service\""),
            "What the operator wants of the node: logins as its health allows, or to keep its sessions and get no new \
             ones, or to be left alone, probes included.",
        ),
    ],
};
