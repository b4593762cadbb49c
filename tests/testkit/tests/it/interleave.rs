//! The interleaving driver runs exactly the schedules that exist, and finds what a lost update looks like.

use std::cell::RefCell;
use std::collections::BTreeSet;

use database::{Database, Operation, Transaction};
use sqlx::postgres::PgConnectOptions;
use testkit::interleave::{Explored, every_interleaving};
use testkit::postgres::TestDatabase;

async fn count_to_two(read: &'static str) -> (Explored, BTreeSet<i32>, usize) {
    let database = TestDatabase::create("interleave", async |pool| {
        sqlx::query("CREATE TABLE counters (id serial PRIMARY KEY, value int NOT NULL)")
            .execute(pool)
            .await?;
        Ok(())
    })
    .await;
    let pool = database.pool();
    let add_one = |id: i32, database: Database| async move {
        let adding = async |mut tx: Transaction| {
            let value: i32 = sqlx::query_scalar(read).bind(id).fetch_one(&mut *tx).await?;
            sqlx::query("UPDATE counters SET value = $2 WHERE id = $1")
                .bind(id)
                .bind(value + 1)
                .execute(&mut *tx)
                .await?;
            tx.commit().await
        };
        database.transaction::<(), sqlx::Error, _>(Operation::Worker, adding).await.unwrap();
    };
    let ends = RefCell::new(BTreeSet::new());
    let schedules = RefCell::new(BTreeSet::new());
    let options: PgConnectOptions = database.url().parse().unwrap();
    let explored = Box::pin(every_interleaving(
        &options,
        100,
        async || {
            sqlx::query_scalar("INSERT INTO counters (value) VALUES (0) RETURNING id")
                .fetch_one(pool)
                .await
                .unwrap()
        },
        add_one,
        add_one,
        |id: i32, schedule| {
            schedules.borrow_mut().insert(schedule);
            let ends = &ends;
            async move {
                let value: i32 = sqlx::query_scalar("SELECT value FROM counters WHERE id = $1")
                    .bind(id)
                    .fetch_one(pool)
                    .await
                    .unwrap();
                ends.borrow_mut().insert(value);
            }
        },
    ))
    .await;
    let distinct = schedules.borrow().len();
    (explored, ends.into_inner(), distinct)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_without_a_lock_loses_updates_in_some_schedules() {
    let (explored, ends, distinct) = count_to_two("SELECT value FROM counters WHERE id = $1").await;
    assert_eq!(ends, BTreeSet::from([1, 2]));
    assert_eq!(distinct, explored.schedules, "no schedule is run twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_with_a_lock_loses_none() {
    let (explored, ends, distinct) =
        count_to_two("SELECT value FROM counters WHERE id = $1 FOR UPDATE").await;
    assert_eq!(ends, BTreeSet::from([2]));
    assert_eq!(distinct, explored.schedules, "no schedule is run twice");
    println!("{explored:?}");
}
