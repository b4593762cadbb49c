//! A partition that fails is applied in isolation, and its neighbours go on (docs/adr/0015, docs/adr/0016).

use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use crate::held::{ALL, GROUP, confirmations, orders_of_each};
use crate::ledger::{IMPOSSIBLE, REFUSED};
use crate::stack::{Stack, cancelled, confirmed};

#[tokio::test(flavor = "multi_thread")]
async fn partitions_whose_joint_batch_failed_are_applied_one_by_one_and_join_again() {
    let mut stack = Stack::start().await;
    stack.consume_as(GROUP);
    stack.until_joined().await;
    let orders = stack.hold(&ALL, confirmations).await;
    stack.faults.failures_before_commit.store(1, Ordering::SeqCst);
    stack.release();
    stack.caught_up().await;
    stack.until_effects(&orders, &[2]).await;
    assert_eq!(stack.transactions(&orders).await, 6);
    let again = stack.hold(&ALL, confirmations).await;
    stack.release();
    stack.caught_up().await;
    assert_eq!(stack.transactions(&again).await, 1);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_event_keeps_its_own_partition_out_of_the_joint_batch_and_no_other() {
    let mut stack = Stack::start().await;
    stack.consume_as(GROUP);
    stack.until_joined().await;
    let events = |orders: &[Uuid]| {
        let mut events = confirmations(orders);
        events[1] = cancelled(orders[1], 2, IMPOSSIBLE);
        events
    };
    let orders = stack.hold(&ALL, events).await;
    stack.release();
    stack.caught_up().await;
    let others: Vec<Uuid> = orders.iter().copied().filter(|order| *order != orders[1]).collect();
    stack.until_effects(&others, &[2]).await;
    assert_eq!(stack.transactions(&others).await, 1);
    assert!(stack.effects(orders[1]).await.is_empty());
    assert!(stack.dead_letters().await.iter().all(|(_, reason)| reason == "impossible"));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_database_refuses_is_the_only_dead_letter_of_its_joint_batch() {
    let mut stack = Stack::start().await;
    stack.consume_as(GROUP);
    let orders = stack.until_joined().await;
    stack.begin_alone().await;
    stack.publish(&cancelled(orders[1], 2, REFUSED)).await;
    for order in &orders {
        stack.publish(&confirmed(*order, 2)).await;
    }
    stack.release();
    stack.caught_up().await;
    let reasons: Vec<String> = stack.dead_letters().await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["data_error", "behind_dead_letter"]);
    stack.until_effects(&orders[2..], &[1, 2]).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_keeps_failing_leaves_its_neighbours_alone() {
    let mut stack = Stack::start().await;
    stack.consume_as(GROUP);
    stack.until_joined().await;
    let before = stack.loads().len();
    for _ in 0..30 {
        stack.begin_alone().await;
        let orders = orders_of_each();
        stack.publish(&cancelled(orders[1], 2, IMPOSSIBLE)).await;
        for event in confirmations(&orders[2..]) {
            stack.publish(&event).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        stack.release();
        stack.caught_up().await;
        stack.until_effects(&orders[2..], &[2]).await;
    }
    assert_eq!(stack.dead_letters().await.len(), 30);
    let loads = stack.loads();
    let together = loads[before..].iter().filter(|load| load.contains(&1) && load.len() > 1).count();
    assert!(together <= 6, "{together} joint batches failed because of it");
    stack.stop().await;
}
