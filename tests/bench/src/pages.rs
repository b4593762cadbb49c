//! `docs/benchmarks/README.md`: the tables of all reports that stand beside it; and their headline in the repository's README.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::machine::Machine;
use crate::report::{Report, headline};

const HEAD: &str = "<!-- Written by `make bench` from the files beside it. -->

# Benchmarks

Each row runs the programs that the images contain (`--profile image`) on Apache Kafka and on a PostgreSQL that syncs
each commit to disk, and measures beside it, in the same run, what the same machine does without them. The ratio is the
result: absolute figures differ from machine to machine, and from hour to hour on a shared one. [ADR
39](../adr/0039-a-figure-is-a-ratio.md) says what a figure is, [`tests/bench`](../../tests/bench/README.md) how to
measure.

";

/// A load average before a run above which something else must have run: a build that has just ended is below it.
const BUSY: f64 = 4.0;

/// Between these two lines of the README stands the headline.
const HEADLINE: [&str; 2] =
    ["<!-- The headline, written by `make bench`. -->\n", "<!-- End of the headline. -->\n"];

/// Writes the page from the reports of a folder: rows in the order of `order`, then curves.
///
/// # Errors
/// When a report can't be read, or the page not be written.
pub(crate) fn write(folder: &Path, order: &[&str]) -> anyhow::Result<()> {
    let file = folder.join("README.md");
    fs::write(&file, page(&sorted(folder, order)?)).with_context(|| format!("writing {}", file.display()))
}

/// Writes the headline of the reports of a folder into the repository's README.
///
/// # Errors
/// When a report can't be read, or the README has no place for it.
pub(crate) fn write_headline(readme: &Path, folder: &Path, order: &[&str]) -> anyhow::Result<()> {
    let text = fs::read_to_string(readme).with_context(|| format!("reading {}", readme.display()))?;
    let text = with_headline(&text, &summary(&sorted(folder, order)?))
        .with_context(|| format!("{} has no place for the headline", readme.display()))?;
    fs::write(readme, text).with_context(|| format!("writing {}", readme.display()))
}

fn sorted(folder: &Path, order: &[&str]) -> anyhow::Result<Vec<Report>> {
    let mut reports = Report::read_all(folder)?;
    let place = |report: &Report| order.iter().position(|name| *name == report.name).unwrap_or(usize::MAX);
    reports.sort_by_key(place);
    Ok(reports)
}

/// The text with another headline; none when it has no place for one.
fn with_headline(text: &str, summary: &str) -> Option<String> {
    let [begin, end] = HEADLINE;
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{summary}{end}{after}"))
}

/// The figures that have a goal, and the machine that they come from.
fn summary(reports: &[Report]) -> String {
    let has_goal = |report: &&Report| report.figures.iter().any(|figure| figure.goal.is_some());
    let rows = reports.iter().filter(|report| report.varied.is_none()).filter(has_goal);
    let mut text = headline(rows.clone()) + "\n";
    if let Some(first) = rows.clone().next() {
        let mut said = format!("Measured {}.", machine(&first.machine));
        let others = rows.clone().filter(|row| row.machine.commit != first.machine.commit);
        let others: Vec<String> =
            others.map(|row| format!("{} at {}", row.name, row.machine.commit)).collect();
        if !others.is_empty() {
            let _ = write!(said, " Measured at other commits: {}.", others.join(", "));
        }
        let _ = writeln!(text, "{}\n", wrapped(&said));
    }
    let busy: Vec<&str> =
        rows.filter(|row| row.machine.load_average > BUSY).map(|row| row.name.as_str()).collect();
    if !busy.is_empty() {
        let said = format!("**The machine did other work while these were measured: {}.**", busy.join(", "));
        let _ = writeln!(text, "{}\n", wrapped(&said));
    }
    text
}

fn page(reports: &[Report]) -> String {
    let mut text = HEAD.to_owned();
    let _ = write!(text, "## Headline\n\n{}", summary(reports));
    for (kind, title) in [(false, "Rows"), (true, "Curves")] {
        let of_kind: Vec<&Report> = reports.iter().filter(|report| report.varied.is_some() == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let _ = writeln!(text, "## {title}\n");
        for report in of_kind {
            let _ = writeln!(text, "### {}\n", report.name);
            let _ =
                writeln!(text, "{}\n", wrapped(&format!("{} Beside it: {}", report.measures, report.beside)));
            text.push_str(&report.table());
            let mut said = format!(
                "Measured {} in {:.0} s {}.",
                report.measured_at,
                report.took_seconds,
                machine(&report.machine)
            );
            if report.quick {
                said.push_str(" **A run of seconds (`--quick`): its figures say nothing.**");
            }
            let _ = writeln!(text, "\n{}", wrapped(&said));
            for note in &report.notes {
                let _ = writeln!(text, "\n{}", wrapped(note));
            }
            if report.varied.is_some() || report.figures.iter().any(|figure| figure.share_of_goal().is_some())
            {
                let _ = writeln!(text, "\n![{} as a picture]({}.svg)", report.name, report.name);
            }
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn machine(machine: &Machine) -> String {
    let Machine { cores, model, memory_gb, kernel, postgres, kafka, commit, load_average } = machine;
    format!(
        "at commit {commit} on {cores} cores ({model}), {memory_gb:.0} GB of memory, Linux {kernel}, PostgreSQL {postgres}, Apache \
         Kafka {kafka}; load average before the run {load_average:.1}"
    )
}

/// Broken into lines of at most 120 characters.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 120;
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Figure, Goal};

    #[test]
    fn the_page_has_the_headline_then_each_row_with_its_machine() {
        let figures = vec![Figure::new("CPU", "ms", 0.6).goal(Goal::ValueAtMost(0.5))];
        let machine = Machine { load_average: 9.0, cores: 2, commit: "abc".to_owned(), ..Machine::default() };
        let report = Report { name: "accept".to_owned(), quick: true, figures, machine, ..Report::default() };
        let page = page(&[report]);
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
        assert!(at("accept: CPU") < at("at commit abc on 2 cores"), "{page}");
        assert!(
            at("at commit abc") < at("### accept") && at("### accept") < at("Measured in 0 s at commit abc"),
            "{page}"
        );
        assert!(page.contains("while these were measured: accept.**"), "{page}");
        assert!(page.contains("(`--quick`)") && page.ends_with("(accept.svg)\n"), "{page}");
    }

    #[test]
    fn the_headline_names_the_commit_of_each_row() {
        let report = |name: &str, commit: &str| Report {
            name: name.to_owned(),
            figures: vec![Figure::new("CPU", "ms", 0.6).goal(Goal::ValueAtMost(0.5))],
            machine: Machine { commit: commit.to_owned(), ..Machine::default() },
            ..Report::default()
        };
        let text = summary(&[report("accept", "abc"), report("relay", "def"), report("idle", "abc")]);
        assert!(
            text.contains("Measured at commit abc") && text.contains("other commits: relay at def."),
            "{text}"
        );
        assert!(!summary(&[report("accept", "abc"), report("idle", "abc")]).contains("other commits"));
    }

    #[test]
    fn a_headline_replaces_the_one_before_and_needs_a_place() {
        let page = format!("# Name\n\n{}old\n{}\nText\n", HEADLINE[0], HEADLINE[1]);
        let expected = format!("# Name\n\n{}\nnew\n{}\nText\n", HEADLINE[0], HEADLINE[1]);
        assert_eq!(with_headline(&page, "new\n"), Some(expected));
        assert_eq!(with_headline("# A page without a place\n", "new\n"), None);
    }

    #[test]
    fn lines_have_one_width_and_lose_no_word() {
        let text = "word and longer-word ".repeat(40);
        let wrapped = wrapped(&text);
        assert!(wrapped.lines().all(|line| line.chars().count() <= 120 && !line.is_empty()));
        assert_eq!(
            wrapped.split_whitespace().collect::<Vec<_>>(),
            text.split_whitespace().collect::<Vec<_>>()
        );
    }
}
