//! What goes to standard output and standard error, and how tables stand.

use std::io::{stderr, stdout};

/// Rows with their columns below each other; the last column needs no room behind it.
pub(super) fn aligned<R: AsRef<[String]>>(rows: &[R]) -> Vec<String> {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.as_ref().get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &R| {
        let cells: Vec<String> =
            row.as_ref().iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// To standard output. A reader that has gone away is no failure of ours.
pub(super) fn say(line: &str) {
    let _ = std::io::Write::write_fmt(&mut stdout(), format_args!("{line}\n"));
}

/// To standard error.
pub(super) fn complain(text: &str) {
    let _ = std::io::Write::write_fmt(&mut stderr(), format_args!("{}\n", text.trim_end()));
}

/// A table with a head of these words.
pub(super) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) {
    let all: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    aligned(&all).iter().for_each(|line| say(line));
}

/// Names with their values below each other.
pub(super) fn list(rows: &[(&str, String)]) {
    let rows: Vec<[String; 2]> = rows.iter().map(|(name, value)| [(*name).to_owned(), value.clone()]).collect();
    aligned(&rows).iter().for_each(|line| say(line));
}

/// A time in whole seconds, in its two largest units: `3d 4h`, `17m 5s`.
pub(super) fn seconds(time: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let parts = units.iter().scan(time, |left, (length, unit)| {
        let count = *left / length;
        *left %= length;
        Some((count, unit))
    });
    let parts: Vec<String> = parts
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Octets, to three figures: `999 B`, `12.3 kB`.
pub(super) fn octets(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$} {}", units.get(unit).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units() {
        let cases =
            [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (3_601, "1h"), (90_000, "1d 1h"), (86_400, "1d")];
        for (time, shown) in cases {
            assert_eq!(seconds(time), shown);
        }
    }

    #[test]
    fn octets_have_a_unit() {
        let cases = [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_940, "99.9 kB"), (100_400, "100 kB")];
        for (count, shown) in cases {
            assert_eq!(octets(count), shown);
        }
        assert_eq!(octets(999_600), "1.0 MB");
        assert_eq!(octets(u64::MAX), "18.4 EB");
    }
}
