//! One partition without a leader holds up no other: neither another partition's events nor its metrics.

use contracts::clock::new_id;
use contracts::topics::PARTITIONS;
use inbox::PartitionState;
use messaging::partition_for_key;
use testkit::exposition::Recorded;
use testkit::wait::eventually;
use uuid::Uuid;

use crate::stack::{Stack, TIMEOUT, confirmed};

const TOPIC: &str = "tidings.orders";
const WITHOUT_LEADER: i32 = 0;

fn partition_of(order: Uuid) -> i32 {
    partition_for_key(order.to_string().as_bytes(), PARTITIONS)
}

/// An order on a partition that has a leader, or has none.
fn order(is_led: bool) -> Uuid {
    std::iter::repeat_with(new_id).find(|order| (partition_of(*order) != WITHOUT_LEADER) == is_led).unwrap()
}

async fn applied(stack: &Stack, order: Uuid, expected: &[i64]) {
    eventually("the events are applied", TIMEOUT, async || {
        let effects = stack.effects(order).await;
        if effects == expected { Ok(()) } else { Err(effects) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_leader_holds_up_no_other() {
    let mut stack = Stack::start().await;
    let (led, waiting) = (order(true), order(false));
    stack.publish(&confirmed(led, 1)).await;
    stack.publish(&confirmed(waiting, 1)).await;
    stack.bus.set_leader(TOPIC, WITHOUT_LEADER, false);
    let status = stack.consume_as("tidings.ledger");
    applied(&stack, led, &[1]).await;
    eventually("the partition's state has its error", TIMEOUT, async || {
        let partitions = status.partitions();
        let waits = partitions.iter().any(|(id, state)| {
            id.partition == WITHOUT_LEADER
                && matches!(state, PartitionState::Retrying { error, .. } if error.contains("no leader"))
        });
        if waits { Ok(()) } else { Err(partitions) }
    })
    .await;
    assert!(stack.effects(waiting).await.is_empty());
    stack.bus.set_leader(TOPIC, WITHOUT_LEADER, true);
    applied(&stack, waiting, &[1]).await;
    stack.stop().await;
}

#[tokio::test]
async fn the_lag_of_the_others_is_told_while_a_partition_has_no_leader() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    let (led, waiting) = (order(true), order(false));
    stack.publish(&confirmed(waiting, 1)).await;
    stack.publish(&confirmed(led, 1)).await;
    let held = stack.faults.gate.forget_permits(usize::MAX);
    stack.consume_as("tidings.ledger");
    let gauge = |name: &'static str, partition: i32| {
        let partition = partition.to_string();
        recorded.read().sum(name, &[("topic", "orders"), ("partition", &partition)])
    };
    let lags = |partition, expected: f64| async move {
        eventually(&format!("the lag of {partition} becomes {expected}"), TIMEOUT, async || {
            match gauge("inbox_lag_records", partition) {
                Some(found) if (found - expected).abs() < f64::EPSILON => Ok(()),
                found => Err(found),
            }
        })
        .await;
    };
    lags(WITHOUT_LEADER, 1.0).await;
    lags(partition_of(led), 1.0).await;

    stack.bus.set_leader(TOPIC, WITHOUT_LEADER, false);
    stack.publish(&confirmed(led, 2)).await;
    lags(partition_of(led), 2.0).await;
    stack.faults.gate.add_permits(held);
    lags(partition_of(led), 0.0).await;
    // What is not known keeps its last value; when that was read is measured, too.
    let read_at = |partition| gauge("inbox_lag_read_timestamp_seconds", partition).unwrap_or_default();
    let known = read_at(WITHOUT_LEADER);
    eventually("the other partition's lag is read again", TIMEOUT, async || {
        let later = read_at(partition_of(led));
        if known > 0.0 && later > known { Ok(()) } else { Err((known, later)) }
    })
    .await;
    assert!((gauge("inbox_lag_records", WITHOUT_LEADER).unwrap() - 1.0).abs() < f64::EPSILON);
    assert!((read_at(WITHOUT_LEADER) - known).abs() < f64::EPSILON);
    stack.bus.set_leader(TOPIC, WITHOUT_LEADER, true);
    lags(WITHOUT_LEADER, 0.0).await;
    stack.stop().await;
}
