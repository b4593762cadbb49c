//! The rules that hold for the whole source tree, as functions from text to violations.

pub mod circles;
pub mod compose;
pub mod decisions;
pub mod dependencies;
pub mod diagram;
pub mod doors;
pub mod layers;
pub mod libraries;
pub mod links;
pub mod listed;
pub mod names;
pub mod printed;
pub mod profiles;
pub mod prose;
pub mod readmes;
pub mod requests;
pub mod shape;
pub mod sources;
pub mod sql;
pub mod sums;
pub mod targets;

use std::fmt;

/// A place in the source that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file, from the repository's root.
    pub file: String,
    /// The line from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Which rule, and how it is broken.
    pub rule: String,
}

impl Violation {
    /// A violation of `rule` at this place.
    pub fn new(file: &str, line: usize, rule: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, rule: rule.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}
