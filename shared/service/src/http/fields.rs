//! A request's fields, read so that all faults of a body are reported at once, each with its JSON pointer.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Fault;
use super::extract::escaped;

/// The most faults that are reported at once: no answer is much larger than its request.
const MAX_FAULTS: usize = 10_000;

/// A field as it was sent. Reading one never fails, so that those after it are read too; [`Faults`] reports what is wrong
/// with it. Its content may be personal or secret and is not printed.
pub enum Field<T> {
    /// Absent, or `null`.
    Missing,
    /// Of another JSON type than `T`.
    Mistyped,
    /// Of the right type; its content is still to be checked.
    Sent(T),
}

/// The fields that a request should not have: flattened into its struct.
pub type UnknownFields = BTreeMap<String, IgnoredAny>;

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(value) = Option::<Value>::deserialize(deserializer)? else { return Ok(Self::Missing) };
        Ok(T::deserialize(value).map_or(Self::Mistyped, Self::Sent))
    }
}

impl<T> fmt::Debug for Field<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "Missing",
            Self::Mistyped => "Mistyped",
            Self::Sent(_) => "Sent(..)",
        })
    }
}

/// The faults of a request so far. A method that gives nothing has reported why; `pointer` says where the field is.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// `parsed`, if there was no fault.
    ///
    /// # Errors
    /// All faults, in the order in which they were reported.
    pub fn none_or<T>(self, parsed: Option<T>) -> Result<T, Vec<Fault>> {
        parsed.filter(|_| self.0.is_empty()).ok_or(self.0)
    }

    /// The content of a string.
    pub fn text<T, E: Display>(
        &mut self,
        pointer: impl Display,
        field: Field<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.sent(&pointer, field, "a string")?;
        self.check(pointer, parse(&text))
    }

    /// The content of an integer. One that leaves 64 bits is checked as the last within them.
    pub fn integer<T, E: Display>(
        &mut self,
        pointer: impl Display,
        field: Field<i128>,
        parse: impl FnOnce(i64) -> Result<T, E>,
    ) -> Option<T> {
        let number = self.sent(&pointer, field, "an integer")?;
        let last = if number < 0 { i64::MIN } else { i64::MAX };
        self.check(pointer, parse(i64::try_from(number).unwrap_or(last)))
    }

    /// The fields of an object.
    pub fn object<T>(&mut self, pointer: impl Display, field: Field<T>) -> Option<T> {
        self.sent(pointer, field, "an object")
    }

    /// The items of an array.
    pub fn array<T>(&mut self, pointer: impl Display, field: Field<Vec<T>>) -> Option<Vec<T>> {
        self.sent(pointer, field, "an array")
    }

    /// What was parsed, if it could be.
    pub fn check<T, E: Display>(&mut self, pointer: impl Display, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.report(pointer, error)).ok()
    }

    /// Reports the fields that the object at `pointer` should not have.
    pub fn unknown(&mut self, pointer: impl Display, unknown: &UnknownFields) {
        for name in unknown.keys() {
            self.report(format_args!("{pointer}/{}", escaped(name)), "is not known");
        }
    }

    fn sent<T>(&mut self, pointer: impl Display, field: Field<T>, kind: &str) -> Option<T> {
        match field {
            Field::Sent(value) => return Some(value),
            Field::Missing => self.report(pointer, "is required"),
            Field::Mistyped => self.report(pointer, format_args!("must be {kind}")),
        }
        None
    }

    fn report(&mut self, pointer: impl Display, detail: impl Display) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(Fault { pointer: pointer.to_string(), detail: detail.to_string() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_faults_are_reported_than_an_answer_may_hold() {
        let mut faults = Faults::default();
        let unknown = (0..MAX_FAULTS + 1).map(|n| (n.to_string(), IgnoredAny)).collect();
        faults.unknown("", &unknown);
        assert_eq!(faults.none_or(Some(())).unwrap_err().len(), MAX_FAULTS);
    }

    #[test]
    fn the_content_of_a_field_is_not_printed() {
        let field: Field<String> = serde_json::from_str("\"tok_visa\"").unwrap();
        assert_eq!(format!("{field:?}"), "Sent(..)");
    }
}
