//! Plots as SVG, with nothing but text and lines in them: curves on logarithmic axes, and bars.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
/// The plot's own rectangle.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 600.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 400.0;

/// Told apart without colour vision too.
const COLOURS: [&str; 7] = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"];

/// Curves on two logarithmic axes.
pub(super) struct Curves<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    /// Those without a point are left out.
    pub(super) curves: Vec<Curve>,
}

pub(super) struct Curve {
    pub(super) name: String,
    /// All larger than zero.
    pub(super) points: Vec<(f64, f64)>,
}

/// Bars in groups, from zero.
pub(super) struct Bars<'a> {
    pub(super) title: &'a str,
    pub(super) unit: &'a str,
    /// What the bars of a group are, in order.
    pub(super) kinds: Vec<&'a str>,
    /// The groups and their values; groups without any are left out.
    pub(super) bars: Vec<(String, Vec<Option<f64>>)>,
}

impl Curves<'_> {
    pub(super) fn svg(&self) -> String {
        let curves: Vec<_> = self.curves.iter().filter(|curve| !curve.points.is_empty()).collect();
        let all = || curves.iter().flat_map(|curve| &curve.points);
        let (x, y) = (Axis::around(all().map(|point| point.0)), Axis::around(all().map(|point| point.1)));
        let mut svg = begin(self.title);
        for value in x.ticks() {
            let at = x.place(value, LEFT, RIGHT);
            line(&mut svg, (at, TOP), (at, BOTTOM), "#ddd");
            text(&mut svg, (at, BOTTOM + 18.0), "middle", &plain(value));
        }
        for value in y.ticks() {
            let at = y.place(value, BOTTOM, TOP);
            line(&mut svg, (LEFT, at), (RIGHT, at), "#ddd");
            text(&mut svg, (LEFT - 8.0, at + 4.0), "end", &plain(value));
        }
        text(&mut svg, ((LEFT + RIGHT) / 2.0, BOTTOM + 42.0), "middle", self.x);
        text(&mut svg, (LEFT - 60.0, TOP - 12.0), "start", self.y);
        // The names stand at the ends of the curves, moved apart where they would touch.
        let mut ends: Vec<_> =
            curves.iter().enumerate().filter_map(|(n, curve)| Some((n, curve.points.last()?))).collect();
        ends.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
        let mut free = TOP - 10.0;
        for (n, end) in ends {
            let (curve, colour) = (curves[n], COLOURS[n % COLOURS.len()]);
            let place = |point: &(f64, f64)| (x.place(point.0, LEFT, RIGHT), y.place(point.1, BOTTOM, TOP));
            let points: String = curve.points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
            let _ = writeln!(
                svg,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
                points.trim_end()
            );
            for (x, y) in curve.points.iter().map(place) {
                let _ = writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#);
            }
            let (_, y) = place(end);
            free = y.max(free + 16.0);
            let _ = writeln!(
                svg,
                r#"<text x="{}" y="{:.1}" fill="{colour}">{}</text>"#,
                RIGHT + 10.0,
                free + 4.0,
                escaped(&curve.name)
            );
        }
        svg + "</svg>\n"
    }
}

impl Bars<'_> {
    pub(super) fn svg(&self) -> String {
        let groups: Vec<_> = self.bars.iter().filter(|(_, values)| values.iter().any(Option::is_some)).collect();
        let largest = groups.iter().flat_map(|(_, values)| values.iter().flatten()).copied().fold(0.0, f64::max);
        let mut svg = begin(self.title);
        for (n, kind) in self.kinds.iter().enumerate() {
            let (x, colour) = (LEFT + 40.0 + 220.0 * n as f64, COLOURS[n % COLOURS.len()]);
            let _ = writeln!(svg, r#"<rect x="{x}" y="{}" width="12" height="12" fill="{colour}"/>"#, TOP - 12.0);
            text(&mut svg, (x + 18.0, TOP - 1.0), "start", kind);
        }
        let height = (BOTTOM - TOP - 10.0) / groups.len().max(1) as f64;
        for (group, (name, values)) in groups.iter().enumerate() {
            let top = TOP + 15.0 + height * group as f64;
            let thick = height * 0.8 / values.len().max(1) as f64;
            text(&mut svg, (LEFT + 30.0, top + height * 0.4 + 4.0), "end", name);
            for (n, value) in values.iter().enumerate() {
                let Some(value) = value else { continue };
                let (y, length) = (top + thick * n as f64, (RIGHT - LEFT - 40.0) * value / largest);
                let colour = COLOURS[n % COLOURS.len()];
                let _ = writeln!(
                    svg,
                    r#"<rect x="{}" y="{y:.1}" width="{length:.1}" height="{:.1}" fill="{colour}"/>"#,
                    LEFT + 40.0,
                    thick - 2.0
                );
                let label = format!("{value:.3} {}", self.unit);
                text(&mut svg, (LEFT + 46.0 + length, y + thick / 2.0 + 3.0), "start", &label);
            }
        }
        svg + "</svg>\n"
    }
}

/// A logarithmic axis between two powers of ten.
#[derive(Debug, PartialEq)]
struct Axis {
    from: i32,
    to: i32,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64> + Clone) -> Self {
        let powers = values.filter(|value| *value > 0.0).map(f64::log10);
        let from = powers.clone().map(|power| power.floor() as i32).min().unwrap_or(0);
        let to = powers.map(|power| power.ceil() as i32).max().unwrap_or(1);
        Self { from, to: to.max(from + 1) }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        (self.from..=self.to).map(|power| 10.0_f64.powi(power))
    }

    fn place(&self, value: f64, start: f64, end: f64) -> f64 {
        let share = (value.log10() - f64::from(self.from)) / f64::from(self.to - self.from);
        start + (end - start) * share
    }
}

fn begin(title: &str) -> String {
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
"##
    );
    let _ = writeln!(
        svg,
        r#"<text x="{}" y="22" text-anchor="middle" font-size="16">{}</text>"#,
        WIDTH / 2.0,
        escaped(title)
    );
    svg
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(svg, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}"/>"#);
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#);
}

/// Without an exponent.
fn plain(value: f64) -> String {
    if value >= 1.0 { format!("{value:.0}") } else { format!("{value}") }
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_goes_from_one_power_of_ten_to_another() {
        assert_eq!(Axis::around([1000.0, 9000.0].into_iter()), Axis { from: 3, to: 4 });
        assert_eq!(Axis::around([0.5, 20.0].into_iter()), Axis { from: -1, to: 2 });
        assert_eq!(Axis::around([10.0].into_iter()), Axis { from: 1, to: 2 });
        assert_eq!(Axis::around([].into_iter()), Axis { from: 0, to: 1 });
        let axis = Axis { from: 1, to: 3 };
        assert_eq!([10.0, 100.0, 1000.0].map(|value| axis.place(value, 400.0, 0.0)), [400.0, 200.0, 0.0]);
    }

    #[test]
    fn names_do_not_become_markup() {
        let curves = vec![Curve { name: "<a&b>".into(), points: vec![(1.0, 1.0), (10.0, 5.0)] }];
        let svg = Curves { title: "t", x: "x", y: "y", curves }.svg();
        assert!(svg.contains(">&lt;a&amp;b&gt;<"), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
