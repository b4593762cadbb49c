//! The polling relay's statements. Those of a leader run on the session that holds the leader lock.

use std::time::Duration;

use sqlx::PgConnection;

use crate::relay::RelayError;
use crate::relay::config::RelayConfig;
use crate::relay::row::{QueueKey, Row};

/// The advisory lock of the one relay that reads: "outbox" in ASCII. Locks are per database, and so are outboxes.
const LEADER_LOCK: i64 = 0x6f75_7462_6f78;

/// How many refused messages are tried again at a time.
const DUE_ROWS: i64 = 100;

/// How many table partitions shall be able to take messages.
const TABLE_PARTITIONS: i32 = 4;
/// Below this number no new ones are being created.
const FEWEST_TABLE_PARTITIONS: i32 = 2;

/// Checks what the relay's correctness needs of the database.
pub(super) async fn check(conn: &mut PgConnection) -> Result<Result<(), RelayError>, sqlx::Error> {
    let cache: Option<i64> = sqlx::query_scalar(
        "SELECT cache_size FROM pg_sequences WHERE schemaname = 'outbox' AND sequencename = 'message_ids'",
    )
    .fetch_optional(&mut *conn)
    .await?;
    match cache {
        Some(1) => {}
        Some(cache) => {
            return Ok(Err(RelayError::Setup(format!(
                "the sequence outbox.message_ids caches {cache} ids: their order would not follow the sequences; \
                 ALTER SEQUENCE outbox.message_ids CACHE 1"
            ))));
        }
        None => {
            return Ok(Err(RelayError::Setup(
                "the outbox has no tables; call outbox::migrate first".to_owned(),
            )));
        }
    }
    let partitions = match add_table_partitions(&mut *conn).await {
        Ok(partitions) => partitions,
        Err(error) if lacks_right(&error) => {
            return Ok(Err(RelayError::Setup(format!(
                "outbox.add_table_partitions can't be called: {error}"
            ))));
        }
        Err(error) => return Err(error),
    };
    if partitions < FEWEST_TABLE_PARTITIONS {
        return Ok(Err(RelayError::Setup(format!(
            "the outbox has {partitions} table partitions for new messages, and none was added; \
             SELECT outbox.add_table_partitions({TABLE_PARTITIONS}) as the owner of the tables"
        ))));
    }
    let may_drop: bool = sqlx::query_scalar(
        "SELECT has_function_privilege('outbox.drop_table_partition(interval)', 'EXECUTE')",
    )
    .fetch_one(&mut *conn)
    .await?;
    if !may_drop {
        return Ok(Err(RelayError::Setup(
            "outbox.drop_table_partition can't be called: published messages would never be dropped; \
             GRANT EXECUTE ON FUNCTION outbox.drop_table_partition(interval)"
                .to_owned(),
        )));
    }
    check_ids(conn).await
}

/// Checks that new ids will be above all that were given: a logical copy of a database does not copy sequences.
pub(super) async fn check_ids(conn: &mut PgConnection) -> Result<Result<(), RelayError>, sqlx::Error> {
    let (next, highest): (i64, i64) = sqlx::query_as(
        "SELECT last_value, greatest(
             coalesce((SELECT max(id) FROM outbox.messages), 0),
             coalesce((SELECT max(end_id) - 1 FROM outbox.table_partitions WHERE dropped_at IS NOT NULL), 0))
         FROM outbox.message_ids",
    )
    .fetch_one(conn)
    .await?;
    Ok(if next >= highest {
        Ok(())
    } else {
        Err(RelayError::Setup(format!(
            "the sequence outbox.message_ids stands at {next}, below the id {highest} that was given already; \
             SELECT setval('outbox.message_ids', {highest})"
        )))
    })
}

/// How many table partitions can take messages.
pub(super) async fn table_partitions(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM outbox.table_partitions p, outbox.message_ids s
         WHERE p.end_id > s.last_value AND p.dropped_at IS NULL",
    )
    .fetch_one(conn)
    .await
}

/// Creates table partitions ahead of time; returns how many can take messages.
pub(super) async fn add_table_partitions(conn: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT outbox.add_table_partitions($1)").bind(TABLE_PARTITIONS).fetch_one(conn).await
}

fn lacks_right(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "42501")
}

/// Sets what a session of the relay's own needs.
pub(super) async fn prepare(conn: &mut PgConnection, config: &RelayConfig) -> Result<(), sqlx::Error> {
    // - The database ends a session that is silent (a frozen leader) or no longer reads, and with it its lock.
    // - A lost `finished_at` only repeats a record, so the relay need not wait for the disk.
    // - The plans must not depend on statistics that a burst has made stale: each statement can use one index alone.
    // - Nor do they depend on parameters: to plan a page takes longer than to read it.
    sqlx::query(
        "SELECT set_config('idle_session_timeout', $1, false), set_config('statement_timeout', $2, false),
             set_config('idle_in_transaction_session_timeout', $1, false),
             set_config('lock_timeout', $2, false), set_config('tcp_user_timeout', $1, false),
             set_config('synchronous_commit', 'off', false), set_config('enable_seqscan', 'off', false),
             set_config('enable_bitmapscan', 'off', false), set_config('enable_sort', 'off', false),
             set_config('jit', 'off', false), set_config('plan_cache_mode', 'force_generic_plan', false),
             set_config('application_name', 'outbox-relay', false)",
    )
    .bind(config.idle_session_timeout_ms.to_string())
    .bind(config.statement_timeout_ms.to_string())
    .execute(conn)
    .await?;
    Ok(())
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

/// The topics that have unpublished messages: one look into the index per topic.
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

/// Reads these messages, unless they were published meanwhile. Whether the message before each is published, or gone because
/// it was, is asked in the same statement: its locks come before its snapshot, so a table partition that is dropped meanwhile
/// is seen whole, or as dropped (docs/adr/0017).
///
/// With `finished_at IS NULL` the index of unpublished messages would do, by a walk over all of them: statistics of a time
/// when nothing waited would speak for it.
///
/// The lowest and the highest id choose the table partitions: a plan for all parameters can't do that by the array.
pub(super) async fn read(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<Box<Row>>, sqlx::Error> {
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
         FROM outbox.messages m
         WHERE m.id = ANY($1) AND m.id BETWEEN $2 AND $3 AND coalesce(m.finished_at, '-infinity') = '-infinity'",
    )
    .bind(ids)
    .bind(ids.iter().min())
    .bind(ids.iter().max())
    .fetch_all(conn)
    .await?;
    read.sort_unstable_by_key(|row| row.id);
    Ok(read)
}

/// The messages that the broker refused and that are to be tried again now. Each is the next one of its key; those behind
/// it are shown again when its block is gone.
pub(super) async fn due(conn: &mut PgConnection, buffered: &[i64]) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT b.message_id FROM outbox.blocked_keys b
         WHERE b.reason = 'rejected' AND coalesce(b.retry_at, '-infinity') <= clock_timestamp()
           AND b.message_id NOT IN (SELECT unnest($1::bigint[]))
         ORDER BY b.retry_at NULLS FIRST LIMIT $2",
    )
    .bind(buffered)
    .bind(DUE_ROWS)
    .fetch_all(conn)
    .await
}

/// Lets what the broker refused on these topics be tried again now: they take records again.
pub(super) async fn retry_now(conn: &mut PgConnection, topics: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE outbox.blocked_keys SET retry_at = clock_timestamp()
         WHERE topic = ANY($1) AND reason = 'rejected' AND retry_at > clock_timestamp() AND retry_at < 'infinity'",
    )
    .bind(topics)
    .execute(conn)
    .await?;
    Ok(())
}

/// Marks messages as finished: the broker has acknowledged them. Where one of them had blocked its key, the key goes on.
/// They are found by id, as in [`read`].
pub(super) async fn finish(conn: &mut PgConnection, ids: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH released AS (DELETE FROM outbox.blocked_keys WHERE message_id = ANY($1))
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

/// When a blocked key goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Its message is tried again after a while.
    Later,
    /// The broker can't ever take its message.
    Never,
    /// A person deletes its row.
    ByPerson,
}

/// Why a key goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) topic: String,
    pub(super) key: QueueKey,
    pub(super) id: i64,
    pub(super) reason: &'static str,
    pub(super) detail: String,
    pub(super) retry: Retry,
    /// Rows of the key that need not be buffered once the block is recorded.
    pub(super) ids: Vec<i64>,
}

/// Records that a key is blocked, or is so again.
pub(super) async fn record_block(
    conn: &mut PgConnection,
    block: &Block,
    config: &RelayConfig,
) -> Result<(), sqlx::Error> {
    let key: Option<&[u8]> = match &block.key {
        QueueKey::Key(key) => Some(key),
        QueueKey::Message(_) => None,
    };
    let (first_s, longest_s) = match block.retry {
        Retry::Later => {
            (Some(config.refused_retry().as_secs_f64()), config.refused_retry_max().as_secs_f64())
        }
        Retry::Never => (Some(f64::INFINITY), f64::INFINITY),
        Retry::ByPerson => (None, 0.0),
    };
    // The wait doubles with each attempt; up to half of it is random.
    sqlx::query(
        "WITH wait (attempts, retry_at) AS (
             SELECT n, CASE WHEN $6::float8 < 'infinity' THEN clock_timestamp() + make_interval(
                     secs => least($6 * 2 ^ least(n - 1, 30), $7::float8) * (0.5 + random() / 2))
                 WHEN $6 IS NOT NULL THEN 'infinity' END
             FROM (SELECT coalesce(max(b.attempts), 0) + 1 AS n FROM outbox.blocked_keys b WHERE b.message_id = $1) AS a
         ), again AS (
             UPDATE outbox.blocked_keys b SET attempts = wait.attempts, retry_at = wait.retry_at, detail = $5
             FROM wait WHERE b.message_id = $1 RETURNING 1
         )
         INSERT INTO outbox.blocked_keys (message_id, topic, key, reason, detail, attempts, retry_at)
         SELECT $1, $2, $3, $4, $5, wait.attempts, wait.retry_at FROM wait WHERE NOT EXISTS (SELECT FROM again)
         ON CONFLICT DO NOTHING",
    )
    .bind(block.id)
    .bind(&block.topic)
    .bind(key)
    .bind(block.reason)
    .bind(block.detail.replace('\0', "\u{fffd}"))
    .bind(first_s)
    .bind(longest_s)
    .execute(conn)
    .await?;
    Ok(())
}

/// What came of the wish to drop a table partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// One is gone; there may be another.
    One,
    /// None is old enough and published to the last message.
    None,
    /// Somebody reads it, it took too long, or it was refused: nothing has changed.
    Busy,
}

/// How long a drop may wait for its lock, and work under it: appends wait for as long.
const DROP_LOCK_MS: u64 = 100;
const DROP_STATEMENT_MS: u64 = 1_000;

/// Drops the oldest table partition, if all of its messages are published and old enough. The session's time-outs are
/// lowered before, so that no round trip lies under its lock.
pub(super) async fn drop_table_partition(
    conn: &mut PgConnection,
    config: &RelayConfig,
) -> Result<Dropped, sqlx::Error> {
    bound(&mut *conn, DROP_STATEMENT_MS, DROP_LOCK_MS).await?;
    let first_id: Result<Option<i64>, sqlx::Error> =
        sqlx::query_scalar("SELECT outbox.drop_table_partition(make_interval(secs => $1))")
            .bind(Duration::from_millis(config.retention_ms).as_secs_f64())
            .fetch_one(&mut *conn)
            .await;
    bound(conn, config.statement_timeout_ms, config.statement_timeout_ms).await?;
    match first_id {
        Ok(Some(_)) => Ok(Dropped::One),
        Ok(None) => Ok(Dropped::None),
        // Whatever the error: publishing must not wait for it.
        Err(error @ sqlx::Error::Database(_)) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "outbox: dropping a table partition failed, will be retried"
            );
            Ok(Dropped::Busy)
        }
        Err(error) => Err(error),
    }
}

async fn bound(conn: &mut PgConnection, statement_ms: u64, lock_ms: u64) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false)")
        .bind(statement_ms.to_string())
        .bind(lock_ms.to_string())
        .execute(conn)
        .await?;
    Ok(())
}
