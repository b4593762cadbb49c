//! The plan of a transaction: which records are applied, which become dead letters, and which were handled before.

use std::collections::HashMap;
use std::ops::Range;

use uuid::Uuid;

use crate::breaker::{Breaker, Open, Runs};
use crate::dead_letters::{BEHIND, NewDeadLetter};
use crate::decoded::Part;
use crate::decoding::{self, Item};
use crate::effect::Erased;
use crate::error_policy::Rejection;
use crate::known::{Known, id_of};
use crate::seen::{DEAD_LETTERED, UNDECIDABLE};
use crate::unit_of_work::Received;

/// How many records of a batch went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) applied: u64,
    pub(crate) duplicate: u64,
    pub(crate) skipped: u64,
    pub(crate) dead_lettered: u64,
}

/// What becomes of the records of all parts, in the order of topic, partition and offset.
pub(crate) struct Plan<'a> {
    pub(crate) apply: Vec<Received<Erased>>,
    /// The keys of their records.
    pub(crate) keys: Vec<Option<&'a [u8]>>,
    pub(crate) dead_letters: Vec<NewDeadLetter<'a>>,
    /// One per part.
    pub(crate) parts: Vec<PartPlan>,
}

/// What becomes of the records of one part.
pub(crate) struct PartPlan {
    /// Which of the plan's events and dead letters are of the part.
    pub(crate) apply: Range<usize>,
    pub(crate) dead_letters: Range<usize>,
    /// The offsets of records that were handled before.
    pub(crate) duplicates: Vec<i64>,
    pub(crate) tally: Tally,
    /// Of failures, behind the part.
    pub(crate) runs: Runs,
}

/// A record that may not become a dead letter yet.
pub(crate) struct Stop {
    /// The part, by its place.
    pub(crate) part: usize,
    /// How many records of the part come before it.
    pub(crate) records: usize,
    pub(crate) open: Open,
}

impl<'a> Plan<'a> {
    /// Decides what becomes of the records of these parts, in memory. Ends at the first one that may not become a dead letter
    /// yet.
    pub(crate) fn try_new(
        parts: &[&'a Part],
        mut known: Known,
        rejected: &HashMap<Uuid, Rejection>,
        breaker: &Breaker,
    ) -> Result<Self, Stop> {
        let mut plan = Self {
            apply: Vec::new(),
            keys: Vec::new(),
            dead_letters: Vec::new(),
            parts: Vec::with_capacity(parts.len()),
        };
        for (index, part) in parts.iter().enumerate() {
            let runs = breaker.runs(part.partition());
            let added = plan.add(part, &mut known, rejected, runs);
            added.map_err(|(records, open)| Stop { part: index, records, open })?;
        }
        Ok(plan)
    }

    /// The part, by its place, that has this event.
    pub(crate) fn part_of(&self, event_id: Uuid) -> Option<usize> {
        let event = self.apply.iter().position(|received| received.envelope.event_id == event_id)?;
        self.parts.iter().position(|part| part.apply.contains(&event))
    }

    /// Adds the records of a part. An error is the record at which it ends, by its place in the part.
    fn add(
        &mut self,
        part: &'a Part,
        known: &mut Known,
        rejected: &HashMap<Uuid, Rejection>,
        mut runs: Runs,
    ) -> Result<(), (usize, Open)> {
        let (partition, log) = (part.partition(), part.log());
        let forgotten = known.forgotten.get(&partition.topic).copied();
        let (first, first_letter) = (self.apply.len(), self.dead_letters.len());
        let (mut tally, mut duplicates) = (Tally::default(), Vec::new());
        for (index, (record, item)) in part.records().iter().zip(part.items()).enumerate() {
            let Some(event_id) = id_of(partition, record, item) else {
                tally.skipped += 1;
                continue;
            };
            if !known.new.remove(&event_id) {
                tally.duplicate += 1;
                duplicates.push(record.offset);
                continue;
            }
            let undecidable = forgotten.is_some_and(|forgotten| forgotten.contains(event_id));
            let waits = record.key.as_ref().is_some_and(|key| known.blocked.contains(&partition.topic, key));
            let rejection = if undecidable {
                Some(below_floor(event_id))
            } else {
                own_rejection(part, item, event_id, rejected).or_else(|| {
                    waits.then(|| Rejection::new(BEHIND, "an earlier record of this key is a dead letter"))
                })
            };
            match (item, rejection) {
                (Item::Event(received), None) => {
                    runs.applied(&received.envelope.event_type);
                    tally.applied += 1;
                    self.apply.push(received.as_ref().clone());
                    self.keys.push(record.key.as_deref());
                }
                (item, rejection) => {
                    if let (Item::Event(received), Some(rejection), false) = (item, &rejection, waits) {
                        let event_type = &received.envelope.event_type;
                        runs.rejected(event_type, rejection).map_err(|open| (index, open))?;
                    }
                    tally.dead_lettered += 1;
                    record.key.iter().for_each(|key| known.blocked.insert(&partition.topic, key));
                    self.dead_letters.push(NewDeadLetter {
                        partition,
                        log,
                        record,
                        event_id,
                        event_type: item.event_type(),
                        rejection: rejection.unwrap_or_else(|| Rejection::new("undecodable", "no event")),
                        outcome: if undecidable { UNDECIDABLE } else { DEAD_LETTERED },
                    });
                }
            }
        }
        let (apply, dead_letters) = (first..self.apply.len(), first_letter..self.dead_letters.len());
        self.parts.push(PartPlan { apply, dead_letters, duplicates, tally, runs });
        Ok(())
    }
}

/// Why a record becomes a dead letter by itself.
fn own_rejection(
    part: &Part,
    item: &Item,
    event_id: Uuid,
    rejected: &HashMap<Uuid, Rejection>,
) -> Option<Rejection> {
    match item {
        Item::Event(_) => part.blamed.as_ref().or_else(|| rejected.get(&event_id)).cloned(),
        Item::Unknown(event_type) => Some(decoding::unknown(event_type)),
        Item::Undecodable(undecodable) => Some(undecodable.rejection.clone()),
        Item::Skipped => None,
    }
}

pub(crate) fn below_floor(event_id: Uuid) -> Rejection {
    Rejection::new(
        "event_id_below_floor",
        format!(
            "event id {event_id} is older than what the inbox remembers: whether it was applied before can't be known"
        ),
    )
}
