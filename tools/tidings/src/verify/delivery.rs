//! A service's side of delivery: the rows of its outbox and its inbox.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use contracts::AnyEvent;
use futures::Stream;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx_macros::FromRow;
use uuid::Uuid;

/// Outbox and inbox of one service at one moment.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// The moment, by the database's clock.
    pub taken_at: DateTime<Utc>,
    /// How many messages are not known to be published.
    pub waiting: i64,
    /// Messages by id.
    pub messages: Vec<MessageRow>,
    /// The outbox's list of table partitions: first id, end id, whether it was dropped.
    pub table_partitions: Vec<(i64, i64, bool)>,
    /// The first ids of the tables that there are.
    pub tables: Vec<i64>,
    /// Keys that the relay has blocked: `topic key (reason): detail`.
    pub blocked_keys: Vec<String>,
    /// Topics that it has read.
    pub topics: BTreeMap<String, TopicRow>,
    /// How far it has applied each partition.
    pub positions: BTreeMap<(String, i32), PositionRow>,
    /// What became of the events that it has handled.
    pub events: HashMap<Uuid, InboxRow>,
    /// How far back the inbox remembers: floor and end of the newest week. None where the row is lost.
    pub floor: Option<(Uuid, Option<Uuid>)>,
    /// Dead letters by id.
    pub letters: Arc<Vec<LetterRow>>,
    /// Open letters by topic and digest of the key, and the last message about it.
    pub letter_keys: BTreeMap<(String, Vec<u8>), (i32, Option<i64>)>,
    /// The audit of dead letters, by id.
    pub audit: Vec<AuditRow>,
}

/// A row of `outbox.messages`.
#[derive(Clone, Debug, FromRow, Serialize, Deserialize)]
pub struct MessageRow {
    pub(super) id: i64,
    pub(super) previous_id: Option<i64>,
    pub(super) topic: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) sequence: Option<i64>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) event_id: Option<Uuid>,
    pub(super) event_type: Option<String>,
    pub(super) source: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) event_time: Option<DateTime<Utc>>,
    pub(super) correlation_id: Option<Uuid>,
    pub(super) causation_id: Option<Uuid>,
    pub(super) user_id: Option<String>,
    pub(super) traceparent: Option<String>,
    pub(super) tracestate: Option<String>,
    pub(super) header_names: Option<Vec<String>>,
    pub(super) header_values: Option<Vec<Vec<u8>>>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) finished_at: Option<DateTime<Utc>>,
    pub(super) is_published: bool,
    /// The event in it, where it still waits.
    #[sqlx(skip)]
    #[serde(skip)]
    pub(super) event: Option<AnyEvent>,
}

/// A row of `inbox.consumer_topics`.
#[derive(Clone, Debug, FromRow)]
pub struct TopicRow {
    topic: String,
    pub(super) log: i32,
    pub(super) topic_id: Option<Uuid>,
    pub(super) first_floor: Uuid,
    pub(super) whole: bool,
}

/// A row of `inbox.consumer_positions`.
#[derive(Clone, Debug, FromRow)]
pub struct PositionRow {
    topic: String,
    partition: i32,
    pub(super) next_offset: i64,
    pub(super) log: i32,
    pub(super) last_record_offset: Option<i64>,
    pub(super) last_record_leader_epoch: Option<i32>,
    pub(super) last_record_digest: Option<Vec<u8>>,
    pub(super) last_record_at: Option<DateTime<Utc>>,
    pub(super) reached_epoch: i32,
    pub(super) topic_epoch: i32,
    pub(super) topic_partitions: Option<i32>,
    pub(super) stopped_reason: Option<String>,
    pub(super) updated_at: DateTime<Utc>,
}

#[cfg(test)]
impl PositionRow {
    /// A position that has come so far.
    pub(super) const fn at(next_offset: i64) -> Self {
        Self {
            topic: String::new(),
            partition: 0,
            next_offset,
            log: 1,
            last_record_offset: None,
            last_record_leader_epoch: None,
            last_record_digest: None,
            last_record_at: None,
            reached_epoch: 1,
            topic_epoch: 1,
            topic_partitions: None,
            stopped_reason: None,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }
}

/// A row of `inbox.events`.
#[derive(Clone, Debug, FromRow, Serialize, Deserialize)]
pub struct InboxRow {
    pub(super) event_id: Uuid,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) log: i32,
    pub(super) processed_at: DateTime<Utc>,
    pub(super) outcome: String,
}

/// A row of `inbox.dead_letters`.
#[derive(Clone, Debug, FromRow)]
pub struct LetterRow {
    pub(super) id: i64,
    pub(super) event_id: Uuid,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) log: i32,
    pub(super) key: Option<Vec<u8>>,
    pub(super) key_digest: Option<Vec<u8>>,
    pub(super) event_type: Option<String>,
    pub(super) reason: String,
    pub(super) detail: String,
    pub(super) fingerprint: String,
    pub(super) attempts: i32,
    pub(super) dead_lettered_at: DateTime<Utc>,
    pub(super) last_attempted_at: Option<DateTime<Utc>>,
    pub(super) header_names: Vec<String>,
    pub(super) header_values: Vec<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
}

/// A row of `inbox.dead_letter_audit`.
#[derive(Clone, Debug, FromRow)]
pub struct AuditRow {
    pub(super) recorded_at: DateTime<Utc>,
    pub(super) action: String,
    pub(super) event_id: Uuid,
    pub(super) dead_letter_id: i64,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key_digest: Option<Vec<u8>>,
    pub(super) result: String,
}

/// Reads what does not grow with the number of events: all but messages and what became of each event.
///
/// # Errors
/// When the database refuses.
pub(super) async fn read(conn: &mut PgConnection) -> sqlx::Result<Delivery> {
    // Before the snapshot: no table partition is dropped while messages are read.
    sqlx::query("LOCK TABLE outbox.messages IN ACCESS SHARE MODE").execute(&mut *conn).await?;
    let topics: Vec<TopicRow> =
        sqlx::query_as("SELECT topic, log, topic_id, first_floor, whole FROM inbox.consumer_topics")
            .fetch_all(&mut *conn)
            .await?;
    let letters = sqlx::query_as(
        r#"SELECT id, event_id, topic, partition, "offset", log, key, key_digest, event_type, reason, detail, fingerprint,
               attempts, dead_lettered_at, last_attempted_at, header_names, header_values, value
           FROM inbox.dead_letters ORDER BY id"#,
    )
    .fetch_all(&mut *conn)
    .await?;
    let keys: Vec<(String, Vec<u8>, i32, Option<i64>)> =
        sqlx::query_as("SELECT topic, key_digest, open_letters, last_message_id FROM inbox.dead_letter_keys")
            .fetch_all(&mut *conn)
            .await?;
    let audit = sqlx::query_as(
        r#"SELECT recorded_at, action, event_id, dead_letter_id, topic, partition, "offset", key_digest, result
           FROM inbox.dead_letter_audit ORDER BY id"#,
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(Delivery {
        taken_at: sqlx::query_scalar("SELECT now()").fetch_one(&mut *conn).await?,
        topics: topics.into_iter().map(|row| (row.topic.clone(), row)).collect(),
        floor: sqlx::query_as("SELECT floor, ceiling FROM inbox.deduplication")
            .fetch_optional(&mut *conn)
            .await?,
        letters: Arc::new(letters),
        letter_keys: keys
            .into_iter()
            .map(|(topic, digest, open, last)| ((topic, digest), (open, last)))
            .collect(),
        audit,
        ..pending(conn).await?.with_tables(conn).await?
    })
}

/// Reads only whether work is under way: positions, and how many messages wait.
///
/// # Errors
/// When the database refuses.
pub(super) async fn pending(conn: &mut PgConnection) -> sqlx::Result<Delivery> {
    let positions: Vec<PositionRow> = sqlx::query_as(
        "SELECT topic, partition, next_offset, log, last_record_offset, last_record_leader_epoch, last_record_digest,
             last_record_at, reached_epoch, topic_epoch, topic_partitions, stopped_reason, updated_at
         FROM inbox.consumer_positions",
    )
    .fetch_all(&mut *conn)
    .await?;
    let positions = positions.into_iter().map(|row| ((row.topic.clone(), row.partition), row)).collect();
    let waiting = sqlx::query_scalar("SELECT count(*) FROM outbox.unpublished()").fetch_one(conn).await?;
    Ok(Delivery { positions, waiting, ..Delivery::default() })
}

/// The messages in the order of their ids.
pub(super) fn messages(conn: &mut PgConnection) -> impl Stream<Item = sqlx::Result<MessageRow>> {
    sqlx::query_as(
        "SELECT m.id, m.previous_id, m.topic, m.key, m.sequence, m.value, m.event_id, m.event_type, m.source, m.subject,
             m.event_time, m.correlation_id, m.causation_id, m.user_id, m.traceparent, m.tracestate, m.header_names,
             m.header_values, m.created_at, m.finished_at, u.id IS NULL AS is_published
         FROM outbox.messages m LEFT JOIN outbox.unpublished() u USING (id) ORDER BY m.id",
    )
    .fetch(conn)
}

/// The messages with these ids and all before them of the same topic and key, in the order of their ids.
///
/// # Errors
/// When the database refuses.
pub(super) async fn messages_up_to(conn: &mut PgConnection, ids: &[i64]) -> sqlx::Result<Vec<MessageRow>> {
    sqlx::query_as(
        "WITH RECURSIVE of_key AS (
             SELECT id, previous_id FROM outbox.messages WHERE id = ANY($1)
             UNION ALL
             SELECT m.id, m.previous_id FROM of_key k JOIN outbox.messages m ON m.id = k.previous_id
         )
         SELECT m.id, m.previous_id, m.topic, m.key, m.sequence, m.value, m.event_id, m.event_type, m.source, m.subject,
             m.event_time, m.correlation_id, m.causation_id, m.user_id, m.traceparent, m.tracestate, m.header_names,
             m.header_values, m.created_at, m.finished_at, u.id IS NULL AS is_published
         FROM outbox.messages m LEFT JOIN outbox.unpublished() u USING (id)
         WHERE m.id = ANY(ARRAY(SELECT id FROM of_key)) ORDER BY m.id",
    )
    .bind(ids)
    .fetch_all(conn)
    .await
}

/// What became of these events.
///
/// # Errors
/// When the database refuses.
pub(super) async fn events_of(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<InboxRow>> {
    sqlx::query_as(
        r#"SELECT event_id, topic, partition, "offset", log, processed_at, outcome FROM inbox.events
           WHERE event_id = ANY($1)"#,
    )
    .bind(ids)
    .fetch_all(conn)
    .await
}

/// The events that were not simply applied.
///
/// # Errors
/// When the database refuses.
pub(super) async fn not_applied(conn: &mut PgConnection) -> sqlx::Result<Vec<InboxRow>> {
    sqlx::query_as(
        r#"SELECT event_id, topic, partition, "offset", log, processed_at, outcome FROM inbox.events
           WHERE outcome <> 'applied'"#,
    )
    .fetch_all(conn)
    .await
}

/// What became of each event, in the order of the records.
pub(super) fn events(conn: &mut PgConnection) -> impl Stream<Item = sqlx::Result<InboxRow>> {
    sqlx::query_as(
        r#"SELECT event_id, topic, partition, "offset", log, processed_at, outcome FROM inbox.events
           ORDER BY topic COLLATE "C", partition, "offset""#,
    )
    .fetch(conn)
}

impl Delivery {
    async fn with_tables(self, conn: &mut PgConnection) -> sqlx::Result<Self> {
        let table_partitions = sqlx::query_as(
            "SELECT first_id, end_id, dropped_at IS NOT NULL FROM outbox.table_partitions ORDER BY first_id",
        )
        .fetch_all(&mut *conn)
        .await?;
        let tables = sqlx::query_scalar(
            "SELECT (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''?(\\d+)''?\\)'))[1]::bigint AS first_id
             FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'outbox.messages'::regclass ORDER BY 1",
        )
        .fetch_all(&mut *conn)
        .await?;
        let blocked_keys = sqlx::query_scalar(
            "SELECT topic || ' ' || coalesce(encode(key, 'escape'), 'message ' || message_id) || ' (' || reason || '): ' || detail
             FROM outbox.blocked_keys ORDER BY blocked_at",
        )
        .fetch_all(conn)
        .await?;
        Ok(Self { table_partitions, tables, blocked_keys, ..self })
    }

    /// The same without messages and what became of each event.
    pub fn without_rows(&self) -> Self {
        Self {
            taken_at: self.taken_at,
            waiting: self.waiting,
            table_partitions: self.table_partitions.clone(),
            tables: self.tables.clone(),
            topics: self.topics.clone(),
            positions: self.positions.clone(),
            floor: self.floor,
            letters: Arc::clone(&self.letters),
            ..Self::default()
        }
    }

    /// The next offset of a partition, if it has one.
    pub fn next_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.positions.get(&(topic.to_owned(), partition)).map(|row| row.next_offset)
    }

    /// Messages that are not known to be published.
    pub fn unpublished(&self) -> impl Iterator<Item = &MessageRow> {
        self.messages.iter().filter(|row| !row.is_published)
    }
}
