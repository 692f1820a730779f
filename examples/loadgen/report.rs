//! What loadgen prints: tables for people, one JSON object for programs, or rows for a page in docs/.

mod json;

use std::fmt::Write as _;
use std::time::Duration;

use crate::engine::{End, Figures, HeldReport, Trouble, Visit};

/// Lost logins that are shown one by one; the rest is counted.
const SHOWN_MAX: usize = 20;

/// All that came out of a run.
pub(crate) struct Report {
    /// What was done.
    pub(crate) title: String,
    /// All logins, in the order in which they were due.
    pub(crate) visits: Vec<Visit>,
    /// The parts of the run; the first is the whole.
    pub(crate) phases: Vec<Phase>,
    /// What became of the idle sessions.
    pub(crate) held: HeldReport,
}

/// A part of the run.
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

impl Report {
    /// How many logins were lost.
    pub(crate) fn lost(&self) -> usize {
        Figures::of(&self.visits).lost
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.title);
        text += &line("", ["logins", "lost", "cut", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned));
        for phase in &self.phases {
            text += &line(phase.name, cells(&self.figures(phase)));
        }
        text += "\nsecond by second, logins counting where they were due\n";
        let mut head = ["logins", "lost", "cut", "p50", "p99", "max", "ended"].map(str::to_owned).to_vec();
        head.truncate(if self.held.opened > 0 { 7 } else { 6 });
        text += &line("", head);
        for (second, phase) in self.seconds().enumerate() {
            let [logins, lost, cut, p50, _, p99, _, max] = cells(&self.figures(&phase));
            let mut row = vec![logins, lost, cut, p50, p99, max];
            if self.held.opened > 0 {
                row.push(self.ended(&phase).to_string());
            }
            text += &line(&second.to_string(), row);
        }
        text += &self.held_text();
        text += &self.troubles("lost", |end| if let End::Lost(trouble) = end { Some(trouble) } else { None });
        text += &self.troubles("cut", |end| if let End::Cut(trouble) = end { Some(trouble) } else { None });
        text
    }

    /// For a page in docs/.
    pub(crate) fn rows(&self, name: &str) -> String {
        let mut text = String::new();
        let parts = if self.phases.len() > 1 { &self.phases[1..] } else { &self.phases };
        for phase in parts {
            let _ = writeln!(text, "| {name} | {} | {} |", phase.name, cells(&self.figures(phase)).join(" | "));
        }
        text
    }

    fn figures(&self, phase: &Phase) -> Figures {
        Figures::of(self.visits.iter().filter(|visit| phase.holds(visit.due)))
    }

    fn ended(&self, phase: &Phase) -> usize {
        self.held.ends.iter().filter(|&&end| phase.holds(end)).count()
    }

    fn seconds(&self) -> impl Iterator<Item = Phase> {
        let count = self.phases.first().map_or(0.0, |all| all.until.as_secs_f64().ceil());
        let second = Duration::from_secs(1);
        let starts = (0..).map(Duration::from_secs).take_while(move |from| from.as_secs_f64() < count);
        starts.map(move |from| Phase { name: "second", from, until: from + second })
    }

    fn held_text(&self) -> String {
        let HeldReport { opened, refused, ends } = &self.held;
        let mut text = String::new();
        if *opened > 0 || !refused.is_empty() {
            let _ = write!(text, "\nidle sessions: {opened} opened, {} ended by the server", ends.len());
            if let (Some(first), Some(last)) = (ends.first(), ends.last()) {
                let _ = write!(text, ", from {:.3} s to {:.3} s", first.as_secs_f64(), last.as_secs_f64());
            }
            let _ = writeln!(text, ", {} could not be opened", refused.len());
        }
        for words in refused.iter().take(SHOWN_MAX) {
            let _ = writeln!(text, "    {words}");
        }
        text
    }

    fn troubles(&self, name: &str, pick: impl Fn(&End) -> Option<&Trouble>) -> String {
        let all: Vec<_> = self.visits.iter().filter_map(|visit| Some((visit, pick(&visit.end)?))).collect();
        let mut text = String::new();
        if !all.is_empty() {
            let _ = writeln!(text, "\n{name}: when due, given up after, who, at which stage, the answer");
        }
        for (visit, Trouble { stage, words }) in all.iter().take(SHOWN_MAX) {
            let (due, latency) = (visit.due.as_secs_f64(), milliseconds(Some(visit.latency)));
            let _ = writeln!(text, "{due:>8.3} s {latency:>10}  {} {} {stage}: {words}", visit.user, visit.protocol);
        }
        if all.len() > SHOWN_MAX {
            let _ = writeln!(text, "    and {} more", all.len() - SHOWN_MAX);
        }
        text
    }
}

impl Phase {
    fn holds(&self, moment: Duration) -> bool {
        self.from <= moment && moment < self.until
    }
}

fn cells(figures: &Figures) -> [String; 8] {
    let at = |permille| milliseconds(figures.permille(permille));
    let [logins, lost, cut] = [figures.logins, figures.lost, figures.cut].map(|count| count.to_string());
    [logins, lost, cut, at(500), at(900), at(990), at(999), at(1000)]
}

fn line(name: &str, cells: impl IntoIterator<Item = String>) -> String {
    let cells: String = cells.into_iter().map(|cell| format!("{cell:>11}")).collect();
    format!("{name:>8}{cells}\n")
}

fn milliseconds(latency: Option<Duration>) -> String {
    latency.map_or_else(|| "-".into(), |latency| format!("{:.1} ms", latency.as_secs_f64() * 1000.0))
}
