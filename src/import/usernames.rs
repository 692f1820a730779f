//! `lower_case`, `strip_domain`, `add_domain`, `explicit_domain` and `domain_delimiter` → `[usernames]`.

use super::Source;
use super::draft::{Draft, Part, quoted};

const PART: Part = Part::Usernames;

/// In which of Perdition's states a rule holds. That for PAM is gone with PAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum States {
    No,
    LookUp,
    Login,
    Both,
}

fn states(source: &Source, name: &str) -> States {
    let words = source.words(name);
    let has =
        |state: &str| words.iter().any(|word| word.eq_ignore_ascii_case(state) || word.eq_ignore_ascii_case("all"));
    match (has("servername_lookup"), has("remote_login")) {
        (false, false) => States::No,
        (true, false) => States::LookUp,
        (false, true) => States::Login,
        (true, true) => States::Both,
    }
}

pub(super) fn translate(source: &Source, draft: &mut Draft) {
    let lower = states(source, "lower_case");
    if source.has("lower_case") {
        let value = matches!(lower, States::LookUp | States::Both).to_string();
        draft.offer(PART, &source.shown("lower_case"), &[("lower_case", value)]);
    } else {
        draft.note(PART, "perdition: lower_case (not set)");
        draft.set(PART, "lower_case", "false".to_owned());
        draft.judge(PART, "true, the default, is better where no two users differ by their letters' case only");
    }
    domains(source, draft);
    delimiter(source, draft);
    on_node(source, draft, &[("lower_case", lower)]);
}

fn domains(source: &Source, draft: &mut Draft) {
    let (strip, add) = (states(source, "strip_domain"), states(source, "add_domain"));
    let at_look_up = |states| matches!(states, States::LookUp | States::Both);
    if source.has("strip_domain") {
        if at_look_up(strip) {
            draft.offer(PART, &source.shown("strip_domain"), &[("domain", quoted("strip"))]);
        } else {
            draft.note(PART, &format!("perdition: {}: not taken over", source.shown("strip_domain")));
        }
    }
    let said = source.value("explicit_domain").filter(|domain| !domain.is_empty());
    if source.has("add_domain") && at_look_up(add) && !at_look_up(strip) {
        let domain = quoted(said.unwrap_or("example.net"));
        let shown = source.shown("add_domain");
        let is_taken = draft.offer(PART, &shown, &[("domain", quoted("add")), ("default_domain", domain)]);
        if is_taken && said.is_none() {
            draft.judge(
                PART,
                "Perdition took the domain from the reverse DNS name of its own address; write it here, or to each \
                 listener (default_domain), or by the name that clients ask for (sni_domains)",
            );
        }
    } else if source.has("add_domain") {
        draft.note(PART, &format!("perdition: {}: not taken over", source.shown("add_domain")));
        if at_look_up(add) {
            draft.judge(PART, "domains are either stripped or added before the look-up");
        }
    }
    if source.has("explicit_domain") {
        draft.note(
            PART,
            &format!("perdition: {}: `default_domain`, where add_domain adds one", source.shown("explicit_domain")),
        );
    }
    on_node(source, draft, &[("strip_domain", strip), ("add_domain", add)]);
}

fn delimiter(source: &Source, draft: &mut Draft) {
    match source.value("domain_delimiter") {
        Some("@" | "") => draft.note(PART, "perdition: domain_delimiter @: as it is anyway"),
        Some(other) => {
            draft.offer(PART, &source.shown("domain_delimiter"), &[("delimiter", quoted(other))]);
            draft.judge(PART, "an @ in a name counts too, and before this one");
        }
        None => {}
    }
}

/// A rule for the node's name holds with all others that hold for it, as the look-up has it.
fn on_node(source: &Source, draft: &mut Draft, rules: &[(&str, States)]) {
    for (name, _) in rules.iter().filter(|(_, states)| *states == States::Both) {
        let _ = draft.attempt(|draft| draft.set(PART, "on_node", quoted("looked-up")));
        let shown = source.shown(name);
        draft.judge(PART, &format!("{shown}: nodes get the name as it was looked up, with all rules of this section"));
    }
    for (name, _) in rules.iter().filter(|(_, states)| *states == States::Login) {
        let shown = source.shown(name);
        draft.judge(
            PART,
            &format!("{shown}: no rule is for the node alone; a login_attribute of the directory can do it"),
        );
    }
}
