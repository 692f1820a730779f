//! docs/metrics.md is what the code says (`UPDATE_DOCS=1` rewrites it), and the dashboard, the alerts and all examples ask
//! for nothing that is not there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{read_to_string, write};

use crate::metrics::families::{Family, GROUPS, Kind, all};
use crate::metrics::{Limit, Outcome, Stage, Word};
use crate::names::Protocol;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/alerts.yaml");
const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/grafana.json");
const RUNBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");

fn tables() -> String {
    let mut text = String::new();
    for (title, families) in GROUPS {
        write!(text, "\n## {title}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n").unwrap();
        for family in *families {
            let name = match family.kind {
                Kind::Histogram => family.name.to_owned(),
                Kind::Counter | Kind::Gauge | Kind::Info => family.samples().remove(0),
            };
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            writeln!(text, "| `{name}` | {} | {} | {} |", family.kind.word(), labels.join(" "), family.help).unwrap();
        }
    }
    let words = |words: Vec<&str>| words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ");
    let limits = Limit::ALL.iter().map(|limit| limit.word()).collect();
    write!(text, "\n`limit` is one of {}.\n\n", words(limits)).unwrap();
    text
}

#[test]
fn the_page_is_what_the_code_says() {
    let page = read_to_string(PAGE).unwrap();
    let (begin, end) = ("<!-- begin: metrics -->\n", "<!-- end: metrics -->\n");
    let (head, rest) = page.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let right = format!("{head}{begin}{}{end}{tail}", tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return write(PAGE, right).unwrap();
    }
    assert!(page == right, "docs/metrics.md is out of date: run this test with UPDATE_DOCS=1");
}

/// The words of PromQL that we use; a name that is neither of these nor of ours is a mistake.
const PROMQL: [&str; 21] = [
    "and",
    "or",
    "unless",
    "by",
    "on",
    "sum",
    "min",
    "max",
    "count",
    "rate",
    "increase",
    "changes",
    "time",
    "vector",
    "histogram_quantile",
    "label_values",
    "up",
    "le",
    "job",
    "instance",
    "e9",
];

/// Labels that Prometheus adds.
const FOREIGN: [&str; 3] = ["job", "instance", "le"];

/// The family of a sample's name.
fn family(name: &str) -> Option<&'static Family> {
    all().find(|family| family.samples().iter().any(|sample| sample == name))
}

/// What a value may be, where the list is closed.
fn is_value(family: &Family, label: &str, value: &str) -> bool {
    fn has<W: Word>(value: &str) -> bool {
        W::ALL.iter().any(|word| word.word() == value)
    }
    match label {
        "outcome" => has::<Outcome>(value),
        "stage" => has::<Stage>(value),
        "protocol" => has::<Protocol>(value),
        "limit" => has::<Limit>(value),
        // The meaning names them all.
        "state" | "result" | "direction" => {
            family.help.split(|letter: char| !letter.is_alphanumeric() && !"-_".contains(letter)).any(|it| it == value)
        }
        "why" => read_to_string("docs/connection.md").unwrap().contains(&format!("`{value}`")),
        _ => true,
    }
}

/// What is wrong with an expression's names.
fn wrong(expression: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut known: BTreeSet<&str> = FOREIGN.into();
    let mut current: Option<&'static Family> = None;
    let mut grouped = Vec::new();
    let mut rest = expression;
    while let Some(letter) = rest.chars().next() {
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
        if letter.is_ascii_alphabetic() || letter == '_' {
            let end = rest.find(|letter| !is_letter(letter)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            rest = behind;
            match family(word) {
                Some(family) => {
                    known.extend(family.labels);
                    current = Some(family);
                }
                None if word == "by" || word == "on" => {
                    let (list, behind) = rest.trim_start().trim_start_matches('(').split_once(')').unwrap();
                    grouped.extend(list.split(',').map(str::trim).filter(|label| !label.is_empty()));
                    rest = behind;
                }
                None if PROMQL.contains(&word) => current = None,
                None => wrong.push(format!("no such name: {word}")),
            }
        } else if letter == '{' {
            let (matchers, behind) = rest[1..].split_once('}').unwrap();
            rest = behind;
            let mut matchers = matchers;
            while let Some((label, behind)) = matchers.split_once(['=', '!']) {
                let (_, behind) = behind.split_once('"').unwrap();
                let (value, behind) = behind.split_once('"').unwrap();
                matchers = behind.trim_start_matches(',');
                let is_foreign = FOREIGN.contains(&label);
                let Some(family) = current.filter(|family| is_foreign || family.labels.contains(&label)) else {
                    if !(is_foreign && expression.starts_with("up")) {
                        wrong.push(format!("no such label here: {label}"));
                    }
                    continue;
                };
                let values = value.split('|').filter(|value| !value.starts_with('$') && *value != ".*");
                let unknown = values.filter(|value| !is_value(family, label, value));
                wrong.extend(unknown.map(|value| format!("no such value of {label}: {value}")));
            }
        } else if letter == '[' {
            let (range, behind) = rest[1..].split_once(']').unwrap();
            let is_range =
                range == "$__rate_interval" || range.trim_end_matches(['s', 'm', 'h']).parse::<u32>().is_ok();
            if !is_range {
                wrong.push(format!("no range: {range}"));
            }
            rest = behind;
        } else if letter.is_ascii_digit() {
            rest = rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || ".e".contains(letter));
        } else {
            rest = &rest[letter.len_utf8()..];
        }
    }
    let opened = |open: char, close: char| expression.matches(open).count() == expression.matches(close).count();
    if !opened('(', ')') || !opened('{', '}') || !opened('[', ']') {
        wrong.push("brackets".to_owned());
    }
    wrong.extend(grouped.iter().filter(|label| !known.contains(*label)).map(|it| format!("no such label: {it}")));
    wrong
}

#[test]
fn a_name_that_is_not_there_is_found() {
    for (expression, problems) in [
        ("sum by (island) (rate(mailferry_logins_total{outcome=\"accepted\"}[5m]))", 0),
        ("histogram_quantile(0.95, sum by (le) (rate(mailferry_login_duration_seconds_bucket[5m]))) > 2.5", 0),
        ("up{job=\"mailferry\"} == 0", 0),
        ("process_open_fds{job=\"x\"} / 1e9", 0),
        ("mailferry_logins", 1),
        ("mailferry_login_duration_seconds", 1),
        ("rate(mailferry_login_total[5m])", 1),
        ("rate(mailferry_logins_total{node=\"left\"}[5m])", 1),
        ("rate(mailferry_logins_total{outcome=\"accept\"}[5m])", 1),
        ("rate(mailferry_logins_total{outcome=~\"accepted|fine\"}[5m])", 1),
        ("mailferry_node_state{state=\"dead\"}", 1),
        ("mailferry_connections_ended_total{why=\"because\"}", 1),
        ("sum by (nodes) (mailferry_sessions)", 1),
        ("summ(mailferry_sessions)", 1),
        ("rate(mailferry_logins_total[often])", 1),
        ("sum(mailferry_sessions", 1),
    ] {
        assert_eq!(wrong(expression).len(), problems, "{expression}: {:?}", wrong(expression));
    }
}

/// An alert, as it stands in the file.
#[derive(Default)]
struct Alert {
    name: String,
    expression: String,
    severity: String,
    summary: String,
    runbook: String,
}

/// The file, of which every line must be as we write it: indents, keys, nothing that YAML would take for something else.
fn alerts() -> Vec<Alert> {
    let text = read_to_string(ALERTS).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut lines = lines.skip_while(|line| ["groups:", "  - name: mailferry", "    rules:"].contains(line));
    let mut alerts: Vec<Alert> = Vec::new();
    for line in &mut lines {
        if let Some(name) = line.strip_prefix("      - alert: ") {
            alerts.push(Alert { name: name.to_owned(), ..Alert::default() });
            continue;
        }
        let alert = alerts.last_mut().expect("an alert");
        let indent = line.len() - line.trim_start().len();
        let (key, value) = line.trim_start().split_once(':').unwrap_or_else(|| panic!("{line}"));
        let value = value.trim_start();
        let quoted = || value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or_else(|| panic!("{line}"));
        match (indent, key) {
            (8, "expr") => {
                assert!(!value.contains(": ") && !value.contains(" #"), "{line}");
                alert.expression = value.to_owned();
            }
            (8, "for") => assert!(value.trim_end_matches(['m', 'h']).parse::<u32>().is_ok(), "{line}"),
            (8, "labels" | "annotations") => assert!(value.is_empty(), "{line}"),
            (10, "severity") => alert.severity = value.to_owned(),
            (10, "summary") => alert.summary = quoted().to_owned(),
            (10, "runbook") => alert.runbook = quoted().to_owned(),
            _ => panic!("an unexpected line: {line}"),
        }
    }
    alerts
}

#[test]
fn alerts_ask_for_what_there_is() {
    let alerts = alerts();
    assert!(alerts.len() >= 20, "{}", alerts.len());
    assert_eq!(alerts.iter().map(|alert| &alert.name).collect::<BTreeSet<_>>().len(), alerts.len());
    for Alert { name, expression, severity, summary, .. } in &alerts {
        assert_eq!(wrong(expression), Vec::<String>::new(), "{name}");
        assert!(expression.contains("mailferry"), "{name}");
        assert!(["critical", "warning", "info"].contains(&severity.as_str()), "{name}");
        for label in summary.split("$labels.").skip(1).map(|rest| rest.split([' ', '}']).next().unwrap()) {
            // What was summed up has no other labels.
            let lists = expression.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap());
            let is_there = match lists.into_iter().next() {
                Some(list) => list.split(", ").any(|it| it == label),
                None => {
                    FOREIGN.contains(&label)
                        || all().any(|it| expression.contains(it.name) && it.labels.contains(&label))
                }
            };
            assert!(is_there, "{name}: {label}");
        }
    }
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let page = read_to_string(RUNBOOK).unwrap();
    let pages = page.split("\n## When an alert comes\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut written: BTreeSet<&str> = BTreeSet::new();
    for section in pages.split("\n### ").skip(1) {
        let (name, text) = section.split_once('\n').unwrap();
        for part in ["\n**It means:** ", "\n**Look:** ", "\n**Do:** "] {
            assert_eq!(text.matches(part).count(), 1, "{name}: {part}");
        }
        for alert in text.split("Mailferry").skip(1) {
            let named: String = alert.chars().take_while(|letter| letter.is_alphanumeric()).collect();
            assert!(pages.contains(&format!("\n### Mailferry{named}\n")), "{name} names Mailferry{named}");
        }
        for code in text.split('`').skip(1).step_by(2).filter(|code| code.contains("mailferry_")) {
            assert_eq!(wrong(code), Vec::<String>::new(), "{name}: {code}");
        }
        assert!(written.insert(name), "{name}");
    }
    let alerts = alerts();
    for Alert { name, runbook, .. } in &alerts {
        assert_eq!(*runbook, format!("operations.md#{}", name.to_lowercase()));
    }
    assert_eq!(alerts.iter().map(|alert| alert.name.as_str()).collect::<BTreeSet<_>>(), written);
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let dashboard: serde_json::Value = serde_json::from_str(&read_to_string(DASHBOARD).unwrap()).unwrap();
    let mut expressions = Vec::new();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["id"]);
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            expressions.push(expression);
            let labels = target["legendFormat"].as_str().unwrap().split("{{").skip(1);
            for label in labels.map(|rest| rest.split("}}").next().unwrap()) {
                assert!(expression.contains(label) || FOREIGN.contains(&label), "{expression}: {label}");
            }
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|it| it["type"] == "query") {
        let query = variable["query"].as_str().unwrap();
        let (name, label) = query.trim_start_matches("label_values(").trim_end_matches(')').split_once(", ").unwrap();
        assert_eq!(wrong(&format!("sum by ({label}) ({name})")), Vec::<String>::new(), "{query}");
    }
    for expression in &expressions {
        assert_eq!(wrong(expression), Vec::<String>::new(), "{expression}");
    }
    // Whoever adds a number shows it, or says here why it is not shown.
    let not_shown = [
        "mailferry_balancer_checks",
        "mailferry_cache_users",
        "mailferry_cache_capacity_users",
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
        "mailferry_node_state",
        "mailferry_node_operator_state",
        "mailferry_log_warnings_suppressed",
        "mailferry_config_last_reload_success_timestamp_seconds",
    ];
    let text = dashboard.to_string();
    for family in all() {
        let is_shown = family.samples().iter().any(|sample| text.contains(sample));
        assert_ne!(is_shown, not_shown.contains(&family.name), "{}", family.name);
    }
}

#[test]
fn the_questions_of_the_pages_ask_for_what_there_is() {
    let page = read_to_string(PAGE).unwrap();
    let block = page.split("```promql\n").nth(1).unwrap().split("```").next().unwrap();
    let questions: Vec<&str> = block.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(questions.len() >= 5);
    for question in questions {
        assert_eq!(wrong(question), Vec::<String>::new(), "{question}");
    }
}
