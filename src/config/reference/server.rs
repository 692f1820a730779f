//! The keys of `[server]`, `[log]` and `[tls]`. Data only: nothing is read or decided here.

use super::Absent::{Default, Refused, Unset};
use super::Kind::{Choice, IntegerOr, Switch, Tables, Text, Texts};
use super::{DAY, Form, HOUR, MINUTE, Section, key, up_to, zero_up_to};

/// Most threads: a limit against mistyped figures.
const THREADS_MAX: u64 = 1024;

/// `[server]`
pub static SERVER: Section = Section {
    path: "server",
    form: Form::Required,
    meaning: "What all listeners share.",
    keys: &[
        key("hostname", Text, Refused("\"mail.example.net\""), "The name that clients see in greetings."),
        key(
            "user",
            Text,
            Unset,
            "Who mailferry is once it has started, where root starts it: a user that can read the files which this one \
             names. Of root's rights one is left, to listen below port 1024. Without it mailferry stays who started it.",
        ),
        key("group", Text, Unset, "The user's group, instead of its primary one. Only with `user`."),
        key(
            "sandbox",
            Switch,
            Default("true"),
            "Whether mailferry shuts itself in as far as the kernel has the means: writes only below the folders of files \
             that it keeps, starts no program, and is denied calls of the kernel that it never makes. The log says at the \
             start what is in force.",
        ),
        key(
            "threads",
            IntegerOr("auto", 1, THREADS_MAX),
            Default("\"auto\""),
            "Threads that serve sessions. `\"auto\"`: as many as there are processors that mailferry may use. A session \
             stays with its thread; look-ups of users, probes and operators' orders are done by others, which have little to do.",
        ),
        key(
            "login_timeout",
            up_to(HOUR),
            Default("\"60s\""),
            "From the connection to the accepted login; a client that needs longer is disconnected.",
        ),
        key(
            "hold_timeout",
            zero_up_to(HOUR),
            Default("\"30s\""),
            "How long a login waits for a user whom the operator holds (`mailferry hold`, `mailferry move`) before it fails \
             as for the time being. Shorter than mail programs wait for an answer, and than `login_timeout`, of which some is \
             left for the node in any case. `\"0s\"`: no login waits.",
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
            "master_users",
            Texts,
            Default("[]"),
            "Who may log in as somebody else: with a name and password of their own and the other's name, as SASL PLAIN \
             can say both (RFC 4616). The login goes where the other user's goes, and the node decides whether it takes \
             it. Compared as they are typed. Everybody else who tries is refused.",
        ),
        key(
            "imap_capabilities",
            Texts,
            Unset,
            "What IMAP clients are told before the login that they can do behind it, as `[\"NAMESPACE\", \"MOVE\"]`; \
             what all nodes in service announce without it. What mailferry does itself, as `STARTTLS` and `AUTH=PLAIN`, \
             it says where it is true; `AUTH=XOAUTH2` and `AUTH=OAUTHBEARER` belong here where the nodes take tokens. \
             At most 128 words of 64 characters.",
        ),
        key(
            "pop3_capabilities",
            Texts,
            Unset,
            "The same for POP3: lines of CAPA, as `[\"EXPIRE NEVER\", \"AUTH=XOAUTH2\"]`. Mechanisms are written as for \
             IMAP.",
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
        key(
            "drain_delay",
            zero_up_to(HOUR),
            Default("\"0s\""),
            "After SIGTERM: how long new clients are still accepted, while `/readyz` says that none are wanted. Where a \
             balancer asks it, as long as the balancer takes to notice: its interval times its tries, and a second.",
        ),
        key(
            "drain_timeout",
            zero_up_to(DAY),
            Default("\"20s\""),
            "From the close of the listeners to the end of all sessions. Those in which nothing is under way end one after \
             the other over nine tenths of it, the others as soon as nothing is, and what is left then is cut. Sessions \
             divided by the logins a second that the nodes can take is a good value; the two keys together, and 10 \
             seconds, are what a supervisor must wait for. `\"0s\"` cuts at once.",
        ),
    ],
};

/// `[log]`
pub static LOG: Section = Section {
    path: "log",
    form: Form::Optional,
    meaning: "The log, one event a line: docs/logs.md.",
    keys: &[
        key(
            "format",
            Choice(&["text", "json", "journald"]),
            Default("\"text\""),
            "The form of a line. `\"text\"` and `\"json\"` go to standard error; `\"journald\"` goes to systemd's journal, \
             with a field for each value. Where there is no journal, it is text, and a warning says so.",
        ),
        key(
            "level",
            Choice(&["error", "warn", "info", "debug", "trace"]),
            Default("\"info\""),
            "The least important level that is logged.",
        ),
        key(
            "failures",
            Choice(&["all", "summary"]),
            Default("\"all\""),
            "Whether each failed login has its line, or those of one outcome at one node are summed up when there are many: \
             five at once, then one in 12 seconds, and each minute how many were left out. A session's end record is always \
             written.",
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
