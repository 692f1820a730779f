//! The keys of `[server]`, `[log]`, `[tls]` and `[[listener]]`. Data only: nothing is read or decided here.

use super::Absent::{Default, Refused, Unset};
use super::Kind::{Choice, Switch, Tables, Text};
use super::{DAY, Form, HOUR, MINUTE, Section, key, up_to, zero_up_to};

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
        key(
            "zone",
            Text,
            Unset,
            "The room or data centre where this mailferry stands. Nodes with the same `zone` come first with \
             `policy = \"balance\"`, and among equal ranks with `policy = \"prefer\"`. Without it all nodes are equally \
             near.",
        ),
        key(
            "resolve_interval",
            up_to(DAY),
            Default("\"30s\""),
            "How often the names of nodes are looked up anew. The last good answer is kept when DNS fails. Shorter where \
             nodes move by their DNS names.",
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
