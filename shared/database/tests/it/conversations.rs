//! What becomes of a connection after each end that a conversation can have.

use std::time::Duration;

use database::{Database, Operation, Transaction};
use testkit::postgres::TestDatabase;
use testkit::wait::eventually;
use tokio::task::JoinSet;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) async fn numbers() -> TestDatabase {
    TestDatabase::create("numbers", async |pool| {
        sqlx::query("CREATE TABLE numbers (number bigint PRIMARY KEY)").execute(pool).await?;
        Ok(())
    })
    .await
}

pub(crate) async fn insert(mut tx: Transaction, number: i64) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO numbers VALUES ($1)").bind(number).execute(&mut *tx).await?;
    tx.commit().await
}

pub(crate) async fn stored(database: &TestDatabase) -> Vec<i64> {
    sqlx::query_scalar("SELECT number FROM numbers ORDER BY number").fetch_all(database.pool()).await.unwrap()
}

async fn backend(database: &Database) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(database.statement(Operation::Request))
        .await
        .unwrap()
}

/// Waits until the server process has ended.
async fn until_gone(database: &TestDatabase, backend: i32) {
    eventually("the session has ended", TIMEOUT, async || {
        let sessions: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE pid = $1")
            .bind(backend)
            .fetch_one(database.pool())
            .await
            .unwrap();
        if sessions == 0 { Ok(()) } else { Err(sessions) }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_committed_is_rolled_back_and_its_connection_lent_again() {
    let numbers = numbers().await;
    let database = numbers.database().another(1);
    let before = backend(&database).await;
    let left = database
        .transaction(Operation::Request, |mut tx| async move {
            sqlx::query("INSERT INTO numbers VALUES (1)").execute(&mut *tx).await?;
            Ok::<_, sqlx::Error>(())
        })
        .await;
    assert!(left.is_ok());
    let refused = database
        .transaction(Operation::Request, |mut tx| async move {
            sqlx::query("INSERT INTO numbers VALUES (2)").execute(&mut *tx).await?;
            sqlx::query("INSERT INTO numbers VALUES (2)").execute(&mut *tx).await?;
            tx.commit().await
        })
        .await;
    assert!(refused.is_err());
    database.transaction(Operation::Request, |tx| insert(tx, 3)).await.unwrap();
    assert_eq!(stored(&numbers).await, [3]);
    assert_eq!(backend(&database).await, before);
}

#[tokio::test]
async fn a_commit_of_a_failed_transaction_is_an_error() {
    let numbers = numbers().await;
    let swallowed = numbers
        .database()
        .transaction(Operation::Request, |mut tx| async move {
            let _ = sqlx::query("INSERT INTO nowhere VALUES (1)").execute(&mut *tx).await;
            tx.commit().await
        })
        .await;
    let error = swallowed.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "25P02");
}

#[tokio::test]
async fn a_panic_gives_no_connection_back() {
    let numbers = numbers().await;
    let database = numbers.database().another(1);
    let before = backend(&database).await;
    let mut tasks = JoinSet::new();
    let theirs = database.clone();
    tasks.spawn(async move {
        theirs
            .transaction::<(), sqlx::Error, _>(Operation::Request, |mut tx| async move {
                sqlx::query("INSERT INTO numbers VALUES (1)").execute(&mut *tx).await?;
                panic!("the test asks for it")
            })
            .await
    });
    assert!(tasks.join_next().await.unwrap().unwrap_err().is_panic());
    until_gone(&numbers, before).await;
    assert_ne!(backend(&database).await, before);
    assert!(stored(&numbers).await.is_empty());
}

#[tokio::test]
async fn a_caller_that_is_dropped_gives_no_connection_back() {
    let numbers = numbers().await;
    let database = numbers.database().another(1);
    let before = backend(&database).await;
    let asleep = database.transaction(Operation::Request, |mut tx| async move {
        sqlx::query("SELECT pg_sleep(600)").execute(&mut *tx).await?;
        tx.commit().await
    });
    let at_work = async {
        eventually("it sleeps", TIMEOUT, async || {
            let asleep: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'",
            )
            .bind(before)
            .fetch_one(numbers.pool())
            .await
            .unwrap();
            if asleep == 1 { Ok(()) } else { Err(asleep) }
        })
        .await;
    };
    tokio::select! {
        ended = asleep => panic!("it sleeps: {ended:?}"),
        () = at_work => {}
    }
    assert_ne!(backend(&database).await, before);
}

#[tokio::test]
async fn a_server_that_ended_the_idle_sessions_costs_no_conversation() {
    let numbers = numbers().await;
    let database = numbers.database().another(4);
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let database = database.clone();
        tasks.spawn(async move {
            sqlx::query("SELECT pg_sleep(0.2)")
                .execute(database.statement(Operation::Request))
                .await
                .unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        .execute(numbers.pool())
        .await
        .unwrap();
    // Idle for longer than connections are trusted.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for number in 0..4 {
        database.transaction(Operation::Request, |tx| insert(tx, number)).await.unwrap();
    }
}
