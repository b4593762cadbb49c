//! Offsets have holes: the markers of other programs' transactions have no record, and are passed all the same.

use contracts::clock::new_id;
use contracts::topics::PARTITIONS;
use inbox::internal::lag;
use testkit::wait::eventually;

use crate::stack::{Stack, TIMEOUT, confirmed};

const TOPIC: &str = "tidings.orders";

fn mark_every_partition(stack: &Stack) {
    for partition in 0..PARTITIONS {
        stack.bus.append_control_record(TOPIC, partition).unwrap();
    }
}

async fn total_lag(stack: &Stack) -> i64 {
    let lags = lag(stack.database.database(), &*stack.bus, &[TOPIC.to_owned()]).await.unwrap();
    lags.iter().map(|lag| lag.records).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn control_records_move_nobody() {
    let (mut stack, order) = (Stack::start().await, new_id());
    mark_every_partition(&stack);
    for sequence in 1..=3 {
        stack.publish(&confirmed(order, sequence)).await;
        mark_every_partition(&stack);
    }
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert_eq!(total_lag(&stack).await, 0);
    // One that stands at the end already passes what is added behind it, and goes on there.
    mark_every_partition(&stack);
    stack.caught_up().await;
    stack.publish(&confirmed(order, 4)).await;
    stack.caught_up().await;
    assert_eq!(stack.effects(order).await, [1, 2, 3, 4]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_behind_a_marker_is_resumed_and_knows_its_last_record() {
    let (mut stack, order) = (Stack::start().await, new_id());
    stack.publish(&confirmed(order, 1)).await;
    mark_every_partition(&stack);
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    stack.stop().await;
    let marks: Vec<(i64, Option<i64>)> = sqlx::query_as(
        "SELECT next_offset, last_record_offset FROM inbox.consumer_positions ORDER BY next_offset DESC",
    )
    .fetch_all(stack.database.pool())
    .await
    .unwrap();
    assert_eq!(marks[0], (2, Some(0)), "a batch without a record leaves the mark: {marks:?}");
    assert_eq!(marks[1], (1, None));

    mark_every_partition(&stack);
    stack.publish(&confirmed(order, 2)).await;
    let status = stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert_eq!(stack.effects(order).await, [1, 2]);
    eventually("every partition runs", TIMEOUT, async || {
        let partitions = status.partitions();
        let running =
            partitions.values().filter(|state| matches!(state, inbox::PartitionState::Running { .. }));
        if running.count() == PARTITIONS as usize { Ok(()) } else { Err(partitions) }
    })
    .await;
    stack.stop().await;
}
