//! A request's fields, read so that all faults of a body are reported at once, each with its JSON pointer.

mod list;
mod read;

use std::fmt::{self, Display};

use serde::de::DeserializeOwned;

use super::Fault;
use super::extract::escaped;

pub use list::List;

/// The most faults that are reported at once: a short request can have thousands.
const MAX_FAULTS: usize = 100;

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

/// A type that a field can have. An object's struct keeps its unknown fields, which it skips itself (`#[serde(skip)]`).
pub trait Content: DeserializeOwned {
    /// Where the fields go that the object should not have.
    fn unknown(&mut self) -> Option<&mut UnknownFields> {
        None
    }
}

impl Content for String {}
impl Content for i128 {}

/// The fields that an object should not have, no more of them than are reported.
#[derive(Debug, Default)]
pub struct UnknownFields(Vec<(Box<str>, &'static str)>);

impl UnknownFields {
    fn add(&mut self, name: String) {
        self.push(name, "is not known");
    }

    /// The object has more than one field of this name.
    fn twice(&mut self, name: String) {
        self.push(name, "stands there twice");
    }

    fn push(&mut self, name: String, detail: &'static str) {
        if self.0.len() < MAX_FAULTS {
            self.0.push((name.into(), detail));
        }
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
    pub fn array<T, const MAX: usize>(
        &mut self,
        pointer: impl Display,
        field: Field<List<T, MAX>>,
    ) -> Option<List<T, MAX>> {
        self.sent(pointer, field, "an array")
    }

    /// What was parsed, if it could be.
    pub fn check<T, E: Display>(&mut self, pointer: impl Display, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.report(pointer, error)).ok()
    }

    /// Reports the fields that the object at `pointer` should not have.
    pub fn unknown(&mut self, pointer: impl Display, unknown: &UnknownFields) {
        for (name, detail) in &unknown.0 {
            self.report(format_args!("{pointer}/{}", escaped(name)), detail);
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
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Cart {
        lines: Field<List<Line, 2>>,
        #[serde(skip)]
        unknown: UnknownFields,
    }

    #[derive(Debug, Deserialize)]
    struct Line {
        sku: Field<String>,
        #[serde(skip)]
        unknown: UnknownFields,
    }

    impl Content for Cart {
        fn unknown(&mut self) -> Option<&mut UnknownFields> {
            Some(&mut self.unknown)
        }
    }

    impl Content for Line {
        fn unknown(&mut self) -> Option<&mut UnknownFields> {
            Some(&mut self.unknown)
        }
    }

    /// Where the faults of this body are.
    fn pointers(body: &str) -> Result<Vec<String>, serde_json::Error> {
        let mut faults = Faults::default();
        if let Some(cart) = faults.object("", serde_json::from_str::<Field<Cart>>(body)?) {
            faults.unknown("", &cart.unknown);
            let lines = faults.array("/lines", cart.lines);
            for (index, line) in lines.map(List::into_items).unwrap_or_default().into_iter().enumerate() {
                let at = format!("/lines/{index}");
                if let Some(line) = faults.object(&at, line) {
                    faults.unknown(&at, &line.unknown);
                    faults.text(format_args!("{at}/sku"), line.sku, |_| Ok::<_, String>(()));
                }
            }
        }
        let faults = faults.none_or(Some(())).err().unwrap_or_default();
        Ok(faults.into_iter().map(|fault| fault.pointer).collect())
    }

    #[test]
    fn what_follows_a_fault_is_read_as_well() {
        for (body, expected) in [
            (r#"{"lines":[{"sku":"A"}]}"#, &[][..]),
            (
                r#"{"lines":[{"sku":[1,[2]]},{"sku":{"a":{"b":1}}}],"x":[[]]}"#,
                &["/x", "/lines/0/sku", "/lines/1/sku"],
            ),
            (r#"{"lines":[7,{"skU":"A","sku":"B"}]}"#, &["/lines/0", "/lines/1/skU"]),
            (r#"{"lines":[["A"],{"sku":"B"}]}"#, &["/lines/0"]),
            (r#"{"lines":{"0":{"sku":"B"}},"y":1}"#, &["/y", "/lines"]),
            (r#"{"unknown":1,"lines":[]}"#, &["/unknown"]),
            (r#"{"lines":[{"sku":"A","sku":"B"}],"z":0,"z":0}"#, &["/z", "/z", "/lines/0/sku"]),
            (r#"{"lines":null}"#, &["/lines"]),
            ("{}", &["/lines"]),
            (r#"[[{"sku":"A"}]]"#, &[""]),
            ("null", &[""]),
            ("1.5", &[""]),
        ] {
            assert_eq!(pointers(body).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn json_that_breaks_off_anywhere_is_no_fault_of_a_field() {
        let body = r#"{"lines":[{"sku":"A","x":[1,{}]},{"sku":{"a":"\u0041"}},[1],3],"unknown":[true]}"#;
        assert!(pointers(body).is_ok());
        for end in 0..body.len() {
            assert!(pointers(&body[..end]).is_err(), "{}", &body[..end]);
        }
        for broken in [r#"{"lines":[{"sku":"\ud800"}]}"#, r#"{"lines":["#, r#"{"lines":[{"sku":01}]}"#] {
            assert!(pointers(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn items_behind_the_bound_are_counted_and_not_kept() {
        for (body, count, kept) in [("[]", 0, 0), ("[1,2]", 2, 2), ("[1,2,3]", 3, 0), ("[1,2,[3],{}]", 4, 0)]
        {
            let Field::Sent(list) = serde_json::from_str::<Field<List<i128, 2>>>(body).unwrap() else {
                panic!("{body} is an array");
            };
            assert_eq!((list.count(), list.into_items().len()), (count, kept), "{body}");
        }
    }

    #[test]
    fn no_more_faults_are_reported_than_an_answer_may_hold() {
        let mut faults = Faults::default();
        let mut unknown = UnknownFields::default();
        (0..=MAX_FAULTS).for_each(|n| unknown.add(n.to_string()));
        faults.unknown("", &unknown);
        faults.unknown("/lines", &unknown);
        assert_eq!(faults.none_or(Some(())).unwrap_err().len(), MAX_FAULTS);
    }

    #[test]
    fn the_content_of_a_field_is_not_printed() {
        let field: Field<String> = serde_json::from_str("\"tok_visa\"").unwrap();
        assert_eq!(format!("{field:?}"), "Sent(..)");
    }
}
