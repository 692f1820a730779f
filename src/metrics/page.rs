//! Writes numbers down, in the text format of Prometheus (0.0.4) or of OpenMetrics (1.0.0).
//!
//! They differ in a few octets: OpenMetrics calls a counter by its name without `_total`, knows units and `info`, and
//! ends with a line that says so. A label's value is escaped, whatever is in it.

use std::fmt::Write as _;

use super::Histogram;
use super::families::{Family, Kind};

/// Which text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// That of Prometheus, which everything understands.
    Prometheus,
    /// That of OpenMetrics, which tells more of each family.
    OpenMetrics,
}

impl Format {
    /// As HTTP calls it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What somebody gets who accepts this (RFC 9110 §12.5.1). Who says nothing, or accepts neither, gets what everything
    /// understands.
    pub fn accepted(accept: &str) -> Self {
        let mut best = (Self::Prometheus, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "application/openmetrics-text" => Self::OpenMetrics,
                "text/plain" | "text/*" | "*/*" => Self::Prometheus,
                _ => continue,
            };
            let (mut quality, mut is_known) = (1.0, true);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                let value = value.trim().trim_matches('"');
                match (name.trim().to_ascii_lowercase().as_str(), format) {
                    ("q", _) => quality = value.parse().unwrap_or(0.0),
                    // Whoever wants a later one only cannot read ours.
                    ("version", Self::OpenMetrics) => is_known = matches!(value, "1.0.0" | "0.0.1"),
                    _ => {}
                }
            }
            // NaN is no quality.
            if is_known && quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }
}

/// A page that is being written.
pub struct Page {
    format: Format,
    text: String,
}

/// A family of it that is being written.
pub struct Samples<'a> {
    page: &'a mut Page,
    family: &'static Family,
}

impl Page {
    /// An empty one.
    pub fn new(format: Format) -> Self {
        Self { format, text: String::with_capacity(32 * 1024) }
    }

    /// All of a family comes now, and never again on this page.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let (name, kind) = match (self.format, family.kind) {
            (Format::OpenMetrics, kind) => (family.name.to_owned(), kind.word()),
            // What it does not know is a gauge.
            (Format::Prometheus, Kind::Info) => (format!("{}_info", family.name), Kind::Gauge.word()),
            (Format::Prometheus, Kind::Counter) => (format!("{}_total", family.name), family.kind.word()),
            (Format::Prometheus, Kind::Gauge | Kind::Histogram) => (family.name.to_owned(), family.kind.word()),
        };
        self.line(format_args!("# HELP {name} {}", family.help));
        self.line(format_args!("# TYPE {name} {kind}"));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, family.unit()) {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
        Samples { page: self, family }
    }

    /// The whole of it.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.line(format_args!("# EOF"));
        }
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = writeln!(self.text, "{line}");
    }
}

impl Samples<'_> {
    /// A counter's or an info's, or a gauge that counts something. The labels' values are in the order of the family's.
    pub fn count(&mut self, labels: &[&str], count: u64) {
        self.sample(self.family.suffix(), labels, None, format_args!("{count}"));
    }

    /// A gauge's or a counter's.
    pub fn number(&mut self, labels: &[&str], number: f64) {
        self.sample(self.family.suffix(), labels, None, format_args!("{number}"));
    }

    /// A gauge's that says yes or no.
    pub fn flag(&mut self, labels: &[&str], is_so: bool) {
        self.count(labels, u64::from(is_so));
    }

    /// A histogram's.
    pub fn histogram(&mut self, labels: &[&str], histogram: &Histogram) {
        let mut all = 0;
        for (bound, count) in histogram.cumulated() {
            // As OpenMetrics writes numbers: `1.0`.
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
            self.sample("_bucket", labels, Some(&bound), format_args!("{count}"));
            all = count;
        }
        self.sample("_sum", labels, None, format_args!("{}", histogram.seconds()));
        self.sample("_count", labels, None, format_args!("{all}"));
    }

    fn sample(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, number: std::fmt::Arguments<'_>) {
        debug_assert_eq!(values.len(), self.family.labels.len(), "{}", self.family.name);
        let text = &mut self.page.text;
        text.push_str(self.family.name);
        text.push_str(suffix);
        let named = self.family.labels.iter().copied().zip(values.iter().copied());
        let mut separator = '{';
        for (name, value) in named.chain(bound.map(|bound| ("le", bound))) {
            text.push(separator);
            text.push_str(name);
            text.push_str("=\"");
            escape(text, value);
            text.push('"');
            separator = ',';
        }
        if separator == ',' {
            text.push('}');
        }
        // A String takes everything.
        let _ = writeln!(text, " {number}");
    }
}

fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}
