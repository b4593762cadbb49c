//! Redrive: a key's parked events, applied in the order in which they were parked, once their cause is mended.
//!
//! One transaction per event, under the lock of the key's `parked_keys` row. The crash points: before a commit the event
//! is parked as it was; after it its effect is there and it is parked no more. Whoever consumes the key meanwhile waits
//! for the lock, and parks behind what is left or, when nothing is left, applies what comes next.

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

use crate::batch::Applier;
use crate::decoding::{self, Item};
use crate::error_policy::{HandlerError, Rejection};
use crate::parking;
use crate::seen;
use crate::unit_of_work::{AfterCommit, Received};
use crate::worker::Shared;

/// The most events of one call, so that it ends; the answer says what is left.
const AT_MOST: u64 = 1_000;

/// An event that waits for a person, without its content.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ParkedEvent {
    /// What redrive calls it.
    pub id: i64,
    /// Full topic name.
    pub topic: String,
    /// The record's key, if it has one; bytes that are no text are escaped.
    pub key: Option<String>,
    /// The event's id, if it could be read.
    pub event_id: Option<Uuid>,
    /// Its full name, if it could be read.
    pub event_type: Option<String>,
    /// A stable code; `behind_parked` waits for another one of its key.
    pub reason: String,
    /// Which state met which event.
    pub detail: String,
    /// Since when.
    pub parked_at: DateTime<Utc>,
}

/// What became of a key's parked events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// Had their effect now.
    pub applied: u64,
    /// Still wait.
    pub remaining: i64,
    /// Why the first of those that wait was refused again: a code and its detail.
    pub refused: Option<String>,
}

/// Up to `limit` parked events behind `after_id`, oldest first: the order of redrive.
///
/// # Errors
/// When the database refuses.
pub async fn list(pool: &PgPool, after_id: i64, limit: u16) -> Result<Vec<ParkedEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, topic, encode(key, 'escape') AS key, event_id, event_type, reason, detail, parked_at
         FROM inbox.parked WHERE id > $1 ORDER BY id LIMIT $2",
    )
    .bind(after_id)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
}

/// Redrives what a service has parked.
#[async_trait]
pub trait Redrive: Send + Sync {
    /// Applies the parked events of the same topic and key as this one, oldest first, until one is refused again.
    /// `None` when it is not parked. What it did is committed event by event.
    ///
    /// # Errors
    /// When the world is at fault (database, registry): the event at hand is parked as before.
    async fn redrive(&self, parked_id: i64) -> Result<Option<Redriven>, HandlerError>;
}

/// A parked record, as it came.
#[derive(FromRow)]
struct Row {
    id: i64,
    topic: String,
    partition: i32,
    offset: i64,
    key: Option<Vec<u8>>,
    event_id: Option<Uuid>,
    header_names: Vec<String>,
    header_values: Vec<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// What came of one event.
enum Step {
    Applied,
    Refused(Rejection),
    /// Somebody else redrove it.
    Gone,
}

#[async_trait]
impl Redrive for Shared {
    async fn redrive(&self, parked_id: i64) -> Result<Option<Redriven>, HandlerError> {
        let Applier { pool, .. } = &self.applier;
        let found: Option<(String, Option<Vec<u8>>)> =
            sqlx::query_as("SELECT topic, key FROM inbox.parked WHERE id = $1")
                .bind(parked_id)
                .fetch_optional(pool)
                .await?;
        let Some((topic, key)) = found else { return Ok(None) };
        let (mut applied, mut refused) = (0, None);
        while applied < AT_MOST && refused.is_none() {
            let Some(row) = oldest(pool, parked_id, &topic, key.as_deref()).await? else { break };
            match self.redrive_one(row).await? {
                Step::Applied => applied += 1,
                Step::Refused(rejection) => refused = Some(rejection.to_string()),
                Step::Gone => {}
            }
        }
        let remaining = waiting(pool, parked_id, &topic, key.as_deref()).await?;
        Ok(Some(Redriven { applied, remaining, refused }))
    }
}

impl Shared {
    async fn redrive_one(&self, row: Row) -> Result<Step, HandlerError> {
        let partition = TopicPartition { topic: row.topic.clone(), partition: row.partition };
        // Outside the transaction: the registry may have to be asked.
        let mut item = read(&self.applier, &partition, &row).await?;
        let span = begin(&self.applier.group, &partition, &mut item);
        let step = self.apply_one(&partition, &row, item).instrument(span.clone()).await?;
        match &step {
            Step::Applied => {
                spans::outcome(&span, "applied");
                tracing::info!(parent: &span, parked_id = row.id, "event redriven");
                (self.on_commit)();
                self.applier.effect.committed();
            }
            Step::Refused(rejection) => {
                spans::outcome(&span, "parked");
                spans::failed(&span);
                tracing::warn!(parent: &span, parked_id = row.id, reason = rejection.reason, "redriven event refused again");
                restate(&self.applier.pool, row.id, rejection).await?;
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
    ) -> Result<Step, HandlerError> {
        let mut tx = self.applier.pool.begin().await?;
        if !lock(&mut tx, row).await? {
            return Ok(Step::Gone);
        }
        let after_commit: AfterCommit = match item {
            Item::Undecodable(rejection) => return Ok(Step::Refused(rejection)),
            Item::Skipped => Box::new(|| {}),
            Item::Event(received) => match self.effect_of(&mut tx, partition, row, *received).await {
                Ok(after_commit) => after_commit,
                Err(HandlerError::Park { rejection, .. }) => return Ok(Step::Refused(rejection)),
                Err(HandlerError::Data(error)) => {
                    return Ok(Step::Refused(Rejection::new("data_refused", error.to_string())));
                }
                Err(error) => return Err(error),
            },
        };
        forget(&mut tx, row).await?;
        tx.commit().await?;
        after_commit();
        Ok(Step::Applied)
    }

    /// The inbox knows a parked event already, unless nobody could read its id when it came.
    async fn effect_of(
        &self,
        conn: &mut PgConnection,
        partition: &TopicPartition,
        row: &Row,
        received: Received,
    ) -> Result<AfterCommit, HandlerError> {
        let event_id = received.envelope.event_id;
        let is_new = row.event_id.is_some()
            || !seen::insert_new(conn, partition, &[event_id], &[row.offset]).await?.is_empty();
        let events = if is_new { vec![received] } else { Vec::new() };
        self.applier.effect.of(conn, &events).await
    }
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
        r#"SELECT id, topic, partition, "offset", key, event_id, header_names, header_values, value FROM inbox.parked
           WHERE topic = $2 AND (key = $3 OR $3 IS NULL AND id = $1) ORDER BY id LIMIT 1"#,
    )
    .bind(id)
    .bind(topic)
    .bind(key)
    .fetch_optional(pool)
    .await
}

async fn waiting(pool: &PgPool, id: i64, topic: &str, key: Option<&[u8]>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM inbox.parked WHERE topic = $2 AND (key = $3 OR $3 IS NULL AND id = $1)",
    )
    .bind(id)
    .bind(topic)
    .bind(key)
    .fetch_one(pool)
    .await
}

/// Locks the key, then the row; `false` when the row is no longer the oldest of its key.
async fn lock(conn: &mut PgConnection, row: &Row) -> Result<bool, sqlx::Error> {
    if let Some(key) = &row.key {
        parking::lock_parked_keys(conn, &row.topic, &[key]).await?;
    }
    let oldest: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM inbox.parked WHERE topic = $2 AND (key = $3 OR $3 IS NULL AND id = $1)
         ORDER BY id LIMIT 1 FOR UPDATE",
    )
    .bind(row.id)
    .bind(&row.topic)
    .bind(row.key.as_deref())
    .fetch_optional(conn)
    .await?;
    Ok(oldest == Some(row.id))
}

/// The event is parked no more; the last of its key frees the key.
async fn forget(conn: &mut PgConnection, row: &Row) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM inbox.parked WHERE id = $1").bind(row.id).execute(&mut *conn).await?;
    sqlx::query(
        "DELETE FROM inbox.parked_keys WHERE topic = $1 AND key = $2
         AND NOT EXISTS (SELECT FROM inbox.parked WHERE topic = $1 AND key = $2)",
    )
    .bind(&row.topic)
    .bind(row.key.as_deref())
    .execute(conn)
    .await?;
    Ok(())
}

/// What was behind another is refused for a reason of its own now.
async fn restate(pool: &PgPool, id: i64, rejection: &Rejection) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE inbox.parked SET reason = $2, detail = $3 WHERE id = $1")
        .bind(id)
        .bind(rejection.reason)
        .bind(rejection.detail.replace('\0', "\u{fffd}"))
        .execute(pool)
        .await?;
    Ok(())
}
