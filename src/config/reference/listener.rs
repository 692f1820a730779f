//! The keys of `[[listener]]`. Data only: nothing is read or decided here.

use super::Absent::{Default, Refused, Unset};
use super::Kind::{Choice, Switch, Text, Texts};
use super::{Form, Section, key};

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
            "Whether passwords are accepted without TLS. Must be `true` with `tls = \"off\"`, unless \
             `proxy_protocol_tls` says that a balancer ends TLS.",
        ),
        key(
            "client_ca",
            Text,
            Unset,
            "A PEM file with authorities. With it, every client must show a certificate of one of them in its TLS \
             handshake, or the handshake fails. The certificate opens the door and nothing more: who the user is, is \
             said by the login alone. Refused where a login could do without the handshake.",
        ),
        key(
            "proxy_protocol_from",
            Texts,
            Default("[]"),
            "Networks of balancers that put a PROXY header (version 1 or 2) before each connection, as `\"192.0.2.0/24\"` \
             or one address. From there every connection must begin with one; from elsewhere it is a bad command.",
        ),
        key(
            "proxy_protocol_tls",
            Switch,
            Default("false"),
            "Whether a connection counts as protected by TLS when such a balancer says in its header that it has ended \
             the client's TLS. Only where nobody can listen between the balancer and mailferry: passwords pass there in \
             clear text. Refused with `tls = \"implicit\"`.",
        ),
        key(
            "trusted_networks",
            Texts,
            Default("[]"),
            "Networks of webmails and other proxies that are believed when they say who their client is, by the fields \
             `x-originating-ip` and so on of IMAP's ID or by POP3's XCLIENT. From elsewhere nothing of that is believed.",
        ),
        key(
            "default_domain",
            Text,
            Unset,
            "Added to user names without a domain that come in here, with `domain = \"add\"` in `[usernames]`.",
        ),
    ],
};
