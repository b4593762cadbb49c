//! A batch that fills a transaction is applied beside the joint one, by a transaction of its own (docs/adr/0015).

use std::collections::BTreeSet;

use contracts::clock::new_id;
use contracts::topics::PARTITIONS;
use messaging::partition_for_key;
use testkit::wait::eventually;
use uuid::Uuid;

use crate::held::GROUP;
use crate::stack::{Stack, TIMEOUT, confirmed};

const TOPIC: &str = "tidings.orders";
const MAX: usize = 4;

/// Appends events of so many new orders to a partition, which reads them as one batch.
fn append_batch(stack: &Stack, partition: i32, events: usize) -> Vec<Uuid> {
    let lies_there = |order: &Uuid| partition_for_key(order.to_string().as_bytes(), PARTITIONS) == partition;
    let orders: Vec<Uuid> = std::iter::repeat_with(new_id).filter(lies_there).take(events).collect();
    stack.bus.set_leader(TOPIC, partition, false);
    orders.iter().for_each(|order| stack.append(&confirmed(*order, 1)));
    stack.bus.set_leader(TOPIC, partition, true);
    orders
}

/// The partitions of each transaction that has begun since, once there are so many.
async fn begun(stack: &Stack, since: usize, count: usize) -> Vec<BTreeSet<i32>> {
    eventually("so many transactions have begun", TIMEOUT, async || {
        let loads = stack.loads().split_off(since);
        if loads.len() >= count { Ok(loads) } else { Err(loads) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fills_a_transaction_waits_for_no_other_partition() {
    let mut stack = Stack::start().await;
    stack.max_batch_records = MAX;
    stack.consume_as(GROUP);
    stack.until_joined().await;
    stack.begin_alone().await;
    let before = stack.loads().len();
    // The joint transaction is open. What does not fill another one waits for its end.
    let mut orders = append_batch(&stack, 3, MAX - 1);
    orders.extend(append_batch(&stack, 1, MAX));
    orders.extend(append_batch(&stack, 2, MAX));
    let full: BTreeSet<BTreeSet<i32>> = begun(&stack, before, 2).await.into_iter().collect();
    assert_eq!(full, BTreeSet::from([BTreeSet::from([1]), BTreeSet::from([2])]));
    stack.release();
    stack.caught_up().await;
    assert_eq!(begun(&stack, before, 3).await.len(), 3);
    stack.until_effects(&orders, &[1]).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_batch_that_fails_is_applied_in_isolation_until_it_has_passed() {
    let mut stack = Stack::start().await;
    stack.max_batch_records = MAX;
    stack.consume_as(GROUP);
    stack.until_joined().await;
    stack.begin_alone().await;
    let before = stack.loads().len();
    stack.faults.failures_before_commit.store(1, std::sync::atomic::Ordering::SeqCst);
    let orders = append_batch(&stack, 1, MAX);
    begun(&stack, before, 1).await;
    // Whichever of the two fails: neither takes the other with it.
    stack.release();
    stack.caught_up().await;
    stack.until_effects(&orders, &[1]).await;
    assert!(begun(&stack, before, 2).await.iter().all(|load| load.len() == 1));
    assert!(stack.dead_letters().await.is_empty());
    stack.stop().await;
}
