//! The result of a row or of a curve: what `docs/benchmarks/NAME.json` holds, and the table that is printed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::figures::Figure;
use crate::machine::Machine;

/// What a row came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) measures: String,
    pub(crate) beside: String,
    /// Whether it was a run of seconds (`--quick`), whose figures say nothing.
    pub(crate) quick: bool,
    pub(crate) measured_at: String,
    pub(crate) took_seconds: f64,
    pub(crate) machine: Machine,
    /// Of a curve, what it is to keep.
    pub(crate) figures: Vec<Figure>,
    /// What was seen beside the figures.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
    /// The parameter that was varied, of a curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) varied: Option<Varied>,
}

/// A parameter and the figures at each of its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Varied {
    pub(crate) parameter: String,
    pub(crate) points: Vec<Point>,
}

/// The figures at one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) at: f64,
    pub(crate) figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let file = folder.join(format!("{}.json", self.name));
        let text = serde_json::to_string_pretty(self)?;
        fs::write(&file, text + "\n").with_context(|| format!("writing {}", file.display()))
    }

    /// All reports of a folder, by name.
    pub(crate) fn read_all(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
        let is_report = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
        let files = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_report);
        let read = |file: PathBuf| -> anyhow::Result<Self> {
            let text = fs::read_to_string(&file)?;
            serde_json::from_str(&text).with_context(|| format!("{} is no report", file.display()))
        };
        let mut reports = files.map(read).collect::<anyhow::Result<Vec<Self>>>()?;
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(reports)
    }

    /// The figures; of a curve those of each point, then what it is to keep.
    pub(crate) fn table(&self) -> String {
        match &self.varied {
            None => table(&self.figures),
            Some(varied) if self.figures.is_empty() => curve(varied),
            Some(varied) => format!("{}\n{}", curve(varied), table(&self.figures)),
        }
    }
}

/// The figures of all reports that have a goal, each with its row.
pub(crate) fn headline<'a>(reports: impl Iterator<Item = &'a Report>) -> String {
    let of = |report: &'a Report| {
        let with_goal = report.figures.iter().filter(|figure| figure.goal.is_some());
        with_goal.map(|figure| Figure { name: format!("{}: {}", report.name, figure.name), ..figure.clone() })
    };
    table(&reports.flat_map(of).collect::<Vec<_>>())
}

/// A table in Markdown, aligned, so that it can be read as it is.
fn table(figures: &[Figure]) -> String {
    let mut rows = vec![["what", "measured", "beside it", "ratio", "goal", "met"].map(str::to_owned)];
    for figure in figures {
        let beside = figure.beside.as_ref();
        rows.push([
            figure.name.clone(),
            with_unit(figure.value, &figure.unit),
            beside
                .map_or_else(String::new, |it| format!("{}: {}", it.what, with_unit(it.value, &figure.unit))),
            figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            figure.goal.map_or_else(String::new, |goal| goal.to_string()),
            figure.met.map_or("", |met| if met { "yes" } else { "**no**" }).to_owned(),
        ]);
    }
    aligned(&rows)
}

fn curve(varied: &Varied) -> String {
    let names = varied.points.first().map(|point| &point.figures[..]).unwrap_or_default();
    let mut rows = vec![vec![varied.parameter.clone()]];
    rows[0].extend(names.iter().map(|figure| format!("{} ({})", figure.name, figure.unit)));
    for point in &varied.points {
        let mut row = vec![tidings::text::thousands(rounded(point.at))];
        row.extend(point.figures.iter().map(|figure| number(figure.value)));
        row.resize(rows[0].len(), String::new());
        rows.push(row);
    }
    aligned(&rows)
}

fn aligned<R: AsRef<[String]>>(rows: &[R]) -> String {
    let columns = rows.first().map_or(0, |row| row.as_ref().len());
    let width =
        |column: usize| rows.iter().map(|row| row.as_ref()[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.as_ref().iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if index == 0 {
            let rule = widths.iter().map(|width| "-".repeat((*width).max(3)));
            let _ = writeln!(
                text,
                "|{}|",
                rule.map(|dashes| format!("-{dashes}-")).collect::<Vec<_>>().join("|")
            );
        }
    }
    text
}

fn with_unit(value: f64, unit: &str) -> String {
    format!("{} {unit}", number(value))
}

/// Three significant digits, more of large numbers.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => tidings::text::thousands(rounded(value)),
        middle if middle >= 100.0 => format!("{value:.0}"),
        small if small >= 10.0 => format!("{value:.1}"),
        smaller if smaller >= 1.0 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a figure that is shown; casts of floats saturate")]
pub(crate) const fn rounded(value: f64) -> i64 {
    value.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Goal;

    #[test]
    fn a_table_shows_ratio_goal_and_whether_it_was_met() {
        let figure = Figure::new("accepted, 16 connections", "orders/s", 4_321.0)
            .beside("pgbench", 8_642.0)
            .goal(Goal::RatioAtLeast(0.8));
        let text = table(&[figure, Figure::new("CPU", "ms", 0.6)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[2].contains("4,321 orders/s | pgbench: 8,642 orders/s | 0.50  | ratio ≥ 0.8 | **no** |"),
            "{text}"
        );
        assert!(lines[3].contains("| 0.600 ms"), "{text}");
        assert_eq!(
            lines.iter().map(|line| line.chars().count()).min(),
            lines.iter().map(|line| line.chars().count()).max()
        );
    }

    #[test]
    fn a_curve_has_a_row_for_each_value() {
        let point = |at| Point { at, figures: vec![Figure::new("accepted", "orders/s", 5.0 * at)] };
        let text = curve(&Varied { parameter: "lines".to_owned(), points: vec![point(1.0), point(300.0)] });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "| lines | accepted (orders/s) |");
        assert_eq!(lines[3], "| 300   | 1,500               |");
    }

    #[test]
    fn the_headline_has_the_figures_with_a_goal_and_their_rows() {
        let wanted = Figure::new("CPU", "ms", 0.6).goal(Goal::ValueAtMost(0.5));
        let figures = vec![wanted, Figure::new("memory", "MB", 30.0)];
        let report = Report { name: "accept".to_owned(), figures, ..Report::default() };
        let text = headline([&report].into_iter());
        assert!(text.contains("| accept: CPU | 0.600 ms") && !text.contains("memory"), "{text}");
    }

    #[test]
    fn numbers_have_the_digits_that_their_size_deserves() {
        let shown = [1_234_567.8, 432.1, 43.21, 4.321, 0.0432, 0.0].map(number);
        assert_eq!(shown, ["1,234,568", "432", "43.2", "4.32", "0.043", "0"]);
    }
}
