//! What concerns neither listeners, names, the directory nor nodes → `[server]`, `[log]`, `[limits]`, and the list of
//! what is gone.

use super::draft::{Draft, Part, quoted};
use super::{Source, listeners};

const HOUR: u64 = 3600;

/// Most words of a capability string that are looked at.
const WORDS_MAX: usize = 64;

pub(super) fn translate(source: &Source, draft: &mut Draft) {
    draft.judge(
        Part::Server,
        "the name in greetings; Perdition took the machine's, or that of the address that the client had asked for",
    );
    if source.has("no_bind_banner") {
        draft.note(Part::Server, "perdition: no_bind_banner: as it is always: `hostname`");
    }
    login_timeout(source, draft);
    capabilities(source, draft);
    log(source, draft);
    limits(source, draft);
}

fn login_timeout(source: &Source, draft: &mut Draft) {
    let Some(value) = source.value("authenticate_timeout") else { return };
    let shown = source.shown("authenticate_timeout");
    match value.parse::<u64>() {
        Ok(seconds) if (1..=HOUR).contains(&seconds) => {
            draft.offer(Part::Server, &shown, &[("login_timeout", quoted(&format!("{seconds}s")))]);
        }
        _ => {
            draft.offer(Part::Server, &shown, &[("login_timeout", quoted("1h"))]);
        }
    }
    draft.judge(
        Part::Server,
        "Perdition's was the longest silence, this is the whole time from the connection to the accepted login; 60 s, the \
         default, are enough",
    );
}

/// The nodes know better, so the keys are off.
fn capabilities(source: &Source, draft: &mut Draft) {
    for (name, key, is_imap) in [
        ("imap_capability", "imap_capabilities", true),
        ("pop_capability", "pop3_capabilities", false),
        ("capability", "imap_capabilities", true),
    ] {
        let Some(value) = source.value(name) else { continue };
        let words: Vec<&str> = match (is_imap, value.contains("  ")) {
            (true, _) => value.split_whitespace().collect(),
            (false, true) => value.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect(),
            (false, false) => value.split('.').filter(|word| !word.is_empty()).collect(),
        };
        // One at a time: the reader knows which words are mailferry's own.
        let is_for_nodes = |word: &&str| {
            let mut trial = draft.clone();
            !word.eq_ignore_ascii_case("IMAP4")
                && trial.attempt(|draft| draft.set(Part::Server, key, super::draft::list([*word]))).is_ok()
        };
        let words: Vec<&str> = words.into_iter().take(WORDS_MAX).filter(is_for_nodes).collect();
        let shown = source.shown(name);
        draft.note(
            Part::Server,
            &format!("perdition: {shown}: gone: clients are told what all nodes in service can do"),
        );
        if !words.is_empty() {
            let line = listeners::capabilities(key, &words);
            draft.judge(Part::Server, &format!("only if clients must be told something else, as before:\n{line}"));
        }
    }
}

fn log(source: &Source, draft: &mut Draft) {
    let level = |draft: &mut Draft, name: &str, level: &str| {
        draft.offer(Part::Log, &source.shown(name), &[("level", quoted(level))]);
    };
    if source.has("quiet") {
        level(draft, "quiet", "error");
    }
    if source.has("debug") {
        level(draft, "debug", "debug");
    }
}

fn limits(source: &Source, draft: &mut Draft) {
    let Some(value) = source.value("connection_limit") else { return };
    let shown = source.shown("connection_limit");
    let Some(each) = value.parse::<u64>().ok().filter(|each| *each > 0) else {
        draft.note(Part::Limits, &format!("perdition: {shown}: none, as without it: what the file descriptors allow"));
        return;
    };
    let all = each.saturating_mul(source.services.len().max(1) as u64);
    // The other limits' defaults, where they fit.
    let at_most = |limit: u64| limit.min(all).to_string();
    let keys = [
        ("connections", all.to_string()),
        ("connections_per_network", at_most(1000)),
        ("unauthenticated", at_most(4096)),
        ("unauthenticated_per_network", at_most(512)),
    ];
    if draft.offer(Part::Limits, &shown, &keys) && source.services.len() > 1 {
        draft.judge(Part::Limits, "Perdition counted for each of its processes, mailferry counts for all listeners");
    }
}

/// The options without a counterpart, and lines that another one of the same option replaced.
pub(super) fn mention(source: &Source, draft: &mut Draft) {
    if source.entries.iter().any(|entry| entry.option.gone.is_some()) {
        draft.note(Part::Foot, "What has no counterpart, or was said again:");
    }
    for (place, entry) in source.entries.iter().enumerate() {
        let name = entry.option.name;
        let shown = super::shown(name, &entry.value);
        let later = source.entries[place + 1..].iter().find(|other| other.option.name == name);
        if let Some(later) = later.filter(|_| name != "ssl_mode") {
            draft.note(Part::Foot, &format!("perdition: {shown}: line {} says it again, and counts", later.line));
        } else if let Some(why) = entry.option.gone {
            draft.note(Part::Foot, &format!("perdition: {shown}: {why}"));
        }
    }
}
