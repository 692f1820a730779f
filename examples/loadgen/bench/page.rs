//! `loadgen page`: the figures that measurements have appended to a file, as Markdown tables and as plots.
//!
//! Only medians of rounds are told, with the least and the largest beside them. Nothing is extrapolated.

use std::fmt::Write as _;
use std::fs;
use std::io::{Write as _, stdout};
use std::path::PathBuf;

use clap::Args;

use super::cpu::IN_TICKS;
use super::figures::{median, spread};
use super::measured::shown;
use super::plot::{Bars, Curve, Curves};

/// Makes Markdown tables, and plots beside them, of what measurements have appended to a file (--append).
///
/// Each cell has the median of all rounds, the least and the largest, and the ratio to the reference: the median of the
/// ratios of the rounds.
#[derive(Args)]
pub(crate) struct Page {
    /// What was appended.
    #[arg(value_name = "FILE")]
    pub(crate) figures: PathBuf,
    /// Whom all are compared with.
    #[arg(long, value_name = "NAME", default_value = "haproxy")]
    pub(crate) reference: String,
    /// Write memory-tls.svg, memory-plain.svg and login-cpu.svg into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) plots: Option<PathBuf>,
}

/// A row of a table: its title, what is measured, which figure of it, and its unit.
struct Row(&'static str, &'static str, &'static str, &'static str);

/// A table and its rows.
const TABLES: [(&str, &[Row]); 4] = [
    (
        "Memory of one more idle session",
        &[
            Row("client TLS", "hold-tls", "pss slope", "KiB"),
            Row("no TLS", "hold-plain", "pss slope", "KiB"),
            Row("TLS on both sides", "hold-both", "pss slope", "KiB"),
            Row("client TLS, page tables", "hold-tls", "page tables slope", "KiB"),
            Row("client TLS, descriptors", "hold-tls", "descriptors slope", ""),
            Row("client TLS, kernel, client and node too", "hold-tls", "slab slope", "KiB"),
        ],
    ),
    (
        "Logins",
        &[
            Row("CPU, TLS, full handshake", "logins-tls", "cpu", "µs"),
            Row("CPU, TLS, resumed", "logins-resumed", "cpu", "µs"),
            Row("CPU, no TLS", "logins-plain", "cpu", "µs"),
            Row("CPU, TLS on both sides", "logins-both", "cpu", "µs"),
            Row("POP3, CPU, TLS, full handshake", "pop3-tls", "cpu", "µs"),
            Row("POP3, CPU, no TLS", "pop3-plain", "cpu", "µs"),
            Row("one alone, TLS, p50", "alone-tls", "p50", "ms"),
            Row("one alone, no TLS, p50", "alone-plain", "p50", "ms"),
        ],
    ),
    (
        "Transfers, CPU for a GiB",
        &[
            Row("download, no TLS", "down-plain", "cpu", "s"),
            Row("download, TLS", "down-tls", "cpu", "s"),
            Row("upload, no TLS", "up-plain", "cpu", "s"),
            Row("upload, TLS", "up-tls", "cpu", "s"),
        ],
    ),
    (
        "Round trips (NOOP)",
        &[
            Row("no TLS, p50", "noop-plain", "p50", "µs"),
            Row("TLS, p50", "noop-tls", "p50", "µs"),
            Row("no TLS, CPU", "noop-plain", "cpu", "µs"),
            Row("TLS, CPU", "noop-tls", "cpu", "µs"),
        ],
    ),
];

/// One appended line.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    who: &'a str,
    what: &'a str,
    figure: &'a str,
    sessions: Option<u64>,
    value: f64,
}

/// All appended lines.
struct Figures<'a>(Vec<Line<'a>>);

impl Page {
    pub(crate) fn run(&self) -> Result<(), String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", self.figures.display());
        let text = fs::read_to_string(&self.figures).map_err(|error| wrong(&error))?;
        let figures = Figures::parse(&text).map_err(|words| wrong(&words))?;
        let tables = figures.tables(&self.reference);
        stdout().write_all(tables.as_bytes()).map_err(|error| error.to_string())?;
        let Some(folder) = &self.plots else { return Ok(()) };
        fs::create_dir_all(folder).map_err(|error| wrong(&error))?;
        for (name, plot) in [
            ("memory-tls.svg", figures.memory("hold-tls", "Memory over idle sessions, client TLS")),
            ("memory-plain.svg", figures.memory("hold-plain", "Memory over idle sessions, no TLS")),
            ("login-cpu.svg", figures.logins()),
        ] {
            fs::write(folder.join(name), plot).map_err(|error| wrong(&error))?;
        }
        Ok(())
    }
}

impl<'a> Figures<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let parsed = Line::parse(line);
            lines.push(parsed.ok_or_else(|| format!("line {}: not five fields of a figure: {line}", number + 1))?);
        }
        Ok(Self(lines))
    }

    /// Everybody, in the order of the file.
    fn names(&self) -> Vec<&'a str> {
        let mut names = Vec::new();
        for line in &self.0 {
            if !names.contains(&line.who) {
                names.push(line.who);
            }
        }
        names
    }

    /// One value for each round.
    fn rounds(&self, who: &str, what: &str, figure: &str, sessions: Option<u64>) -> Vec<f64> {
        let wanted = |line: &&Line<'_>| {
            line.who == who && line.what == what && line.figure == figure && line.sessions == sessions
        };
        self.0.iter().filter(wanted).map(|line| line.value).collect()
    }

    fn tables(&self, reference: &str) -> String {
        let names = self.names();
        let mut text = String::new();
        for (title, rows) in TABLES {
            let measured = rows.iter().filter(|row| names.iter().any(|who| !self.row(who, row).is_empty()));
            let measured: Vec<_> = measured.collect();
            if measured.is_empty() {
                continue;
            }
            let names: Vec<_> =
                names.iter().filter(|who| measured.iter().any(|row| !self.row(who, row).is_empty())).collect();
            let _ = writeln!(text, "| {title} | {} |", names.iter().map(|who| **who).collect::<Vec<_>>().join(" | "));
            let _ = writeln!(text, "|---|{}", "--:|".repeat(names.len()));
            for row in measured {
                let reference = self.row(reference, row);
                let cells: Vec<_> = names.iter().map(|who| cell(&self.row(who, row), &reference)).collect();
                let unit = if row.3.is_empty() { String::new() } else { format!(", {}", row.3) };
                let _ = writeln!(text, "| {}{unit} | {} |", row.0, cells.join(" | "));
            }
            text.push('\n');
        }
        if let Some(coarse) = self.0.iter().find(|line| line.figure == IN_TICKS) {
            let _ = writeln!(text, "This kernel counts CPU in ticks of {} ms only.\n", shown(coarse.value));
        }
        text
    }

    fn row(&self, who: &str, Row(_, what, figure, _): &Row) -> Vec<f64> {
        self.rounds(who, what, figure, None)
    }

    fn memory(&self, what: &str, title: &str) -> String {
        let mut curves = Vec::new();
        for who in self.names() {
            let mut sessions: Vec<u64> = self
                .0
                .iter()
                .filter(|line| line.who == who && line.what == what)
                .filter_map(|line| line.sessions)
                .collect();
            sessions.sort_unstable();
            sessions.dedup();
            let points = sessions.iter().filter(|&&sessions| sessions > 0).filter_map(|&sessions| {
                let kib = median(&self.rounds(who, what, "pss", Some(sessions)))?;
                Some((sessions as f64, kib / 1024.0))
            });
            curves.push(Curve { name: who.to_owned(), points: points.collect() });
        }
        Curves { title, x: "idle sessions", y: "MiB (PSS of all processes)", curves }.svg()
    }

    fn logins(&self) -> String {
        let of = |who: &str, what| median(&self.rounds(who, what, "cpu", None)).map(|cpu| cpu / 1000.0);
        let bars =
            self.names().into_iter().map(|who| (who.to_owned(), vec![of(who, "logins-tls"), of(who, "logins-plain")]));
        let (title, unit) = ("CPU of the proxy for one login", "ms");
        Bars { title, unit, kinds: vec!["TLS 1.3, full handshake", "no TLS"], bars: bars.collect() }.svg()
    }
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [who, what, figure, sessions, value] = fields[..] else { return None };
        let sessions = if sessions == "-" { None } else { Some(sessions.parse().ok()?) };
        Some(Self { who, what, figure, sessions, value: value.parse().ok()? })
    }
}

/// The median, how far the rounds were apart, and how it compares.
fn cell(rounds: &[f64], reference: &[f64]) -> String {
    let (Some(middle), Some((least, largest))) = (median(rounds), spread(rounds)) else { return "–".to_owned() };
    let mut cell = shown(middle);
    if rounds.len() > 1 {
        let _ = write!(cell, " ({}–{})", shown(least), shown(largest));
    }
    if let Some(ratio) = ratio(rounds, reference) {
        let _ = write!(cell, " **{ratio:.2} ×**");
    }
    cell
}

/// The median of the rounds' ratios: what disturbs a round disturbs everybody in it. Where the rounds are not the same
/// ones, the ratio of the medians.
fn ratio(rounds: &[f64], reference: &[f64]) -> Option<f64> {
    let ratio = if rounds.len() == reference.len() {
        let pairs: Vec<_> = rounds.iter().zip(reference).map(|(value, reference)| value / reference).collect();
        median(&pairs)?
    } else {
        median(rounds)? / median(reference)?
    };
    ratio.is_finite().then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
mailferry\tlogins-tls\tcpu\t-\t100
haproxy\tlogins-tls\tcpu\t-\t200
mailferry\tlogins-tls\tcpu\t-\t300
haproxy\tlogins-tls\tcpu\t-\t1000
mailferry\tlogins-tls\tcpu\t-\t110
haproxy\tlogins-tls\tcpu\t-\t275
nginx\tlogins-tls\tcpu\t-\t400
mailferry\thold-tls\tpss\t1000\t2048
mailferry\thold-tls\tpss\t9000\t18432
mailferry\thold-tls\tpss slope\t-\t2.048
";

    #[test]
    fn cells_have_medians_spreads_and_paired_ratios() {
        let table = Figures::parse(TEXT).unwrap().tables("haproxy");
        let expected = "\
| Memory of one more idle session | mailferry |
|---|--:|
| client TLS, KiB | 2.05 |

| Logins | mailferry | haproxy | nginx |
|---|--:|--:|--:|
| CPU, TLS, full handshake, µs | 110 (100–300) **0.40 ×** | 275 (200–1000) **1.00 ×** | 400 **1.45 ×** |

";
        assert_eq!(table, expected);
    }

    #[test]
    fn a_kernel_that_counts_in_ticks_is_named() {
        let told = "This kernel counts CPU in ticks of 10.0 ms only.";
        let text = format!("{TEXT}mailferry\tlogins-tls\t{IN_TICKS}\t-\t10\n");
        assert!(Figures::parse(&text).unwrap().tables("haproxy").ends_with(&format!("\n\n{told}\n\n")));
        assert!(!Figures::parse(TEXT).unwrap().tables("haproxy").contains("ticks"));
    }

    #[test]
    fn a_broken_file_is_told_by_line() {
        for text in ["a\tb\tc\t-\t1\na\tb\n", "a\tb\tc\t-\t1\na\tb\tc\t-\tx\n", "a\tb\tc\t-\t1\na\tb\tc\t\t1\n"] {
            let words = Figures::parse(text).err().unwrap();
            assert!(words.starts_with("line 2: "), "{words}");
        }
    }

    #[test]
    fn plots_show_who_was_measured() {
        let figures = Figures::parse(TEXT).unwrap();
        let memory = figures.memory("hold-tls", "Memory");
        assert!(memory.contains(">mailferry<") && !memory.contains(">nginx<"), "{memory}");
        let logins = figures.logins();
        for part in [">mailferry<", ">haproxy<", ">nginx<", ">0.110 ms<", ">0.275 ms<"] {
            assert!(logins.contains(part), "{part} in {logins}");
        }
    }
}
