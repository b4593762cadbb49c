//! The polling relay's statements. All run on the session that holds the leader lock.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection, PgPool};

use super::held::Room;
use crate::relay::RelayError;
use crate::relay::config::RelayConfig;
use crate::relay::row::Row;

/// The advisory lock of the one relay that reads: "outbox" in ASCII. Locks are per database, and so are outboxes.
const LEADER_LOCK: i64 = 0x6f75_7462_6f78;

/// Checks what the relay's correctness needs of the database.
pub(super) async fn check(pool: &PgPool) -> Result<Result<(), RelayError>, sqlx::Error> {
    let cache: Option<i64> = sqlx::query_scalar(
        "SELECT cache_size FROM pg_sequences WHERE schemaname = 'outbox' AND sequencename = 'message_ids'",
    )
    .fetch_optional(pool)
    .await?;
    Ok(match cache {
        Some(1) => Ok(()),
        Some(cache) => Err(RelayError::Setup(format!(
            "the sequence outbox.message_ids caches {cache} ids: their order would not follow the sequences; \
             ALTER SEQUENCE outbox.message_ids CACHE 1"
        ))),
        None => Err(RelayError::Setup("the outbox has no tables; call outbox::migrate first".to_owned())),
    })
}

/// A session of the relay's own.
pub(super) async fn connect(
    options: &PgConnectOptions,
    config: &RelayConfig,
) -> Result<PgConnection, sqlx::Error> {
    let mut conn = options.clone().application_name("tidings-relay").connect().await?;
    // - The database ends a session that is silent (a frozen leader) or no longer reads, and with it its lock.
    // - A lost `finished_at` only repeats a record, so the relay need not wait for the disk.
    // - The plans must not depend on statistics that a burst has made stale: the reads have an index each.
    sqlx::query(
        "SELECT set_config('idle_session_timeout', $1, false), set_config('statement_timeout', $2, false),
             set_config('idle_in_transaction_session_timeout', $1, false),
             set_config('lock_timeout', $2, false), set_config('tcp_user_timeout', $1, false),
             set_config('synchronous_commit', 'off', false), set_config('enable_seqscan', 'off', false),
             set_config('enable_bitmapscan', 'off', false), set_config('jit', 'off', false)",
    )
    .bind(config.session_timeout_ms.to_string())
    .bind(config.statement_timeout_ms.to_string())
    .execute(&mut conn)
    .await?;
    Ok(conn)
}

/// Tries to become the leader. Waiting for the lock would hold a snapshot, and with it back the vacuum.
pub(super) async fn try_lead(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LEADER_LOCK).fetch_one(conn).await
}

/// Wakes the leader, wherever it is. In a transaction of its own: a NOTIFY serialises commits.
pub(super) async fn notify(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify('outbox', '')").execute(conn).await?;
    Ok(())
}

/// The topics that have unfinished rows: one look into the index per topic.
pub(super) async fn topics(conn: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "WITH RECURSIVE topics (topic) AS (
             (SELECT topic FROM outbox.messages WHERE finished_at IS NULL ORDER BY topic LIMIT 1)
             UNION ALL
             SELECT (SELECT m.topic FROM outbox.messages m
                     WHERE m.finished_at IS NULL AND m.topic > t.topic ORDER BY m.topic LIMIT 1)
             FROM topics t WHERE t.topic IS NOT NULL
         )
         SELECT topic FROM topics WHERE topic IS NOT NULL",
    )
    .fetch_all(conn)
    .await
}

/// Reads unfinished rows of one snapshot: of each topic the lowest ids that have room, except those held and those of
/// stopped keys.
///
/// Any snapshot that shows a key's row n+1 shows row n, which has the lower id: a prefix in id order is a prefix of
/// every key. `Room::above_id` only saves the walk over rows that are finished already; what is below it is found by
/// the next sweep, which begins at 0 (docs/adr/0001).
pub(super) async fn read(
    conn: &mut PgConnection,
    rooms: &[Room],
    held: &[i64],
) -> Result<Vec<Row>, sqlx::Error> {
    let topics: Vec<&str> = rooms.iter().map(|room| room.topic.as_str()).collect();
    let above: Vec<i64> = rooms.iter().map(|room| room.above_id).collect();
    let rows: Vec<i64> = rooms.iter().map(|room| bigint(room.rows)).collect();
    let bytes: Vec<i64> = rooms.iter().map(|room| bigint(room.bytes)).collect();
    let mut read: Vec<Row> = sqlx::query_as(
        "SELECT m.id, m.topic, m.key, m.sequence, m.event_id, m.event_type, m.source, m.occurred_at,
             m.correlation_id, m.causation_id, m.user_id, m.traceparent, m.tracestate, m.value, m.created_at,
             CASE WHEN m.sequence = 1 THEN true ELSE (
                 SELECT p.finished_at IS NOT NULL FROM outbox.messages p
                 WHERE p.topic = m.topic AND p.key = m.key AND p.sequence = m.sequence - 1
             ) END AS predecessor_finished
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS room (topic, above_id, rows, bytes)
         CROSS JOIN LATERAL (
             SELECT lowest.*, sum(octet_length(lowest.value)) OVER (ORDER BY lowest.id)
                 - octet_length(lowest.value) AS bytes_before
             FROM (SELECT * FROM outbox.messages u
                   WHERE u.finished_at IS NULL AND u.topic = room.topic AND u.id > room.above_id
                     AND u.id NOT IN (SELECT unnest($5::bigint[]))
                     AND (u.topic, u.key) NOT IN (SELECT s.topic, s.key FROM outbox.stopped_keys s)
                   ORDER BY u.id LIMIT room.rows) AS lowest
         ) AS m
         WHERE m.bytes_before < room.bytes",
    )
    .bind(topics)
    .bind(above)
    .bind(rows)
    .bind(bytes)
    .bind(held)
    .fetch_all(conn)
    .await?;
    read.sort_unstable_by_key(|row| row.id);
    Ok(read)
}

/// Marks rows as finished: the broker has acknowledged them.
pub(super) async fn finish(conn: &mut PgConnection, ids: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE outbox.messages SET finished_at = clock_timestamp() WHERE id = ANY($1) AND finished_at IS NULL",
    )
    .bind(ids)
    .execute(conn)
    .await?;
    Ok(())
}

/// Why a key goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) topic: String,
    pub(super) key: String,
    pub(super) id: i64,
    pub(super) sequence: i64,
    pub(super) kind: &'static str,
    pub(super) reason: String,
    /// Rows of the key that need not be held once the stop is recorded.
    pub(super) ids: Vec<i64>,
}

/// Records that a key is stopped.
pub(super) async fn record_stop(conn: &mut PgConnection, stop: &Stop) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO outbox.stopped_keys (topic, key, message_id, sequence, kind, reason)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (topic, key) DO NOTHING",
    )
    .bind(&stop.topic)
    .bind(&stop.key)
    .bind(stop.id)
    .bind(stop.sequence)
    .bind(stop.kind)
    .bind(&stop.reason)
    .execute(conn)
    .await?;
    Ok(())
}

/// One page of a walk over the table that deletes old finished rows.
#[derive(Debug, sqlx_macros::FromRow)]
pub(super) struct Pruned {
    /// Where the next page begins; none at the end.
    pub(super) last_id: Option<i64>,
    /// Nothing further on is old enough.
    pub(super) reached_young: Option<bool>,
    pub(super) deleted: i64,
}

/// Deletes what was finished longer ago than `retention_s`, except the newest finished row of each key: it is the
/// next row's predecessor.
pub(super) async fn prune(
    conn: &mut PgConnection,
    after_id: i64,
    page_rows: i64,
    retention_s: u64,
) -> Result<Pruned, sqlx::Error> {
    sqlx::query_as(
        "WITH page AS (
             SELECT id, topic, key, sequence, created_at, finished_at
             FROM outbox.messages WHERE id > $1 ORDER BY id LIMIT $2
         ), gone AS (
             DELETE FROM outbox.messages m USING page p
             WHERE m.id = p.id AND p.finished_at < clock_timestamp() - make_interval(secs => $3)
               AND EXISTS (SELECT FROM outbox.messages n
                           WHERE n.topic = p.topic AND n.key = p.key AND n.sequence = p.sequence + 1
                             AND n.finished_at IS NOT NULL)
             RETURNING 1
         )
         SELECT max(id) AS last_id, min(created_at) >= clock_timestamp() - make_interval(secs => $3) AS reached_young,
             (SELECT count(*) FROM gone) AS deleted
         FROM page",
    )
    .bind(after_id)
    .bind(page_rows)
    .bind(Duration::from_secs(retention_s).as_secs_f64())
    .fetch_one(conn)
    .await
}

fn bigint(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
