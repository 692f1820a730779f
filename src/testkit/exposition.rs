//! A strict reader of the text formats of Prometheus (0.0.4) and OpenMetrics (1.0.0), as far as mailferry writes them.
//!
//! It takes less than the formats allow: every family has its help and type, and whatever one of the usual readers would
//! stumble over, or quietly take for something else, is an error.

use std::collections::{BTreeMap, BTreeSet};

/// A page that was read.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// The type of each family, by its name in this format.
    pub families: BTreeMap<String, String>,
    /// In the order of the page.
    pub samples: Vec<Sample>,
}

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The whole name, as `mailferry_logins_total`.
    pub name: String,
    /// All of them, `le` too.
    pub labels: BTreeMap<String, String>,
    /// The number.
    pub value: f64,
}

impl Exposition {
    /// Reads a page of Prometheus' format, or of OpenMetrics'.
    ///
    /// # Errors
    /// The first line that is not in order, and why.
    pub fn read(text: &str, is_open_metrics: bool) -> Result<Self, String> {
        let text = match (is_open_metrics, text.strip_suffix("# EOF\n")) {
            (true, Some(text)) => text,
            (true, None) => return Err("no # EOF at the end".to_owned()),
            (false, _) => text,
        };
        if !text.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        let mut reader = Reader { is_open_metrics, ..Reader::default() };
        for line in text.trim_end_matches('\n').split('\n') {
            let read = match line.strip_prefix("# ") {
                Some(head) => reader.head(head),
                None => reader.sample(line),
            };
            read.map_err(|why| format!("{why}: {line}"))?;
        }
        reader.end_family()?;
        Ok(reader.page)
    }

    /// The numbers of this name whose labels include these.
    pub fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has =
            |sample: &Sample| labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|is| is == value));
        self.samples.iter().filter(|sample| sample.name == name && has(sample)).collect()
    }

    /// The sum of them.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.all(name, labels).iter().map(|sample| sample.value).sum()
    }
}

#[derive(Default)]
struct Reader {
    is_open_metrics: bool,
    page: Exposition,
    seen: BTreeSet<String>,
    /// Name and type of the family that is being read; the type comes behind the help.
    family: Option<(String, Option<String>)>,
    /// Buckets, sums and counts of the histogram that is being read, by their labels.
    histograms: BTreeMap<String, Histogram>,
}

#[derive(Default)]
struct Histogram {
    buckets: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
}

impl Reader {
    fn head(&mut self, head: &str) -> Result<(), String> {
        let mut words = head.splitn(3, ' ');
        let (Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
            return Err("a comment that is none of ours".to_owned());
        };
        check_name(name, true)?;
        match what {
            "HELP" => {
                self.end_family()?;
                if rest.is_empty() || rest.contains(['\\', '"']) {
                    return Err("the help is empty, or would have to be escaped".to_owned());
                }
                if self.page.families.contains_key(name) {
                    return Err("the family was there already".to_owned());
                }
                self.family = Some((name.to_owned(), None));
                Ok(())
            }
            "TYPE" => {
                let is_known =
                    matches!(rest, "counter" | "gauge" | "histogram") || (rest == "info" && self.is_open_metrics);
                match &mut self.family {
                    Some((family, kind @ None)) if family == name && is_known => {
                        *kind = Some(rest.to_owned());
                        self.page.families.insert(name.to_owned(), rest.to_owned());
                        Ok(())
                    }
                    _ => Err("a type that is unknown, or not behind its help".to_owned()),
                }
            }
            "UNIT" if self.is_open_metrics && name.ends_with(&format!("_{rest}")) => Ok(()),
            _ => Err("a comment that is none of ours".to_owned()),
        }
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let name_end = line.find(['{', ' ']).ok_or("no number")?;
        let (name, rest) = line.split_at(name_end);
        check_name(name, true)?;
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (BTreeMap::new(), rest),
        };
        let number = rest.strip_prefix(' ').ok_or("no number behind a space")?;
        let value: f64 = number.parse().map_err(|_| "no number")?;
        if !value.is_finite() || number.starts_with('+') {
            return Err("not a plain number".to_owned());
        }
        if !self.seen.insert(format!("{name} {labels:?}")) {
            return Err("twice".to_owned());
        }
        let Some((family, Some(kind))) = self.family.clone() else { return Err("no family".to_owned()) };
        let suffix = name.strip_prefix(family.as_str()).ok_or("not of the family above it")?;
        let is_whole = value >= 0.0 && value.fract() == 0.0;
        let fits = match (kind.as_str(), suffix) {
            ("counter", "_total") if self.is_open_metrics => value >= 0.0,
            ("counter", "") => !self.is_open_metrics && family.ends_with("_total") && value >= 0.0,
            ("gauge", "") => !family.ends_with("_total"),
            ("info", "_info") => value == 1.0,
            ("histogram", "_bucket" | "_count") => is_whole && self.histogram(suffix, &labels, value)?,
            ("histogram", "_sum") => value >= 0.0 && self.histogram(suffix, &labels, value)?,
            _ => false,
        };
        if !fits || (labels.contains_key("le") && suffix != "_bucket") {
            return Err(format!("not as a {kind} is written"));
        }
        self.page.samples.push(Sample { name: name.to_owned(), labels, value });
        Ok(())
    }

    fn histogram(&mut self, suffix: &str, labels: &BTreeMap<String, String>, value: f64) -> Result<bool, String> {
        let mut others = labels.clone();
        let bound = others.remove("le");
        let histogram = self.histograms.entry(format!("{others:?}")).or_default();
        match (suffix, bound) {
            ("_bucket", Some(bound)) => {
                let bound = if bound == "+Inf" { f64::INFINITY } else { canonical(&bound)? };
                histogram.buckets.push((bound, value));
            }
            ("_sum", None) => histogram.sum = Some(value),
            ("_count", None) => histogram.count = Some(value),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What can be said of a family only when all of it is there.
    fn end_family(&mut self) -> Result<(), String> {
        if let Some((family, kind)) = self.family.take()
            && kind.is_none()
        {
            return Err(format!("{family} has no type"));
        }
        for (labels, Histogram { buckets, sum, count }) in std::mem::take(&mut self.histograms) {
            let rises = buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
            let all = buckets.last().filter(|(bound, _)| bound.is_infinite()).map(|(_, all)| *all);
            if !rises || all.is_none() || all != count || sum.is_none() {
                return Err(format!("a histogram that contradicts itself: {labels}"));
            }
        }
        Ok(())
    }
}

/// A bound in the one form that OpenMetrics has for it, so that nobody sees two of one.
fn canonical(bound: &str) -> Result<f64, String> {
    let number: f64 = bound.parse().map_err(|_| "no bound")?;
    if format!("{number:?}") == bound { Ok(number) } else { Err("a bound in another form".to_owned()) }
}

fn check_name(name: &str, may_have_colons: bool) -> Result<(), String> {
    let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || (may_have_colons && letter == ':');
    let is_name =
        name.starts_with(is_letter) && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit());
    if is_name { Ok(()) } else { Err(format!("{name:?} is no name")) }
}

/// What stands behind the brace: the labels, and what is behind them.
fn labels(text: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let (mut labels, mut rest) = (BTreeMap::new(), text);
    loop {
        let (name, behind) = rest.split_once("=\"").ok_or("no label")?;
        check_name(name, false)?;
        let (value, behind) = quoted(behind)?;
        if labels.insert(name.to_owned(), value).is_some() {
            return Err("a label twice".to_owned());
        }
        rest = match (behind.strip_prefix(','), behind.strip_prefix('}')) {
            (Some(behind), _) => behind,
            (_, Some(behind)) => return Ok((labels, behind)),
            _ => return Err("labels that do not end".to_owned()),
        };
    }
}

/// A value up to its closing quote, and what is behind that.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let (mut value, mut letters) = (String::new(), text.char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => return Err("an escape that is none".to_owned()),
            },
            other => value.push(other),
        }
    }
    Err("a value without its end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\",y=\"\\\\\\\"\\n,}\"} 3\na_total{x=\"2\",y=\"\"} 0\n\
                        # HELP b_seconds B.\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"0.5\"} 1\n\
                        b_seconds_bucket{le=\"+Inf\"} 2\nb_seconds_sum 1.5\nb_seconds_count 2\n";

    #[test]
    fn what_is_in_order_is_read() {
        let page = Exposition::read(GOOD, false).unwrap();
        assert_eq!(page.samples.len(), 6);
        assert_eq!(page.samples[0].labels["y"], "\\\"\n,}");
        assert_eq!((page.sum("a_total", &[]), page.sum("a_total", &[("x", "2")])), (3.0, 0.0));
        let open =
            "# HELP a_seconds A.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 3\n# EOF\n";
        assert_eq!(Exposition::read(open, true).unwrap().families["a_seconds"], "counter");
    }

    #[test]
    fn whatever_is_not_in_order_is_an_error() {
        let changes = [
            ("# HELP a_total A.\n", ""),
            ("# HELP a_total A.\n", "# HELP a_total \n"),
            ("# TYPE a_total counter\n", ""),
            ("# TYPE a_total counter\n", "# TYPE a_total number\n"),
            ("# TYPE a_total counter\n", "# TYPE a_total info\n"),
            ("# TYPE a_total counter\n", "# TYPE a_total gauge\n"),
            ("# TYPE a_total counter\n", "\n"),
            ("a_total{x=\"2\",y=\"\"} 0\n", "a_total{x=\"2\",y=\"\"} -1\n"),
            ("a_total{x=\"2\",y=\"\"} 0\n", "a_total{x=\"2\",y=\"\"} NaN\n"),
            ("a_total{x=\"2\",y=\"\"} 0\n", "a_total{x=\"2\",y=\"\"}0\n"),
            ("a_total{x=\"2\",y=\"\"} 0\n", "a_total{x=\"2\",x=\"\"} 0\n"),
            ("a_total{x=\"2\",y=\"\"} 0\n", "a_total{1x=\"2\"} 0\n"),
            ("a_total{x=\"2\",y=\"\"} 0\n", "a_total{x=\"\\t\"} 0\n"),
            ("a_total{x=\"2\",y=\"\"} 0\n", "a_total{x=\"2\" 0\n"),
            ("a_total{x=\"2\",y=\"\"} 0\n", "other_total 0\n"),
            ("a_total{x=\"2\",y=\"\"} 0\n", "a_total{y=\"\\\\\\\"\\n,}\",x=\"1\"} 4\n"),
            ("# HELP b_seconds B.\n", "# HELP a_total B.\n"),
            ("le=\"0.5\"} 1", "le=\"0.5\"} 3"),
            ("le=\"0.5\"} 1", "le=\"0.50\"} 1"),
            ("le=\"+Inf\"", "le=\"9.0\""),
            ("b_seconds_sum 1.5\n", ""),
            ("b_seconds_count 2\n", "b_seconds_count 3\n"),
            ("b_seconds_count 2\n", "b_seconds_count 2"),
        ];
        for (from, to) in changes {
            assert!(GOOD.contains(from), "{from}");
            assert!(Exposition::read(&GOOD.replacen(from, to, 1), false).is_err(), "{from:?} {to:?}");
        }
        assert!(Exposition::read(GOOD, true).is_err(), "no end");
    }
}
