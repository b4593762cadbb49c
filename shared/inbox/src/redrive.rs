//! Redrive: a key's dead letters, applied in the order in which they were written, once their cause is fixed.
//!
//! One transaction per letter: ids, then the key's row, then the effect, the outcomes, the letter and the audit. The crash
//! points: before a commit the letter is there as it was; after it its effect is there and the letter is gone. Whoever
//! consumes the key meanwhile waits for the key's row, and then finds other letters before it or none.
//!
//! What is asked is whether the event was applied, not whether its id is known: a letter that nobody could decode when it
//! came may be an event that another letter, or another delivery, has brought since (docs/adr/0019).

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use contracts::{Codec, ambient};
use messaging::{Delivered, TopicPartition};
use sqlx::{PgConnection, PgPool};
use sqlx_macros::FromRow;
use telemetry::spans::{self, Place};
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::batch::{Applier, below_floor};
use crate::dead_letters;
use crate::decoding::{self, Item};
use crate::error_policy::{HandlerError, Rejection};
use crate::seen;
use crate::unit_of_work::AfterCommit;
use crate::worker::Shared;

/// The most letters of one call, so that it ends; the answer says what is left.
const AT_MOST: u64 = 1_000;

/// A dead letter, without its content.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct DeadLetter {
    /// What redrive calls it.
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
    /// Which state met which event.
    pub detail: String,
    /// How often it was redriven in vain.
    pub attempts: i32,
    /// Since when.
    pub dead_lettered_at: DateTime<Utc>,
}

/// What became of a key's dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// Done with: applied now, applied before, or given up.
    pub applied: u64,
    /// Still wait.
    pub remaining: i64,
    /// Why the first of those that wait was rejected again: a code and its detail.
    pub rejected: Option<String>,
}

/// Up to `limit` dead letters behind `after_id`, oldest first: the order of redrive.
///
/// # Errors
/// When the database refuses.
pub async fn list(pool: &PgPool, after_id: i64, limit: u16) -> Result<Vec<DeadLetter>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, topic, encode(key, 'escape') AS key, event_id, event_type, reason, detail, attempts,
             dead_lettered_at
         FROM inbox.dead_letters WHERE id > $1 ORDER BY id LIMIT $2",
    )
    .bind(after_id)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
}

/// Redrives what a service has dead-lettered.
#[async_trait]
pub trait Redrive: Send + Sync {
    /// Applies the dead letters of the same topic and key as this one, oldest first, until one is rejected again. `None`
    /// when there is no such letter. What it did is committed letter by letter, and said in the audit to be `actor`'s.
    ///
    /// # Errors
    /// When the world is at fault (database, registry): the letter at hand stays as it was.
    async fn redrive(&self, dead_letter_id: i64, actor: &str) -> Result<Option<Redriven>, HandlerError>;
}

/// A dead letter, as it came.
#[derive(FromRow)]
struct Row {
    id: i64,
    topic: String,
    partition: i32,
    offset: i64,
    log: i32,
    key: Option<Vec<u8>>,
    event_id: Uuid,
    event_type: Option<String>,
    reason: String,
    /// What the inbox says of its id.
    outcome: String,
    header_names: Vec<String>,
    header_values: Vec<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// What came of one letter.
enum Step {
    /// Its event has its effect, now or by another letter or delivery; or it was given up before.
    Done,
    /// It stays.
    Rejected(Rejection),
    /// Somebody else dealt with it.
    Gone,
}

#[async_trait]
impl Redrive for Shared {
    async fn redrive(&self, dead_letter_id: i64, actor: &str) -> Result<Option<Redriven>, HandlerError> {
        let Applier { pool, .. } = &self.applier;
        let found: Option<(String, Option<Vec<u8>>)> =
            sqlx::query_as("SELECT topic, key FROM inbox.dead_letters WHERE id = $1")
                .bind(dead_letter_id)
                .fetch_optional(pool)
                .await?;
        let Some((topic, key)) = found else { return Ok(None) };
        let (mut applied, mut rejected) = (0, None);
        while applied < AT_MOST && rejected.is_none() {
            let Some(row) = oldest(pool, dead_letter_id, &topic, key.as_deref()).await? else { break };
            if row.outcome == seen::UNDECIDABLE && row.id != dead_letter_id {
                // It may have been applied before: only who names it takes it.
                rejected = Some(below_floor(row.event_id).to_string());
                break;
            }
            match self.redrive_one(row, actor).await? {
                Step::Done => applied += 1,
                Step::Rejected(rejection) => rejected = Some(rejection.to_string()),
                Step::Gone => {}
            }
        }
        let remaining = waiting(pool, dead_letter_id, &topic, key.as_deref()).await?;
        Ok(Some(Redriven { applied, remaining, rejected }))
    }
}

impl Shared {
    async fn redrive_one(&self, row: Row, actor: &str) -> Result<Step, HandlerError> {
        let partition = TopicPartition { topic: row.topic.clone(), partition: row.partition };
        // Outside the transaction: the registry may have to be asked.
        let mut item = read(&self.applier, &partition, &row).await?;
        let span = begin(&self.applier.group, &partition, &mut item);
        let event_type = match &item {
            Item::Event(received) => Some(received.event.event_type()),
            Item::Skipped | Item::Undecodable(_) => None,
        };
        let step = self.apply_one(&partition, &row, item, actor).instrument(span.clone()).await?;
        match &step {
            Step::Done => {
                spans::outcome(&span, seen::APPLIED);
                tracing::info!(parent: &span, dead_letter_id = row.id, "event redriven");
                (self.on_commit)();
                self.applier.effect.committed();
            }
            Step::Rejected(rejection) => {
                spans::outcome(&span, seen::DEAD_LETTERED);
                spans::failed(&span);
                tracing::warn!(parent: &span, dead_letter_id = row.id, reason = rejection.reason, "redriven event rejected again");
                let event_type = event_type.or(row.event_type.as_deref());
                restate(&self.applier.pool, &row, event_type, rejection, actor).await?;
            }
            Step::Gone => {}
        }
        Ok(step)
    }

    async fn apply_one(
        &self,
        partition: &TopicPartition,
        row: &Row,
        item: Item,
        actor: &str,
    ) -> Result<Step, HandlerError> {
        let received = match item {
            Item::Undecodable(rejection) => return Ok(Step::Rejected(rejection)),
            Item::Skipped => {
                return Ok(Step::Rejected(Rejection::new(
                    "no_handler",
                    "nobody here subscribed to its type",
                )));
            }
            Item::Event(received) => *received,
        };
        let mut tx = self.applier.pool.begin().await?;
        let outcomes = lock_ids(&mut tx, partition, row, received.envelope.event_id).await?;
        if !lock(&mut tx, row).await? {
            return Ok(Step::Gone);
        }
        let (result, after_commit): (&str, AfterCommit) = match outcomes.event {
            Known::Decided(result) => (result, Box::new(|| {})),
            Known::Forgotten => return Ok(Step::Rejected(below_floor(received.envelope.event_id))),
            Known::Open => match self.applier.effect.of(&mut tx, &[received]).await {
                Ok(after_commit) => ("applied", after_commit),
                Err(HandlerError::Rejected { rejection, .. }) => return Ok(Step::Rejected(rejection)),
                Err(HandlerError::Data(error)) => {
                    return Ok(Step::Rejected(Rejection::new("data_error", error.to_string())));
                }
                Err(error) => return Err(error),
            },
        };
        outcomes.redriven(&mut tx).await?;
        remove(&mut tx, row).await?;
        audit(&mut tx, row, actor, None, result).await?;
        tx.commit().await?;
        after_commit();
        Ok(Step::Done)
    }
}

/// What the inbox says of the event that a letter decodes to.
enum Known {
    /// It has an end: the letter goes with this result.
    Decided(&'static str),
    /// It has none yet.
    Open,
    /// It is below the floor, and no row says whether it was applied.
    Forgotten,
}

/// The ids that a redrive decides, locked: the letter's, and that of the event that it decodes to.
struct Outcomes {
    event: Known,
    open: Vec<(Uuid, String)>,
}

impl Outcomes {
    /// All that were open have their effect now.
    async fn redriven(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let ids: Vec<Uuid> = self.open.iter().map(|(id, _)| *id).collect();
        let outcomes: Vec<&str> = self
            .open
            .iter()
            .map(
                |(_, outcome)| if outcome == seen::UNDECIDABLE { "undecidable_redriven" } else { "redriven" },
            )
            .collect();
        seen::set_outcomes(conn, &ids, &outcomes).await
    }
}

/// Inserts or locks both ids, in their order, like a batch: as dead-lettered, because a redrive that fails has applied
/// nothing. The floor is asked afterwards.
async fn lock_ids(
    conn: &mut PgConnection,
    partition: &TopicPartition,
    row: &Row,
    event_id: Uuid,
) -> Result<Outcomes, sqlx::Error> {
    let inserted: Vec<Uuid> = sqlx::query_scalar(
        r#"INSERT INTO inbox.events (event_id, topic, partition, "offset", log, outcome)
           SELECT DISTINCT id, $2, $3::integer, $4::bigint, $5::integer, $6 FROM unnest($1::uuid[]) AS ids (id) ORDER BY id
           ON CONFLICT (event_id) DO NOTHING
           RETURNING event_id"#,
    )
    .bind([row.event_id, event_id])
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(row.offset)
    .bind(row.log)
    .bind(seen::DEAD_LETTERED)
    .fetch_all(&mut *conn)
    .await?;
    let found: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT event_id, outcome FROM inbox.events WHERE event_id = ANY($1) ORDER BY event_id FOR UPDATE",
    )
    .bind([row.event_id, event_id])
    .fetch_all(&mut *conn)
    .await?;
    let forgotten = seen::forgotten(conn, &partition.topic).await?;
    let of_event = found.iter().find(|(id, _)| *id == event_id).map(|(_, outcome)| outcome.as_str());
    let event = match of_event {
        Some("applied" | "redriven" | "undecidable_redriven") => Known::Decided("already_applied"),
        Some("discarded" | "undecidable_discarded") => Known::Decided("discarded"),
        _ if inserted.contains(&event_id) && forgotten.contains(event_id) => Known::Forgotten,
        Some(seen::UNDECIDABLE) if event_id != row.event_id => Known::Forgotten,
        _ => Known::Open,
    };
    let is_open = |outcome: &str| outcome == seen::DEAD_LETTERED || outcome == seen::UNDECIDABLE;
    Ok(Outcomes { event, open: found.into_iter().filter(|(_, outcome)| is_open(outcome)).collect() })
}

async fn read(applier: &Applier, partition: &TopicPartition, row: &Row) -> Result<Item, HandlerError> {
    let record = Delivered {
        offset: row.offset,
        key: row.key.clone(),
        value: row.value.clone(),
        headers: row.header_names.iter().cloned().zip(row.header_values.iter().cloned()).collect(),
        timestamp_ms: None,
    };
    let codec: &Arc<Codec> = &applier.codec;
    decoding::read(codec, |event_type| applier.effect.handles(event_type), partition, &record).await
}

/// The span of an event continues the trace in which it was published, however long ago.
fn begin(group: &str, partition: &TopicPartition, item: &mut Item) -> Span {
    let Item::Event(received) = item else { return Span::none() };
    let place = Place { topic: &partition.topic, partition: partition.partition, offset: received.offset };
    let span = spans::process(group, place, &received.envelope, None, ambient::now());
    received.envelope.trace = spans::continued(&span, &received.envelope.trace);
    span
}

/// A record without a key has no order to keep: it is redriven alone.
async fn oldest(pool: &PgPool, id: i64, topic: &str, key: Option<&[u8]>) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(
        r#"SELECT id, topic, partition, "offset", log, key, event_id, event_type, reason,
               (SELECT e.outcome FROM inbox.events e WHERE e.event_id = d.event_id) AS outcome, header_names,
               header_values, value
           FROM inbox.dead_letters d
           WHERE topic = $2 AND (key_digest = sha256($3) OR $3 IS NULL AND id = $1) ORDER BY id LIMIT 1"#,
    )
    .bind(id)
    .bind(topic)
    .bind(key)
    .fetch_optional(pool)
    .await
}

async fn waiting(pool: &PgPool, id: i64, topic: &str, key: Option<&[u8]>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM inbox.dead_letters
         WHERE topic = $2 AND (key_digest = sha256($3) OR $3 IS NULL AND id = $1)",
    )
    .bind(id)
    .bind(topic)
    .bind(key)
    .fetch_one(pool)
    .await
}

/// Locks the key, then the letter; `false` when it is no longer the oldest of its key.
async fn lock(conn: &mut PgConnection, row: &Row) -> Result<bool, sqlx::Error> {
    if let Some(key) = &row.key {
        dead_letters::lock_keys(conn, &row.topic, &[key]).await?;
    }
    let oldest: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM inbox.dead_letters
         WHERE topic = $2 AND (key_digest = sha256($3) OR $3 IS NULL AND id = $1)
         ORDER BY id LIMIT 1 FOR UPDATE",
    )
    .bind(row.id)
    .bind(&row.topic)
    .bind(row.key.as_deref())
    .fetch_optional(conn)
    .await?;
    Ok(oldest == Some(row.id))
}

/// The letter goes; the last one of its key frees the key.
async fn remove(conn: &mut PgConnection, row: &Row) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM inbox.dead_letters WHERE id = $1").bind(row.id).execute(&mut *conn).await?;
    sqlx::query(
        "UPDATE inbox.dead_letter_keys SET open_letters = open_letters - 1
         WHERE topic = $1 AND key_digest = sha256($2)",
    )
    .bind(&row.topic)
    .bind(row.key.as_deref())
    .execute(conn)
    .await?;
    Ok(())
}

/// A transaction of its own: that of the redrive was rolled back. Only a letter that is still there is restated.
async fn restate(
    pool: &PgPool,
    row: &Row,
    event_type: Option<&str>,
    rejection: &Rejection,
    actor: &str,
) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    if !lock(&mut tx, row).await? {
        return Ok(());
    }
    dead_letters::restate(&mut tx, row.id, event_type, rejection).await?;
    audit(&mut tx, row, actor, Some(rejection.reason), "rejected").await?;
    tx.commit().await
}

/// Notes who redrove a letter, and what came of it. `reason` is why it was rejected; else the letter's own stands.
async fn audit(
    conn: &mut PgConnection,
    row: &Row,
    actor: &str,
    reason: Option<&str>,
    result: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        r#"INSERT INTO inbox.dead_letter_audit
               (actor, action, event_id, dead_letter_id, topic, partition, "offset", key_digest, reason, result)
           VALUES ($1, 'redrive', $2, $3, $4, $5, $6, sha256($7), $8, $9)"#,
    )
    .bind(actor)
    .bind(row.event_id)
    .bind(row.id)
    .bind(&row.topic)
    .bind(row.partition)
    .bind(row.offset)
    .bind(row.key.as_deref())
    .bind(reason.unwrap_or(&row.reason))
    .bind(result)
    .execute(conn)
    .await?;
    Ok(())
}
