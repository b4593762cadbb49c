//! The statements of a relay that finds in `outbox.pending` what it publishes from the table: pages and rows as those of `pages`
//! and `table`, where what is not pending is published.

use std::borrow::Borrow;

use sqlx::PgConnection;

use super::pages::{bigint, in_order};
use super::partitions::{Candidate, Page};
use crate::relay::row::Row;
use crate::relay::wal::visible::Visible;

/// The topics that have pending messages.
pub(super) async fn topics(conn: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "WITH RECURSIVE topics (topic) AS (
             (SELECT topic FROM outbox.pending ORDER BY topic LIMIT 1)
             UNION ALL
             SELECT (SELECT p.topic FROM outbox.pending p WHERE p.topic > t.topic ORDER BY p.topic LIMIT 1)
             FROM topics t WHERE t.topic IS NOT NULL
         )
         SELECT topic FROM topics WHERE topic IS NOT NULL",
    )
    .fetch_all(conn)
    .await
}

/// Those of the topics that have pending messages which nothing but the broker keeps from being published.
pub(super) async fn due_topics(
    conn: &mut PgConnection,
    topics: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT page.topic FROM unnest($1::text[]) AS page (topic)
         WHERE EXISTS (
             SELECT FROM outbox.pending p JOIN outbox.messages u ON u.id = p.message_id
             WHERE p.topic = page.topic AND u.id NOT IN (SELECT b.message_id FROM outbox.blocked_keys b)
               AND (u.key IS NULL OR (u.topic, u.key) NOT IN (
                   SELECT b.topic, b.key FROM outbox.blocked_keys b WHERE b.key IS NOT NULL)))",
    )
    .bind(topics)
    .fetch_all(conn)
    .await
}

/// The next pending messages of one snapshot, as `pages::candidates` reads those that are not finished. In the order of the index
/// of what is pending, and each looked up by its id: `OFFSET 0` leaves the planner no other way, whatever statistics say.
pub(super) async fn candidates(
    conn: &mut PgConnection,
    pages: &[&Page],
    buffered: &[i64],
    key_bytes: usize,
) -> Result<Vec<(String, Candidate)>, sqlx::Error> {
    let topics: Vec<&str> = pages.iter().map(|page| page.topic.as_str()).collect();
    let above: Vec<i64> = pages.iter().map(|page| page.above_id).collect();
    let rows: Vec<i64> = pages.iter().map(|page| bigint(page.rows)).collect();
    let candidates = sqlx::query_as(
        "SELECT m.id, m.topic, m.key, m.bytes
         FROM unnest($1::text[], $2::bigint[], $4::bigint[]) AS page (topic, above_id, rows)
         CROSS JOIN LATERAL (
             SELECT lowest.*, sum(coalesce(octet_length(lowest.key), 0)) OVER (ORDER BY lowest.topic, lowest.id)
                 - coalesce(octet_length(lowest.key), 0) AS key_bytes_before
             FROM (SELECT u.id, u.topic, u.key,
                       coalesce(octet_length(u.key), 0)::bigint + coalesce(octet_length(u.value), 0) AS bytes
                   FROM (SELECT q.topic, q.message_id FROM outbox.pending q
                       WHERE (q.topic, q.message_id) > (page.topic, page.above_id) AND q.topic <= page.topic
                         AND q.message_id NOT IN (SELECT unnest($3::bigint[]))
                         AND q.message_id NOT IN (SELECT b.message_id FROM outbox.blocked_keys b)
                       ORDER BY q.topic, q.message_id OFFSET 0) AS p
                   CROSS JOIN LATERAL (
                       SELECT m.id, m.topic, m.key, m.value FROM outbox.messages m
                       WHERE m.id = p.message_id AND coalesce(m.finished_at, '-infinity') = '-infinity' OFFSET 0) AS u
                   WHERE (u.key IS NULL OR (u.topic, u.key) NOT IN (
                         SELECT b.topic, b.key FROM outbox.blocked_keys b WHERE b.key IS NOT NULL))
                   ORDER BY p.topic, p.message_id LIMIT page.rows) AS lowest
         ) AS m
         WHERE m.key_bytes_before < $5",
    )
    .bind(topics)
    .bind(above)
    .bind(buffered)
    .bind(rows)
    .bind(bigint(key_bytes))
    .fetch_all(conn)
    .await?;
    Ok(in_order(candidates))
}

/// Reads these messages, as far as they are pending. The message before each is published if it is there and not pending, or if
/// its table partition was dropped (docs/adr/0017).
pub(super) async fn read(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Box<Row>>, sqlx::Error> {
    let mut read: Vec<Box<Row>> = sqlx::query_as(
        "SELECT m.id, m.previous_id, m.topic, m.key, m.sequence, m.value, m.event_id, m.event_type, m.source, m.subject,
             m.event_time, m.correlation_id, m.causation_id, m.user_id, m.traceparent, m.tracestate, m.header_names,
             m.header_values, m.created_at,
             CASE WHEN m.previous_id IS NULL THEN true ELSE coalesce((
                 SELECT p.finished_at IS NOT NULL OR NOT EXISTS (SELECT FROM outbox.pending q WHERE q.message_id = p.id)
                 FROM outbox.messages p
                 WHERE p.id = m.previous_id AND p.topic = m.topic AND p.key IS NOT DISTINCT FROM m.key
                   AND p.sequence IS NOT DISTINCT FROM m.sequence - 1
             ), (
                 SELECT true FROM outbox.table_partitions t
                 WHERE t.dropped_at IS NOT NULL AND m.previous_id >= t.first_id AND m.previous_id < t.end_id
             )) END AS predecessor_published
         FROM outbox.messages m
         WHERE m.id = ANY($1) AND m.id BETWEEN $2 AND $3 AND coalesce(m.finished_at, '-infinity') = '-infinity'
             AND coalesce((SELECT true FROM outbox.pending q WHERE q.message_id = m.id), false)",
    )
    .bind(ids)
    .bind(ids.iter().min())
    .bind(ids.iter().max())
    .fetch_all(conn)
    .await?;
    read.sort_unstable_by_key(|row| row.id);
    Ok(read)
}

/// Makes messages pending. It does not look for them: the log brings a commit before a snapshot shows it.
pub(super) async fn add(conn: &mut PgConnection, messages: &[(i64, String)]) -> Result<(), sqlx::Error> {
    let (ids, topics): (Vec<i64>, Vec<&str>) =
        messages.iter().map(|(id, topic)| (*id, topic.as_str())).unzip();
    sqlx::query(
        "INSERT INTO outbox.pending (message_id, topic)
         SELECT id, topic FROM unnest($1::bigint[], $2::text[]) AS m (id, topic) ON CONFLICT DO NOTHING",
    )
    .bind(ids)
    .bind(topics)
    .execute(conn)
    .await?;
    Ok(())
}

/// Marks pending messages as finished, as `table::finish` does with others.
pub(super) async fn finish(conn: &mut PgConnection, ids: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH released AS (DELETE FROM outbox.blocked_keys WHERE message_id = ANY($1)),
             done AS (DELETE FROM outbox.pending WHERE message_id = ANY($1))
         UPDATE outbox.messages SET finished_at = clock_timestamp()
         WHERE id = ANY($1) AND id BETWEEN $2 AND $3 AND coalesce(finished_at, '-infinity') = '-infinity'",
    )
    .bind(ids)
    .bind(ids.iter().min())
    .bind(ids.iter().max())
    .execute(conn)
    .await?;
    Ok(())
}

/// What the database says of a message that the log has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// No snapshot shows it so far: its commit waits for a standby.
    NotYet,
    /// It is finished, pending, or gone with its table partition: the log has brought it before.
    Settled,
    /// It is to be published. Whether the message before it is: as in `Row`.
    Unpublished { predecessor_published: Option<bool> },
}

/// A message that the log has brought, to be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) id: i64,
    pub(super) transaction_id: u64,
    /// It was never polled, and the log has brought the message before it, or there is none: unless something is pending, all that
    /// matters is whether it is visible.
    pub(super) is_next: bool,
}

/// Looks for messages that the log has brought.
pub(super) async fn look(conn: &mut PgConnection, looks: &[Look]) -> Result<Vec<(i64, Seen)>, sqlx::Error> {
    let (next, others): (Vec<&Look>, Vec<&Look>) = looks.iter().partition(|look| look.is_next);
    let visible = if next.is_empty() { None } else { visible_and_nothing_pending(conn).await? };
    let Some(visible) = visible else { return look_up(conn, looks).await };
    let mut seen = match others.is_empty() {
        true => Vec::new(),
        false => look_up(conn, others).await?,
    };
    seen.extend(next.iter().map(|look| match visible.shows(look.transaction_id) {
        true => (look.id, Seen::Unpublished { predecessor_published: Some(true) }),
        false => (look.id, Seen::NotYet),
    }));
    Ok(seen)
}

/// The snapshot, if nothing is pending in it.
async fn visible_and_nothing_pending(conn: &mut PgConnection) -> Result<Option<Visible>, sqlx::Error> {
    let snapshot: Option<String> = sqlx::query_scalar(
        "SELECT pg_current_snapshot()::text WHERE NOT EXISTS (SELECT FROM outbox.pending)",
    )
    .fetch_optional(conn)
    .await?;
    Ok(snapshot.as_deref().and_then(Visible::parse))
}

/// Looks for each in the table.
async fn look_up(
    conn: &mut PgConnection,
    looks: impl IntoIterator<Item = impl Borrow<Look>>,
) -> Result<Vec<(i64, Seen)>, sqlx::Error> {
    let (ids, transactions): (Vec<i64>, Vec<String>) =
        looks.into_iter().map(|look| (look.borrow().id, look.borrow().transaction_id.to_string())).unzip();
    let rows: Vec<(i64, bool, bool, Option<bool>)> = sqlx::query_as(
        "SELECT a.id, pg_visible_in_snapshot(a.transaction_id::xid8, pg_current_snapshot()),
             m.id IS NULL OR m.finished_at IS NOT NULL OR EXISTS (SELECT FROM outbox.pending q WHERE q.message_id = a.id),
             CASE WHEN m.previous_id IS NULL THEN true ELSE coalesce((
                 SELECT p.finished_at IS NOT NULL OR NOT EXISTS (SELECT FROM outbox.pending q WHERE q.message_id = p.id)
                 FROM outbox.messages p
                 WHERE p.id = m.previous_id AND p.topic = m.topic AND p.key IS NOT DISTINCT FROM m.key
                   AND p.sequence IS NOT DISTINCT FROM m.sequence - 1
             ), (
                 SELECT true FROM outbox.table_partitions t
                 WHERE t.dropped_at IS NOT NULL AND m.previous_id >= t.first_id AND m.previous_id < t.end_id
             )) END
         FROM unnest($1::bigint[], $2::text[]) AS a (id, transaction_id)
         LEFT JOIN LATERAL (SELECT * FROM outbox.messages l WHERE l.id = a.id OFFSET 0) AS m ON true",
    )
    .bind(ids)
    .bind(transactions)
    .fetch_all(conn)
    .await?;
    let seen = |(id, is_visible, is_settled, predecessor_published)| {
        let seen = match (is_visible, is_settled) {
            (false, _) => Seen::NotYet,
            (true, true) => Seen::Settled,
            (true, false) => Seen::Unpublished { predecessor_published },
        };
        (id, seen)
    };
    Ok(rows.into_iter().map(seen).collect())
}
