//! What the registry keeps: schemas by id, versions by subject, compatibility levels.

use std::collections::BTreeMap;

use apache_avro::Schema;
use contracts::compatibility;
use serde_json::Value;

/// The levels that this registry can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    None,
    FullTransitive,
}

/// Why a request is refused: HTTP status, Confluent's error code, and words.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: u32,
    pub(super) message: String,
}

#[derive(Debug)]
struct Stored {
    text: String,
    json: Value,
    schema: Schema,
}

/// Ids count from 1; version n of a subject stands at index n - 1.
#[derive(Debug, Default)]
pub(super) struct Store {
    schemas: Vec<Stored>,
    subjects: BTreeMap<String, Vec<u32>>,
    global_level: Option<Level>,
    levels: BTreeMap<String, Level>,
}

/// A version of a subject.
#[derive(Debug)]
pub(super) struct Version<'a> {
    pub(super) id: u32,
    pub(super) number: u32,
    pub(super) text: &'a str,
}

impl Level {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    pub(super) fn parse(name: &str) -> Result<Self, Refusal> {
        [Self::None, Self::FullTransitive].into_iter().find(|level| level.name() == name).ok_or_else(|| {
            refusal(
                422,
                42_203,
                format!("{name} is not NONE or FULL_TRANSITIVE, the levels of this registry"),
            )
        })
    }
}

pub(super) fn refusal(status: u16, code: u32, message: impl Into<String>) -> Refusal {
    Refusal { status, code, message: message.into() }
}

fn no_subject(subject: &str) -> Refusal {
    refusal(404, 40_401, format!("Subject '{subject}' not found."))
}

impl Store {
    /// The id of the schema in the subject: the one that it has there, or a new version's.
    pub(super) fn register(&mut self, subject: &str, text: &str) -> Result<u32, Refusal> {
        let candidate = Stored::parse(text)?;
        if let Some((id, _)) = self.find(subject, &candidate) {
            return Ok(id);
        }
        let problems = self.problems(subject, &candidate);
        if !problems.is_empty() {
            let message = format!("incompatible with an earlier version: {}", problems.join("; "));
            return Err(refusal(409, 409, message));
        }
        // The same schema has one id, whatever subjects it stands in.
        let known = self.schemas.iter().position(|stored| stored.json == candidate.json);
        let index = known.unwrap_or_else(|| {
            self.schemas.push(candidate);
            self.schemas.len() - 1
        });
        let id = number(index)?;
        self.subjects.entry(subject.to_owned()).or_default().push(id);
        Ok(id)
    }

    /// Id and version of the schema in the subject.
    pub(super) fn look_up(&self, subject: &str, text: &str) -> Result<(u32, u32), Refusal> {
        let candidate = Stored::parse(text)?;
        if !self.subjects.contains_key(subject) {
            return Err(no_subject(subject));
        }
        self.find(subject, &candidate).ok_or_else(|| refusal(404, 40_403, "Schema not found"))
    }

    /// Why the schema can't be the subject's next version; nothing when it can.
    pub(super) fn check(&self, subject: &str, text: &str) -> Result<Vec<String>, Refusal> {
        Ok(self.problems(subject, &Stored::parse(text)?))
    }

    pub(super) fn schema(&self, id: u32) -> Result<&str, Refusal> {
        self.stored(id)
            .map(|stored| stored.text.as_str())
            .ok_or_else(|| refusal(404, 40_403, format!("Schema {id} not found")))
    }

    pub(super) fn subjects(&self) -> impl Iterator<Item = &str> {
        self.subjects.keys().map(String::as_str)
    }

    pub(super) fn versions(&self, subject: &str) -> Result<Vec<Version<'_>>, Refusal> {
        let ids = self.subjects.get(subject).ok_or_else(|| no_subject(subject))?;
        let version = |(number, &id)| Some(Version { id, number, text: &self.stored(id)?.text });
        Ok((1..).zip(ids).filter_map(version).collect())
    }

    /// One version by its number, or `latest`.
    pub(super) fn version(&self, subject: &str, which: &str) -> Result<Version<'_>, Refusal> {
        let mut versions = self.versions(subject)?;
        let not_found = || refusal(404, 40_402, format!("Version {which} not found."));
        if which == "latest" {
            return versions.pop().ok_or_else(not_found);
        }
        let wanted: u32 = which
            .parse()
            .map_err(|_| refusal(422, 42_202, format!("The specified version '{which}' is not a number.")))?;
        versions.into_iter().find(|version| version.number == wanted).ok_or_else(not_found)
    }

    /// Where the schema with this id stands.
    pub(super) fn places(&self, id: u32) -> Result<Vec<(&str, u32)>, Refusal> {
        self.schema(id)?;
        let places = self.subjects.iter().flat_map(|(subject, ids)| {
            (1..)
                .zip(ids)
                .filter(move |(_, other)| **other == id)
                .map(|(number, _)| (subject.as_str(), number))
        });
        Ok(places.collect())
    }

    pub(super) fn global_level(&self) -> Level {
        self.global_level.unwrap_or(Level::FullTransitive)
    }

    pub(super) fn set_global_level(&mut self, level: Level) {
        self.global_level = Some(level);
    }

    pub(super) fn level(&self, subject: &str) -> Result<Level, Refusal> {
        self.levels.get(subject).copied().ok_or_else(|| {
            refusal(
                404,
                40_408,
                format!("Subject '{subject}' does not have a compatibility level of its own"),
            )
        })
    }

    pub(super) fn set_level(&mut self, subject: &str, level: Level) {
        self.levels.insert(subject.to_owned(), level);
    }

    fn stored(&self, id: u32) -> Option<&Stored> {
        self.schemas.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    fn find(&self, subject: &str, candidate: &Stored) -> Option<(u32, u32)> {
        let ids = self.subjects.get(subject)?;
        let same = |id: u32| self.stored(id).is_some_and(|stored| stored.json == candidate.json);
        (1..).zip(ids).find(|(_, id)| same(**id)).map(|(version, id)| (*id, version))
    }

    fn problems(&self, subject: &str, candidate: &Stored) -> Vec<String> {
        match self.level(subject).unwrap_or_else(|_| self.global_level()) {
            Level::None => Vec::new(),
            Level::FullTransitive => self
                .subjects
                .get(subject)
                .into_iter()
                .flatten()
                .filter_map(|id| self.stored(*id))
                .flat_map(|older| compatibility::problems(&older.schema, &candidate.schema))
                .map(|problem| problem.to_string())
                .collect(),
        }
    }
}

impl Stored {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let invalid =
            |error: &dyn std::fmt::Display| refusal(422, 42_201, format!("Invalid schema: {error}"));
        let json = serde_json::from_str(text).map_err(|error| invalid(&error))?;
        let schema = Schema::parse(&json).map_err(|error| invalid(&error))?;
        Ok(Self { text: text.to_owned(), json, schema })
    }
}

fn number(index: usize) -> Result<u32, Refusal> {
    u32::try_from(index + 1).map_err(|_| refusal(500, 50_001, "no id is left"))
}
