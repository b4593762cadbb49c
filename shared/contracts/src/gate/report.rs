//! What the gate found: one line per schema, and every fault with its file, field and rule.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The rules that the gate enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The file can be read.
    Readable,
    /// It is JSON and a valid Avro schema.
    Parses,
    /// File, folder, namespace, record, field and enum are named as the house names them; versions count from 1.
    Named,
    /// Every record, field and enum has a doc.
    Documented,
    /// Types are those that money, ids, times and enums have here.
    Typed,
    /// The record begins with `event_id`, `occurred_at`, the aggregate's id, `sequence`.
    Begins,
    /// FULL_TRANSITIVE-compatible with every version before it.
    Compatible,
    /// Golden bytes exist and decode to their example, also in the newest version.
    Golden,
    /// What is published never changes.
    Published,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file at fault, relative to the folder checked.
    pub file: PathBuf,
    /// The path of the field at fault within the record, such as `lines[].sku`; empty for the whole file.
    pub field: String,
    /// The rule.
    pub rule: Rule,
    /// What is wrong and what to do.
    pub detail: String,
}

/// What the gate found out about one schema file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaReport {
    /// Empty when it passes.
    pub faults: Vec<Fault>,
}

/// What the gate found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By schema file, relative to the folder checked.
    pub schemas: BTreeMap<PathBuf, SchemaReport>,
    /// Faults that belong to no schema file.
    pub others: Vec<Fault>,
}

impl Report {
    /// Every fault.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.schemas.values().flat_map(|schema| &schema.faults).chain(&self.others)
    }

    /// The report if all is well.
    ///
    /// # Errors
    /// The report, when there is a fault.
    pub fn into_result(self) -> Result<Self, Self> {
        if self.faults().next().is_none() { Ok(self) } else { Err(self) }
    }

    pub(super) fn schema(&mut self, file: &Path) {
        self.schemas.entry(file.to_owned()).or_default();
    }

    pub(super) fn fault(&mut self, file: &Path, field: &str, rule: Rule, detail: impl Into<String>) {
        let fault = Fault { file: file.to_owned(), field: field.to_owned(), rule, detail: detail.into() };
        match self.schemas.get_mut(file) {
            Some(schema) => schema.faults.push(fault),
            None => self.others.push(fault),
        }
    }
}

impl std::error::Error for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (file, schema) in &self.schemas {
            let verdict = if schema.faults.is_empty() { "ok  " } else { "FAIL" };
            writeln!(f, "{verdict} {}", file.display())?;
            for fault in &schema.faults {
                writeln!(f, "     {fault}")?;
            }
        }
        for fault in &self.others {
            writeln!(f, "FAIL {}", fault.file.display())?;
            writeln!(f, "     {fault}")?;
        }
        let faults = self.faults().count();
        write!(f, "{} schemas, {faults} {}", self.schemas.len(), if faults == 1 { "fault" } else { "faults" })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() { "the record" } else { &self.field };
        write!(f, "{}: {field}: {}", self.rule, self.detail)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Readable => "readable",
            Self::Parses => "parses",
            Self::Named => "named",
            Self::Documented => "documented",
            Self::Typed => "typed",
            Self::Begins => "begins",
            Self::Compatible => "compatible",
            Self::Golden => "golden",
            Self::Published => "published",
        })
    }
}
