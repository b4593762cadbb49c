//! What the topics hold, read from their beginning: the only witness that the checks trust.

use std::collections::{BTreeMap, BTreeSet};

use contracts::envelope::CE_TYPE;
use contracts::{AnyEvent, Topic};
use serde::{Deserialize, Serialize};

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Which business topic.
    #[serde(with = "topic")]
    pub topic: Topic,
    /// Partition number.
    pub partition: i32,
    /// Offset within it.
    pub offset: i64,
}

/// A record as it stands on its topic, and what it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Where it stands.
    pub place: Place,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The value's bytes; none in a tombstone.
    pub value: Option<Vec<u8>>,
    /// The broker's timestamp in milliseconds.
    pub timestamp_ms: Option<i64>,
    /// The event, or why it is none.
    #[serde(skip, default = "not_decoded")]
    pub event: Result<AnyEvent, String>,
}

pub(super) fn not_decoded() -> Result<AnyEvent, String> {
    Err("not decoded yet".to_owned())
}

/// A topic as its place among all.
mod topic {
    use contracts::Topic;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(topic: &Topic, to: S) -> Result<S::Ok, S::Error> {
        Topic::ALL.iter().position(|known| known == topic).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Topic, D::Error> {
        let at: Option<usize> = Option::deserialize(from)?;
        at.and_then(|at| Topic::ALL.get(at).copied()).ok_or_else(|| de::Error::custom("no topic"))
    }
}

/// The offsets that one partition held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first offset; above 0 the topic's beginning is gone.
    pub low: i64,
    /// One behind the last.
    pub high: i64,
}

/// Everything on the business topics, up to the end offsets of one moment.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In offset order within each partition.
    pub records: Vec<Record>,
    /// Records that are looked up as causes, and not compared here.
    pub causes: Vec<Record>,
    /// The offsets read, by topic and partition.
    pub ranges: BTreeMap<(Topic, i32), Range>,
    /// Schema ids registered under the subject of each topic and type.
    pub schemas: BTreeMap<(Topic, &'static str), BTreeSet<u32>>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.offset)
    }
}

/// What a service that subscribes to some types makes of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen<'a> {
    /// Not for it.
    Skipped,
    /// An event for it.
    Event(&'a AnyEvent),
    /// No valid event: a dead letter.
    Invalid,
}

impl Record {
    /// The value of a header; the last one where it is repeated.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().rev().find(|(candidate, _)| candidate == name);
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The id of the trace that it belongs to.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        trace_id(self.header("traceparent"))
    }

    /// What a service that subscribes to `types` makes of it: it skips by header, decodes, and compares type and key.
    #[must_use]
    pub fn seen_by(&self, types: &[&str]) -> Seen<'_> {
        let announced = self.header(CE_TYPE);
        if announced.is_some_and(|announced| !types.contains(&announced)) {
            return Seen::Skipped;
        }
        match &self.event {
            Err(_) => Seen::Invalid,
            Ok(event) if announced.is_some_and(|announced| announced != event.event_type()) => Seen::Invalid,
            Ok(event) if !types.contains(&event.event_type()) => Seen::Skipped,
            Ok(event) if self.key.as_deref() != Some(event.key().as_bytes()) => Seen::Invalid,
            Ok(event) => Seen::Event(event),
        }
    }
}

/// The trace id of a `traceparent` (W3C Trace Context), 32 hexadecimal digits.
#[must_use]
pub fn trace_id(traceparent: Option<&str>) -> Option<&str> {
    let mut parts = traceparent?.split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    (version.len() == 2 && id.len() == 32).then_some(id)
}

impl History {
    /// Partitions whose beginning is gone.
    #[must_use]
    pub fn truncated(&self) -> Vec<String> {
        self.ranges
            .iter()
            .filter(|(_, range)| range.low > 0)
            .map(|((topic, partition), range)| {
                format!("{topic}/{partition} begins at offset {}: what stood before is gone", range.low)
            })
            .collect()
    }
}
