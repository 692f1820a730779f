//! `map_library`, `map_library_opt`, `query_key` and `username_from_database` → `[directory]`.
//!
//! LDAP stays LDAP. Every other map becomes a routes file, which the operator writes: mailferry has no drivers for
//! databases, and no program's text is run. It must not print a password that stands in the map's options.

use super::Source;
use super::draft::{Draft, Part, list, quoted};
use super::ldap_url::{self, LdapUrl, Piece};

const PART: Part = Part::Directory;

/// Where the password of `bind_dn` is to be written.
const SECRET: &str = "/etc/mailferry/ldap.secret";

enum Map {
    None,
    Ldap,
    /// A file or database, with how a routes file comes of it.
    Other(&'static str),
}

fn map(library: Option<&str>) -> Map {
    const FLAT: &str = "the text from which the map was made has lines as `bob:host`; docs/migrating.md turns them into a \
                        routes file";
    const TABLE: &str = "have a job that writes the routes file out of the table, and renames it over the old one: \
                         docs/migrating.md has the query";
    let Some(library) = library else { return Map::Other(FLAT) };
    let has = |word: &str| library.contains(word);
    if library.is_empty() {
        Map::None
    } else if has("ldap") {
        Map::Ldap
    } else if has("regex") {
        Map::Other("patterns are gone: write a line for each user, or put users into LDAP")
    } else if has("mysql") || has("postgresql") || has("odbc") {
        Map::Other(TABLE)
    } else if has("nis") {
        Map::Other("`ypcat -k user_mail_server` prints users and hosts: a routes file")
    } else {
        Map::Other(FLAT)
    }
}

/// `map_library_opt` may hold a password: as `x-bindpw=` in an LDAP URL, or as the sixth field of a database's.
pub(super) fn without_password(text: &str) -> String {
    if let Some(at) = text.to_ascii_lowercase().find("x-bindpw=") {
        // Behind it may be more extensions, or an unescaped comma of the password.
        return format!("{}***", &text[..at + "x-bindpw=".len()]);
    }
    // `LDAP version:` and a URL have three colons at most, before their hosts' ports.
    if text.contains("://") {
        return text.to_owned();
    }
    let hidden = |(place, field)| if place >= 5 { "***" } else { field };
    text.split(':').enumerate().map(hidden).take(6).collect::<Vec<_>>().join(":")
}

pub(super) fn translate(source: &Source, draft: &mut Draft) {
    let named = |name: &str| format!("perdition: {}", source.shown(name));
    draft.note(PART, &named("map_library"));
    if source.has("map_library_opt") {
        draft.note(PART, &named("map_library_opt"));
    }
    match map(source.value("map_library")) {
        Map::Ldap => ldap(source, draft),
        Map::Other(how) => {
            draft.judge(PART, how);
            routes(source, draft);
        }
        Map::None => {
            draft.judge(
                PART,
                "all users went to outgoing_server; mailferry wants to know its users: LDAP or a routes file",
            );
            routes(source, draft);
        }
    }
}

/// The draft has the file already.
fn routes(source: &Source, draft: &mut Draft) {
    if source.has("username_from_database") {
        draft.note(PART, "perdition: username_from_database: the third field of a line in the routes file");
    }
    match source.value("query_key") {
        None => {}
        Some("\\U") => draft.note(PART, "perdition: query_key \\U: as it is anyway"),
        Some("\\u") => {
            let keys = [("domain", quoted("strip"))];
            draft.offer(Part::Usernames, &source.shown("query_key"), &keys);
        }
        Some(_) => {
            draft.note(PART, &format!("perdition: {}: not taken over", source.shown("query_key")));
            draft.judge(PART, "a routes file is asked for the whole name, once; [usernames] has rules for names");
        }
    }
}

fn ldap(source: &Source, draft: &mut Draft) {
    let Some(url) = ldap_url::parse(source.value("map_library_opt").unwrap_or("")) else {
        draft.judge(
            PART,
            "map_library_opt is no LDAP URL: write `urls`, `base`, `filter` and `island_attribute` by hand",
        );
        return;
    };
    let asked = draft.attempt(|draft| {
        draft.remove(PART, "path");
        draft.set(PART, "type", quoted("ldap"));
        draft.set(PART, "urls", list(["ldap://localhost"]));
        draft.set(PART, "starttls", "false".to_owned());
        draft.set(PART, "base", quoted("dc=example,dc=net"));
    });
    if asked.is_err() {
        return;
    }
    let scheme = url.scheme.to_ascii_lowercase();
    let urls: Vec<String> = url.hosts.iter().map(|host| format!("{scheme}://{host}")).collect();
    let urls = if urls.is_empty() { vec!["ldap://localhost".to_owned()] } else { urls };
    put(draft, "urls", list(urls.iter().map(String::as_str)));
    if scheme == "ldap" {
        draft.judge(PART, "Perdition asked in clear text; better starttls = true, or ldaps:// servers");
    }
    put(draft, "base", quoted(&url.base));
    let scope = if url.scope.is_empty() { "base" } else { &url.scope };
    put(draft, "scope", quoted(scope));
    filter(source, draft, &url);
    attributes(source, draft, &url);
    bind(draft, &url);
}

/// Sets a key that the URL says; its line is the URL's.
fn put(draft: &mut Draft, key: &'static str, value: String) -> bool {
    let tried = draft.attempt(|draft| draft.set(PART, key, value));
    if let Err(problem) = &tried {
        draft.judge(PART, &format!("`{key}` of map_library_opt is not taken over: {}", problem.escape_debug()));
    }
    tried.is_ok()
}

fn filter(source: &Source, draft: &mut Draft, url: &LdapUrl) {
    let asked = keys(source);
    let with = |key: &str| -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.replace('{', "\\7b").replace('}', "\\7d"),
            Piece::Key => key.to_owned(),
        };
        url.filter.iter().map(piece).collect()
    };
    let filters: Vec<String> = asked.iter().flatten().map(|key| with(key)).collect();
    let filter = match filters.as_slice() {
        [one] => one.clone(),
        several => format!("(|{})", several.concat()),
    };
    put(draft, "filter", quoted(&filter));
    if source.has("query_key") {
        draft.note(PART, &format!("perdition: {}", source.shown("query_key")));
        if asked.iter().any(Option::is_none) {
            draft.judge(PART, "query_key: addresses and ports are no keys; filters have {user}, {local} and {domain}");
        }
        if filters.len() > 1 {
            draft
                .judge(PART, "Perdition asked one key after the other; this asks all at once, and refuses two answers");
        }
    }
}

/// What is looked up, as placeholders of a filter; `None` for what mailferry does not look up.
fn keys(source: &Source) -> Vec<Option<String>> {
    let formats = source.words("query_key");
    let delimiter = source.value("domain_delimiter").filter(|it| !it.is_empty()).unwrap_or("@");
    let keys: Vec<Option<String>> = formats.iter().map(|format| key(format, delimiter)).collect();
    if keys.iter().any(Option::is_some) { keys } else { vec![Some("{user}".to_owned())] }
}

fn key(format: &str, delimiter: &str) -> Option<String> {
    let mut key = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next()? {
                'U' => key += "{user}",
                'u' => key += "{local}",
                'd' => key += "{domain}",
                // By then it is one, whatever was typed.
                'D' if delimiter == "@" => key.push('@'),
                'D' => key += &literal(delimiter),
                '\\' => key += &literal("\\"),
                _ => return None,
            },
            letter => key += &literal(letter.encode_utf8(&mut [0; 4])),
        }
    }
    Some(key)
}

/// Text in a filter (RFC 4515 §3), with its braces.
fn literal(text: &str) -> String {
    let escape = |octet: u8| match octet {
        b'*' | b'(' | b')' | b'\\' | b'{' | b'}' | 0..=31 | 127.. => format!("\\{octet:02x}"),
        octet => char::from(octet).to_string(),
    };
    text.bytes().map(escape).collect()
}

fn attributes(source: &Source, draft: &mut Draft, url: &LdapUrl) {
    let default = ["username", "mailhost", "port"].map(str::to_owned);
    let names = if url.attributes.is_empty() { &default[..] } else { &url.attributes[..] };
    match names {
        [_, host, ..] => {
            put(draft, "island_attribute", quoted(host));
        }
        _ => {
            draft.judge(
                PART,
                "map_library_opt names no attribute for the host: say in island_attribute which one has it",
            );
        }
    }
    draft.judge(
        PART,
        "list all values of that attribute, and see that each is the `name` or a `match` of an island:\n\
         ldapsearch -x -LLL -H URL -b BASE '(ATTRIBUTE=*)' ATTRIBUTE | grep -i '^ATTRIBUTE:' | sort | uniq -c",
    );
    match (source.has("username_from_database"), names) {
        (true, [name, ..]) => {
            draft.note(PART, "perdition: username_from_database");
            put(draft, "login_attribute", quoted(name));
        }
        (_, [name, ..]) => {
            let name: String = name.escape_debug().collect();
            draft.note(PART, &format!("perdition: username_from_database (not set): {name} was not used"));
        }
        (_, []) => {}
    }
    if let [_, _, port, ..] = names {
        let port: String = port.escape_debug().collect();
        draft.judge(PART, &format!("the attribute {port} is not asked for: ports stand with the nodes of the island"));
    }
}

fn bind(draft: &mut Draft, url: &LdapUrl) {
    let Some(name) = &url.bind_name else { return };
    if !url.has_password {
        let name: String = name.escape_debug().collect();
        draft.judge(PART, &format!("{name} had no password, so Perdition asked as nobody, and so does this"));
        return;
    }
    let both = draft.attempt(|draft| {
        draft.set(PART, "bind_dn", quoted(name));
        draft.set(PART, "bind_password_file", quoted(SECRET));
    });
    match both {
        Ok(()) => draft.judge(
            PART,
            &format!("write the password of x-bindpw into {SECRET}, with a mode that only mailferry's user can read"),
        ),
        Err(problem) => draft.judge(PART, &format!("set `bind_dn` and `bind_password_file` by hand: {problem}")),
    }
}
