//! A parameter of a recorded statement as an expression of the script.

use std::collections::BTreeSet;

use super::Recording;

/// The longest value in which ids are counted up: longer ones are documents, which need not differ.
const LONGEST: usize = 120;
/// The length of a UUID as text, and of its end, which is counted up.
const UUID: usize = 36;
const UUID_END: usize = 12;

/// Texts that each request has for itself.
#[derive(Debug)]
pub(super) struct Varying {
    key: String,
    customer: String,
    uuids: BTreeSet<String>,
}

impl Varying {
    /// The key and the customer of the first request, and the UUIDs that the second does not have.
    pub(super) fn new(first: &Recording, second: &Recording) -> Self {
        let uuids = |recording: &Recording| -> BTreeSet<String> {
            let values =
                recording.statements.iter().flat_map(|statement| statement.parameters.iter().flatten());
            values.filter(|value| value.len() <= LONGEST).flat_map(|value| uuids(value)).collect()
        };
        let uuids = uuids(first).difference(&uuids(second)).cloned().collect();
        Self { key: first.key.clone(), customer: first.customer.clone(), uuids }
    }

    /// The first of these texts in a value: where it begins, where the part that is counted up begins, where it ends.
    fn find(&self, value: &str) -> Option<(usize, usize, Kind)> {
        let texts = [(&self.key, Kind::Number), (&self.customer, Kind::Customer)];
        let texts = texts.into_iter().filter(|(text, _)| !text.is_empty());
        let places =
            texts.filter_map(|(text, kind)| value.find(text.as_str()).map(|at| (at, at + text.len(), kind)));
        let uuids = self.uuids.iter().filter_map(|uuid| {
            let at = value.find(uuid.as_str())?;
            Some((at + UUID - UUID_END, at + UUID, Kind::Uuid))
        });
        places.chain(uuids).min_by_key(|(at, ..)| *at)
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Number,
    Customer,
    Uuid,
}

impl Kind {
    const fn expression(self) -> &'static str {
        match self {
            Self::Number => "'k-' || :id::text",
            Self::Customer => "'c-' || (:id::bigint % 1000)::text",
            Self::Uuid => "lpad(to_hex(:id::bigint), 12, '0')",
        }
    }
}

/// A parameter with its value in the first recording.
pub(super) struct Parameter<'a> {
    /// What its variable is called.
    pub(super) name: String,
    /// Its type in SQL.
    pub(super) kind: &'a str,
    pub(super) value: &'a Option<String>,
    /// Whether the second recording has the same value.
    pub(super) same: bool,
}

impl Parameter<'_> {
    /// The expression; its constant parts are added to `variables`.
    pub(super) fn expression(
        &self,
        varying: &Varying,
        has_ids: bool,
        variables: &mut Vec<(String, String)>,
    ) -> String {
        let kind = self.kind;
        let Some(value) = self.value else { return format!("NULL::{kind}") };
        let is_counted = !self.same && value.len() <= LONGEST;
        if is_counted && has_ids && is_integer(value) {
            return if value.starts_with('{') {
                format!("CAST('{{' || :nextval::text || '}}' AS {kind})")
            } else {
                format!("CAST(:nextval AS {kind})")
            };
        }
        if is_counted && varying.find(value).is_some() {
            return format!("CAST({} AS {kind})", self.counted(value, varying, variables));
        }
        variables.push((self.name.clone(), value.clone()));
        format!("CAST(:{} AS {kind})", self.name)
    }

    /// The value with a counter in the place of each text that each request has for itself.
    fn counted(&self, value: &str, varying: &Varying, variables: &mut Vec<(String, String)>) -> String {
        let mut parts = Vec::new();
        let mut constant = |text: &str, parts: &mut Vec<String>| {
            if !text.is_empty() {
                let name = format!("{}_{}", self.name, parts.len());
                parts.push(format!(":{name}::text"));
                variables.push((name, text.to_owned()));
            }
        };
        let mut rest = value;
        while let Some((from, to, kind)) = varying.find(rest) {
            constant(&rest[..from], &mut parts);
            parts.push(kind.expression().to_owned());
            rest = &rest[to..];
        }
        constant(rest, &mut parts);
        parts.join(" || ")
    }
}

/// Whether it is a whole number, alone or in an array.
fn is_integer(value: &str) -> bool {
    let digits = value.trim_start_matches('{').trim_end_matches('}');
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The UUIDs in a text.
fn uuids(text: &str) -> Vec<String> {
    let is_uuid = |window: &[u8]| {
        window.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    text.as_bytes()
        .windows(UUID)
        .filter(|window| is_uuid(window))
        .map(|window| String::from_utf8_lossy(window).into_owned())
        .collect()
}
