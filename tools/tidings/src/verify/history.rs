//! What the topics hold, read from their beginning: the only witness that the checks trust.

use std::collections::{BTreeMap, HashMap};

use contracts::{AnyEvent, Topic};
use uuid::Uuid;

use super::report::Findings;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Which business topic.
    pub topic: Topic,
    /// Partition number.
    pub partition: i32,
    /// Offset within it.
    pub offset: i64,
}

/// A record that is an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it stands.
    pub place: Place,
    /// The fact.
    pub event: AnyEvent,
}

/// A record that is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it stands.
    pub place: Place,
    /// What its header says that it is.
    pub claimed_type: Option<String>,
    /// Why it can't be read.
    pub reason: String,
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
    /// Events in offset order within each partition.
    pub seen: Vec<Seen>,
    /// Records that are no events.
    pub unreadable: Vec<Unreadable>,
    /// The offsets read, by topic and partition.
    pub ranges: BTreeMap<(Topic, i32), Range>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.offset)
    }
}

impl History {
    /// The first occurrence of every event, in the order of the topics.
    #[must_use]
    pub fn first_occurrences(&self) -> Vec<&Seen> {
        let mut ids: HashMap<Uuid, ()> = HashMap::with_capacity(self.seen.len());
        self.seen.iter().filter(|seen| ids.insert(seen.event.event_id(), ()).is_none()).collect()
    }

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

/// What the check of sequences counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceFigures {
    /// Keys over all topics.
    pub keys: usize,
    /// Distinct events.
    pub events: usize,
    /// Further deliveries of events seen before.
    pub repetitions: usize,
}

/// G2: the first occurrences of each key's events bear 1, 2, 3, ... without a gap, in one partition; a further
/// occurrence is the same event.
#[must_use]
pub fn check_sequences(history: &History) -> (SequenceFigures, Findings) {
    let mut findings = Findings::default();
    let mut figures = SequenceFigures::default();
    let mut first: HashMap<Uuid, &Seen> = HashMap::with_capacity(history.seen.len());
    let mut keys: HashMap<(Topic, String), (i32, i64)> = HashMap::new();
    for seen in &history.seen {
        let event = &seen.event;
        if let Some(earlier) = first.get(&event.event_id()) {
            figures.repetitions += 1;
            if earlier.event != *event || earlier.place.topic != seen.place.topic {
                findings.add(format!(
                    "event {} at {} differs from its first occurrence at {}",
                    event.event_id(),
                    seen.place,
                    earlier.place
                ));
            }
            continue;
        }
        first.insert(event.event_id(), seen);
        let (partition, last) =
            keys.entry((seen.place.topic, event.key())).or_insert((seen.place.partition, 0));
        if *partition != seen.place.partition {
            findings.add(format!(
                "key {} of {} is in partitions {partition} and {}",
                event.key(),
                seen.place.topic,
                seen.place.partition
            ));
        }
        if event.sequence() != *last + 1 {
            findings.add(format!(
                "{} {} of key {} at {} has sequence {} after {last}",
                event.event_type(),
                event.event_id(),
                event.key(),
                seen.place,
                event.sequence()
            ));
        }
        *last = event.sequence().max(*last);
    }
    figures.keys = keys.len();
    figures.events = first.len();
    (figures, findings)
}
