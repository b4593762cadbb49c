//! One batch of one partition in one transaction: position, inbox, lock and load, handle, store, commit.
//!
//! The crash points and what they leave: before the commit nothing, so the batch repeats; after it everything, so the
//! position row sends a repeated batch away. Kafka's own offset is committed later and only read by lag tools.
//!
//! Kafka gives a partition to a new owner without waiting for the old one, which may have a batch in hand:
//!
//! ```text
//! old owner  lock position 10 ── events 10 to 14 ── position 15, commit
//! new owner                 lock position: waits ······················· 15, not 10: moved, seek to 15
//! ```
//!
//! The row lock makes them take turns, and the comparison with the batch's start makes the second batch void. The ids in the
//! inbox are for what positions can't show: the same event at another offset, as a relay repeats it after a crash.

use std::collections::{HashMap, HashSet};

use cloudevents::clock;
use database::{Database, Operation, Transaction};
use messaging::{Batch, Delivered, TopicPartition, label};
use metrics::histogram;
use sqlx::PgConnection;
use tracing::Instrument;
use uuid::Uuid;

use crate::breaker::{Breaker, Open, Runs};
use crate::dead_letters::{self, BEHIND, NewDeadLetter};
use crate::decoding::{self, Item};
use crate::effect::{Effect, Erased};
use crate::error_policy::{HandlerError, Rejection};
use crate::panics::unless_it_panics;
use crate::positions::{self, LockedPosition};
use crate::provisional::Provisional;
use crate::record_id::made_id;
use crate::seen::{self, DEAD_LETTERED, UNDECIDABLE};
use crate::spans::BatchSpans;
use crate::unit_of_work::Received;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Committed.
    Applied(Tally),
    /// Another consumer has moved the position: continue at this offset.
    Moved {
        /// The offset that has to come next.
        next_offset: i64,
    },
    /// Nothing was applied: a record fails that may not become a dead letter yet.
    Open {
        /// How many records come before it.
        records: usize,
        open: Open,
    },
}

/// How many records of a batch went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) applied: u64,
    pub(crate) duplicate: u64,
    pub(crate) skipped: u64,
    pub(crate) dead_lettered: u64,
}

/// Applies batches of one service.
pub(crate) struct Applier {
    pub(crate) group: String,
    pub(crate) database: Database,
    pub(crate) effect: Box<dyn Effect>,
    pub(crate) provisional: Provisional,
    pub(crate) breaker: Breaker,
}

/// One try at a batch: committed, moved, or a rejection found, which asks for another try without that event.
enum Attempt {
    Done(Outcome),
    Rejected { event_id: Uuid, rejection: Rejection },
}

impl Applier {
    /// Applies the batch, whose records turned out to be `items`. Repeats the transaction without each event that is
    /// rejected, so that a rejection changes nothing else. Errors leave the database as it was.
    pub(crate) async fn apply(
        &self,
        partition: &TopicPartition,
        batch: &Batch,
        items: &[Item],
        spans: &BatchSpans,
    ) -> Result<Outcome, HandlerError> {
        self.apply_except(partition, batch, items, spans, HashMap::new()).await
    }

    /// Dead-letters every event of the batch for the same reason, and moves the position behind it.
    pub(crate) async fn reject_all(
        &self,
        partition: &TopicPartition,
        batch: &Batch,
        items: &[Item],
        spans: &BatchSpans,
        rejection: &Rejection,
    ) -> Result<Outcome, HandlerError> {
        let events = items.iter().filter_map(|item| match item {
            Item::Event(received) => Some((received.envelope.event_id, rejection.clone())),
            Item::Skipped | Item::Unknown(_) | Item::Undecodable(_) => None,
        });
        self.apply_except(partition, batch, items, spans, events.collect()).await
    }

    /// What each record of the batch turns out to be.
    pub(crate) async fn decode(
        &self,
        partition: &TopicPartition,
        batch: &Batch,
    ) -> Result<Vec<Item>, HandlerError> {
        let records: Vec<&Delivered> = batch.records.iter().collect();
        let items = decoding::read(&*self.effect, partition, &records).await?;
        self.provisional.wait(&items)?;
        Ok(items)
    }

    async fn apply_except(
        &self,
        partition: &TopicPartition,
        batch: &Batch,
        items: &[Item],
        spans: &BatchSpans,
        mut rejected: HashMap<Uuid, Rejection>,
    ) -> Result<Outcome, HandlerError> {
        loop {
            let attempt = |tx| self.attempt(tx, partition, batch, items, spans, &rejected);
            let attempt = self.database.transaction(Operation::Batch, attempt);
            match unless_it_panics(attempt.instrument(spans.transaction(self.database.name()))).await? {
                Attempt::Done(outcome) => return Ok(outcome),
                Attempt::Rejected { event_id, rejection } => {
                    if rejected.insert(event_id, rejection).is_some() {
                        // Each try dead-letters one event more; the same one twice would never end.
                        let detail = format!("event {event_id} was rejected although it was not applied");
                        return Err(HandlerError::Retry(detail.into()));
                    }
                }
            }
        }
    }

    async fn attempt(
        &self,
        mut tx: Transaction,
        partition: &TopicPartition,
        batch: &Batch,
        items: &[Item],
        spans: &BatchSpans,
        rejected: &HashMap<Uuid, Rejection>,
    ) -> Result<Attempt, HandlerError> {
        let locked = positions::lock(&mut tx, partition).await?;
        if locked.next_offset != batch.from {
            return Ok(Attempt::Done(Outcome::Moved { next_offset: locked.next_offset }));
        }
        let runs = self.breaker.runs(partition);
        let mut plan = plan(&mut tx, partition, batch, items, rejected, locked, runs).await?;
        if let Some((records, open)) = plan.open.take() {
            return Ok(Attempt::Done(Outcome::Open { records, open }));
        }
        let after_commit = match self.effect.of(&mut tx, &plan.apply).await {
            Ok(after_commit) => after_commit,
            Err(HandlerError::Rejected { event_id, rejection }) => {
                return Ok(Attempt::Rejected { event_id, rejection });
            }
            Err(error) => return Err(error),
        };
        if !plan.dead_letters.is_empty() {
            dead_letters::insert(&mut tx, partition, locked.log, &plan.dead_letters).await?;
        }
        positions::advance(&mut tx, partition, batch).await?;
        tx.commit().await?;
        self.breaker.committed(partition, plan.runs);
        spans.record(&plan.apply, &plan.duplicates, &plan.dead_letters);
        after_commit();
        Self::note_ages(partition, &plan.apply);
        Ok(Attempt::Done(Outcome::Applied(plan.tally)))
    }

    /// From event time to effect.
    fn note_ages(partition: &TopicPartition, events: &[Received<Erased>]) {
        let topic = label(&partition.topic);
        let (ages, now) = (histogram!("inbox_event_age_seconds", "topic" => topic), clock::now());
        for received in events {
            // The clocks of two services may differ; a negative age is none.
            let age = (now - received.envelope.occurred_at).to_std().unwrap_or_default();
            ages.record(age.as_secs_f64());
        }
    }
}

/// Which records are applied, and which become dead letters, in offset order.
struct Plan<'a> {
    apply: Vec<Received<Erased>>,
    dead_letters: Vec<NewDeadLetter<'a>>,
    /// The offsets of records that were handled before.
    duplicates: Vec<i64>,
    tally: Tally,
    /// Of failures, behind the batch.
    runs: Runs,
    /// The record that may not become a dead letter yet, by its place in the batch; the plan ends before it.
    open: Option<(usize, Open)>,
}

async fn plan<'a>(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    batch: &'a Batch,
    items: &'a [Item],
    rejected: &HashMap<Uuid, Rejection>,
    locked: LockedPosition,
    runs: Runs,
) -> Result<Plan<'a>, sqlx::Error> {
    let ids: Vec<Option<Uuid>> =
        batch.records.iter().zip(items).map(|(record, item)| id_of(partition, record, item)).collect();
    let mut new = insert_new(conn, partition, &batch.records, &ids, locked.log).await?;
    let forgotten = seen::forgotten(conn, &partition.topic).await?;
    let mut blocked = blocked_keys(conn, partition, &batch.records).await?;
    let mut plan = Plan {
        apply: Vec::with_capacity(items.len()),
        dead_letters: Vec::new(),
        duplicates: Vec::new(),
        tally: Tally::default(),
        runs,
        open: None,
    };
    for (index, ((record, item), id)) in batch.records.iter().zip(items).zip(ids).enumerate() {
        let Some(event_id) = id else {
            plan.tally.skipped += 1;
            continue;
        };
        if !new.remove(&event_id) {
            plan.tally.duplicate += 1;
            plan.duplicates.push(record.offset);
            continue;
        }
        let undecidable = forgotten.contains(event_id);
        let waits = record.key.as_ref().is_some_and(|key| blocked.contains(key));
        let rejection = if undecidable {
            Some(below_floor(event_id))
        } else {
            own_rejection(item, event_id, rejected).or_else(|| {
                waits.then(|| Rejection::new(BEHIND, "an earlier record of this key is a dead letter"))
            })
        };
        match (item, rejection) {
            (Item::Event(received), None) => {
                plan.runs.applied(&received.envelope.event_type);
                plan.tally.applied += 1;
                plan.apply.push(received.as_ref().clone());
            }
            (item, rejection) => {
                if let (Item::Event(received), Some(rejection), false) = (item, &rejection, waits)
                    && let Err(open) = plan.runs.rejected(&received.envelope.event_type, rejection)
                {
                    plan.open = Some((index, open));
                    return Ok(plan);
                }
                plan.tally.dead_lettered += 1;
                blocked.extend(record.key.clone());
                plan.dead_letters.push(NewDeadLetter {
                    record,
                    event_id,
                    event_type: item.event_type(),
                    rejection: rejection.unwrap_or_else(|| Rejection::new("undecodable", "no event")),
                    outcome: if undecidable { UNDECIDABLE } else { DEAD_LETTERED },
                });
            }
        }
    }
    Ok(plan)
}

/// Why a record becomes a dead letter by itself.
fn own_rejection(item: &Item, event_id: Uuid, rejected: &HashMap<Uuid, Rejection>) -> Option<Rejection> {
    match item {
        Item::Event(_) => rejected.get(&event_id).cloned(),
        Item::Unknown(event_type) => Some(decoding::unknown(event_type)),
        Item::Undecodable(undecodable) => Some(undecodable.rejection.clone()),
        Item::Skipped => None,
    }
}

/// The id under which a record is remembered; none for a type without a subscription.
fn id_of(partition: &TopicPartition, record: &Delivered, item: &Item) -> Option<Uuid> {
    match item {
        Item::Event(received) => Some(received.envelope.event_id),
        Item::Unknown(_) | Item::Undecodable(_) => Some(made_id(partition, record)),
        Item::Skipped => None,
    }
}

/// The ids of this batch that are new.
async fn insert_new(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    records: &[Delivered],
    ids: &[Option<Uuid>],
    log: i32,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let mut met = HashSet::with_capacity(ids.len());
    let (ids, offsets): (Vec<Uuid>, Vec<i64>) = ids
        .iter()
        .zip(records)
        .filter_map(|(id, record)| id.map(|id| (id, record.offset)))
        .filter(|(id, _)| met.insert(*id))
        .unzip();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    seen::insert_new(conn, partition, log, &ids, &offsets).await
}

async fn blocked_keys(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    records: &[Delivered],
) -> Result<HashSet<Vec<u8>>, sqlx::Error> {
    let keys: HashSet<&[u8]> = records.iter().filter_map(|record| record.key.as_deref()).collect();
    let keys: Vec<&[u8]> = keys.into_iter().collect();
    dead_letters::lock_keys(conn, &partition.topic, &keys).await
}

pub(crate) fn below_floor(event_id: Uuid) -> Rejection {
    Rejection::new(
        "event_id_below_floor",
        format!(
            "event id {event_id} is older than what the inbox remembers: whether it was applied before can't be known"
        ),
    )
}
