//! The keys of `[admin]`. Data only: nothing is read or decided here.

use super::Absent::{Default, Unset};
use super::Kind::{Choice, Text};
use super::{Form, Section, key};

/// `[admin]`
pub static ADMIN: Section = Section {
    path: "admin",
    form: Form::Optional,
    meaning: "How the operator's commands reach the running mailferry, and what of them is kept.",
    keys: &[
        key(
            "socket",
            Text,
            Unset,
            "The unix socket for `mailferry status` and all other commands to a running mailferry. Its mode is 0660: \
             root, mailferry's own user and the members of its group may do everything. Where the key stands, the socket \
             must be had, or mailferry does not start. Without it, it is `\"/run/mailferry/admin.sock\"`, and one that \
             cannot be had is a warning. `\"off\"`: there is none.",
        ),
        key(
            "socket_group",
            Text,
            Unset,
            "The group whose members may open the socket, instead of mailferry's own. mailferry's user must be a member of \
             it, where it is not root.",
        ),
        key(
            "address",
            Text,
            Unset,
            "An IP address and port where the same commands come in by HTTPS, for whoever has a token, as \
             `\"127.0.0.1:8443\"`. `/healthz` and `/readyz` are answered there without one. Do not let the internet \
             reach it.",
        ),
        key(
            "tls",
            Choice(&["on", "off"]),
            Unset,
            "Whether they come by TLS at `address`: they do without the key. `\"off\"` is taken for an address of this machine alone (127.0.0.0/8, \
             ::1), where a proxy or a tunnel ends.",
        ),
        key(
            "chain",
            Text,
            Unset,
            "A PEM file with the certificate for `address`, then its intermediates. It reloads by itself. Without it, the \
             certificates of `[tls]` are used.",
        ),
        key("key", Text, Unset, "A PEM file with its private key. Only with `chain`."),
        key(
            "operator_token_file",
            Text,
            Unset,
            "A file with the token that an operator shows at `address`, who may look and order: 32 to 1024 letters, digits \
             and `-._~+/=`, as `openssl rand -hex 32` makes them. Without it, nobody orders anything there.",
        ),
        key(
            "read_only_token_file",
            Text,
            Unset,
            "The same for those who may only look, as a monitoring. Another token than the operator's.",
        ),
        key(
            "state_file",
            Text,
            Default("\"/var/lib/mailferry/operator.json\""),
            "Where the states that `mailferry drain`, `undrain` and `maintenance` give to nodes are kept over a restart, and \
             the users who are held. \
             Its folder must be writable. A state is forgotten when the node's own `state` in this file is changed.",
        ),
    ],
};
