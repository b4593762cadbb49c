//! The replication slot, and what the database knows of it: who publishes, what a snapshot shows, and how far the slot was confirmed.

use database::Lsn;
use sqlx::PgConnection;

use crate::relay::RelayError;

/// What the slot reads. Made by `outbox.add_publication`.
pub(crate) const PUBLICATION: &str = "outbox_relay";
/// The longest name of anything in PostgreSQL.
const LONGEST_NAME: usize = 63;
/// With more unpublished messages than this, polling goes on before the log is read.
const MOST_MOVED: i64 = 10_000;

/// A slot of this cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) name: String,
    system_identifier: i64,
    timeline: i32,
}

/// How a leader begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// All that is not finished is unpublished.
    Table,
    /// A snapshot tells what is published, and nobody advances it.
    Frozen,
    /// The slot goes on from here.
    Log(Lsn),
}

/// What a leader is to publish from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    Table,
    Log,
    /// The log, by a slot that is to be made anew: the server refuses to go on with the one that is there.
    NewSlot,
}

/// A slot that was made, and a transaction id that is above those of all transactions which it does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) position: Lsn,
    above: String,
}

/// What all messages that a snapshot shows have been published by, when everything before the position is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    snapshot: String,
    pub(crate) position: Lsn,
}

fn lsn(text: &str) -> Result<Lsn, sqlx::Error> {
    text.parse().map_err(|_| sqlx::Error::Protocol(format!("{text} is no position in the log")))
}

/// The slot of this database: one per database, named after it.
pub(crate) async fn of_database(conn: &mut PgConnection) -> Result<Slot, sqlx::Error> {
    let (database, oid, system_identifier, timeline): (String, i64, i64, i32) = sqlx::query_as(
        "SELECT d.datname::text, d.oid::bigint, c.system_identifier,
             ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
         FROM pg_database d, pg_control_system() c WHERE d.datname = current_database()",
    )
    .fetch_one(conn)
    .await?;
    Ok(Slot { name: name(&database, oid), system_identifier, timeline })
}

/// A name that the server takes. Where it can't be that of the database, the database's number makes it another's.
fn name(database: &str, oid: i64) -> String {
    let takes = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let plain = format!("outbox_{database}");
    if plain.len() <= LONGEST_NAME && database.chars().all(takes) {
        return plain;
    }
    let taken: String = database.chars().map(|c| if takes(c) { c } else { '_' }).take(40).collect();
    format!("outbox_{taken}_{oid}")
}

/// Checks what a relay of the log needs of the server, its role and the database.
pub(crate) async fn check(conn: &mut PgConnection) -> Result<Result<(), RelayError>, sqlx::Error> {
    let refuse = |why: &str| Ok(Err(RelayError::Setup(format!("outbox.relay = \"wal\": {why}"))));
    let (level, may_replicate, version, standbys): (String, bool, i32, String) = sqlx::query_as(
        "SELECT current_setting('wal_level'), r.rolreplication OR r.rolsuper,
             current_setting('server_version_num')::integer, current_setting('synchronous_standby_names')
         FROM pg_roles r WHERE r.rolname = current_user",
    )
    .fetch_one(&mut *conn)
    .await?;
    if version < 150_000 {
        return refuse("the server is older than PostgreSQL 15");
    }
    if level != "logical" {
        return refuse(&format!(
            "the server's wal_level is {level}; set wal_level = logical and restart it, or set outbox.relay = \"poll\""
        ));
    }
    if !may_replicate {
        return refuse(
            "the role may not read the write-ahead log; ALTER ROLE ... REPLICATION, or set outbox.relay = \"poll\"",
        );
    }
    // Commits would wait for the relay, which waits until they are visible.
    if standbys.contains('*') {
        return refuse(&format!(
            "synchronous_standby_names is {standbys}, which takes the relay for a standby; name the standbys in it"
        ));
    }
    let slot = of_database(&mut *conn).await?;
    let (is_there, used, most): (bool, i64, i64) = sqlx::query_as(
        "SELECT bool_or(s.slot_name = $1) IS TRUE, count(*), current_setting('max_replication_slots')::bigint
         FROM pg_replication_slots s",
    )
    .bind(&slot.name)
    .fetch_one(&mut *conn)
    .await?;
    if !is_there && used >= most {
        return refuse(&format!("all {most} replication slots are used; raise max_replication_slots"));
    }
    let publishing: Result<bool, sqlx::Error> =
        sqlx::query_scalar("SELECT outbox.add_publication()").fetch_one(&mut *conn).await;
    match publishing {
        Ok(_) => Ok(Ok(())),
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == "42501") => {
            refuse(&format!(
                "the publication {PUBLICATION} can't be made ({error}); as the owner of the tables: CREATE PUBLICATION \
                 {PUBLICATION} FOR TABLE outbox.messages WITH (publish = 'insert', publish_via_partition_root = true), and GRANT \
                 EXECUTE ON FUNCTION outbox.add_publication()"
            ))
        }
        Err(error) => Err(error),
    }
}

/// What a new leader goes on with. A slot that is lost, or another one than that which was confirmed, is given up: its
/// topics are frozen first, so that nothing but what the snapshot shows counts as published.
pub(crate) async fn begin(conn: &mut PgConnection, slot: &Slot, reads: Reads) -> Result<Begin, sqlx::Error> {
    let topics: (i64, Option<bool>, Option<bool>, Option<bool>, Option<String>) = sqlx::query_as(
        "SELECT count(*), bool_and(system_identifier = $1), bool_and(relay = 'wal' AND slot = $2), bool_and(timeline = $3),
             max(position)::text
         FROM outbox.topics",
    )
    .bind(slot.system_identifier)
    .bind(&slot.name)
    .bind(slot.timeline)
    .fetch_one(&mut *conn)
    .await?;
    let (count, of_cluster, of_log, of_timeline, position) = topics;
    if count == 0 {
        if reads == Reads::Table {
            drop_slot(conn, &slot.name).await?;
        }
        return Ok(Begin::Table);
    }
    flush(&mut *conn).await?;
    if of_cluster != Some(true) {
        tracing::warn!(
            "outbox: the messages were copied from another cluster; all that are not finished are published again"
        );
        forget(&mut *conn).await?;
        return Ok(Begin::Table);
    }
    if reads == Reads::Log && of_log == Some(true) {
        let position = position.unwrap_or_default();
        let found: Option<(bool, bool, bool, Option<i32>)> = sqlx::query_as(
            "SELECT s.confirmed_flush_lsn <= $2::pg_lsn IS TRUE,
                 s.wal_status IS DISTINCT FROM 'lost' AND to_jsonb(s) ->> 'invalidation_reason' IS NULL
                     AND (to_jsonb(s) ->> 'conflicting')::boolean IS NOT TRUE,
                 (to_jsonb(s) ->> 'synced')::boolean IS TRUE, s.active_pid
             FROM pg_replication_slots s
             WHERE s.slot_name = $1 AND s.database = current_database() AND s.plugin = 'pgoutput'",
        )
        .bind(&slot.name)
        .bind(&position)
        .fetch_optional(&mut *conn)
        .await?;
        match found {
            Some((true, true, is_synced, active_pid)) if of_timeline == Some(true) || is_synced => {
                release(&mut *conn, active_pid).await?;
                return Ok(Begin::Log(lsn(&position)?));
            }
            found => tracing::warn!(
                slot = slot.name,
                confirmed_before = found.map(|found| found.0),
                usable = found.map(|found| found.1),
                same_timeline = of_timeline,
                "outbox: the replication slot is lost, or another one; publishing from the table what its snapshot does not show"
            ),
        }
    }
    sqlx::query("UPDATE outbox.topics SET relay = 'poll' WHERE relay <> 'poll'").execute(&mut *conn).await?;
    drop_slot(conn, &slot.name).await?;
    Ok(Begin::Frozen)
}

/// Ends the session that reads the slot: that of a leader which is not one any more.
async fn release(conn: &mut PgConnection, active_pid: Option<i32>) -> Result<(), sqlx::Error> {
    if let Some(pid) = active_pid {
        let ended: bool =
            sqlx::query_scalar("SELECT pg_terminate_backend($1, 2000)").bind(pid).fetch_one(conn).await?;
        tracing::info!(pid, ended, "outbox: another session read the replication slot");
    }
    Ok(())
}

/// Drops the slot, if it is there: one that nobody reads holds the write-ahead log.
pub(crate) async fn drop_slot(conn: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let found: Option<Option<i32>> = sqlx::query_scalar(
        "SELECT s.active_pid FROM pg_replication_slots s WHERE s.slot_name = $1 AND s.database = current_database()",
    )
    .bind(name)
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(active_pid) = found {
        release(&mut *conn, active_pid).await?;
        sqlx::query("SELECT pg_drop_replication_slot($1)").bind(name).execute(conn).await?;
    }
    Ok(())
}

/// Lets what this session commits be on disk: what the slot passes must not be lost.
async fn flush(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT set_config('synchronous_commit', 'local', false)").execute(conn).await?;
    Ok(())
}

/// Nothing is published but what is finished.
pub(crate) async fn forget(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("WITH gone AS (DELETE FROM outbox.pending) DELETE FROM outbox.topics").execute(conn).await?;
    Ok(())
}

/// Makes the slot. The server waits for all transactions that are open; meanwhile polling goes on.
pub(crate) async fn make(conn: &mut PgConnection, slot: &Slot) -> Result<Prepared, sqlx::Error> {
    sqlx::query("SELECT outbox.add_publication()").execute(&mut *conn).await?;
    while !sqlx::query_scalar::<_, bool>("SELECT outbox.add_snapshot_index()").fetch_one(&mut *conn).await? {}
    drop_slot(&mut *conn, &slot.name).await?;
    let position: String = sqlx::query_scalar("SELECT outbox.make_slot($1)::text")
        .bind(&slot.name)
        .fetch_one(&mut *conn)
        .await?;
    // Whatever commits before the slot has a lower id. The end of a snapshot would not do: it is that of what was completed.
    let above: String = sqlx::query_scalar("SELECT pg_current_xact_id()::text").fetch_one(conn).await?;
    Ok(Prepared { position: lsn(&position)?, above })
}

/// Lets the log take over, if everything that committed before the slot can be seen: a commit that waits for a standby is in
/// the log long before. What is unpublished becomes pending, all that one snapshot shows: with a message those before it of its
/// key, whose transactions may have higher ids. Returns up to where the log may have what was polled.
pub(crate) async fn take_over(
    conn: &mut PgConnection,
    slot: &Slot,
    prepared: &Prepared,
    topics: &[String],
) -> Result<Option<Lsn>, sqlx::Error> {
    let ready: bool = sqlx::query_scalar(
        "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::text::xid8 AND (
             SELECT count(*) FROM (SELECT FROM outbox.messages m
                 WHERE m.finished_at IS NULL AND NOT EXISTS (SELECT FROM outbox.topics) LIMIT $2 + 1) AS waiting) <= $2",
    )
    .bind(&prepared.above)
    .bind(MOST_MOVED)
    .fetch_one(&mut *conn)
    .await?;
    if !ready {
        return Ok(None);
    }
    flush(&mut *conn).await?;
    sqlx::query(
        "WITH moved AS (
             INSERT INTO outbox.pending (message_id, topic)
             SELECT u.id, u.topic FROM outbox.unpublished() u ON CONFLICT DO NOTHING
         )
         INSERT INTO outbox.topics (topic, relay, system_identifier, timeline, slot, position)
         SELECT t.topic, 'wal', $1, $2, $3, $4::text::pg_lsn
         FROM (SELECT unnest($5::text[]) UNION SELECT s.topic FROM outbox.topics s) AS t (topic)
         ON CONFLICT (topic) DO UPDATE SET relay = excluded.relay, system_identifier = excluded.system_identifier,
             timeline = excluded.timeline, slot = excluded.slot, position = excluded.position",
    )
    .bind(slot.system_identifier)
    .bind(slot.timeline)
    .bind(&slot.name)
    .bind(prepared.position.to_string())
    .bind(topics)
    .execute(&mut *conn)
    .await?;
    let end: String = sqlx::query_scalar("SELECT pg_current_wal_insert_lsn()::text").fetch_one(conn).await?;
    Ok(Some(lsn(&end)?))
}

/// A snapshot, and behind it the end of the log: what the snapshot shows is before that. The log is read as far as it is on disk,
/// and on an idle server nobody writes its last records there: an empty commit does.
pub(crate) async fn snapshot(conn: &mut PgConnection) -> Result<Snapshot, sqlx::Error> {
    let (snapshot, position, is_flushed): (String, String, bool) = sqlx::query_as(
        "SELECT s.snapshot, s.position::text, pg_current_wal_flush_lsn() >= s.position FROM (
             SELECT pg_current_snapshot()::text AS snapshot, pg_current_wal_insert_lsn() AS position OFFSET 0) AS s",
    )
    .fetch_one(&mut *conn)
    .await?;
    if !is_flushed {
        sqlx::query("SELECT pg_logical_emit_message(true, 'outbox', '')").execute(conn).await?;
    }
    Ok(Snapshot { snapshot, position: lsn(&position)? })
}

/// Everything before the snapshot's position is settled.
pub(crate) async fn store(
    conn: &mut PgConnection,
    slot: &Slot,
    stored: &Snapshot,
    topics: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO outbox.topics (topic, relay, snapshot, system_identifier, timeline, slot, position)
         SELECT topic, 'wal', $2::text::pg_snapshot, $3, $4, $5, $6::text::pg_lsn FROM unnest($1::text[]) AS t (topic)
         ON CONFLICT (topic) DO UPDATE SET snapshot = excluded.snapshot, position = excluded.position,
             timeline = excluded.timeline",
    )
    .bind(topics)
    .bind(&stored.snapshot)
    .bind(slot.system_identifier)
    .bind(slot.timeline)
    .bind(&slot.name)
    .bind(stored.position.to_string())
    .execute(conn)
    .await?;
    Ok(())
}

/// How much of the log the slot holds, in bytes.
pub(crate) async fn lag(conn: &mut PgConnection, slot: &Slot) -> Result<Option<f64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT (pg_current_wal_lsn() - s.confirmed_flush_lsn)::float8 FROM pg_replication_slots s WHERE s.slot_name = $1",
    )
    .bind(&slot.name)
    .fetch_optional(conn)
    .await
}

/// Makes pending what a frozen snapshot does not show.
pub(crate) async fn move_unpublished(conn: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let moved = sqlx::query(
        "INSERT INTO outbox.pending (message_id, topic)
         SELECT u.id, u.topic FROM outbox.unpublished() u
         WHERE NOT EXISTS (SELECT FROM outbox.pending p WHERE p.message_id = u.id) ON CONFLICT DO NOTHING",
    )
    .execute(conn)
    .await?;
    Ok(moved.rows_affected())
}

/// Finishes messages that a frozen snapshot shows, some at a time. Returns whether all are, and the table alone tells what is
/// unpublished.
pub(crate) async fn mark(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // When the broker had them is not known.
    let marked = sqlx::query(
        "UPDATE outbox.messages SET finished_at = created_at WHERE id = ANY(ARRAY(
             SELECT m.id FROM outbox.topics t CROSS JOIN LATERAL (
                 SELECT u.id FROM outbox.messages u
                 WHERE u.finished_at IS NULL AND u.topic >= t.topic AND u.topic <= t.topic
                     AND pg_visible_in_snapshot(u.transaction_id, t.snapshot)
                     AND NOT EXISTS (SELECT FROM outbox.pending p WHERE p.message_id = u.id)
                 ORDER BY u.topic, u.id LIMIT 2000) AS m))",
    )
    .execute(&mut *conn)
    .await?;
    if marked.rows_affected() > 0 {
        return Ok(false);
    }
    forget(&mut *conn).await?;
    if let Err(error) = sqlx::query("SELECT outbox.drop_snapshot_index()").execute(conn).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "outbox: the index messages_snapshot_idx is of no more use, and could not be dropped"
        );
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_named_after_its_database() {
        assert_eq!(name("depot", 7), "outbox_depot");
        assert_eq!(name("Depot-East", 7), "outbox__epot__ast_7");
        assert_eq!(name(&"a".repeat(60), 7), format!("outbox_{}_7", "a".repeat(40)));
    }
}
