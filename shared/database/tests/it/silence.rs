//! The way to the server falls silent: after each byte of a conversation, and for the whole pool at once.

use std::io::ErrorKind;
use std::time::Duration;

use database::{Bounds, Database, Operation, StuckSessions, Transaction};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use testkit::postgres::TestDatabase;
use testkit::proxy::Proxy;
use testkit::wait::eventually;
use tokio::task::JoinSet;

use crate::conversations::{TIMEOUT, insert, numbers, stored};

/// Short for conversations that fall silent, long for those after them.
const BOUNDS: Bounds = Bounds { work: Duration::from_secs(30), request: Duration::from_secs(1) };

async fn through_a_proxy(database: &TestDatabase, max_connections: usize) -> (Proxy, Database) {
    let server = database.database().options();
    let proxy = Proxy::start(format!("{}:{}", server.get_host(), server.get_port())).await.unwrap();
    (proxy.clone(), at(server, &proxy, max_connections))
}

fn at(server: &PgConnectOptions, proxy: &Proxy, max_connections: usize) -> Database {
    let options = server.clone().host("127.0.0.1").port(proxy.address().port()).ssl_mode(PgSslMode::Disable);
    Database::new(options, max_connections, BOUNDS)
}

/// How many bytes a conversation on a connection that is open takes, both ways together.
async fn length(numbers: &TestDatabase) -> usize {
    let (proxy, database) = through_a_proxy(numbers, 1).await;
    database.transaction(Operation::Worker, |tx| insert(tx, -2)).await.unwrap();
    let opened = proxy.forwarded();
    database.transaction(Operation::Worker, |tx| insert(tx, -1)).await.unwrap();
    proxy.forwarded() - opened
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_silent_from_any_byte_costs_its_bound_and_nothing_else() {
    let numbers = numbers().await;
    let length = length(&numbers).await;
    assert!(length > 100, "{length}");
    let server = numbers.database().options().clone();
    let mut cases = JoinSet::new();
    let mut bytes = 0..=length;
    let mut done = 0;
    loop {
        while cases.len() < 60
            && let Some(byte) = bytes.next()
        {
            let server = server.clone();
            cases.spawn(async move { (byte, silent_from(byte, &server).await) });
        }
        let Some(case) = cases.join_next().await else { break };
        let (byte, committed) = case.unwrap();
        let found = stored_number(&numbers, byte).await;
        assert!(found || !committed, "byte {byte}: reported as committed, and not there");
        done += 1;
    }
    assert_eq!(done, length + 1);
}

async fn stored_number(numbers: &TestDatabase, byte: usize) -> bool {
    let number = i64::try_from(byte).unwrap();
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM numbers WHERE number = $1)")
        .bind(number)
        .fetch_one(numbers.pool())
        .await
        .unwrap()
}

/// Whether a conversation whose way falls silent after so many bytes was reported as committed. Its pool of one connection
/// serves the next conversation.
async fn silent_from(byte: usize, server: &PgConnectOptions) -> bool {
    let proxy = Proxy::start(format!("{}:{}", server.get_host(), server.get_port())).await.unwrap();
    let database = at(server, &proxy, 1);
    sqlx::query("SELECT count(*) FROM numbers WHERE number = $1")
        .bind(0_i64)
        .execute(database.statement(Operation::Worker))
        .await
        .unwrap();
    proxy.silence_after(byte);
    let number = i64::try_from(byte).unwrap();
    let outcome = database.transaction(Operation::Request, |tx| insert(tx, number)).await;
    if let Err(error) = &outcome {
        assert!(matches!(error, sqlx::Error::Io(_)), "byte {byte}: {error}");
    }
    proxy.serve();
    let one: i32 = sqlx::query_scalar("SELECT 1")
        .fetch_one(database.statement(Operation::Worker))
        .await
        .unwrap_or_else(|error| panic!("byte {byte}: the next conversation: {error}"));
    assert_eq!((one, database.status().open), (1, 1));
    outcome.is_ok()
}

#[tokio::test]
async fn a_server_that_refuses_answers_and_a_silent_one_does_not() {
    let numbers = numbers().await;
    let (proxy, database) = through_a_proxy(&numbers, 1).await;
    let long = Duration::from_secs(30);
    database.answers(long).await.unwrap();
    let nowhere = Database::new(database.options().clone().database("no_such_database"), 1, BOUNDS);
    nowhere.answers(long).await.unwrap();

    proxy.silence_all();
    let silent = database.answers(Duration::from_millis(300)).await;
    assert!(
        matches!(&silent, Err(sqlx::Error::Io(error)) if error.kind() == ErrorKind::TimedOut),
        "{silent:?}"
    );
    // Nothing listens on the port that the operating system reserves for nothing.
    let closed = Database::new(database.options().clone().port(1), 1, BOUNDS);
    assert!(matches!(closed.answers(long).await, Err(sqlx::Error::Io(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_pool_serves_again_after_one_bound() {
    let numbers = numbers().await;
    let (proxy, database) = through_a_proxy(&numbers, 8).await;
    for round in 0..3 {
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let database = database.clone();
            tasks.spawn(async move {
                let asleep =
                    sqlx::query("SELECT pg_sleep(0.3)").execute(database.statement(Operation::Worker));
                asleep.await.unwrap();
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        assert!(database.status().idle >= 2, "{:?}", database.status());
        proxy.silence();
        // One pays for all of them, unless it was idle for so long that it is asked before.
        if database.transaction(Operation::Request, |tx| insert(tx, 100 + round)).await.is_err() {
            assert_eq!(database.status().open, 0, "the idle ones went the same way");
        }
        database.transaction(Operation::Worker, |tx| insert(tx, 200 + round)).await.unwrap();
    }
    assert!(stored(&numbers).await.len() >= 3);
}

/// Two statements, of which the first one locks a row.
async fn lock_twice(mut tx: Transaction, number: i64) -> Result<(), sqlx::Error> {
    for _ in 0..2 {
        sqlx::query("UPDATE numbers SET number = number WHERE number = $1")
            .bind(number)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await
}

/// The server waits for the rest of a statement with no time-out of its own, while its transaction holds its locks.
#[tokio::test(flavor = "multi_thread")]
async fn locks_of_a_session_that_is_silent_from_any_byte_are_free_again() {
    let numbers = numbers().await;
    let (proxy, database) = through_a_proxy(&numbers, 1).await;
    database.transaction(Operation::Worker, |tx| lock_twice(tx, -1)).await.unwrap();
    let opened = proxy.forwarded();
    database.transaction(Operation::Worker, |tx| lock_twice(tx, -1)).await.unwrap();
    let last = i64::try_from(proxy.forwarded() - opened).unwrap();
    sqlx::query("INSERT INTO numbers SELECT generate_series(0, $1)")
        .bind(last)
        .execute(numbers.pool())
        .await
        .unwrap();
    let server = numbers.database().options().clone();
    // Their proxies stay, so that the server gets no notice of their ends.
    let (mut proxies, mut cases) = (Vec::new(), JoinSet::new());
    for number in 0..=last {
        let server = server.clone();
        cases.spawn(async move {
            let proxy = Proxy::start(format!("{}:{}", server.get_host(), server.get_port())).await.unwrap();
            let database = at(&server, &proxy, 1);
            database.transaction(Operation::Worker, |tx| lock_twice(tx, -1)).await.unwrap();
            proxy.silence_after(usize::try_from(number).unwrap());
            let _ = database.transaction(Operation::Request, |tx| lock_twice(tx, number)).await;
            proxy
        });
        if cases.len() == 40 {
            proxies.push(cases.join_next().await.unwrap().unwrap());
        }
    }
    proxies.extend(cases.join_all().await);
    let mut stuck = StuckSessions::new(numbers.database().clone()).older_than(Duration::from_secs(3));
    let ending = async {
        loop {
            stuck.look().await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let free = eventually("all rows are free", TIMEOUT, async || {
        let free: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT FROM numbers WHERE number >= 0 FOR UPDATE SKIP LOCKED) AS free",
        )
        .fetch_one(numbers.pool())
        .await
        .unwrap();
        if free == last + 1 { Ok(()) } else { Err(format!("{free} of {}", last + 1)) }
    });
    tokio::select! {
        () = ending => {}
        () = free => {}
    }
}

/// It has sent more than its client takes, which no time-out of a statement ends, and others wait for what it has locked.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_client_takes_nothing_is_ended_when_others_wait_for_it() {
    let numbers = numbers().await;
    sqlx::query("INSERT INTO numbers VALUES (1)").execute(numbers.pool()).await.unwrap();
    let (proxy, database) = through_a_proxy(&numbers, 1).await;
    database.transaction(Operation::Worker, |tx| lock_twice(tx, -1)).await.unwrap();
    proxy.silence_after(10_000);
    let selecting = database.transaction(Operation::Worker, |mut tx| async move {
        let large = sqlx::query("SELECT number, repeat('x', 50000000) FROM numbers FOR UPDATE");
        large.fetch_all(&mut *tx).await
    });
    let falls_silent = async {
        eventually("the server waits for its client to take the answer", TIMEOUT, async || {
            let waits: Vec<String> = sqlx::query_scalar(
                "SELECT wait_event FROM pg_stat_activity
             WHERE datname = current_database() AND state = 'active' AND wait_event IS NOT NULL",
            )
            .fetch_all(numbers.pool())
            .await
            .unwrap();
            if waits == ["ClientWrite"] { Ok(()) } else { Err(waits) }
        })
        .await;
        // The client goes, and the server gets no notice of it.
        proxy.silence();
    };
    tokio::select! {
        selected = selecting => panic!("{selected:?}"),
        () = falls_silent => {}
    }
    let mut stuck = StuckSessions::new(numbers.database().clone()).older_than(Duration::from_secs(2));
    let mut ended = 0;
    let ending = async {
        while ended == 0 {
            ended = stuck.look().await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    // Alone it is left: a client that takes a large answer slowly does no harm.
    let waiting = sqlx::query("UPDATE numbers SET number = number WHERE number = 1").execute(numbers.pool());
    let (updated, ended) = tokio::join!(waiting, tokio::time::timeout(TIMEOUT, ending));
    assert!(ended.is_ok());
    updated.unwrap();
}
