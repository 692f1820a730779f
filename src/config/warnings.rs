//! What works and is most likely not as it was meant. Told by `check`; nothing of it keeps mailferry from starting.

use super::Settings;
use crate::directory::{SourceSettings, file};

/// All of it, one text for each. Reads the file of routes, where there is one; that it can be read was found out before.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    for listener in &settings.listeners {
        for balancer in &listener.proxy_protocol_from {
            let overlaps = |trusted: &&ipnet::IpNet| trusted.contains(balancer) || balancer.contains(*trusted);
            if let Some(trusted) = listener.trusted_networks.iter().find(overlaps) {
                warnings.push(format!(
                    "listener {}: balancers in {balancer} (proxy_protocol_from) are in {trusted} (trusted_networks) too: a \
                     client for which one gives its own address could say who it is; leave them out of trusted_networks",
                    listener.address
                ));
            }
        }
    }
    if let SourceSettings::File(file) = &settings.directory.source {
        let rules = &settings.session.usernames;
        warnings.extend(file::idle_lines(&file.path, &|user| rules.may_look_up(user)));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn of(listener: &str, usernames: &str, routes: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("users"), routes).unwrap();
        let path = dir.path().join("proxy.toml");
        let text = format!(
            "[server]\nhostname = \"mail.example.net\"\n[usernames]\n{usernames}\n[[listener]]\nprotocol = \"imap\"\n\
             address = \"127.0.0.1:1143\"\ntls = \"off\"\ncleartext_login = true\n{listener}\n[directory]\ntype = \
             \"file\"\npath = \"users\"\n[[island]]\nname = \"a\"\ntls = \"off\"\nnodes = [{{ name = \"left\", host = \
             \"10.1.0.11\" }}]\n"
        );
        std::fs::write(&path, text).unwrap();
        let folder = format!("{}/", dir.path().display());
        warnings(&config::load(&path).unwrap()).iter().map(|it| it.replace(&folder, "")).collect()
    }

    #[test]
    fn a_balancer_whose_own_address_is_trusted_is_told() {
        for (balancers, trusted, is_told) in [
            ("10.0.0.0/24", "10.0.0.0/8", true),
            ("10.0.0.0/8", "10.0.0.5", true),
            ("10.0.0.0/24", "10.0.1.0/24", false),
            ("10.0.0.0/24", "2001:db8::/32", false),
        ] {
            let keys = format!("proxy_protocol_from = [\"{balancers}\"]\ntrusted_networks = [\"{trusted}\"]");
            let told = of(&keys, "", "alice a\n");
            assert_eq!(told.len(), usize::from(is_told), "{balancers} {trusted} {told:?}");
            assert!(told.iter().all(|it| it.contains("127.0.0.1:1143") && it.contains(balancers)), "{told:?}");
        }
    }

    #[test]
    fn lines_of_the_routes_that_no_login_finds_are_told_with_their_place() {
        let routes = "# users\nalice a\nBob a\n\u{c4}da a\ncarol@example.net a\n";
        assert_eq!(of("", "lower_case = false", routes), Vec::<String>::new());
        let told = of("", "lower_case = true", routes);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("users:3: no login is looked up as Bob"), "{told:?}");
        assert!(told[1].starts_with("users:4: "), "{told:?}");
        let told = of("", "lower_case = true\ndomain = \"strip\"", &routes.to_lowercase());
        assert!(told.len() == 1 && told[0].starts_with("users:5: "), "{told:?}");
        let many = (0..30).map(|number| format!("User{number} a\n")).collect::<String>();
        let told = of("", "lower_case = true", &many);
        assert!(told.len() == 21 && told[20] == "and 10 more", "{told:?}");
    }
}
