//! The statements that read pages: whole rows where there is room for them, else what is needed to choose.

use std::sync::Arc;

use sqlx::PgConnection;

use super::partitions::{Candidate, Page};
use crate::relay::row::Row;

/// The next unpublished messages of one snapshot, a page of each topic: the lowest ids, except those buffered and those of
/// blocked keys. Without their values, which may be many and of partitions that have no room.
///
/// Any snapshot that shows a key's message n+1 shows message n, which has the lower id: a prefix in id order is a prefix
/// of every key. `Page::above_id` only saves the walk over messages that were seen already; what appears below it is
/// found by the next full scan, which begins at 0 (docs/adr/0001).
///
/// The order is that of the index of unpublished messages. The primary key has the order `id` as well, and all that is
/// published: statistics of a backlog would speak for it.
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
                   FROM outbox.messages u
                   WHERE u.finished_at IS NULL AND (u.topic, u.id) > (page.topic, page.above_id) AND u.topic <= page.topic
                     AND u.id NOT IN (SELECT unnest($3::bigint[]))
                     AND u.id NOT IN (SELECT b.message_id FROM outbox.blocked_keys b)
                     AND (u.key IS NULL OR (u.topic, u.key) NOT IN (
                         SELECT b.topic, b.key FROM outbox.blocked_keys b WHERE b.key IS NOT NULL))
                   ORDER BY u.topic, u.id LIMIT page.rows) AS lowest
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

/// Candidates in the order of their ids: id, topic, key, and the bytes of key and value, as a page's statement has them.
pub(super) fn in_order(mut candidates: Vec<(i64, String, Option<Vec<u8>>, i64)>) -> Vec<(String, Candidate)> {
    candidates.sort_unstable_by_key(|(id, ..)| *id);
    let candidate = |(id, topic, key, bytes): (i64, String, Option<Vec<u8>>, i64)| {
        let bytes = usize::try_from(bytes).unwrap_or_default();
        (topic, Candidate { id, key: key.map(Arc::from), bytes })
    };
    candidates.into_iter().map(candidate).collect()
}

/// The same with the whole rows, at most about as many bytes as their page has room for. Whether the message before each is
/// published is asked as in `table::read`, and for the same reason in the same statement.
pub(super) async fn rows(
    conn: &mut PgConnection,
    pages: &[&Page],
    buffered: &[i64],
) -> Result<Vec<Box<Row>>, sqlx::Error> {
    let topics: Vec<&str> = pages.iter().map(|page| page.topic.as_str()).collect();
    let above: Vec<i64> = pages.iter().map(|page| page.above_id).collect();
    let rows: Vec<i64> = pages.iter().map(|page| bigint(page.rows)).collect();
    let bytes: Vec<i64> = pages.iter().map(|page| bigint(page.bytes())).collect();
    let mut read: Vec<Box<Row>> = sqlx::query_as(
        "SELECT m.id, m.previous_id, m.topic, m.key, m.sequence, m.value, m.event_id, m.event_type, m.source, m.subject,
             m.event_time, m.correlation_id, m.causation_id, m.user_id, m.traceparent, m.tracestate, m.header_names,
             m.header_values, m.created_at,
             CASE WHEN m.previous_id IS NULL THEN true ELSE coalesce((
                 SELECT p.finished_at IS NOT NULL FROM outbox.messages p
                 WHERE p.id = m.previous_id AND p.topic = m.topic AND p.key IS NOT DISTINCT FROM m.key
                   AND p.sequence IS NOT DISTINCT FROM m.sequence - 1
             ), (
                 SELECT true FROM outbox.table_partitions t
                 WHERE t.dropped_at IS NOT NULL AND m.previous_id >= t.first_id AND m.previous_id < t.end_id
             )) END AS predecessor_published
         FROM unnest($1::text[], $2::bigint[], $4::bigint[], $5::bigint[]) AS page (topic, above_id, rows, bytes)
         CROSS JOIN LATERAL (
             SELECT lowest.*, sum(lowest.key_bytes) OVER before + sum(lowest.value_bytes) OVER before
                 - lowest.key_bytes - lowest.value_bytes AS bytes_before
             FROM (SELECT u.*, coalesce(octet_length(u.key), 0) AS key_bytes,
                       coalesce(octet_length(u.value), 0) AS value_bytes
                   FROM outbox.messages u
                   WHERE u.finished_at IS NULL AND (u.topic, u.id) > (page.topic, page.above_id) AND u.topic <= page.topic
                     AND u.id NOT IN (SELECT unnest($3::bigint[]))
                     AND u.id NOT IN (SELECT b.message_id FROM outbox.blocked_keys b)
                     AND (u.key IS NULL OR (u.topic, u.key) NOT IN (
                         SELECT b.topic, b.key FROM outbox.blocked_keys b WHERE b.key IS NOT NULL))
                   ORDER BY u.topic, u.id LIMIT page.rows) AS lowest
             WINDOW before AS (ORDER BY lowest.topic, lowest.id ROWS UNBOUNDED PRECEDING)
         ) AS m
         WHERE m.bytes_before < page.bytes",
    )
    .bind(topics)
    .bind(above)
    .bind(buffered)
    .bind(rows)
    .bind(bytes)
    .fetch_all(conn)
    .await?;
    read.sort_unstable_by_key(|row| row.id);
    Ok(read)
}

pub(super) fn bigint(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
