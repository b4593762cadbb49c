//! The verdict: one line a guarantee with the figures counted, violations by id, for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::text::thousands;

/// How many findings of one kind are printed in full.
const SHOWN: usize = 20;

/// What was found wrong: the first ones in words, all of them counted.
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

    /// All of another list too.
    pub fn append(&mut self, other: Self) {
        self.count += other.count;
        let room = SHOWN - self.first.len().min(SHOWN);
        self.first.extend(other.first.into_iter().take(room));
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl FromIterator<String> for Findings {
    fn from_iter<I: IntoIterator<Item = String>>(iter: I) -> Self {
        let mut findings = Self::default();
        iter.into_iter().for_each(|finding| findings.add(finding));
        findings
    }
}

/// A guarantee of `docs/guarantees.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Guarantee {
    /// Accepted means published.
    G1,
    /// Order per key.
    G2,
    /// Effects once.
    G3,
    /// Every order ends, and the books balance.
    G4,
    /// Nothing dropped silently.
    G5,
}

impl Guarantee {
    const fn title(self) -> &'static str {
        match self {
            Self::G1 => "accepted means published",
            Self::G2 => "order per key",
            Self::G3 => "effects once",
            Self::G4 => "every order ends, the books balance",
            Self::G5 => "nothing dropped silently",
        }
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
    /// Something could not be compared: no success.
    Unverifiable,
}

/// What became of one guarantee.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Which one.
    pub guarantee: Guarantee,
    /// How it stands.
    pub status: Status,
    /// What was counted.
    pub figures: Vec<(&'static str, u64)>,
    /// What contradicts it.
    pub violations: Findings,
    /// What could not be compared, and why.
    pub unverifiable: Findings,
}

impl Verdict {
    /// The verdict that follows from what was found.
    #[must_use]
    pub fn new(
        guarantee: Guarantee,
        figures: Vec<(&'static str, u64)>,
        violations: Findings,
        unverifiable: Findings,
    ) -> Self {
        let status = if !violations.is_empty() {
            Status::Violated
        } else if unverifiable.is_empty() {
            Status::Holds
        } else {
            Status::Unverifiable
        };
        Self { guarantee, status, figures, violations, unverifiable }
    }
}

/// All verdicts.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// G1 to G5.
    pub verdicts: Vec<Verdict>,
    /// Orders with dead letters: excluded: their books are not compared.
    pub excluded: Findings,
}

impl Report {
    /// Whether every guarantee was checked and holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.status == Status::Holds)
    }

    /// How one guarantee stands.
    #[must_use]
    pub fn verdict(&self, guarantee: Guarantee) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.guarantee == guarantee)
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
        let figures: Vec<String> =
            self.figures.iter().map(|(what, count)| format!("{} {what}", thousands(*count))).collect();
        writeln!(f, "{:?}  {status:<12} {}: {}", self.guarantee, self.guarantee.title(), figures.join(", "))?;
        list(f, "violated", &self.violations)?;
        list(f, "unverifiable", &self.unverifiable)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdicts.iter().try_for_each(|verdict| write!(f, "{verdict}"))?;
        list(f, "excluded", &self.excluded)
    }
}
