//! A picture (SVG) of a report: each figure as a share of its goal, or the lines of a curve.

use std::path::Path;

use anyhow::Context as _;
use svg::Document;
use svg::node::element::{Line, Polyline, Rectangle, Text};

use crate::figures::{Figure, Goal};
use crate::report::{Report, Varied, number};

const WIDTH: f64 = 860.0;
const MARGIN: f64 = 60.0;
const ROW_HEIGHT: f64 = 34.0;
const CURVE_HEIGHT: f64 = 320.0;
const LEGEND_HEIGHT: f64 = 18.0;
/// Bars end here: how much further a figure is from its goal is written beside it.
const LARGEST_SHARE: f64 = 4.0;

const INK: &str = "#333333";
const MET: &str = "#2e7d32";
const MISSED: &str = "#c62828";
const LINES: [&str; 6] = ["#1565c0", "#ef6c00", "#6a1b9a", "#00838f", "#558b2f", "#ad1457"];

/// Writes `NAME.svg`, unless there is nothing to draw.
///
/// # Errors
/// When the file can't be written.
pub(crate) fn draw(report: &Report, folder: &Path) -> anyhow::Result<()> {
    let drawn = match &report.varied {
        Some(varied) => lines(&report.name, varied),
        None => bars(&report.name, &report.figures),
    };
    let Some(document) = drawn else { return Ok(()) };
    let file = folder.join(format!("{}.svg", report.name));
    svg::save(&file, &document).with_context(|| format!("writing {}", file.display()))
}

/// Shares of the goals; the goals are the line at 1.
fn bars(name: &str, figures: &[Figure]) -> Option<Document> {
    let with_goal: Vec<(&Figure, f64)> =
        figures.iter().filter_map(|figure| Some((figure, figure.share_of_goal()?))).collect();
    let largest = with_goal.iter().map(|(_, share)| *share).fold(1.5, f64::max).min(LARGEST_SHARE);
    let scale = (WIDTH - 2.0 * MARGIN) / largest;
    let bottom = MARGIN + ROW_HEIGHT * with_goal.len() as f64;
    let title = format!("{name}: measured as a share of the goal (the line)");
    let mut document = page(bottom + MARGIN / 2.0).add(text(title, MARGIN, MARGIN / 2.0, 16, INK));
    for (row, (figure, share)) in with_goal.iter().enumerate() {
        let top = MARGIN + ROW_HEIGHT * row as f64;
        let better = match figure.goal? {
            Goal::RatioAtLeast(_) => "more is better",
            Goal::RatioAtMost(_) | Goal::ValueAtMost(_) => "less is better",
        };
        let label = format!("{}: {share:.2} of the goal ({better})", figure.name);
        let bar = Rectangle::new()
            .set("x", MARGIN)
            .set("y", top + 14.0)
            .set("width", share.min(largest) * scale)
            .set("height", 12)
            .set("fill", if figure.met == Some(true) { MET } else { MISSED });
        document = document.add(text(label, MARGIN, top + 10.0, 12, INK)).add(bar);
    }
    let goal = MARGIN + scale;
    (!with_goal.is_empty()).then(|| document.add(line((goal, MARGIN - 8.0), (goal, bottom + 4.0))))
}

/// A line for each figure over the parameter, which grows by factors; each as a share of its largest value.
fn lines(name: &str, varied: &Varied) -> Option<Document> {
    let (first, last) = (varied.points.first()?, varied.points.last()?);
    let (from, to) = (first.at.ln_1p(), last.at.ln_1p());
    let bottom = MARGIN + CURVE_HEIGHT;
    let x = |at: f64| MARGIN + (WIDTH - 2.0 * MARGIN) * (at.ln_1p() - from) / (to - from).max(f64::EPSILON);
    let y = |share: f64| bottom - CURVE_HEIGHT * share;
    let title = format!("{name}: share of the largest value, over {}", varied.parameter);
    let height = bottom + 40.0 + LEGEND_HEIGHT * first.figures.len() as f64;
    let mut document = page(height)
        .add(text(title, MARGIN, MARGIN / 2.0, 16, INK))
        .add(line((MARGIN, bottom), (WIDTH - MARGIN, bottom)))
        .add(line((MARGIN, MARGIN), (MARGIN, bottom)));
    for point in &varied.points {
        document = document.add(text(number(point.at), x(point.at) - 10.0, bottom + 18.0, 12, INK));
    }
    for (index, figure) in first.figures.iter().enumerate() {
        let colour = LINES[index % LINES.len()];
        let value = |at: usize| varied.points[at].figures.get(index).map_or(0.0, |figure| figure.value);
        let largest = (0..varied.points.len()).map(value).fold(f64::MIN_POSITIVE, f64::max);
        let places = varied.points.iter().enumerate();
        let places = places.map(|(at, point)| format!("{:.1},{:.1}", x(point.at), y(value(at) / largest)));
        let curve = Polyline::new()
            .set("points", places.collect::<Vec<_>>().join(" "))
            .set("fill", "none")
            .set("stroke", colour)
            .set("stroke-width", 2);
        let legend = format!("{}: largest {} {}", figure.name, number(largest), figure.unit);
        let top = bottom + 38.0 + LEGEND_HEIGHT * index as f64;
        document = document.add(curve).add(text(legend, MARGIN, top, 12, colour));
    }
    Some(document)
}

fn page(height: f64) -> Document {
    let paper = Rectangle::new().set("width", "100%").set("height", "100%").set("fill", "white");
    Document::new().set("viewBox", (0, 0, WIDTH, height)).set("font-family", "sans-serif").add(paper)
}

fn text(content: String, x: f64, y: f64, size: u32, colour: &str) -> Text {
    Text::new(content).set("x", x).set("y", y).set("font-size", size).set("fill", colour)
}

fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> Line {
    Line::new().set("x1", x1).set("y1", y1).set("x2", x2).set("y2", y2).set("stroke", INK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Point;

    #[test]
    fn a_missed_goal_has_another_colour_than_one_that_was_met() {
        let figure = |value| Figure::new("a < b", "ms", value).goal(Goal::ValueAtMost(1.0));
        let picture = bars("row", &[figure(0.5), figure(9.0)]).unwrap().to_string();
        assert!(picture.contains(MET) && picture.contains(MISSED), "{picture}");
        assert!(picture.contains("a &lt; b: 9.00 of the goal (less is better)"), "{picture}");
        assert!(bars("row", &[Figure::new("x", "ms", 1.0)]).is_none());
    }

    #[test]
    fn a_curve_has_a_line_for_each_figure() {
        let point = |at, value| Point {
            at,
            figures: vec![Figure::new("a", "rows/s", value), Figure::new("b", "MB", 1.0)],
        };
        let varied = Varied { parameter: "rows".to_owned(), points: vec![point(1e4, 10.0), point(1e6, 5.0)] };
        let picture = lines("curve", &varied).unwrap().to_string();
        assert_eq!(picture.matches("<polyline").count(), 2, "{picture}");
        assert!(picture.contains("60.0,60.0 800.0,220.0"), "{picture}");
    }
}
