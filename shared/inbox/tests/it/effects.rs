//! Effects happen once and in order, however often a record is delivered, and whichever process dies in between.

use std::sync::atomic::Ordering;

use contracts::clock::new_id;
use inbox::PartitionState;
use testkit::wait::eventually;
use tokio::sync::Semaphore;

use crate::stack::{Stack, TIMEOUT, confirmed};

#[tokio::test(flavor = "multi_thread")]
async fn each_event_takes_effect_once_and_in_order_although_everything_is_published_twice() {
    let mut stack = Stack::start().await;
    let orders: Vec<_> = (0..20).map(|_| new_id()).collect();
    for sequence in 1..=5 {
        for order in &orders {
            let event = confirmed(*order, sequence);
            stack.publish(&event).await;
            stack.publish(&event).await;
        }
    }
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    for order in orders {
        assert_eq!(stack.effects(order).await, [1, 2, 3, 4, 5]);
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_before_its_commit_leaves_no_trace_and_is_repeated() {
    let mut stack = Stack::start().await;
    stack.faults.failures_before_commit.store(5, Ordering::SeqCst);
    let order = new_id();
    for sequence in 1..=3 {
        stack.publish(&confirmed(order, sequence)).await;
    }
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert_eq!(stack.effects(order).await, [1, 2, 3]);
    assert_eq!(stack.faults.failures_before_commit.load(Ordering::SeqCst), 0);
    assert!(stack.dead_letters().await.is_empty(), "transient errors dead-letter nothing");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consumers_of_one_partition_take_turns_and_nothing_is_doubled() {
    let mut stack = Stack::start().await;
    stack.max_batch_records = 3;
    sqlx::raw_sql(
        "CREATE TABLE steps_back (from_offset bigint, to_offset bigint);
         CREATE FUNCTION note_step_back() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO steps_back VALUES (old.next_offset, new.next_offset); RETURN new; END';
         CREATE TRIGGER note_step_back BEFORE UPDATE ON inbox.consumer_positions
             FOR EACH ROW WHEN (new.next_offset <= old.next_offset) EXECUTE FUNCTION note_step_back()",
    )
    .execute(stack.database.pool())
    .await
    .unwrap();
    let orders: Vec<_> = (0..50).map(|_| new_id()).collect();
    stack.consume_as("tidings.ledger");
    stack.consume_as("tidings.ledger-frozen-and-thawed");
    for sequence in 1..=4 {
        for order in &orders {
            stack.publish(&confirmed(*order, sequence)).await;
        }
    }
    stack.caught_up().await;
    for order in orders {
        assert_eq!(stack.effects(order).await, [1, 2, 3, 4]);
    }
    let steps_back: i64 =
        sqlx::query_scalar("SELECT count(*) FROM steps_back").fetch_one(stack.database.pool()).await.unwrap();
    assert_eq!(steps_back, 0, "a position only moves forward");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_starts_again_continues_where_the_database_says() {
    let mut stack = Stack::start().await;
    let order = new_id();
    stack.consume_as("tidings.ledger");
    stack.publish(&confirmed(order, 1)).await;
    stack.caught_up().await;
    stack.stop().await;
    stack.publish(&confirmed(order, 2)).await;
    // Another group has no offsets at the broker at all: only the database can know.
    stack.consume_as("tidings.ledger-renamed");
    stack.caught_up().await;
    assert_eq!(stack.effects(order).await, [1, 2]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_finishes_the_batch_in_hand() {
    let mut stack = Stack::start().await;
    stack.faults.gate.forget_permits(Semaphore::MAX_PERMITS);
    let order = new_id();
    stack.consume_as("tidings.ledger");
    stack.publish(&confirmed(order, 1)).await;
    eventually("a batch is in hand", TIMEOUT, || async {
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'")
                .fetch_one(stack.database.pool())
                .await
                .unwrap();
        if waiting == 1 { Ok(()) } else { Err(waiting) }
    })
    .await;
    stack.shutdown.cancel();
    stack.faults.gate.add_permits(1);
    stack.stop().await;
    assert_eq!(stack.effects(order).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_outside_the_topic_stops_the_partition_and_is_not_reset() {
    let mut stack = Stack::start().await;
    let order = new_id();
    stack.publish(&confirmed(order, 1)).await;
    sqlx::query(
        "INSERT INTO inbox.consumer_positions (topic, partition, next_offset)
         SELECT 'tidings.orders', partition, 1000 FROM generate_series(0, 5) AS partitions (partition)",
    )
    .execute(stack.database.pool())
    .await
    .unwrap();
    let status = stack.consume_as("tidings.ledger");
    eventually("all partitions are stopped", TIMEOUT, || async {
        let partitions = status.partitions();
        let stopped =
            partitions.values().filter(|state| matches!(state, PartitionState::Stopped { .. })).count();
        if stopped == 6 { Ok(()) } else { Err(partitions) }
    })
    .await;
    assert!(stack.effects(order).await.is_empty());
    stack.stop().await;
}
