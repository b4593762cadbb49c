//! 100,000 rows that wait, with a transaction open all the time: it keeps the published rows' index entries alive.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _, PgConnection};
use testkit::broker::{EmbeddedBroker, all_watermarks, test_kafka};
use testkit::wait::eventually;

use crate::relays::Poll;
use crate::stage::{Stage, append, message};

const ROWS: usize = 100_000;
const ROWS_PER_KEY: usize = 3;
/// Far above what is measured: on a busy machine the test only separates linear from quadratic.
const TIMEOUT: Duration = Duration::from_secs(180);

pub(crate) async fn a_hundred_thousand_waiting_rows_are_published_in_sequence() {
    let stage = Stage::set().await;
    let place = if test_kafka().is_some() { "on a real Kafka" } else { "in memory" };
    publish_backlog(&Poll::default(), &stage, place).await;
    let watcher = &stage.watcher;
    watcher.until("all are seen", TIMEOUT, |watcher| watcher.count() >= ROWS).await;
    assert_eq!(watcher.count(), ROWS, "without a fault nothing is repeated");
    watcher.assert_in_sequence();
}

#[tokio::test]
async fn a_hundred_thousand_waiting_rows_reach_a_broker() {
    let broker = EmbeddedBroker::start().unwrap();
    let stage = Stage::embedded(&broker).await;
    publish_backlog(&Poll::default(), &stage, "on the embedded broker").await;
    let buffer: i64 = all_watermarks(&*stage.bus, &stage.orders)
        .await
        .unwrap()
        .iter()
        .map(|partition| partition.high)
        .sum();
    assert_eq!(buffer, i64::try_from(ROWS).unwrap());
}

async fn publish_backlog(factory: &Poll, stage: &Stage, place: &str) {
    let mut open = PgConnection::connect(stage.database.url()).await.unwrap();
    open.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()").await.unwrap();
    let mut conn = stage.pool().acquire().await.unwrap();
    for first in (0..ROWS).step_by(3_000) {
        let messages: Vec<_> = (first..ROWS.min(first + 3_000))
            .map(|row| {
                let sequence = i64::try_from(row % ROWS_PER_KEY).unwrap() + 1;
                message(&stage.orders, &format!("order-{}", row / ROWS_PER_KEY), sequence)
            })
            .collect();
        append(&mut conn, &stage.outbox, messages).await.unwrap();
    }
    let started = Instant::now();
    let relay = stage.start(factory);
    eventually("everything is published", TIMEOUT, async || match stage.unpublished().await {
        0 => Ok(()),
        unpublished => Err(unpublished),
    })
    .await;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{place}: {ROWS} rows in {seconds:.2} s with a transaction open: {:.0} rows/s",
        ROWS as f64 / seconds
    );
    relay.stop().await;
    open.execute("ROLLBACK").await.unwrap();
}
