//! The keys of `[[island]]` and its nodes. Data only: nothing is read or decided here.

use super::Absent::{Default, Derived, Refused, Unset};
use super::Kind::{Choice, Integer, Tables, Text, Texts};
use super::{Form, MINUTE, Section, key, up_to};

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
