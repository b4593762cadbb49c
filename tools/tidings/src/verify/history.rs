//! What the topics hold, read from their beginning: the only witness that the checks trust.

use std::collections::{BTreeMap, BTreeSet};

use contracts::envelope::{self, CE_TYPE};
use contracts::event::is_of_another_release;
use contracts::{AnyEvent, Topic};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::unread::Unread;

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
    /// The end before the databases were read: they know of everything below.
    pub before: i64,
    /// The end before the last ends were asked for: the causes of everything below are read.
    pub complete: i64,
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
    /// Partitions that were not read.
    pub unread: Unread,
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
    /// The order that its key names; none for a SKU.
    pub fn order_id(&self) -> Option<Uuid> {
        let key = self.key.as_deref().and_then(|key| std::str::from_utf8(key).ok())?;
        if self.place.topic == Topic::Stock { None } else { Uuid::parse_str(key).ok() }
    }

    /// About how many bytes of memory it takes.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        let bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        // The decoded event is about twice as large as its bytes.
        256 + headers + bytes(&self.key) + 3 * bytes(&self.value)
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        envelope::header(&self.headers, name)
    }

    /// The event's id as its header has it.
    pub fn claimed_id(&self) -> Option<Uuid> {
        Uuid::parse_str(self.header("ce_id")?).ok()
    }

    /// The id of the schema that its value names.
    pub fn schema_id(&self) -> Option<u32> {
        let header = self.value.as_deref()?.get(1..5)?;
        Some(u32::from_be_bytes(header.try_into().ok()?))
    }

    /// SHA-256 over timestamp, key and value, each with its length; none and empty are different (docs/adr/0018).
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let timestamp = self.timestamp_ms.map(i64::to_be_bytes);
        let parts = [timestamp.as_ref().map(<[u8; 8]>::as_slice), self.key.as_deref(), self.value.as_deref()];
        for part in parts {
            let Some(bytes) = part else {
                hash.update([0]);
                continue;
            };
            hash.update([1]);
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        hash.finalize().into()
    }

    /// The id under which a service remembers it that can't read the event's own, or does not believe it; of a topic with this
    /// full name (docs/adr/0019).
    pub fn made_id(&self, topic: &str) -> Uuid {
        let mut hash = Sha256::new();
        hash.update((topic.len() as u64).to_be_bytes());
        hash.update(topic);
        hash.update(self.place.partition.to_be_bytes());
        hash.update(self.place.offset.to_be_bytes());
        hash.update(self.digest());
        let hash: [u8; 32] = hash.finalize().into();
        let mut id = [0xff; 16];
        id[1..].copy_from_slice(&hash[..15]);
        Uuid::from_bytes(id)
    }

    /// The id of the trace that it belongs to.
    pub fn trace_id(&self) -> Option<&str> {
        trace_id(self.header("traceparent"))
    }

    /// What a service that subscribes to `types` makes of it: it skips by header, decodes, and compares type and key.
    pub fn seen_by(&self, types: &[&str]) -> Seen<'_> {
        let announced = self.header(CE_TYPE);
        if announced.is_some_and(is_of_another_release) {
            return Seen::Invalid;
        }
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

impl Place {
    /// Its topic and partition.
    pub(super) const fn at(self) -> (Topic, i32) {
        (self.topic, self.partition)
    }

    fn is_below(self, ranges: &BTreeMap<(Topic, i32), Range>, end: fn(&Range) -> i64) -> bool {
        ranges.get(&(self.topic, self.partition)).is_some_and(|range| self.offset < end(range))
    }
}

/// The trace id of a `traceparent` (W3C Trace Context), 32 hexadecimal digits.
pub fn trace_id(traceparent: Option<&str>) -> Option<&str> {
    let mut parts = traceparent?.split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    (version.len() == 2 && id.len() == 32).then_some(id)
}

impl History {
    /// Leaves out a partition that can't be read, and what depends on it.
    pub(super) fn leave_out(&mut self, at: (Topic, i32), reason: String) {
        self.unread.add(at, reason);
        self.ranges.retain(|at, _| !self.unread.has(*at));
        self.records.retain(|record| !self.unread.has(record.place.at()));
    }

    /// How many partitions a topic has.
    pub(super) fn partitions(&self, topic: Topic) -> i32 {
        let read = self.ranges.keys().filter(|(other, _)| *other == topic).count();
        self.unread.partitions(topic).unwrap_or_else(|| i32::try_from(read).unwrap_or(i32::MAX))
    }

    /// Whether a record was there before the databases were read.
    pub fn was_before(&self, record: &Record) -> bool {
        record.place.is_below(&self.ranges, |range| range.before)
    }

    /// Whether everything that led to a record is read.
    pub fn is_complete(&self, record: &Record) -> bool {
        record.place.is_below(&self.ranges, |range| range.complete)
    }

    /// Partitions whose beginning is gone.
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
