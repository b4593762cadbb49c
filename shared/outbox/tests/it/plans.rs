//! Statistics of a table that has changed since do not decide how the relay reads it.

use outbox::RelayConfig;
use testkit::wait::eventually;

use crate::relays::{Poll, Reads};
use crate::stage::{Running, Stage, TIMEOUT, append, message};

/// More of them than the reads of all that waits look at.
const PUBLISHED: i64 = 100_000;
const WAITING: i64 = 10_000;
const BACKLOG_OF_A_KEY: i64 = 1_000;
/// Published before these.
const FIRST: i64 = 10;
/// How many entries of an index the relay may look at for each message: as a candidate a few times, as a row, as a predecessor,
/// when it is finished, and until its entry is found dead.
const LOOKS: i64 = 20;

/// Nothing but the test gathers statistics.
async fn keep_statistics(stage: &Stage) {
    sqlx::query("ALTER TABLE outbox.messages_0 SET (autovacuum_enabled = off)")
        .execute(stage.pool())
        .await
        .unwrap();
}

async fn gather_statistics(stage: &Stage) {
    sqlx::query("ANALYZE outbox.messages_0").execute(stage.pool()).await.unwrap();
}

async fn append_messages(stage: &Stage, messages: i64) {
    sqlx::query(
        "INSERT INTO outbox.messages (id, topic, key, value)
         SELECT nextval('outbox.message_ids'), $1, convert_to('key-' || n, 'UTF8'), '\\x00' FROM generate_series(1, $2) AS n",
    )
    .bind(&stage.orders)
    .bind(messages)
    .execute(stage.pool())
    .await
    .unwrap();
}

async fn finish_all(stage: &Stage) {
    sqlx::query("UPDATE outbox.messages SET finished_at = clock_timestamp() WHERE finished_at IS NULL")
        .execute(stage.pool())
        .await
        .unwrap();
}

/// Publishes all that waits. Nothing but the relay looks at what is unpublished meanwhile.
async fn publish_all(stage: &Stage, relay: Running) {
    publish(stage, relay, WAITING).await;
}

async fn publish(stage: &Stage, relay: Running, waiting: i64) {
    let waiting = usize::try_from(waiting).unwrap();
    stage.watcher.until("all that waits", TIMEOUT, |watcher| watcher.count() >= waiting).await;
    relay.stop().await;
    // A session hands in what it counted before it leaves.
    eventually("the relay's sessions have ended", TIMEOUT, async || {
        let sessions: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE application_name = 'outbox-relay' AND datname = current_database()",
        )
        .fetch_one(stage.pool())
        .await
        .unwrap();
        if sessions == 0 { Ok(()) } else { Err(sessions) }
    })
    .await;
}

/// How often this index was used so far, and how many of its entries were looked at.
async fn uses(stage: &Stage, index: &str) -> (i64, i64) {
    // What this session counted itself is handed in when it is next idle.
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(stage.pool()).await.unwrap();
    sqlx::query_as(
        "SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE schemaname = 'outbox' AND indexrelname = $1",
    )
    .bind(index)
    .fetch_one(stage.pool())
    .await
    .unwrap()
}

async fn looks(stage: &Stage, index: &str) -> i64 {
    uses(stage, index).await.1
}

/// Statistics say that all waits which is published now; some messages wait.
async fn stage_whose_statistics_know_of_nothing_published() -> Stage {
    let (stage, _) = Stage::in_memory().await;
    keep_statistics(&stage).await;
    append_messages(&stage, PUBLISHED).await;
    gather_statistics(&stage).await;
    finish_all(&stage).await;
    append_messages(&stage, WAITING).await;
    stage
}

#[tokio::test]
async fn rows_are_found_by_their_ids_although_statistics_know_of_nothing_unpublished() {
    let (stage, _) = Stage::in_memory().await;
    keep_statistics(&stage).await;
    append_messages(&stage, WAITING).await;
    finish_all(&stage).await;
    gather_statistics(&stage).await;
    // The index is as small as it gets where all is published, and a plan is made for that.
    sqlx::query("REINDEX INDEX outbox.messages_0_topic_id_idx").execute(stage.pool()).await.unwrap();
    // Little is buffered, because each page passes it. Full scans are seldom, because each passes what was finished since.
    let config = RelayConfig {
        buffer_messages: 1_200,
        max_in_flight_records: 600,
        idle_session_timeout_ms: 60_000,
        poll_interval_ms: 20_000,
        ..RelayConfig::default()
    };
    let relay = stage.start(&Poll(config, Reads::AsItDoes));
    append_messages(&stage, FIRST).await;
    let first = usize::try_from(FIRST).unwrap();
    stage.watcher.until("the first messages", TIMEOUT, |watcher| watcher.count() >= first).await;
    // While a key has many rows, ids are chosen first and rows are read by them.
    let mut conn = stage.pool().acquire().await.unwrap();
    let backlog = (1..=BACKLOG_OF_A_KEY).map(|sequence| message(&stage.orders, "busy", sequence)).collect();
    append(&mut conn, &stage.outbox, backlog).await.unwrap();
    append_messages(&stage, WAITING).await;
    let before = looks(&stage, "messages_0_topic_id_idx").await;
    publish(&stage, relay, FIRST + WAITING + BACKLOG_OF_A_KEY).await;
    let looks = looks(&stage, "messages_0_topic_id_idx").await - before;
    assert!(
        looks < LOOKS * WAITING,
        "{looks} looks into the index of unpublished messages for {WAITING} of them and a backlog of {BACKLOG_OF_A_KEY}"
    );
}

#[tokio::test]
async fn rows_are_looked_for_in_the_table_partition_that_has_them() {
    let (stage, _) = Stage::in_memory().await;
    append_messages(&stage, WAITING).await;
    let relay = stage.start(&Poll(RelayConfig::default(), Reads::ById));
    publish_all(&stage, relay).await;
    let looks: i64 = sqlx::query_scalar(
        "SELECT sum(idx_scan)::bigint FROM pg_stat_user_indexes
         WHERE schemaname = 'outbox' AND indexrelname ~ '^messages_[1-9].*_pkey$'",
    )
    .fetch_one(stage.pool())
    .await
    .unwrap();
    assert!(looks < WAITING / 100, "{looks} looks into empty table partitions for {WAITING} messages");
}

#[tokio::test]
async fn pages_are_read_from_the_index_of_unpublished_messages_although_statistics_know_of_nothing_published()
{
    let stage = stage_whose_statistics_know_of_nothing_published().await;
    let before = looks(&stage, "messages_0_pkey").await;
    let relay = stage.start(&Poll(RelayConfig::default(), Reads::AsItDoes));
    publish_all(&stage, relay).await;
    let looks = looks(&stage, "messages_0_pkey").await - before;
    assert!(looks < LOOKS * WAITING, "{looks} looks into the primary key for {WAITING} messages");
}

#[tokio::test]
async fn the_age_of_the_oldest_message_is_found_although_statistics_know_of_nothing_published() {
    let stage = stage_whose_statistics_know_of_nothing_published().await;
    let before = looks(&stage, "messages_0_pkey").await;
    let (scans, _) = uses(&stage, "messages_0_topic_id_idx").await;
    let backlog = stage.backlog().await.unwrap();
    assert_eq!(backlog.unpublished, WAITING);
    // The session hands in all that it counted at once, when it has been idle for a while.
    eventually("the sample is counted", TIMEOUT, async || {
        let (found, _) = uses(&stage, "messages_0_topic_id_idx").await;
        if found > scans { Ok(()) } else { Err(found) }
    })
    .await;
    let looks = looks(&stage, "messages_0_pkey").await - before;
    assert!(looks < PUBLISHED / 10, "{looks} looks into the primary key for a sample");
}

#[tokio::test]
async fn a_value_is_read_about_once_although_a_page_has_more_of_them_than_there_is_room_for() {
    const VALUES: i64 = 200;
    let (stage, _) = Stage::in_memory().await;
    // Each is too large for its row, and is looked up when it is read.
    sqlx::query(
        "INSERT INTO outbox.messages (id, topic, key, value)
         SELECT nextval('outbox.message_ids'), $1, convert_to('key-' || n, 'UTF8'),
             (SELECT decode(string_agg(md5(n || '-' || i), ''), 'hex') FROM generate_series(1, 3000) AS i)
         FROM generate_series(1, $2) AS n",
    )
    .bind(&stage.orders)
    .bind(VALUES)
    .execute(stage.pool())
    .await
    .unwrap();
    let config = RelayConfig { buffer_bytes: 1_000_000, ..RelayConfig::default() };
    let relay = stage.start(&Poll(config, Reads::AsItDoes));
    publish(&stage, relay, VALUES).await;
    let looks: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(s.idx_scan), 0)::bigint FROM pg_stat_all_indexes s
         WHERE s.relid = (SELECT c.reltoastrelid FROM pg_class c WHERE c.oid = 'outbox.messages_0'::regclass)",
    )
    .fetch_one(stage.pool())
    .await
    .unwrap();
    assert!((VALUES..3 * VALUES).contains(&looks), "{looks} looks for {VALUES} values");
}
