//! The site's rules for user names: from what a client typed to the name that is looked up and the one a node gets.
//!
//! A name is octets. What the rules do not speak of stays as it is, and no octet of it ever means anything: `%`, `*`,
//! `(`, `\` and quotes are data.

use std::sync::Arc;

use crate::names::{UserName, lower_case};

/// The site's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Look names up in lower case.
    pub lower_case: bool,
    /// What happens to the part behind the `@`.
    pub domain: DomainRule,
    /// Added to names without a domain under [`DomainRule::Add`], where neither the listener nor the name that the
    /// client asked for in its TLS handshake says another one.
    pub default_domain: Option<Arc<str>>,
    /// Domains by the server name of the TLS handshake (SNI), in lower case.
    pub domains_by_sni: Vec<(Arc<str>, Arc<str>)>,
    /// What clients may write between name and domain instead of `@`: 1 to 8 printable characters.
    pub delimiter: Option<Arc<str>>,
    /// Which name a node gets that the directory gives none for.
    pub on_node: NodeName,
    /// Longest name, in octets: 1 to 255.
    pub length_max: usize,
    /// Which octets a name may have.
    pub characters: Characters,
}

/// What happens to a name's domain before it is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainRule {
    /// The name stays as it is.
    Keep,
    /// What stands behind the first `@` is cut off, and the `@` as well.
    Strip,
    /// A name without one gets a domain.
    Add,
}

/// Which name a node gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeName {
    /// As the client typed it.
    Typed,
    /// As it is looked up.
    LookedUp,
}

/// Which octets a name may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Characters {
    /// Any but NUL, CR and LF.
    Any,
    /// UTF-8 without control characters.
    Text,
    /// Printable ASCII without the space.
    Ascii,
}

/// A user's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// For directory, cache, limits and log.
    pub looked_up: UserName,
    /// For the node, where the directory says no other.
    pub on_node: UserName,
}

impl Rules {
    /// The names of a user who typed this. `None`: the site has no such names. `listener` is the domain of the
    /// listener, `sni` the server name of the TLS handshake.
    pub fn apply(&self, typed: &UserName, listener: Option<&str>, sni: Option<&str>) -> Option<Names> {
        let octets = typed.as_bytes();
        if octets.len() > self.length_max || !self.characters.allow(octets) {
            return None;
        }
        // First of all, so that a name means the same in whatever case it was typed.
        let mut name = self.cased(octets);
        if let Some(delimiter) = &self.delimiter {
            name = with_at(name, &self.cased(delimiter.as_bytes()));
        }
        let at = name.iter().position(|&octet| octet == b'@');
        match (self.domain, at) {
            (DomainRule::Strip, Some(at)) => {
                name.truncate(at);
                // What was cut off may be what was no UTF-8, so that only now all that is left has its case.
                if !name.is_ascii() {
                    name = self.cased(&name);
                }
            }
            (DomainRule::Add, None) => {
                if let Some(domain) = self.domain_of(listener, sni) {
                    name.push(b'@');
                    name.extend_from_slice(&self.cased(domain.as_bytes()));
                }
            }
            (DomainRule::Keep, _) | (DomainRule::Strip, None) | (DomainRule::Add, Some(_)) => {}
        }
        let looked_up = UserName::new(&name)?;
        let on_node = match self.on_node {
            NodeName::Typed => typed.clone(),
            NodeName::LookedUp => looked_up.clone(),
        };
        Some(Names { looked_up, on_node })
    }

    /// Whether any login may be looked up as this, whatever is typed and wherever. Says no only where that is sure.
    pub fn may_look_up(&self, name: &UserName) -> bool {
        let octets = name.as_bytes();
        let has_domain = octets.contains(&b'@');
        let fits = match self.domain {
            DomainRule::Keep => true,
            DomainRule::Strip => !has_domain,
            DomainRule::Add => has_domain || self.default_domain.is_none(),
        };
        fits && self.cased(octets) == octets
    }

    /// What a name without a domain gets: whoever knows the client best says it.
    fn domain_of<'a>(&'a self, listener: Option<&'a str>, sni: Option<&str>) -> Option<&'a str> {
        let of_sni = |sni: &str| self.domains_by_sni.iter().find(|(name, _)| name.eq_ignore_ascii_case(sni));
        let by_sni = sni.and_then(of_sni).map(|(_, domain)| domain.as_ref());
        by_sni.or(listener).or(self.default_domain.as_deref())
    }

    /// In lower case, if the site wants it.
    fn cased(&self, octets: &[u8]) -> Vec<u8> {
        if self.lower_case { lower_case(octets) } else { octets.to_vec() }
    }
}

/// The name with an `@` for the last delimiter, if it has none. The last one, because a domain cannot have a delimiter
/// in it (the configuration sees to that), and what is before it can.
fn with_at(name: Vec<u8>, delimiter: &[u8]) -> Vec<u8> {
    if name.contains(&b'@') || delimiter.is_empty() {
        return name;
    }
    let Some(at) = name.windows(delimiter.len()).rposition(|part| part == delimiter) else { return name };
    let (local, domain) = (name.get(..at).unwrap_or_default(), name.get(at + delimiter.len()..).unwrap_or_default());
    if local.is_empty() || domain.is_empty() { name } else { [local, b"@", domain].concat() }
}

impl Characters {
    fn allow(self, octets: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Text => str::from_utf8(octets).is_ok_and(|text| !text.contains(char::is_control)),
            Self::Ascii => octets.iter().all(u8::is_ascii_graphic),
        }
    }
}

#[cfg(test)]
mod tests;
