//! One transaction for what partitions have ready: positions, inbox, lock and load, handle, store, commit.
//!
//! The crash points and what they leave: before the commit nothing, so each part repeats; after it everything, so the
//! position row sends a repeated part away. Kafka's own offset is committed later and only read by lag tools.
//!
//! Kafka gives a partition to a new owner without waiting for the old one, which may have a batch in hand:
//!
//! ```text
//! old owner  lock position 10 ── events 10 to 14 ── position 15, commit
//! new owner                 lock position: waits ······················· 15, not 10: moved, seek to 15
//! ```
//!
//! The row lock makes them take turns, and the comparison with the part's start makes the second part void; the parts of
//! other partitions in its transaction are applied. The ids in the inbox are for what positions can't show: the same event
//! at another offset, as a relay repeats it after a crash.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cloudevents::clock;
use database::{Database, Operation, Transaction};
use messaging::{Batch, Delivered, TopicPartition, label};
use metrics::histogram;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::breaker::{Breaker, Open};
use crate::dead_letters;
use crate::decoded::Part;
use crate::decoding::{self, Item};
use crate::effect::{Effect, Erased};
use crate::error_policy::{HandlerError, Rejection};
use crate::handling::Decided;
use crate::known;
use crate::panics::unless_it_panics;
use crate::plan::{PartPlan, Plan, Stop, Tally};
use crate::positions::{self, Advance, LockedRow};
use crate::provisional::Provisional;
use crate::unit_of_work::{AfterCommit, Received};

/// What became of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Committed.
    Applied(Tally),
    /// Another consumer has moved the position, or nothing is read any more: the database says where to go on.
    Moved {
        /// The offset that has to come next.
        next_offset: i64,
    },
    /// Another session has locked the position. Nothing was applied.
    Locked,
    /// An event was rejected. Nothing was applied, so that the other parts need no further try.
    Rejected,
    /// Nothing was applied: a record fails that may not become a dead letter yet.
    Open {
        /// How many records come before it.
        records: usize,
        open: Open,
    },
}

/// Applies batches of one service.
pub(crate) struct Applier {
    pub(crate) group: String,
    pub(crate) database: Database,
    pub(crate) effect: Box<dyn Effect>,
    pub(crate) provisional: Provisional,
    pub(crate) breaker: Breaker,
}

/// One try at a transaction.
enum Attempt {
    /// Committed, unless no part was left.
    Done(Vec<Outcome>),
    /// Parts, by their places, keep the others from being applied: nothing was committed.
    Left(Vec<(usize, Outcome)>),
    /// The same of an event, which is found at fault when it is stored, and asks for another try without it.
    Rejected { event_id: Uuid, rejection: Rejection },
}

impl Attempt {
    /// The same of parts that have these places among others.
    fn at(self, places: &[usize]) -> Self {
        let at = |(part, outcome): (usize, Outcome)| Some((*places.get(part)?, outcome));
        match self {
            Self::Left(leaving) => Self::Left(leaving.into_iter().filter_map(at).collect()),
            other @ (Self::Done(_) | Self::Rejected { .. }) => other,
        }
    }
}

impl Applier {
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

    /// Applies these parts, which are of different partitions and sorted by them, in one transaction, and gives the outcome
    /// of each. Parts that keep the others from being applied leave, and the transaction is repeated without them. A part by
    /// itself goes on without the events that its handlers reject; it is repeated without each event that is found at fault
    /// when it is stored. Errors leave the database as it was.
    pub(crate) async fn apply(
        &self,
        parts: &[Part],
        locked_row: LockedRow,
    ) -> Result<Vec<Outcome>, HandlerError> {
        let (mut left, mut rejected) = (BTreeMap::new(), HashMap::new());
        loop {
            let remain = |(index, _): &(usize, &Part)| !left.contains_key(index);
            let (places, parts): (Vec<usize>, Vec<&Part>) = parts.iter().enumerate().filter(remain).unzip();
            if parts.is_empty() {
                return Ok(left.into_values().collect());
            }
            match self.try_once(&parts, locked_row, &rejected).await? {
                Attempt::Done(outcomes) => {
                    left.extend(places.into_iter().zip(outcomes));
                    return Ok(left.into_values().collect());
                }
                Attempt::Left(leaving) => {
                    let index = |(place, outcome)| Some((*places.get(place)?, outcome));
                    left.extend(leaving.into_iter().filter_map(index));
                }
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

    async fn try_once(
        &self,
        parts: &[&Part],
        locked_row: LockedRow,
        rejected: &HashMap<Uuid, Rejection>,
    ) -> Result<Attempt, HandlerError> {
        let attempt = |tx| self.attempt(tx, parts, locked_row, rejected);
        let attempt = self.database.transaction(Operation::Batch, attempt);
        // One in the trace of each batch; what is logged meanwhile belongs to the first.
        let name = self.database.name();
        let mut spans: Vec<Span> = parts.iter().map(|part| part.spans().transaction(name)).collect();
        unless_it_panics(attempt.instrument(spans.swap_remove(0))).await
    }

    async fn attempt(
        &self,
        mut tx: Transaction,
        parts: &[&Part],
        locked_row: LockedRow,
        rejected: &HashMap<Uuid, Rejection>,
    ) -> Result<Attempt, HandlerError> {
        let partitions: Vec<&TopicPartition> = parts.iter().map(|part| part.partition()).collect();
        let locked = positions::lock(&mut tx, &partitions, locked_row).await?;
        let (mut outcomes, mut ready) = (Vec::with_capacity(parts.len()), Vec::with_capacity(parts.len()));
        for part in parts {
            outcomes.push(match locked.get(part.partition()) {
                None if locked_row == LockedRow::Wait => return Err(sqlx::Error::RowNotFound.into()),
                None => Outcome::Locked,
                Some(at) if at.next_offset != part.from() || at.log != part.log() || at.is_stopped => {
                    Outcome::Moved { next_offset: at.next_offset }
                }
                Some(_) => {
                    ready.push((outcomes.len(), *part));
                    Outcome::Applied(Tally::default())
                }
            });
        }
        let (places, parts): (Vec<usize>, Vec<&Part>) = ready.into_iter().unzip();
        if parts.is_empty() {
            return Ok(Attempt::Done(outcomes));
        }
        let (plan, after_commit) = match self.effect_of(&mut tx, &parts, rejected, outcomes.len() > 1).await?
        {
            Ok(stored) => stored,
            Err(failed) => return Ok(failed.at(&places)),
        };
        if !plan.dead_letters.is_empty() {
            dead_letters::insert(&mut tx, &plan.dead_letters).await?;
        }
        positions::advance(&mut tx, &parts.iter().map(|part| advance(part)).collect::<Vec<_>>()).await?;
        tx.commit().await?;
        after_commit();
        for (place, tally) in places.into_iter().zip(self.committed(&parts, plan)) {
            if let Some(outcome) = outcomes.get_mut(place) {
                *outcome = Outcome::Applied(tally);
            }
        }
        Ok(Attempt::Done(outcomes))
    }

    /// Decides about the records of these parts, handles and stores their events. Handlers run before anything is stored:
    /// an event that they reject becomes a dead letter of the same transaction, unless it is a joint one, which its part leaves.
    async fn effect_of<'a>(
        &self,
        tx: &mut Transaction,
        parts: &[&'a Part],
        rejected: &HashMap<Uuid, Rejection>,
        is_joint: bool,
    ) -> Result<Result<(Plan<'a>, AfterCommit), Attempt>, HandlerError> {
        let known = known::look_up(tx, parts).await?;
        let planned = |known, rejected: &_| {
            Plan::try_new(parts, known, rejected, &self.breaker).map_err(|stop| {
                let Stop { part, records, open } = stop;
                Attempt::Left(vec![(part, Outcome::Open { records, open })])
            })
        };
        let mut plan = match planned(known.clone(), rejected) {
            Ok(plan) => plan,
            Err(stopped) => return Ok(Err(stopped)),
        };
        let handled = self.effect.handle(tx, &plan.apply, &plan.keys).await?;
        let Decided { rejected: newly, accepted } = handled.decided();
        if !newly.is_empty() && is_joint {
            let parts: BTreeSet<usize> = newly.iter().filter_map(|(id, _)| plan.part_of(*id)).collect();
            let leaving = parts.into_iter().map(|part| (part, Outcome::Rejected)).collect();
            return Ok(Err(Attempt::Left(leaving)));
        }
        if !newly.is_empty() {
            let mut rejected = rejected.clone();
            rejected.extend(newly.iter().cloned());
            plan = match planned(known, &rejected) {
                Ok(plan) => plan,
                Err(stopped) => return Ok(Err(stopped)),
            };
        }
        if plan.apply.len() != *accepted {
            // What is stored would not be what is remembered.
            let detail =
                format!("{accepted} events were handled, and {} are to be applied", plan.apply.len());
            return Err(HandlerError::Retry(detail.into()));
        }
        match handled.store(tx).await {
            Ok(after_commit) => Ok(Ok((plan, after_commit))),
            Err(HandlerError::Rejected { event_id, rejection }) => Ok(Err(match plan.part_of(event_id) {
                Some(part) if is_joint => Attempt::Left(vec![(part, Outcome::Rejected)]),
                _ => Attempt::Rejected { event_id, rejection },
            })),
            Err(error) => Err(error),
        }
    }

    /// What was committed, part by part.
    fn committed(&self, parts: &[&Part], plan: Plan<'_>) -> Vec<Tally> {
        let Plan { apply, dead_letters, parts: plans, .. } = plan;
        let committed = |(part, plan): (&&Part, PartPlan)| {
            let applied = apply.get(plan.apply).unwrap_or_default();
            let letters = dead_letters.get(plan.dead_letters).unwrap_or_default();
            self.breaker.committed(part.partition(), plan.runs);
            part.spans().record(applied, &plan.duplicates, letters);
            note_ages(part.partition(), applied);
            plan.tally
        };
        parts.iter().zip(plans).map(committed).collect()
    }
}

fn advance(part: &Part) -> Advance<'_> {
    Advance { partition: part.partition(), next_offset: part.to(), last: part.records().last() }
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
