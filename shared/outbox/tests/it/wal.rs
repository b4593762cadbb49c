//! The relay of the write-ahead log: what only this relay promises, and changes from one relay to the other.

use std::time::Duration;

use outbox::RelayError;
use sqlx::{Connection as _, Executor as _, PgConnection};
use testkit::postgres::{PostgresOptions, PrivatePostgres, Storage};
use testkit::wait::eventually;
use tokio::task::JoinSet;

use crate::relays::Poll;
use crate::stage::{Running, Stage, TIMEOUT, commit, lock, publish};

/// Waits until the topics are published from the log, or are not any more. What the server does meanwhile is told otherwise.
async fn until_read(stage: &Stage, relay: &str) {
    eventually(&format!("{relay} publishes"), Duration::from_secs(60), async || {
        let relays: Vec<String> =
            sqlx::query_scalar("SELECT relay FROM outbox.topics").fetch_all(stage.pool()).await.unwrap();
        if relays.iter().all(|found| found == relay) && !relays.is_empty() {
            return Ok(());
        }
        let activity: Vec<String> = sqlx::query_scalar(
            "SELECT concat_ws(' ', application_name, state, wait_event, backend_xid, now() - xact_start, left(query, 200))
             FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid()",
        )
        .fetch_all(stage.pool())
        .await
        .unwrap();
        Err((relays, activity))
    })
    .await;
}

/// A relay that publishes from the log, after one message of the key `first`.
async fn start(stage: &Stage) -> Running {
    let relay = stage.start(&Poll::wal());
    stage.commit(&stage.orders, &["first"]).await;
    stage.watcher.until_seen(&stage.orders, "first", 1).await;
    until_read(stage, "wal").await;
    stage.until_published().await;
    relay
}

async fn count(stage: &Stage, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(stage.pool()).await.unwrap()
}

const MARKED: &str = "SELECT count(*) FROM outbox.messages WHERE finished_at IS NOT NULL";
const PENDING: &str = "SELECT count(*) FROM outbox.pending";

#[tokio::test]
async fn what_the_log_brings_is_published_in_sequence_and_not_marked() {
    let stage = Stage::set().await;
    let relay = start(&stage).await;
    let marked = count(&stage, MARKED).await;
    for sequence in 1..=5 {
        stage.commit(&stage.orders, &["a", "b"]).await;
        stage.commit(&stage.stock, &["c"]).await;
        stage.watcher.until_seen(&stage.orders, "b", sequence).await;
    }
    stage.until_published().await;
    assert_eq!(count(&stage, MARKED).await, marked);
    assert_eq!(count(&stage, PENDING).await, 0);
    relay.stop().await;
    stage.commit(&stage.orders, &["a"]).await;
    assert_eq!(stage.unpublished().await, 1);
    let relay = stage.start(&Poll::wal());
    stage.watcher.until_seen(&stage.orders, "a", 6).await;
    stage.until_published().await;
    assert_eq!(stage.watcher.sequences(&stage.orders, "a"), [1, 2, 3, 4, 5, 6]);
    relay.stop().await;
}

#[tokio::test]
async fn a_change_of_relays_under_load_loses_nothing() {
    let stage = Stage::set().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let load = async {
        let mut rounds = 0;
        while !stop.is_cancelled() {
            stage.commit(&stage.orders, &["a", "b", "c"]).await;
            stage.commit(&stage.stock, &["d"]).await;
            rounds += 1;
        }
        rounds
    };
    let changes = async {
        for _ in 0..3 {
            let relay = stage.start(&Poll::wal());
            until_read(&stage, "wal").await;
            stage.commit(&stage.stock, &["between"]).await;
            relay.stop().await;
            let relay = stage.start(&Poll::default());
            eventually("polling as before", TIMEOUT, async || {
                match count(&stage, "SELECT count(*) FROM outbox.topics").await {
                    0 => Ok(()),
                    topics => Err(topics),
                }
            })
            .await;
            stage.commit(&stage.stock, &["between"]).await;
            relay.abort().await;
        }
        stop.cancel();
    };
    let (rounds, ()) = tokio::join!(load, changes);
    let relay = stage.start(&Poll::wal());
    for (topic, key) in
        [(&stage.orders, "a"), (&stage.orders, "b"), (&stage.orders, "c"), (&stage.stock, "d")]
    {
        stage.watcher.until_seen(topic, key, rounds).await;
    }
    stage.watcher.until_seen(&stage.stock, "between", 6).await;
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    println!("{} records of {} messages", stage.watcher.count(), rounds * 4 + 6);
    relay.stop().await;
}

#[tokio::test]
async fn a_lost_slot_loses_nothing() {
    let stage = Stage::set().await;
    for recreated in [false, true] {
        let relay = start(&stage).await;
        stage.commit(&stage.orders, &["a"]).await;
        stage.until_published().await;
        relay.stop().await;
        let slot: String =
            sqlx::query_scalar("SELECT min(slot) FROM outbox.topics").fetch_one(stage.pool()).await.unwrap();
        // Appended while nobody reads, and then nobody can.
        commit(stage.pool(), &stage.outbox, &stage.orders, &["a", "b"]).await;
        // The server may not have seen yet that its reader is gone.
        eventually("the slot is dropped", TIMEOUT, async || {
            let dropping = sqlx::query("SELECT pg_drop_replication_slot($1)").bind(&slot);
            dropping.execute(stage.pool()).await
        })
        .await;
        if recreated {
            sqlx::query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')")
                .bind(&slot)
                .execute(stage.pool())
                .await
                .unwrap();
        }
        let relay = stage.start(&Poll::wal());
        stage.commit(&stage.orders, &["a", "b"]).await;
        stage.watcher.until_seen(&stage.orders, "b", if recreated { 4 } else { 2 }).await;
        until_read(&stage, "wal").await;
        stage.until_published().await;
        stage.watcher.assert_in_sequence();
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_restored_outbox_publishes_what_it_had_not() {
    let stage = Stage::set().await;
    let relay = start(&stage).await;
    stage.commit(&stage.orders, &["a"]).await;
    stage.until_published().await;
    relay.stop().await;
    // As if the tables had been copied into a cluster whose transactions have low numbers.
    let restored = "UPDATE outbox.topics SET system_identifier = system_identifier - 1, snapshot = '900000000:900000000:'";
    stage.pool().execute(restored).await.unwrap();
    commit(stage.pool(), &stage.outbox, &stage.orders, &["a", "b"]).await;
    assert!(stage.unpublished().await >= 2);
    let relay = stage.start(&Poll::wal());
    stage.watcher.until_seen(&stage.orders, "a", 2).await;
    stage.watcher.until_seen(&stage.orders, "b", 1).await;
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

#[tokio::test]
async fn a_late_commit_is_unpublished_until_it_is_published() {
    let stage = Stage::set().await;
    let relay = start(&stage).await;
    let mut late = PgConnection::connect(stage.database.url()).await.unwrap();
    late.execute("BEGIN").await.unwrap();
    let aggregate = lock(&mut late, "late").await;
    publish(&mut late, &stage.outbox, &stage.orders, vec![aggregate]).await.unwrap();
    stage.commit(&stage.orders, &["a"]).await;
    stage.watcher.until_seen(&stage.orders, "a", 1).await;
    stage.until_published().await;
    relay.stop().await;
    late.execute("COMMIT").await.unwrap();
    assert_eq!(stage.unpublished().await, 1);
    let relay = stage.start(&Poll::wal());
    stage.watcher.until_seen(&stage.orders, "late", 1).await;
    stage.until_published().await;
    relay.stop().await;
}

#[tokio::test]
async fn what_is_behind_a_pending_message_is_published_behind_it() {
    let stage = Stage::set().await;
    let relay = start(&stage).await;
    // As a leader before this one leaves it, and the leader knows nothing of it.
    let mut transaction = stage.pool().begin().await.unwrap();
    let aggregate = lock(&mut transaction, "a").await;
    publish(&mut transaction, &stage.outbox, &stage.orders, vec![aggregate]).await.unwrap();
    let pending = "INSERT INTO outbox.pending SELECT id, topic FROM outbox.messages WHERE subject = 'a';
         INSERT INTO outbox.blocked_keys (message_id, topic, key, reason, detail)
         SELECT id, topic, key, 'gap', 'by hand' FROM outbox.messages WHERE subject = 'a'";
    sqlx::raw_sql(pending).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    stage.commit(&stage.orders, &["a", "b"]).await;
    stage.watcher.until_seen(&stage.orders, "b", 1).await;
    stage.until_unpublished(2).await;
    assert_eq!(stage.watcher.sequences(&stage.orders, "a"), Vec::<i64>::new());
    stage.pool().execute("DELETE FROM outbox.blocked_keys").await.unwrap();
    stage.watcher.until_seen(&stage.orders, "a", 2).await;
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    relay.stop().await;
}

#[tokio::test]
async fn a_publication_that_was_made_anew_stops_nothing() {
    let stage = Stage::set().await;
    let relay = start(&stage).await;
    relay.stop().await;
    stage.pool().execute("DROP PUBLICATION outbox_relay").await.unwrap();
    commit(stage.pool(), &stage.outbox, &stage.orders, &["a"]).await;
    let relay = stage.start(&Poll::wal());
    stage.watcher.until_seen(&stage.orders, "a", 1).await;
    until_read(&stage, "wal").await;
    stage.commit(&stage.orders, &["a"]).await;
    stage.watcher.until_seen(&stage.orders, "a", 2).await;
    stage.until_published().await;
    relay.stop().await;
}

#[tokio::test]
async fn a_role_that_may_not_read_the_log_is_refused_at_the_start() {
    let stage = Stage::set().await;
    let role = testkit::broker::unique("plain").replace('-', "_");
    let create = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'plain'; GRANT USAGE ON SCHEMA outbox TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA outbox TO {role};
         GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA outbox TO {role};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA outbox TO {role}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(stage.pool()).await.unwrap();
    let options = stage.database.database().options().clone().username(&role).password("plain");
    let database = database::Database::new(options, 4, database::Bounds::default());
    let relay = Poll::wal().relay(&database, &stage.outbox, std::sync::Arc::clone(&stage.bus), None);
    let refused = relay.run(tokio_util::sync::CancellationToken::new()).await;
    assert!(matches!(&refused, Err(RelayError::Setup(why)) if why.contains("REPLICATION")), "{refused:?}");
    database.close();
    let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(stage.pool()).await.unwrap();
}

/// A server whose commits wait for one of these standbys, where they ask for that. None is there.
async fn without_its_standby(names: &str) -> PrivatePostgres {
    let mut options = PostgresOptions::for_tests();
    for (name, value) in [("synchronous_standby_names", names), ("synchronous_commit", "local")] {
        options.settings.push((name.to_owned(), value.to_owned()));
    }
    PrivatePostgres::start(&Storage::Temporary, &options).await.unwrap()
}

#[tokio::test]
async fn a_relay_that_would_be_taken_for_a_standby_is_refused_at_the_start() {
    let server = without_its_standby("FIRST 1 (*)").await;
    let (stage, bus) = Stage::in_memory_at(&server.url("postgres")).await;
    let relay = Poll::wal().relay(stage.database.database(), &stage.outbox, std::sync::Arc::new(bus), None);
    let refused = relay.run(tokio_util::sync::CancellationToken::new()).await;
    assert!(
        matches!(&refused, Err(RelayError::Setup(why)) if why.contains("synchronous_standby_names")),
        "{refused:?}"
    );
    drop(stage);
    server.stop().await.unwrap();
}

/// Appends a message whose commit waits for the standby; it is on disk, and in the log, when this returns.
async fn commit_that_waits(stage: &Stage, key: &str) -> JoinSet<()> {
    let mut conn = PgConnection::connect(stage.database.url()).await.unwrap();
    conn.execute("BEGIN; SET LOCAL synchronous_commit = on").await.unwrap();
    let aggregate = lock(&mut conn, key).await;
    publish(&mut conn, &stage.outbox, &stage.orders, vec![aggregate]).await.unwrap();
    let mut committing = JoinSet::new();
    committing.spawn(async move {
        conn.execute("COMMIT").await.unwrap();
    });
    eventually("the commit waits for the standby", TIMEOUT, async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        if count(stage, waiting).await > 0 { Ok(()) } else { Err("it does not") }
    })
    .await;
    committing
}

/// The standby is not waited for any more.
async fn let_commit(stage: &Stage, mut committing: JoinSet<()>) {
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    stage.pool().execute(cancel).await.unwrap();
    tokio::time::timeout(TIMEOUT, committing.join_next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn what_the_stream_brings_before_it_is_visible_is_not_taken_for_published() {
    for pending in ["SELECT", "INSERT INTO outbox.pending VALUES (0, 'something')"] {
        invisible_is_not_published(pending).await;
    }
}

async fn invisible_is_not_published(pending: &'static str) {
    let server = without_its_standby("nobody").await;
    let (stage, _bus) = Stage::in_memory_at(&server.url("postgres")).await;
    let relay = start(&stage).await;
    // It is looked for in another way where something is pending.
    stage.pool().execute(pending).await.unwrap();
    let committing = commit_that_waits(&stage, "late").await;
    // The log is read on behind it, and nothing of it is published, or counted as published.
    commit(stage.pool(), &stage.outbox, &stage.stock, &["other"]).await;
    let passed = "SELECT count(*) FROM pg_stat_replication WHERE sent_lsn >= pg_current_wal_flush_lsn()";
    eventually("the log is read to its end", TIMEOUT, async || match count(&stage, passed).await {
        0 => Err("not yet"),
        _ => Ok(()),
    })
    .await;
    relay.stop().await;
    assert_eq!(stage.watcher.sequences(&stage.orders, "late"), Vec::<i64>::new());
    let_commit(&stage, committing).await;
    assert_eq!(stage.unpublished().await, 2);
    let relay = stage.start(&Poll::wal());
    stage.watcher.until_seen(&stage.orders, "late", 1).await;
    stage.until_published().await;
    relay.stop().await;
    drop(stage);
    server.stop().await.unwrap();
}

/// A transaction that stays open, and the process that serves it.
async fn open(stage: &Stage) -> (PgConnection, i32) {
    let mut conn = PgConnection::connect(stage.database.url()).await.unwrap();
    conn.execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    let pid = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut conn).await.unwrap();
    (conn, pid)
}

/// Waits until the slot that is being made waits for the transaction of this process.
async fn until_slot_waits(stage: &Stage, pid: i32) {
    eventually("the slot waits for an open transaction", TIMEOUT, async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE query ~ 'outbox.make_slot' AND pg_blocking_pids(pid) @> ARRAY[$1]",
        )
        .bind(pid)
        .fetch_one(stage.pool())
        .await
        .unwrap();
        if waiting > 0 { Ok(()) } else { Err("it does not") }
    })
    .await;
}

/// Its commit is in the log before the slot begins, so that the slot does not show it; and no snapshot shows it before the slot
/// is there. The server waits for transactions that it met when it began, not for this one.
#[tokio::test]
async fn a_commit_that_waits_for_a_standby_while_the_slot_is_made_is_published() {
    let server = without_its_standby("nobody").await;
    let (stage, _bus) = Stage::in_memory_at(&server.url("postgres")).await;
    let (mut first, pid) = open(&stage).await;
    let relay = stage.start(&Poll::wal());
    stage.commit(&stage.orders, &["a"]).await;
    stage.watcher.until_seen(&stage.orders, "a", 1).await;
    until_slot_waits(&stage, pid).await;
    let (mut second, pid) = open(&stage).await;
    first.execute("COMMIT").await.unwrap();
    until_slot_waits(&stage, pid).await;
    let committing = commit_that_waits(&stage, "late").await;
    second.execute("COMMIT").await.unwrap();
    eventually("the slot is there", TIMEOUT, async || {
        let made = "SELECT count(*) FROM pg_replication_slots WHERE confirmed_flush_lsn IS NOT NULL";
        if count(&stage, made).await > 0 { Ok(()) } else { Err("not yet") }
    })
    .await;
    // Many occasions to take over too early.
    for sequence in 2..=20 {
        stage.commit(&stage.orders, &["a"]).await;
        stage.watcher.until_seen(&stage.orders, "a", sequence).await;
    }
    assert_eq!(count(&stage, "SELECT count(*) FROM outbox.topics").await, 0);
    let_commit(&stage, committing).await;
    stage.watcher.until_seen(&stage.orders, "late", 1).await;
    until_read(&stage, "wal").await;
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    relay.stop().await;
    drop(stage);
    server.stop().await.unwrap();
}
