//! The report as one JSON object. All times are in milliseconds, and those of the run count from its first login.

use std::time::Duration;

use super::{Phase, Report};
use crate::engine::{End, Figures, Trouble, Visit};
use crate::json::{list, object, text};

impl Report {
    /// For programs.
    pub(crate) fn json(&self) -> String {
        let phases = list(self.phases.iter().map(|phase| self.phase(phase)));
        let seconds = list(self.seconds().map(|phase| self.phase(&phase)));
        let lost = list(self.visits.iter().filter_map(|visit| match &visit.end {
            End::Lost(trouble) => Some(troubled(visit, trouble)),
            End::Served | End::Cut(_) => None,
        }));
        let cut = list(self.visits.iter().filter_map(|visit| match &visit.end {
            End::Cut(trouble) => Some(troubled(visit, trouble)),
            End::Served | End::Lost(_) => None,
        }));
        let refused = list(self.held.refused.iter().map(|words| text(words)));
        let ends = list(self.held.ends.iter().map(|&end| milliseconds(Some(end))));
        let held = object([("opened", self.held.opened.to_string()), ("refused", refused), ("ends", ends)]);
        let fields = [
            ("title", text(&self.title)),
            ("phases", phases),
            ("seconds", seconds),
            ("lost", lost),
            ("cut", cut),
            ("held", held),
        ];
        object(fields) + "\n"
    }

    fn phase(&self, phase: &Phase) -> String {
        let figures = self.figures(phase);
        let at = |permille| milliseconds(figures.permille(permille));
        let Figures { logins, lost, cut, .. } = figures;
        object([
            ("name", text(phase.name)),
            ("from", milliseconds(Some(phase.from))),
            ("until", milliseconds(Some(phase.until))),
            ("logins", logins.to_string()),
            ("lost", lost.to_string()),
            ("cut", cut.to_string()),
            ("ended", self.ended(phase).to_string()),
            ("p50", at(500)),
            ("p90", at(900)),
            ("p99", at(990)),
            ("p999", at(999)),
            ("max", at(1000)),
        ])
    }
}

fn troubled(visit: &Visit, trouble: &Trouble) -> String {
    object([
        ("due", milliseconds(Some(visit.due))),
        ("after", milliseconds(Some(visit.latency))),
        ("user", text(&visit.user)),
        ("protocol", text(&visit.protocol.to_string())),
        ("stage", text(&trouble.stage.to_string())),
        ("words", text(&trouble.words)),
    ])
}

fn milliseconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "null".into(), |time| format!("{:.3}", time.as_secs_f64() * 1000.0))
}
