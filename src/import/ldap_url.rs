//! Perdition's LDAP URL: `[VERSION:]ldap://HOST HOST/BASE?ATTRIBUTES?SCOPE?FILTER?EXTENSIONS` (RFC 4516, and several
//! hosts). It says what is there; whether a directory can be asked so is for the reader of proxy.toml to say.

/// The parts of one URL, decoded. Empty where the URL has none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LdapUrl {
    /// `ldap` or `ldaps`, as it was written.
    pub(super) scheme: String,
    /// Each with its port, if it has one.
    pub(super) hosts: Vec<String>,
    pub(super) base: String,
    /// In their order: Perdition takes them as the user's name, host and port.
    pub(super) attributes: Vec<String>,
    pub(super) scope: String,
    /// With `%s` where the key goes, and nothing else encoded.
    pub(super) filter: Vec<Piece>,
    pub(super) bind_name: Option<String>,
    pub(super) has_password: bool,
}

/// A part of a filter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// `%s`: what is looked up.
    Key,
}

/// What Perdition asks without a URL.
pub(super) const DEFAULT: &str = "ldap://localhost/ou=mailbox,dc=nodomain?username,mailhost,port?one?(uid=%s)";

/// `None`: no URL.
pub(super) fn parse(text: &str) -> Option<LdapUrl> {
    let text = match text.split_once(':') {
        Some((version, rest)) if version.len() == 1 && version.bytes().all(|octet| octet.is_ascii_digit()) => rest,
        _ => text,
    };
    let text = if text.is_empty() { DEFAULT } else { text };
    let (scheme, rest) = text.split_once("://")?;
    let (hosts, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let mut parts = rest.split('?');
    let mut next = || parts.next().unwrap_or("");
    let (base, attributes, scope, filter, extensions) = (next(), next(), next(), next(), next());
    let mut url = LdapUrl {
        scheme: scheme.to_owned(),
        hosts: hosts.split_whitespace().map(str::to_owned).collect(),
        base: decoded(base),
        attributes: attributes.split(',').filter(|name| !name.is_empty()).map(decoded).collect(),
        scope: scope.to_ascii_lowercase(),
        filter: pieces(filter),
        ..LdapUrl::default()
    };
    for extension in extensions.split(',') {
        let Some((name, value)) = extension.trim_start_matches('!').split_once('=') else { continue };
        if name.eq_ignore_ascii_case("bindname") {
            url.bind_name = Some(decoded(value));
        } else if name.eq_ignore_ascii_case("x-bindpw") {
            url.has_password = !value.is_empty();
        }
    }
    Some(url)
}

/// A `%` and two hexadecimal digits are an octet; any other `%` is itself.
fn decoded(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match escaped(*first, behind) {
            Some(octet) => {
                octets.push(octet);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => octets.push(*first),
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

fn escaped(first: u8, behind: &[u8]) -> Option<u8> {
    let [high, low, ..] = behind else { return None };
    let digit = |octet: &u8| char::from(*octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    (first == b'%').then(|| Some(digit(high)? * 16 + digit(low)?))?
}

/// `%s`, and `%20s`, which would fill the key up with spaces, are the key.
fn pieces(filter: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut text, mut rest) = (String::new(), filter);
    while let Some(at) = rest.find('%') {
        let behind = &rest[at + 1..];
        text += &rest[..at];
        if let Some(behind) = behind.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix('s') {
            pieces.push(Piece::Text(decoded(&std::mem::take(&mut text))));
            pieces.push(Piece::Key);
            rest = behind;
        } else {
            text.push('%');
            rest = behind;
        }
    }
    text += rest;
    pieces.push(Piece::Text(decoded(&text)));
    pieces.retain(|piece| *piece != Piece::Text(String::new()));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perditions_own_examples_are_read() {
        let url = parse("").unwrap();
        assert_eq!(
            (url.scheme.as_str(), url.base.as_str(), url.scope.as_str()),
            ("ldap", "ou=mailbox,dc=nodomain", "one")
        );
        assert_eq!(url.attributes, ["username", "mailhost", "port"]);
        assert_eq!(url.filter, [Piece::Text("(uid=".into()), Piece::Key, Piece::Text(")".into())]);
        let url = parse(
            "3:ldap://host1 host2:1389/o=domain.com?uid,mailhost?sub?(uid=%s)?!BINDNAME=uid=perdition%2co=domain.com,X-BINDPW=s",
        );
        let url = url.unwrap();
        assert_eq!(url.hosts, ["host1", "host2:1389"]);
        assert_eq!(url.bind_name.as_deref(), Some("uid=perdition,o=domain.com"));
        assert!(url.has_password);
    }

    #[test]
    fn percent_signs_are_octets_keys_or_themselves() {
        for (filter, text) in [
            ("(uid=%s)", "(uid=<KEY>)"),
            ("(uid=%20s)", "(uid=<KEY>)"),
            ("(a=%28x%29%s%2a)", "(a=(x)<KEY>*)"),
            ("(a=100%)", "(a=100%)"),
            ("%", "%"),
            ("%s%s", "<KEY><KEY>"),
            ("%c3%a4", "\u{e4}"),
            ("%\u{e4}", "%\u{e4}"),
        ] {
            let pieces = pieces(filter);
            let shown = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Key => "<KEY>",
            });
            assert_eq!(shown.collect::<String>(), text, "{filter}");
        }
    }

    #[test]
    fn odd_texts_are_no_urls_or_have_no_parts() {
        assert_eq!(parse("mysql.example.net:3306:db"), None);
        assert_eq!(parse("x"), None);
        let url = parse("ldap://").unwrap();
        assert!(url.hosts.is_empty() && url.base.is_empty() && url.filter.is_empty() && url.bind_name.is_none());
    }
}
