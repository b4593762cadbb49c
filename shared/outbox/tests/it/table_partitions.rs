//! Table partitions: made ahead of time, dropped whole once all of it is published, and nothing is lost in between.

use std::time::Duration;

use sqlx::{Connection as _, Executor as _, PgConnection};
use testkit::wait::eventually;

use crate::relays::{Poll, Reads};
use crate::stage::{Stage, TIMEOUT, lock, publish};
use outbox::RelayError;

/// Lets all messages have been appended and published eight days ago.
const LONG_AGO: &str = "UPDATE outbox.messages SET created_at = created_at - interval '8 days',
    finished_at = finished_at - interval '8 days'";

const LOCK: &str = "LOCK TABLE ONLY outbox.messages IN ACCESS EXCLUSIVE MODE";
const DROP: &str = "SELECT outbox.drop_table_partition(interval '7 days')";

async fn dropped(stage: &Stage) -> Vec<i64> {
    sqlx::query_scalar("SELECT first_id FROM outbox.table_partitions WHERE dropped_at IS NOT NULL ORDER BY 1")
        .fetch_all(stage.pool())
        .await
        .unwrap()
}

/// Waits until a session of this database waits for a lock.
async fn until_somebody_waits(stage: &Stage) {
    eventually("somebody waits for the table", TIMEOUT, async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
             WHERE d.datname = current_database() AND NOT l.granted",
        )
        .fetch_one(stage.pool())
        .await
        .unwrap();
        if waiting > 0 { Ok(()) } else { Err("no session waits") }
    })
    .await;
}

pub(crate) async fn a_partition_is_dropped_once_it_is_published_and_old_and_its_keys_go_on() {
    for reads in Reads::BOTH {
        is_dropped_and_its_keys_go_on(Poll::default().reading(reads)).await;
    }
}

async fn is_dropped_and_its_keys_go_on(mut factory: Poll) {
    let stage = Stage::set().await;
    factory.0.maintenance_interval_ms = 20;
    let relay = stage.start(&factory);
    for _ in 0..3 {
        stage.commit(&stage.orders, &["a", "b"]).await;
    }
    stage.until_published().await;
    stage.pool().execute(LONG_AGO).await.unwrap();
    stage.continue_in_partition(1).await;
    stage.commit(&stage.orders, &["young"]).await;
    eventually("the first partition is dropped", TIMEOUT, async || match dropped(&stage).await.as_slice() {
        [0] => Ok(()),
        other => Err(other.to_vec()),
    })
    .await;
    let kept: Vec<String> =
        sqlx::query_scalar("SELECT subject FROM outbox.messages").fetch_all(stage.pool()).await.unwrap();
    assert_eq!(kept, ["young"]);
    stage.commit(&stage.orders, &["a", "b"]).await;
    stage.watcher.until_seen(&stage.orders, "b", 4).await;
    stage.watcher.until_seen(&stage.orders, "a", 4).await;
    assert_eq!(stage.blocked().await, 0);
    relay.stop().await;
}

#[tokio::test]
async fn a_partition_with_a_message_that_is_young_or_unpublished_stays() {
    let stage = Stage::set().await;
    stage.commit(&stage.orders, &["a", "b"]).await;
    stage.pool().execute("UPDATE outbox.messages SET finished_at = clock_timestamp()").await.unwrap();
    stage.pool().execute(LONG_AGO).await.unwrap();
    stage.continue_in_partition(1).await;
    stage.pool().execute(DROP).await.unwrap();
    assert_eq!(dropped(&stage).await, Vec::<i64>::new(), "the sequence is not past it");
    stage.commit(&stage.orders, &["c"]).await;
    for (keep, why) in [
        ("UPDATE outbox.messages SET finished_at = NULL WHERE subject = 'b'", "unpublished"),
        ("UPDATE outbox.messages SET finished_at = now(), created_at = now() WHERE subject = 'b'", "young"),
    ] {
        stage.pool().execute(keep).await.unwrap();
        stage.pool().execute(DROP).await.unwrap();
        assert_eq!(dropped(&stage).await, Vec::<i64>::new(), "{why}");
    }
    stage.pool().execute(LONG_AGO).await.unwrap();
    stage.pool().execute(DROP).await.unwrap();
    assert_eq!(dropped(&stage).await, [0]);
}

#[tokio::test]
async fn a_row_that_came_before_the_drop_is_kept() {
    let stage = Stage::set().await;
    stage.commit(&stage.orders, &["a"]).await;
    stage.pool().execute("UPDATE outbox.messages SET finished_at = clock_timestamp()").await.unwrap();
    stage.pool().execute(LONG_AGO).await.unwrap();
    let mut late = PgConnection::connect(stage.database.url()).await.unwrap();
    late.execute("BEGIN").await.unwrap();
    let aggregate = lock(&mut late, "late").await;
    publish(&mut late, &stage.outbox, &stage.orders, vec![aggregate]).await.unwrap();
    stage.continue_in_partition(1).await;
    stage.commit(&stage.orders, &["b"]).await;
    // The look sees nothing of what is not committed; the lock waits for it.
    let dropping = async { stage.pool().execute(DROP).await };
    let committing = async {
        until_somebody_waits(&stage).await;
        late.execute("COMMIT").await.unwrap();
    };
    let (looked, ()) = tokio::join!(dropping, committing);
    looked.unwrap();
    assert_eq!(dropped(&stage).await, Vec::<i64>::new());
    let relay = stage.start(&Poll::default());
    stage.watcher.until_seen(&stage.orders, "late", 1).await;
    relay.stop().await;
}

/// With a statement that is planned for its parameters, and with one whose plan is kept.
#[tokio::test]
async fn a_predecessor_dropped_while_its_successor_is_read_is_no_gap() {
    for (plans, reads) in ["force_custom_plan", "force_generic_plan"]
        .into_iter()
        .flat_map(|plans| Reads::BOTH.map(|reads| (plans, reads)))
    {
        let stage = Stage::set().await;
        let settings = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET plan_cache_mode = {plans}', current_database()); END $$"
        );
        stage.pool().execute(sqlx::AssertSqlSafe(settings)).await.unwrap();
        // Without a tick in between: what is woken reads ahead, and nothing else is asked before.
        let mut factory = Poll::default().reading(reads);
        (factory.0.poll_interval_ms, factory.0.idle_session_timeout_ms) = (600_000, 1_200_000);
        let relay = stage.start(&factory);
        stage.commit(&stage.orders, &["a"]).await;
        stage.until_published().await;
        stage.pool().execute(LONG_AGO).await.unwrap();
        stage.continue_in_partition(1).await;
        stage.commit(&stage.orders, &["young"]).await;
        stage.until_published().await;

        let mut holding = PgConnection::connect(stage.database.url()).await.unwrap();
        holding.execute("BEGIN").await.unwrap();
        let aggregate = lock(&mut holding, "a").await;
        publish(&mut holding, &stage.outbox, &stage.orders, vec![aggregate]).await.unwrap();
        holding.execute(LOCK).await.unwrap();
        stage.outbox.wake();
        // One statement of the relay after the other, up to the one that reads the row.
        while !until_waiting(&stage, "outbox-relay").await.contains("AS predecessor_published") {
            let mut next = PgConnection::connect(stage.database.url()).await.unwrap();
            next.execute("SET application_name = 'next'; BEGIN").await.unwrap();
            let release = async {
                until_waiting(&stage, "next").await;
                holding.execute("COMMIT").await.unwrap();
            };
            let (locked, ()) = tokio::join!(next.execute(LOCK), release);
            locked.unwrap();
            next.execute("SET application_name = 'holding'").await.unwrap();
            holding = next;
        }
        holding.execute(DROP).await.unwrap();
        holding.execute("COMMIT").await.unwrap();
        assert_eq!(dropped(&stage).await, [0]);
        stage.watcher.until_seen(&stage.orders, "a", 2).await;
        assert_eq!(stage.blocked().await, 0, "{plans}, {reads:?}");
        relay.stop().await;
    }
}

/// Waits until a session of this name waits for a lock, and returns its statement.
async fn until_waiting(stage: &Stage, application_name: &str) -> String {
    eventually(&format!("{application_name} waits for the table"), TIMEOUT, async || {
        let waiting: Option<String> = sqlx::query_scalar(
            "SELECT query FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = $1",
        )
        .bind(application_name)
        .fetch_optional(stage.pool())
        .await
        .unwrap();
        waiting.ok_or("it does not wait")
    })
    .await
}

#[tokio::test]
async fn a_drop_that_the_database_refuses_holds_up_nobody() {
    let stage = Stage::set().await;
    stage
        .pool()
        .execute(
            "CREATE OR REPLACE FUNCTION outbox.drop_table_partition(retention interval) RETURNS bigint
             LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''as the test says''; END'",
        )
        .await
        .unwrap();
    let relay = stage.start(&Poll::default());
    for sequence in 1..=3 {
        stage.commit(&stage.orders, &["a"]).await;
        stage.watcher.until_seen(&stage.orders, "a", sequence).await;
    }
    relay.stop().await;
}

#[tokio::test]
async fn a_role_without_the_right_can_neither_add_nor_drop() {
    let stage = Stage::set().await;
    for call in ["outbox.add_table_partitions(4)", "outbox.drop_table_partition('0')"] {
        let statements = format!("SET LOCAL ROLE pg_read_all_data; SELECT {call}");
        let mut transaction = stage.pool().begin().await.unwrap();
        let refused = transaction.execute(sqlx::AssertSqlSafe(statements)).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("permission denied")), "{call}");
    }
}

#[tokio::test]
async fn an_id_of_a_dropped_range_is_refused_without_a_constraints_name() {
    let stage = Stage::set().await;
    stage.continue_in_partition(1).await;
    stage.commit(&stage.orders, &["a"]).await;
    stage.pool().execute(DROP).await.unwrap();
    assert_eq!(dropped(&stage).await, [0]);
    let late = sqlx::query("INSERT INTO outbox.messages (id, topic) VALUES (7, 'orders')")
        .execute(stage.pool())
        .await;
    let refused = late.unwrap_err();
    let refused = refused.as_database_error().unwrap();
    assert_eq!((refused.code().as_deref(), refused.constraint()), (Some("23514"), None));
}

#[tokio::test]
async fn partitions_are_made_beside_a_long_reader() {
    let stage = Stage::set().await;
    let mut reader = PgConnection::connect(stage.database.url()).await.unwrap();
    reader
        .execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox.messages")
        .await
        .unwrap();
    stage.continue_in_partition(3).await;
    let adding = sqlx::query_scalar("SELECT outbox.add_table_partitions(4)").fetch_one(stage.pool());
    let made: i32 = tokio::time::timeout(Duration::from_secs(20), adding).await.unwrap().unwrap();
    assert_eq!(made, 4);
    stage.commit(&stage.orders, &["a"]).await;
    let ids: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM outbox.messages").fetch_all(stage.pool()).await.unwrap();
    assert_eq!(ids, [3 * 1_048_576]);
    reader.execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_sequence_behind_its_table_is_refused() {
    let stage = Stage::set().await;
    stage.commit(&stage.orders, &["a", "b", "c"]).await;
    stage.pool().execute("SELECT setval('outbox.message_ids', 2)").await.unwrap();
    let refused = stage.start(&Poll::default()).ended().await;
    assert!(matches!(&refused, Err(RelayError::Setup(why)) if why.contains("setval")), "{refused:?}");
}

#[tokio::test]
async fn a_message_is_finished_in_its_page_and_every_table_partition_has_room_for_that() {
    let (stage, _) = Stage::in_memory().await;
    let keys: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    stage.commit(&stage.orders, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let pages = async || -> Vec<(i64, i64)> {
        sqlx::query_as("SELECT id, (ctid::text::point)[0]::bigint FROM outbox.messages ORDER BY id")
            .fetch_all(stage.pool())
            .await
            .unwrap()
    };
    let before = pages().await;
    // In one statement: otherwise the old versions make room for those that come later.
    stage.pool().execute("UPDATE outbox.messages SET finished_at = clock_timestamp()").await.unwrap();
    let moved = pages().await.iter().zip(&before).filter(|(after, before)| after != before).count();
    // A version is 8 bytes longer than the one before it: the last one of a page may not fit.
    assert!(moved * 4 < before.len(), "{moved} of {} messages are in another page", before.len());

    stage.continue_in_partition(2).await;
    stage.pool().execute("SELECT outbox.add_table_partitions(4)").await.unwrap();
    let without_room: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'outbox.messages'::regclass AND NOT c.reloptions @> '{fillfactor=50}'",
    )
    .fetch_all(stage.pool())
    .await
    .unwrap();
    assert_eq!(without_room, Vec::<String>::new());
}
