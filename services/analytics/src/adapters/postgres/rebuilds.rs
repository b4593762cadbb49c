//! The generation of a rebuild: begun, filled, and swapped in or given up.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use database::{Database, Operation};
use messaging::TopicPartition;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// A generation of read models.
#[derive(Clone, Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct Rebuild {
    pub generation: i32,
    /// `building`, `live`, `retired` or `failed`.
    pub state: String,
    pub started_at: DateTime<Utc>,
    /// When readers began to see it.
    pub live_since: Option<DateTime<Utc>>,
    /// Why it failed.
    pub detail: Option<String>,
    /// Why its last try failed, while it is repeated.
    pub last_error: Option<String>,
}

/// Begins a generation, unless one is being built already; gives that one.
///
/// # Errors
/// When the database fails.
pub async fn begin(database: &Database, now: DateTime<Utc>) -> Result<Option<Rebuild>, sqlx::Error> {
    sqlx::query(
        "INSERT INTO generations (generation, state, started_at)
         SELECT max(generation) + 1, 'building', $1 FROM generations
         ON CONFLICT DO NOTHING",
    )
    .bind(now)
    .execute(database.statement(Operation::Worker))
    .await?;
    building(database).await
}

/// The generation that is being built, if there is one.
///
/// # Errors
/// When the database fails.
pub async fn building(database: &Database) -> Result<Option<Rebuild>, sqlx::Error> {
    sqlx::query_as(
        "SELECT generation, state, started_at, live_since, detail, last_error
         FROM generations WHERE state = 'building'",
    )
    .fetch_optional(database.statement(Operation::Request))
    .await
}

/// # Errors
/// When the database fails.
pub async fn find(database: &Database, generation: i32) -> Result<Option<Rebuild>, sqlx::Error> {
    sqlx::query_as(
        "SELECT generation, state, started_at, live_since, detail, last_error
         FROM generations WHERE generation = $1",
    )
    .bind(generation)
    .fetch_optional(database.statement(Operation::Request))
    .await
}

/// Takes the lock of the replica that rebuilds, for as long as the connection lives, unless another one has it.
pub(in crate::adapters) async fn lead(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext('analytics.rebuild'))").fetch_one(conn).await
}

/// Fails if the session that holds the lock is gone; also keeps the server from ending it as idle.
pub(in crate::adapters) async fn still_leads(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1").execute(conn).await?;
    Ok(())
}

/// Releases the lock. If the connection were only closed, the lock would stay until the server has noticed.
pub(in crate::adapters) async fn resign(mut conn: PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_unlock(hashtext('analytics.rebuild'))").execute(&mut conn).await?;
    conn.close().await
}

/// The position of a generation in a partition, if it has read from it.
pub(in crate::adapters) async fn position(
    conn: &mut PgConnection,
    generation: i32,
    partition: &TopicPartition,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT next_offset FROM rebuild_positions WHERE generation = $1 AND topic = $2 AND partition = $3",
    )
    .bind(generation)
    .bind(&partition.topic)
    .bind(partition.partition)
    .fetch_optional(conn)
    .await
}

/// Stores the position of a generation in a partition, and the dead letters that it has left out there.
pub(in crate::adapters) async fn advance(
    conn: &mut PgConnection,
    generation: i32,
    partition: &TopicPartition,
    next_offset: i64,
    left_out: &BTreeSet<Uuid>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO rebuild_positions (generation, topic, partition, next_offset) VALUES ($1, $2, $3, $4)
         ON CONFLICT (generation, topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
    )
    .bind(generation)
    .bind(&partition.topic)
    .bind(partition.partition)
    .bind(next_offset)
    .execute(&mut *conn)
    .await?;
    if left_out.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO rebuild_dead_letters (generation, event_id) SELECT $1, unnest($2::uuid[])
         ON CONFLICT DO NOTHING",
    )
    .bind(generation)
    .bind(left_out.iter().copied().collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// The dead letters that a generation has left out.
pub(in crate::adapters) async fn dead_letters(
    conn: &mut PgConnection,
    generation: i32,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar("SELECT event_id FROM rebuild_dead_letters WHERE generation = $1")
        .bind(generation)
        .fetch_all(conn)
        .await
}

/// Waits for the transactions that count into the live generation, and keeps others from beginning to.
pub(in crate::adapters) async fn hold_live(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT generation FROM generations WHERE state = 'live' FOR UPDATE").execute(conn).await?;
    Ok(())
}

/// Whether a generation is still being built. If so, nobody can give it up until the transaction ends.
pub(in crate::adapters) async fn hold_building(
    conn: &mut PgConnection,
    generation: i32,
) -> Result<bool, sqlx::Error> {
    let held: Option<i32> = sqlx::query_scalar(
        "SELECT generation FROM generations WHERE generation = $1 AND state = 'building' FOR SHARE",
    )
    .bind(generation)
    .fetch_optional(conn)
    .await?;
    Ok(held.is_some())
}

/// Readers see `generation` from the commit on.
pub(in crate::adapters) async fn swap(
    conn: &mut PgConnection,
    generation: i32,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE generations SET state = 'retired' WHERE state = 'live'").execute(&mut *conn).await?;
    sqlx::query(
        "UPDATE generations SET state = 'live', live_since = $2, last_error = NULL WHERE generation = $1",
    )
    .bind(generation)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives a generation up, unless it has ended. Its builder stops at its next transaction.
///
/// # Errors
/// When the database fails.
pub async fn give_up(database: &Database, generation: i32) -> Result<bool, sqlx::Error> {
    let given_up = sqlx::query(
        "UPDATE generations SET state = 'failed', detail = 'given up on request'
         WHERE generation = $1 AND state = 'building'",
    )
    .bind(generation)
    .execute(database.statement(Operation::Request))
    .await?;
    Ok(given_up.rows_affected() == 1)
}

/// Stores why a generation is tried again. Returns how many errors of unknown kind it has met.
pub(in crate::adapters) async fn record_error(
    database: &Database,
    generation: i32,
    error: &str,
    is_unknown: bool,
) -> Result<i32, sqlx::Error> {
    let met: Option<i32> = sqlx::query_scalar(
        "UPDATE generations SET last_error = $2, unknown_errors = unknown_errors + $3::boolean::integer
         WHERE generation = $1 AND state = 'building' RETURNING unknown_errors",
    )
    .bind(generation)
    .bind(error)
    .bind(is_unknown)
    .fetch_optional(database.statement(Operation::Worker))
    .await?;
    Ok(met.unwrap_or(0))
}

/// Ends a generation that can't be built.
pub(in crate::adapters) async fn fail(
    database: &Database,
    generation: i32,
    detail: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE generations SET state = 'failed', detail = $2 WHERE generation = $1 AND state = 'building'",
    )
    .bind(generation)
    .bind(detail)
    .execute(database.statement(Operation::Worker))
    .await?;
    Ok(())
}

/// Deletes rows of generations that are no longer read, a bounded number per statement. Returns the number.
pub(in crate::adapters) async fn forget(database: &Database) -> Result<u64, sqlx::Error> {
    let orders = sqlx::query(
        "DELETE FROM orders WHERE (generation, order_id) IN (
             SELECT o.generation, o.order_id FROM orders o JOIN generations g USING (generation)
             WHERE g.state IN ('retired', 'failed') LIMIT 5000)",
    )
    .execute(database.statement(Operation::Worker))
    .await?;
    let sellers = sqlx::query(
        "DELETE FROM best_sellers WHERE (generation, currency, sku) IN (
             SELECT b.generation, b.currency, b.sku FROM best_sellers b JOIN generations g USING (generation)
             WHERE g.state IN ('retired', 'failed') LIMIT 5000)",
    )
    .execute(database.statement(Operation::Worker))
    .await?;
    let sellers_by_partition = sqlx::query(
        "DELETE FROM best_sellers_by_partition WHERE (generation, currency, sku, topic, partition) IN (
             SELECT b.generation, b.currency, b.sku, b.topic, b.partition
             FROM best_sellers_by_partition b JOIN generations g USING (generation)
             WHERE g.state IN ('retired', 'failed') LIMIT 5000)",
    )
    .execute(database.statement(Operation::Worker))
    .await?;
    let times = sqlx::query(
        "DELETE FROM time_to_confirm_by_partition WHERE (generation, upper_bound_ms, topic, partition) IN (
             SELECT t.generation, t.upper_bound_ms, t.topic, t.partition
             FROM time_to_confirm_by_partition t JOIN generations g USING (generation)
             WHERE g.state IN ('retired', 'failed') LIMIT 5000)",
    )
    .execute(database.statement(Operation::Worker))
    .await?;
    // A row per partition and stage or currency.
    let funnel = sqlx::query(
        "DELETE FROM funnel_by_partition f USING generations g
         WHERE g.generation = f.generation AND g.state IN ('retired', 'failed')",
    )
    .execute(database.statement(Operation::Worker))
    .await?;
    let revenue = sqlx::query(
        "DELETE FROM revenue_by_partition r USING generations g
         WHERE g.generation = r.generation AND g.state IN ('retired', 'failed')",
    )
    .execute(database.statement(Operation::Worker))
    .await?;
    let alerts = sqlx::query(
        "DELETE FROM stock_alerts WHERE (generation, sku) IN (
             SELECT a.generation, a.sku FROM stock_alerts a JOIN generations g USING (generation)
             WHERE g.state IN ('retired', 'failed') LIMIT 5000)",
    )
    .execute(database.statement(Operation::Worker))
    .await?;
    let left_out = sqlx::query(
        "DELETE FROM rebuild_dead_letters WHERE (generation, event_id) IN (
             SELECT d.generation, d.event_id FROM rebuild_dead_letters d JOIN generations g USING (generation)
             WHERE g.state <> 'building' LIMIT 5000)",
    )
    .execute(database.statement(Operation::Worker))
    .await?;
    // One row per partition.
    let positions = sqlx::query(
        "DELETE FROM rebuild_positions p USING generations g
         WHERE g.generation = p.generation AND g.state <> 'building'",
    )
    .execute(database.statement(Operation::Worker))
    .await?;
    let deleted =
        [orders, sellers, sellers_by_partition, times, funnel, revenue, alerts, left_out, positions];
    Ok(deleted.iter().map(sqlx::postgres::PgQueryResult::rows_affected).sum())
}
