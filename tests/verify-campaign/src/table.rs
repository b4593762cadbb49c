//! What was seen of which corruption, as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tidings::verify::check::{Check, Guarantee};
use tidings::verify::report::{CheckOutcome, Report, Status};

/// What became of a corruption.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Named by these guarantees.
    Seen(BTreeSet<Guarantee>),
    /// Nothing was violated; what was corrupted was named as not compared.
    Unverifiable,
    /// A constraint or trigger of the database refuses it.
    Refused,
    /// It is on the list of what is no promise.
    NotPromised,
    /// Nobody noticed.
    Unseen,
    /// Something was violated, and what was corrupted was not named.
    Unnamed,
}

impl Outcome {
    fn of(report: &Report, names: &[String]) -> Self {
        let is_named = |finding: &str| names.iter().any(|name| finding.contains(name.as_str()));
        let seen: BTreeSet<Guarantee> = report
            .verdicts
            .iter()
            .filter(|verdict| verdict.violations().any(|(_, finding)| is_named(finding)))
            .map(|verdict| verdict.guarantee)
            .collect();
        if !seen.is_empty() {
            return Self::Seen(seen);
        }
        if report.is_violated() {
            return Self::Unnamed;
        }
        let is_apart = |verdict: &tidings::verify::report::Verdict| {
            verdict.not_compared().any(|(_, finding): (Check, &str)| is_named(finding))
        };
        let unverifiable = report.verdicts.iter().filter(|verdict| verdict.status == Status::Unverifiable);
        if unverifiable.into_iter().any(is_apart) { Self::Unverifiable } else { Self::Unseen }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seen(guarantees) => {
                let names: Vec<String> = guarantees.iter().map(ToString::to_string).collect();
                f.write_str(&names.join(" "))
            }
            Self::Unverifiable => f.write_str("unverifiable"),
            Self::Refused => f.write_str("refused"),
            Self::NotPromised => f.write_str("not promised"),
            Self::Unseen => f.write_str("UNSEEN"),
            Self::Unnamed => f.write_str("UNNAMED"),
        }
    }
}

/// Outcomes by what was corrupted and how.
#[derive(Debug, Default)]
pub struct Table {
    cells: BTreeMap<String, BTreeMap<&'static str, BTreeSet<Outcome>>>,
    /// How many corruptions were tried.
    pub tried: usize,
    /// What no check has found, as text.
    pub missed: Vec<String>,
    /// The checks that have found something.
    pub found: BTreeSet<Check>,
}

impl Table {
    /// What a report says of a corruption of what bears one of these names.
    pub fn judge(&mut self, report: &Report, names: &[String]) -> Outcome {
        let checks = report.verdicts.iter().flat_map(|verdict| &verdict.checks);
        let found =
            |it: &&CheckOutcome| !it.outcome.violations.is_empty() || !it.outcome.not_compared.is_empty();
        self.found.extend(checks.filter(found).map(|it| it.check));
        Outcome::of(report, names)
    }

    /// One corruption more.
    pub fn add(&mut self, what: &str, how: &'static str, outcome: Outcome, detail: impl FnOnce() -> String) {
        self.tried += 1;
        if [Outcome::Unseen, Outcome::Unnamed].contains(&outcome) {
            self.missed.push(format!("{outcome}: {what}, {how}: {}", detail()));
        }
        self.cells.entry(what.to_owned()).or_default().entry(how).or_default().insert(outcome);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | how | seen by |\n|---|---|---|")?;
        for (what, ways) in &self.cells {
            for (how, outcomes) in ways {
                let outcomes: Vec<String> = outcomes.iter().map(ToString::to_string).collect();
                writeln!(f, "| {what} | {how} | {} |", outcomes.join("; "))?;
            }
        }
        writeln!(f, "\n{} corruptions, {} missed", self.tried, self.missed.len())
    }
}
