//! Each command of the command line on real parts: slapd, Dovecots, and sessions between them.
//!
//! Here is the list of them. What a command does in all its cases, tests/it knows, with nodes that do as they are told.

mod configuring;
mod ferry;
mod looking;
mod nodes;
mod terminal;
mod users;

use std::collections::BTreeMap;

/// Each command, as it is typed, and the test that has it before it.
const PROVED: [(&str, &str); 23] = [
    ("run", "run_serves_until_a_signal_and_tells_who_waits_for_news"),
    ("check", "check_reads_the_files_of_a_real_site"),
    ("route", "route_names_the_island_that_the_real_directory_says"),
    ("import perdition", "import_perdition_makes_a_configuration_with_which_real_users_log_in"),
    ("status", "status_knows_the_directory_the_islands_and_who_is_there"),
    ("ready", "ready_is_whoever_wants_clients"),
    ("islands", "islands_shows_what_real_nodes_answer_to_probes"),
    ("sessions", "sessions_are_found_by_user_node_island_and_client"),
    ("top", "top_counts_logins_and_octets_of_those_who_stay_and_of_those_who_go"),
    ("kick", "kick_ends_sessions_of_a_user_a_node_or_one_and_clients_hear_it"),
    ("drain", "drain_sends_the_next_login_to_the_other_node_and_leaves_sessions_alone"),
    ("undrain", "undrain_gives_a_node_its_users_again"),
    ("maintenance", "maintenance_takes_a_node_out_and_nobody_looks_at_it"),
    ("fail-back", "fail_back_gives_a_node_that_has_returned_its_users"),
    ("hold", "hold_lets_logins_by_every_name_of_a_mailbox_wait"),
    ("release", "release_lets_logins_go_on_and_ask_the_directory"),
    ("holds", "holds_tells_who_is_held_and_how_many_wait"),
    ("move", "enter_says_that_the_mail_is_moved_by_hand"),
    ("flush", "flush_makes_a_changed_entry_seen_at_once"),
    ("reload", "reload_adds_a_node_and_an_island_under_held_sessions"),
    ("logs-level", "logs_level_changes_what_real_logins_leave_in_the_log"),
    ("completions", "completions_are_a_shells_own_words"),
    ("man", "man_writes_a_page_for_each_command"),
];

/// The tests of these files, by their names.
const FILES: [&str; 5] = [
    include_str!("commands/configuring.rs"),
    include_str!("commands/looking.rs"),
    include_str!("commands/nodes.rs"),
    include_str!("commands/terminal.rs"),
    include_str!("commands/users.rs"),
];

/// What can be typed, with whether it answers in JSON.
fn typed(command: &clap::Command, before: &str, all: &mut BTreeMap<String, bool>) {
    for inner in command.get_subcommands() {
        let words = format!("{before}{}", inner.get_name());
        if inner.has_subcommands() {
            typed(inner, &format!("{words} "), all);
        } else {
            all.insert(words, inner.get_arguments().any(|it| it.get_id() == "json"));
        }
    }
}

#[test]
fn every_command_has_a_test_on_real_parts() {
    let mut all = BTreeMap::new();
    typed(&mailferry::cli::definition(), "", &mut all);
    let mut tests: BTreeMap<&str, &str> = BTreeMap::new();
    for text in FILES {
        for test in text.split("#[test]\nfn ").skip(1) {
            let (name, body) = test.split_once("() {\n").unwrap();
            tests.insert(name, body.split_once("\n}\n").unwrap().0);
        }
    }
    let mut proved: BTreeMap<&str, &str> = PROVED.into();
    for (command, speaks_json) in all {
        let name = proved.remove(command.as_str());
        let name = name.unwrap_or_else(|| panic!("`{command}` has no test on real parts: write one, and name it here"));
        let body = tests.get(name).unwrap_or_else(|| panic!("`{command}`: there is no test {name}"));
        let first = command.split(' ').next().unwrap_or_default();
        let is_run = first == "run"; // which is what every test here begins with
        assert!(is_run || body.contains(&format!("\"{first}\"")), "{name} does not say `{command}`");
        let reads_json = body.contains("json(&") || body.contains("\"--json\"");
        assert!(!speaks_json || reads_json, "{name} does not look at what `{command} --json` says");
    }
    assert!(proved.is_empty(), "there is no command {:?} any more", proved.keys());
}
