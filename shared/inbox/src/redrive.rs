//! Redrive: a key's dead letters, applied in the order in which they were written, once their cause is fixed.
//!
//! One transaction per letter: ids, then the key's row, then the effect, the outcomes, the letter and the audit. The crash
//! points: before a commit the letter is there as it was; after it its effect is there and the letter is gone. A
//! consumer of the key waits for the key's row meanwhile, and then finds other letters before it or none.
//!
//! The question is whether the event was applied, not whether its id is known: a letter that could not be decoded when it
//! came may be an event that another letter, or another delivery, has brought since (docs/adr/0019).

mod letters;
mod outcomes;
pub(crate) mod releases;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cloudevents::propagation;
use database::{Database, Operation, Transaction};
use messaging::{Delivered, TopicPartition};
use sqlx_macros::FromRow;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::batch::Applier;
use crate::decoding::{self, Item};
use crate::effect::Erased;
use crate::error_policy::{HandlerError, Rejection};
use crate::panics::unless_it_panics;
use crate::plan::below_floor;
use crate::seen;
use crate::shared::Shared;
use crate::spans;
use crate::unit_of_work::{AfterCommit, Received};
use letters::Letter;
use outcomes::Known;

/// The most letters of one call, so that it ends; the answer has the number of those left.
const AT_MOST: u64 = 1_000;

/// A dead letter, without its content.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct DeadLetter {
    /// The id for a redrive.
    pub id: i64,
    /// Full topic name.
    pub topic: String,
    /// The record's key, if it has one; bytes that are no text are escaped.
    pub key: Option<String>,
    /// The event's id; one that begins with ff was made, because the record's own can't be read.
    pub event_id: Uuid,
    /// Its full name, if it could be read.
    pub event_type: Option<String>,
    /// A stable code; `behind_dead_letter` waits for another one of its key.
    pub reason: String,
    /// Details of the rejection.
    pub detail: String,
    /// Number of failed redrives.
    pub attempts: i32,
    /// When it became a dead letter.
    pub dead_lettered_at: DateTime<Utc>,
}

/// What became of a key's dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// Their events had their effects now.
    pub applied: u64,
    /// Gone without an effect, because their events had been applied or were discarded.
    pub already_decided: u64,
    /// Still wait.
    pub remaining: i64,
    /// Why the first of those that wait was rejected again: a code and its detail.
    pub rejected: Option<String>,
}

/// Up to `limit` dead letters behind `after_id`, oldest first: the order of redrive.
///
/// # Errors
/// When the database refuses.
pub async fn list_dead_letters(
    database: &Database,
    after_id: i64,
    limit: u16,
) -> Result<Vec<DeadLetter>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, topic, encode(key, 'escape') AS key, event_id, event_type, reason, detail, attempts,
             dead_lettered_at
         FROM inbox.dead_letters WHERE id > $1 ORDER BY id LIMIT $2",
    )
    .bind(after_id)
    .bind(i64::from(limit))
    .fetch_all(database.statement(Operation::Request))
    .await
}

/// Redrives what a consumer has dead-lettered. Cheap to clone.
#[derive(Clone)]
pub struct Redrive {
    shared: Arc<Shared>,
}

impl Redrive {
    pub(crate) const fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Applies the dead letters of the same topic and key as this one, oldest first, until one is rejected again. `None`
    /// when there is no such letter. Each letter is committed by itself, and the audit names `actor` beside it.
    ///
    /// # Errors
    /// When the database or a system that the decoder asks fails: the letter at hand stays as it was.
    pub async fn redrive(&self, dead_letter_id: i64, actor: &str) -> Result<Option<Redriven>, HandlerError> {
        self.shared.redrive_key(dead_letter_id, By::Operator(actor)).await
    }
}

/// Who redrives.
#[derive(Clone, Copy)]
enum By<'a> {
    /// A person, by this name.
    Operator(&'a str),
    /// A release that knows these types.
    Release(&'a BTreeSet<String>),
}

impl<'a> By<'a> {
    const fn actor(self) -> &'a str {
        match self {
            Self::Operator(name) => name,
            Self::Release(_) => "release",
        }
    }
}

/// What came of one letter.
enum Step {
    /// Its event has its effect.
    Applied,
    /// Its event had an end before.
    AlreadyDecided,
    /// This release knows its type, and has no subscription to it.
    Discarded,
    /// It stays.
    Rejected(Rejection),
    /// It was redriven by another call.
    Gone,
}

impl Shared {
    async fn redrive_key(&self, dead_letter_id: i64, by: By<'_>) -> Result<Option<Redriven>, HandlerError> {
        let Applier { database, .. } = &self.applier;
        let found: Option<(String, Option<Vec<u8>>)> =
            sqlx::query_as("SELECT topic, key FROM inbox.dead_letters WHERE id = $1")
                .bind(dead_letter_id)
                .fetch_optional(database.statement(Operation::Batch))
                .await?;
        let Some((topic, key)) = found else { return Ok(None) };
        let mut redriven = Redriven { applied: 0, already_decided: 0, remaining: 0, rejected: None };
        while redriven.applied + redriven.already_decided < AT_MOST && redriven.rejected.is_none() {
            let oldest = letters::oldest(database, dead_letter_id, &topic, key.as_deref()).await?;
            let Some(letter) = oldest else { break };
            if let By::Release(known) = by
                && !releases::may_redrive(&letter, known)
            {
                break;
            }
            if letter.outcome == seen::UNDECIDABLE && letter.id != dead_letter_id {
                // It may have been applied before: only an explicit request redrives it.
                redriven.rejected = Some(below_floor(letter.event_id).to_string());
                break;
            }
            match self.redrive_one(letter, by).await? {
                Step::Applied => redriven.applied += 1,
                Step::AlreadyDecided | Step::Discarded => redriven.already_decided += 1,
                Step::Rejected(rejection) => redriven.rejected = Some(rejection.to_string()),
                Step::Gone => {}
            }
        }
        redriven.remaining = letters::waiting(database, dead_letter_id, &topic, key.as_deref()).await?;
        Ok(Some(redriven))
    }

    async fn redrive_one(&self, letter: Letter, by: By<'_>) -> Result<Step, HandlerError> {
        let partition = TopicPartition { topic: letter.topic.clone(), partition: letter.partition };
        // Outside the transaction: the registry may have to be asked.
        let mut item = read(&self.applier, &partition, &letter).await?;
        let span = begin(&self.applier.group, &mut item);
        let event_type = item.event_type().map(str::to_owned);
        let step = self.apply_one(&partition, &letter, item, by).instrument(span.clone()).await?;
        match &step {
            Step::Applied | Step::AlreadyDecided => {
                propagation::outcome(&span, seen::APPLIED);
                tracing::info!(parent: &span, dead_letter_id = letter.id, "event redriven");
                (self.on_commit)();
                self.applier.effect.committed();
            }
            Step::Rejected(rejection) => {
                propagation::outcome(&span, seen::DEAD_LETTERED);
                propagation::failed(&span);
                tracing::warn!(parent: &span, dead_letter_id = letter.id, reason = rejection.reason, "redriven event rejected again");
                let event_type = event_type.as_deref().or(letter.event_type.as_deref());
                letters::restate(&self.applier.database, &letter, event_type, rejection, by.actor()).await?;
            }
            Step::Discarded => {
                tracing::info!(
                    dead_letter_id = letter.id,
                    event_type = letter.event_type,
                    "event discarded: no subscription to its type"
                );
            }
            Step::Gone => {}
        }
        Ok(step)
    }

    async fn apply_one(
        &self,
        partition: &TopicPartition,
        letter: &Letter,
        item: Item,
        by: By<'_>,
    ) -> Result<Step, HandlerError> {
        let database = &self.applier.database;
        let received = match item {
            Item::Undecodable(undecodable) => return Ok(Step::Rejected(undecodable.rejection)),
            Item::Unknown(event_type) => return Ok(Step::Rejected(decoding::unknown(&event_type))),
            Item::Skipped if matches!(by, By::Release(_)) && releases::waited(letter) => {
                let discarding = |tx| discard_in(tx, partition, letter, by.actor());
                return database.transaction(Operation::Batch, discarding).await;
            }
            Item::Skipped => {
                return Ok(Step::Rejected(Rejection::new("no_handler", "no subscription to its type")));
            }
            Item::Event(received) => *received,
        };
        let applying = |tx| self.apply_in(tx, partition, letter, received, by.actor());
        match unless_it_panics(database.transaction(Operation::Batch, applying)).await {
            Err(error @ HandlerError::Panicked { .. }) => error.rejection().map(Step::Rejected).ok_or(error),
            outcome => outcome,
        }
    }

    async fn apply_in(
        &self,
        mut tx: Transaction,
        partition: &TopicPartition,
        letter: &Letter,
        received: Received<Erased>,
        actor: &str,
    ) -> Result<Step, HandlerError> {
        let outcomes = outcomes::lock(&mut tx, partition, letter, received.envelope.event_id).await?;
        if !letters::lock(&mut tx, letter).await? {
            return Ok(Step::Gone);
        }
        let nothing: AfterCommit = Box::new(|| {});
        let (step, result, after_commit) = match outcomes.event {
            Known::Applied => (Step::AlreadyDecided, "already_applied", nothing),
            Known::Discarded => (Step::AlreadyDecided, "discarded", nothing),
            Known::Forgotten => return Ok(Step::Rejected(below_floor(received.envelope.event_id))),
            Known::Open => match self.effect_of(&mut tx, received).await {
                Ok(after_commit) => (Step::Applied, "applied", after_commit),
                Err(HandlerError::Rejected { rejection, .. }) => return Ok(Step::Rejected(rejection)),
                Err(error) => return error.rejection().map(Step::Rejected).ok_or(error),
            },
        };
        outcomes.set(&mut tx).await?;
        letters::remove(&mut tx, letter).await?;
        letters::audit(&mut tx, letter, (actor, letters::REDRIVE), None, result).await?;
        tx.commit().await?;
        after_commit();
        Ok(step)
    }

    async fn effect_of(
        &self,
        tx: &mut Transaction,
        received: Received<Erased>,
    ) -> Result<AfterCommit, HandlerError> {
        let handled = self.applier.effect.handle(tx, &[received], &[None]).await?;
        match handled.decided().rejected.first().cloned() {
            Some((event_id, rejection)) => Err(HandlerError::Rejected { event_id, rejection }),
            None => handled.store(tx).await,
        }
    }
}

async fn discard_in(
    mut tx: Transaction,
    partition: &TopicPartition,
    letter: &Letter,
    actor: &str,
) -> Result<Step, HandlerError> {
    let mut outcomes = outcomes::lock(&mut tx, partition, letter, letter.event_id).await?;
    if !letters::lock(&mut tx, letter).await? {
        return Ok(Step::Gone);
    }
    outcomes.event = Known::Discarded;
    outcomes.set(&mut tx).await?;
    letters::remove(&mut tx, letter).await?;
    letters::audit(&mut tx, letter, (actor, letters::DISCARD), None, "discarded").await?;
    tx.commit().await?;
    Ok(Step::Discarded)
}

async fn read(applier: &Applier, partition: &TopicPartition, letter: &Letter) -> Result<Item, HandlerError> {
    let record = Delivered {
        offset: letter.offset,
        key: letter.key.clone(),
        value: letter.value.clone(),
        headers: letter.header_names.iter().cloned().zip(letter.header_values.iter().cloned()).collect(),
        timestamp_ms: None,
    };
    let mut items = decoding::read(&*applier.effect, partition, &[&record]).await?;
    items.pop().ok_or_else(|| HandlerError::Retry("a record was read as none".into()))
}

/// The span of an event continues the trace in which it was published, however long ago.
fn begin(group: &str, item: &mut Item) -> Span {
    let Item::Event(received) = item else { return Span::none() };
    spans::process(group, received, None)
}
