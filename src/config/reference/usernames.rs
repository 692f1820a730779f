//! The keys of `[usernames]`. Data only: nothing is read or decided here.

use super::Absent::{Default, Refused, Unset};
use super::Kind::{Choice, Integer, Switch, Tables, Text};
use super::{Form, Section, key};

/// Longest name, in octets: [`crate::names::UserName::MAX_LEN`].
const LENGTH_MAX: u64 = 255;

/// `[usernames]`
pub static USERNAMES: Section = Section {
    path: "usernames",
    form: Form::Optional,
    meaning: "How the name that a client sends becomes the one that is looked up; see [User names](#user-names).",
    keys: &[
        key(
            "lower_case",
            Switch,
            Default("true"),
            "Look names up in lower case. Names that are UTF-8 by the rules of Unicode, other octets only where they are \
             ASCII.",
        ),
        key(
            "domain",
            Choice(&["keep", "strip", "add"]),
            Default("\"keep\""),
            "What happens to the domain: it stays as it is, or the first `@` and what is behind it is cut off, or a name \
             without `@` gets a domain: that of the server name which the client asked for (`sni_domains`), else the \
             listener's `default_domain`, else the one below.",
        ),
        key(
            "default_domain",
            Text,
            Unset,
            "For `domain = \"add\"`, where neither server name nor listener say another one. Needed then, unless every \
             listener has one, or `sni_domains` do it; a name for which nobody says a domain stays as it is.",
        ),
        key(
            "sni_domains",
            Tables,
            Unset,
            "Domains by the server name in the client's TLS handshake (SNI), for `domain = \"add\"`.",
        ),
        key(
            "delimiter",
            Text,
            Unset,
            "What may stand for the `@` in names that have none, as `\"%\"`: the last one in a name counts, if there is \
             something on both sides of it. 1 to 8 characters of printable ASCII, one of which no domain can have.",
        ),
        key(
            "on_node",
            Choice(&["typed", "looked-up"]),
            Default("\"typed\""),
            "Which name nodes get: the one that the client sent, or the one that was looked up. A name that the \
             directory says (`login_attribute`) goes before either.",
        ),
        key(
            "max_length",
            Integer(1, LENGTH_MAX),
            Default("255"),
            "Longest name that a client may send, in octets. Longer ones are refused as a wrong password is, and nobody \
             is asked.",
        ),
        key(
            "characters",
            Choice(&["any", "text", "ascii"]),
            Default("\"any\""),
            "What a name that a client sends may have: any octets; or UTF-8 without control characters; or printable \
             ASCII without spaces. NUL, CR and LF never pass.",
        ),
    ],
};

/// The entries of `sni_domains`.
pub static SNI_DOMAINS: Section = Section {
    path: "usernames.sni_domains",
    form: Form::Entries,
    meaning: "The entries of `sni_domains`.",
    keys: &[
        key("sni", Text, Refused("\"mail.example.org\""), "The server name that the client asks for. Each once."),
        key("domain", Text, Refused("\"example.org\""), "The domain that names without one get then."),
    ],
};
