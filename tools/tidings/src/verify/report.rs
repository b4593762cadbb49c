//! The verdict: for each check how much was compared, what contradicts it and what was left out, for people and programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use tokio::sync::mpsc::Sender;

use super::check::{Check, Guarantee};
use crate::text::thousands;

/// How many findings of one kind are printed in full.
const SHOWN: usize = 20;

/// Findings: the first ones as text, all of them counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub first: Vec<String>,
}

impl Findings {
    /// One more.
    pub fn add(&mut self, finding: String) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(finding);
        }
    }

    /// Those as well.
    pub fn add_all(&mut self, others: &Self) {
        self.count += others.count;
        let room = SHOWN.saturating_sub(self.first.len());
        self.first.extend(others.first.iter().take(room).cloned());
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// What one check came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// How many comparisons were made.
    pub compared: u64,
    /// What contradicts the guarantee, by id.
    pub violations: Findings,
    /// What was not compared, and why.
    pub not_compared: Findings,
}

/// A violation as it is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Violation {
    /// Of which guarantee.
    pub guarantee: Guarantee,
    /// Which check found it.
    pub check: Check,
    /// What is wrong, by id.
    pub finding: String,
}

/// What all checks came to so far.
#[derive(Clone, Debug, Default)]
pub struct Comparisons {
    outcomes: BTreeMap<Check, Outcome>,
    notes: Findings,
    found: Option<Sender<Violation>>,
}

impl Comparisons {
    /// None yet; each violation is sent at once, unless the channel is full.
    pub fn reporting_to(found: Option<Sender<Violation>>) -> Self {
        Self { found, ..Self::default() }
    }

    fn of(&mut self, check: Check) -> &mut Outcome {
        self.outcomes.entry(check).or_default()
    }

    /// One comparison more; `finding` says what is wrong where it does not hold.
    pub fn holds(&mut self, check: Check, holds: bool, finding: impl FnOnce() -> String) {
        let outcome = self.of(check);
        outcome.compared += 1;
        if !holds {
            let finding = finding();
            outcome.violations.add(finding.clone());
            if let Some(found) = &self.found {
                let _ = found.try_send(Violation { guarantee: check.guarantee(), check, finding });
            }
        }
    }

    /// Two values that must be equal; `subject` names the row or record that holds the first.
    pub fn same<T: PartialEq + fmt::Debug>(
        &mut self,
        check: Check,
        subject: &dyn fmt::Display,
        column: &str,
        found: &T,
        expected: &T,
    ) {
        self.holds(check, found == expected, || {
            format!("{subject}: {column} is {found:?}, expected {expected:?}")
        });
    }

    /// Two values that must be equal and are personal or secret, so that neither is printed.
    pub fn same_hidden<T: PartialEq>(
        &mut self,
        check: Check,
        subject: &dyn fmt::Display,
        column: &str,
        found: &T,
        expected: &T,
    ) {
        self.holds(check, found == expected, || format!("{subject}: {column} is not what it should be"));
    }

    /// A contradiction that no comparison of two values shows.
    pub fn violated(&mut self, check: Check, finding: String) {
        self.holds(check, false, || finding);
    }

    /// Something that the check covers and that could not be compared.
    pub fn not_compared(&mut self, check: Check, why: String) {
        self.of(check).not_compared.add(why);
    }

    /// Something that is no contradiction and worth knowing.
    pub fn note(&mut self, what: String) {
        self.notes.add(what);
    }

    /// The verdicts on all guarantees.
    #[must_use]
    pub fn into_report(mut self) -> Report {
        let verdicts = Guarantee::ALL
            .into_iter()
            .map(|guarantee| {
                let checks = Check::ALL.iter().filter(|check| check.guarantee() == guarantee);
                let checks: Vec<_> =
                    checks.map(|check| (*check, self.outcomes.remove(check).unwrap_or_default())).collect();
                Verdict::new(guarantee, checks)
            })
            .collect();
        Report { verdicts, notes: self.notes }
    }
}

/// How a guarantee stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything was compared, and it holds.
    Holds,
    /// Something contradicts it.
    Violated,
    /// Something that it covers was not compared: no success.
    Unverifiable,
}

/// What became of one guarantee.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Which one.
    pub guarantee: Guarantee,
    /// How it stands.
    pub status: Status,
    /// Its checks.
    pub checks: Vec<CheckOutcome>,
}

/// A check with what it came to.
#[derive(Clone, Debug, Serialize)]
pub struct CheckOutcome {
    /// Which one.
    pub check: Check,
    /// What it came to.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Verdict {
    fn new(guarantee: Guarantee, checks: Vec<(Check, Outcome)>) -> Self {
        let status = if checks.iter().any(|(_, outcome)| !outcome.violations.is_empty()) {
            Status::Violated
        } else if checks.iter().all(|(_, outcome)| outcome.not_compared.is_empty()) {
            Status::Holds
        } else {
            Status::Unverifiable
        };
        let checks = checks.into_iter().map(|(check, outcome)| CheckOutcome { check, outcome }).collect();
        Self { guarantee, status, checks }
    }

    /// What contradicts it, with the check that found it.
    pub fn violations(&self) -> impl Iterator<Item = (Check, &str)> {
        self.checks
            .iter()
            .flat_map(|it| it.outcome.violations.first.iter().map(|finding| (it.check, finding.as_str())))
    }

    /// What was not compared, with the check that should have.
    pub fn not_compared(&self) -> impl Iterator<Item = (Check, &str)> {
        self.checks
            .iter()
            .flat_map(|it| it.outcome.not_compared.first.iter().map(|finding| (it.check, finding.as_str())))
    }
}

/// All verdicts.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// G1 to G6.
    pub verdicts: Vec<Verdict>,
    /// What is no contradiction and worth knowing: dead letters, for one.
    pub notes: Findings,
}

impl Report {
    /// Whether every guarantee was checked and holds.
    pub fn holds(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.status == Status::Holds)
    }

    /// Whether a guarantee is violated.
    pub fn is_violated(&self) -> bool {
        self.verdicts.iter().any(|verdict| verdict.status == Status::Violated)
    }

    /// How one guarantee stands.
    pub fn verdict(&self, guarantee: Guarantee) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.guarantee == guarantee)
    }

    /// What one check came to.
    pub fn outcome(&self, check: Check) -> Option<&Outcome> {
        let verdict = self.verdict(check.guarantee())?;
        verdict.checks.iter().find(|it| it.check == check).map(|it| &it.outcome)
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, findings: &Findings) -> fmt::Result {
    for finding in &findings.first {
        writeln!(f, "     {what}: {finding}")?;
    }
    let rest = findings.count - findings.first.len();
    if rest > 0 { writeln!(f, "     {what}: and {rest} more") } else { Ok(()) }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            Status::Holds => "holds",
            Status::Violated => "VIOLATED",
            Status::Unverifiable => "UNVERIFIABLE",
        };
        let compared: u64 = self.checks.iter().map(|it| it.outcome.compared).sum();
        let checks = self.checks.iter().filter(|it| it.outcome.compared > 0).count();
        let (title, compared) = (self.guarantee.title(), thousands(compared));
        writeln!(f, "{}  {status:<12} {title}: {compared} comparisons in {checks} checks", self.guarantee)?;
        for it in &self.checks {
            list(f, "violated", &it.outcome.violations)?;
            list(f, "not compared", &it.outcome.not_compared)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdicts.iter().try_for_each(|verdict| write!(f, "{verdict}"))?;
        list(f, "note", &self.notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_compared_is_no_success() {
        let mut out = Comparisons::default();
        out.same(Check::Ends, &"order 1", "its end", &1, &1);
        assert!(out.clone().into_report().holds());
        out.not_compared(Check::Units, "SKU A: nobody looked".to_owned());
        let report = out.clone().into_report();
        assert!(!report.holds() && !report.is_violated(), "{report}");
        out.same(Check::Ends, &"order 2", "its end", &2, &1);
        let report = out.into_report();
        assert!(
            report.is_violated() && report.to_string().contains("order 2: its end is 2, expected 1"),
            "{report}"
        );
    }
}
