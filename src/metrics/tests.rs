//! Names by the rules, numbers that are right, pages that any reader takes.

mod docs;

use std::collections::BTreeSet;

use super::families::{self, Family, Kind};
use super::*;
use crate::names::Protocol;
use crate::testkit::exposition::Exposition;

static COUNTED: Family = Family { name: "x_octets_bytes", kind: Kind::Counter, labels: &["a", "b"], help: "Octets." };
static TIMED: Family = Family { name: "x_took_seconds", kind: Kind::Histogram, labels: &["a"], help: "Times." };
static TOLD: Family = Family { name: "x_build", kind: Kind::Info, labels: &["a"], help: "What it is." };
static IS: Family = Family { name: "x_is", kind: Kind::Gauge, labels: &[], help: "A number." };

fn page(format: Format) -> String {
    let mut page = Page::new(format);
    let mut octets = page.family(&COUNTED);
    octets.count(&["left", "a \"b\" \\ c\nd"], 7);
    octets.number(&["right", ""], 0.5);
    let histogram = Histogram::default();
    for milliseconds in [0, 1, 2, 60_000] {
        histogram.observe(Duration::from_millis(milliseconds));
    }
    page.family(&TIMED).histogram(&["x"], &histogram);
    page.family(&TOLD).count(&["1.0"], 1);
    page.family(&IS).number(&[], -0.25);
    page.finish()
}

#[test]
fn a_page_is_as_its_format_wants_it() {
    let text = page(Format::Prometheus);
    let read = Exposition::read(&text, false).unwrap();
    assert_eq!(read.families["x_octets_bytes_total"], "counter");
    assert_eq!(read.families["x_build_info"], "gauge");
    assert!(Exposition::read(&text, true).is_err(), "the formats differ");
    assert_eq!(read.sum("x_octets_bytes_total", &[("b", "a \"b\" \\ c\nd")]), 7.0);
    assert_eq!(read.sum("x_is", &[]), -0.25);
    assert!(text.contains("# HELP x_octets_bytes_total Octets.\n# TYPE x_octets_bytes_total counter\n"), "{text}");
    let text = page(Format::OpenMetrics);
    let open = Exposition::read(&text, true).unwrap();
    assert_eq!(open.families["x_octets_bytes"], "counter");
    assert_eq!(open.families["x_build"], "info");
    assert_eq!(open.samples, read.samples, "both tell the same");
    assert!(text.contains("# TYPE x_took_seconds histogram\n# UNIT x_took_seconds seconds\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_time_is_in_every_bucket_that_is_not_shorter() {
    let read = Exposition::read(&page(Format::Prometheus), false).unwrap();
    let within = |bound: &str| read.sum("x_took_seconds_bucket", &[("le", bound)]);
    assert_eq!(
        [within("0.0005"), within("0.001"), within("0.0025"), within("30.0"), within("+Inf")],
        [1., 2., 3., 3., 4.]
    );
    assert_eq!(read.sum("x_took_seconds_count", &[]), 4.0);
    assert_eq!(read.sum("x_took_seconds_sum", &[]), 60.003);
}

#[test]
fn who_can_read_openmetrics_and_does_not_want_the_other_gets_it() {
    use Format::{OpenMetrics, Prometheus};
    for (accept, format) in [
        ("", Prometheus),
        ("*/*", Prometheus),
        ("text/html,application/xhtml+xml", Prometheus),
        ("application/openmetrics-text", OpenMetrics),
        // Prometheus 2 and 3.
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            OpenMetrics,
        ),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8, */*;q=0.1", OpenMetrics),
        ("APPLICATION/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=1", OpenMetrics),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", Prometheus),
        ("text/plain;q=0.9,application/openmetrics-text;q=0.8", Prometheus),
        ("application/openmetrics-text;q=0", Prometheus),
        ("application/openmetrics-text;q=nan,text/plain;q=0.1", Prometheus),
        ("application/openmetrics-text;q=x", Prometheus),
        (";;,=,;q,application/openmetrics-text;q=0.1", OpenMetrics),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept}");
    }
}

#[test]
fn names_follow_the_rules() {
    let mut seen = BTreeSet::new();
    for family in families::all() {
        let name = family.name;
        assert!(name.starts_with("mailferry_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'), "{name}");
        assert!(!name.ends_with("_total") && !name.ends_with("_info") && !name.ends_with("_count"), "{name}");
        let is_of_time = ["duration", "timestamp", "_time"].iter().any(|word| name.contains(word));
        assert!(!is_of_time || family.unit() == Some("seconds"), "{name}: no unit");
        assert!(family.kind != Kind::Info || family.unit().is_none(), "{name}");
        assert!(family.help.ends_with('.') && !family.help.contains(['\\', '"', '\n', '|']), "{name}");
        for label in family.labels {
            assert!(label.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'), "{name}: {label}");
            let is_bounded = !["user", "client", "address", "session", "reason", "le"].contains(label);
            assert!(is_bounded, "{name}: {label} can be anything");
        }
        for sample in family.samples() {
            assert!(seen.insert(sample.clone()), "{sample}");
        }
    }
    assert!(seen.len() > 50, "{}", seen.len());
}

#[test]
fn a_word_has_its_own_counter() {
    let counters: ByWord<Outcome, Counter> = ByWord::default();
    for (index, word) in Outcome::ALL.iter().enumerate() {
        assert_eq!(word.index(), index);
        counters.of(*word).add(index as u64 + 1);
    }
    let counts: Vec<_> = counters.iter().map(|(word, counter)| (word.word(), counter.get())).collect();
    assert_eq!(counts.first(), Some(&("accepted", 1)));
    assert_eq!(counts.len(), counts.iter().map(|(word, _)| word).collect::<BTreeSet<_>>().len());
    assert!(counts.iter().enumerate().all(|(index, (_, count))| *count == index as u64 + 1));
}

#[test]
fn accepted_logins_have_a_line_from_the_start_and_others_from_their_first() {
    let logins = Logins::default();
    let nothing: Vec<_> = logins.iter().map(|(protocol, outcome, _, count)| (protocol, outcome, count)).collect();
    assert_eq!(nothing, Protocol::ALL.map(|protocol| (protocol, Outcome::Accepted, 0)));
    logins.count(Protocol::Pop3, Outcome::UnknownUser, Stage::Directory);
    assert_eq!(logins.iter().last(), Some((Protocol::Pop3, Outcome::UnknownUser, Stage::Directory, 1)));
}

#[test]
fn what_is_told_never_shrinks() {
    let told = Counter::default();
    assert_eq!([5, 3, 5, 9, 0].map(|now| told.reach(now)), [5, 5, 5, 9, 9]);
}

#[test]
fn a_failed_reload_does_not_move_the_time_of_the_last_good_one() {
    let upkeep = Upkeep::default();
    upkeep.configured(Done::Success, 100);
    assert_eq!(upkeep.last_reload(), (true, 100));
    upkeep.reloaded(Done::Failure, 200);
    assert_eq!(upkeep.last_reload(), (false, 100));
    upkeep.reloaded(Done::Success, 300);
    assert_eq!(upkeep.last_reload(), (true, 300));
    assert_eq!([Done::Success, Done::Failure].map(|done| upkeep.reloads.of(done).get()), [1, 1]);
}
