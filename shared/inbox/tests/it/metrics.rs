//! The inbox's metrics are true.

use std::sync::atomic::Ordering;
use std::time::Duration;

use contracts::AnyEvent;
use contracts::clock::{new_id, now};
use contracts::topics::{PARTITIONS, Topic};
use inbox::PartitionState;
use inbox::internal::lag;
use testkit::broker::all_watermarks;
use testkit::exposition::Recorded;
use testkit::wait::eventually;

use crate::ledger::{COUNTED, IMPOSSIBLE};
use crate::stack::{Stack, TIMEOUT, cancelled, confirmed};

const TOPIC: (&str, &str) = ("topic", "orders");

async fn until(recorded: &Recorded, name: &str, labels: &[(&str, &str)], wanted: f64) {
    eventually(&format!("{name} {labels:?} becomes {wanted}"), TIMEOUT, async || {
        match recorded.read().sum(name, labels) {
            Some(found) if (found - wanted).abs() < f64::EPSILON => Ok(()),
            found => Err(found),
        }
    })
    .await;
}

async fn total_lag(stack: &Stack) -> i64 {
    let topics = [stack.codec.topics().name(Topic::Orders)];
    let lags = lag(stack.database.database(), &*stack.bus, &topics).await.unwrap();
    lags.iter().map(|lag| lag.records).sum()
}

#[tokio::test]
async fn lag_counts_what_is_on_the_topic_and_not_applied_also_while_nobody_reads() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    assert_eq!(total_lag(&stack).await, 0);
    let order = new_id();
    for sequence in 1..=3 {
        stack.publish(&confirmed(order, sequence)).await;
    }
    assert_eq!(total_lag(&stack).await, 3);
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert_eq!(total_lag(&stack).await, 0);
    stack.stop().await;
    for sequence in 4..=5 {
        stack.publish(&confirmed(order, sequence)).await;
    }
    assert_eq!(total_lag(&stack).await, 2);

    // Its gauge, while a batch is in hand: what is read but not committed still counts.
    let held = stack.faults.gate.forget_permits(usize::MAX);
    stack.consume_as("tidings.ledger");
    until(&recorded, "inbox_lag_records", &[TOPIC], 2.0).await;
    until(&recorded, "inbox_next_offset", &[TOPIC], 3.0).await;
    stack.faults.gate.add_permits(held);
    until(&recorded, "inbox_lag_records", &[TOPIC], 0.0).await;
    until(&recorded, "inbox_next_offset", &[TOPIC], 5.0).await;
    stack.stop().await;
}

#[tokio::test]
async fn a_partition_count_that_changes_is_told() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    stack.consume_as("tidings.ledger");
    // The counts were compared before the lag was read.
    until(&recorded, "inbox_lag_records", &[TOPIC], 0.0).await;
    until(&recorded, "inbox_topic_partitions_unexpected", &[TOPIC], 0.0).await;
    stack.bus.set_partitions("tidings.orders", PARTITIONS + 2);
    until(&recorded, "inbox_topic_partitions_unexpected", &[TOPIC], 2.0).await;
    stack.stop().await;
}

#[tokio::test]
async fn dead_letters_are_shown_and_no_longer_once_they_are_gone() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    let order = new_id();
    stack.publish(&cancelled(order, 1, IMPOSSIBLE)).await;
    stack.publish(&confirmed(order, 2)).await;
    stack.consume_as("tidings.ledger");
    let dead_lettered = |reason| [TOPIC, ("reason", reason)];
    until(&recorded, "inbox_dead_letters", &dead_lettered("impossible"), 1.0).await;
    until(&recorded, "inbox_dead_letters", &dead_lettered("behind_dead_letter"), 1.0).await;
    until(&recorded, "inbox_records_total", &[TOPIC, ("outcome", "dead_lettered")], 2.0).await;
    sqlx::query("DELETE FROM inbox.dead_letters").execute(stack.database.pool()).await.unwrap();
    until(&recorded, "inbox_dead_letters", &dead_lettered("impossible"), 0.0).await;
    until(&recorded, "inbox_dead_letters", &dead_lettered("behind_dead_letter"), 0.0).await;
    stack.stop().await;
}

#[tokio::test]
async fn an_events_age_is_from_event_time_to_effect_and_each_record_is_counted_by_its_outcome() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    let AnyEvent::OrderConfirmed(mut old) = confirmed(new_id(), 1) else { unreachable!("it is one") };
    old.occurred_at = now() - Duration::from_secs(1_000);
    let old = AnyEvent::OrderConfirmed(old);
    stack.publish(&old).await;
    stack.publish(&old).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    stack.stop().await;
    let events = |outcome| recorded.sum("inbox_records_total", &[TOPIC, ("outcome", outcome)]);
    assert_eq!(
        ["applied", "duplicate", "dead_lettered"].map(|outcome| events(outcome).to_string()),
        ["1", "1", "0"]
    );
    let age = |part: &str| recorded.sum(&format!("inbox_event_age_seconds_{part}"), &[TOPIC]);
    assert!((age("count") - 1.0).abs() < f64::EPSILON, "a duplicate has no effect, so no age");
    assert!((1_000.0..1_100.0).contains(&age("sum")), "{}", age("sum"));
    assert!((recorded.sum("inbox_batch_records_sum", &[TOPIC]) - 2.0).abs() < f64::EPSILON);
    assert!(recorded.sum("inbox_rebalances_total", &[("change", "assigned")]) >= 1.0);
}

#[tokio::test]
async fn what_is_counted_after_a_commit_is_counted_once_however_often_the_batch_is_repeated() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    stack.faults.failures_before_commit.store(3, Ordering::SeqCst);
    let orders: Vec<_> = (0..5).map(|_| new_id()).collect();
    for order in &orders {
        stack.publish(&confirmed(*order, 1)).await;
        // Rejected: it counts nothing.
        stack.publish(&cancelled(*order, 2, IMPOSSIBLE)).await;
    }
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    stack.stop().await;
    assert!((recorded.sum(COUNTED, &[]) - 5.0).abs() < f64::EPSILON, "{}", recorded.sum(COUNTED, &[]));
    assert!(recorded.sum("inbox_retries_total", &[TOPIC]) >= 3.0);
}

#[tokio::test]
async fn partitions_are_counted_by_what_they_do() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    stack.publish(&confirmed(new_id(), 1)).await;
    let topic = stack.codec.topics().name(Topic::Orders);
    let marks = all_watermarks(&*stack.bus, &topic).await.unwrap();
    let empty = marks.iter().find(|marks| marks.high == 0).unwrap().partition;
    // Of six partitions one lacks what its position promises, and one has an event that can't be committed.
    sqlx::query("INSERT INTO inbox.consumer_positions (topic, partition, next_offset) VALUES ($1, $2, 1000)")
        .bind(&topic)
        .bind(empty)
        .execute(stack.database.pool())
        .await
        .unwrap();
    stack.faults.failures_before_commit.store(u32::MAX, Ordering::SeqCst);
    stack.consume_as("tidings.ledger");
    for (state, partitions) in [("running", 4.0), ("retrying", 1.0), ("stopped", 1.0)] {
        until(&recorded, "inbox_partitions", &[("state", state)], partitions).await;
    }
    stack.faults.failures_before_commit.store(0, Ordering::SeqCst);
    for (state, partitions) in [("running", 5.0), ("retrying", 0.0), ("stopped", 1.0)] {
        until(&recorded, "inbox_partitions", &[("state", state)], partitions).await;
    }
    stack.stop().await;
}

#[tokio::test]
async fn a_partition_that_has_records_and_does_not_move_is_stalled() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    stack.stalled_after_ms = 1_000;
    // The batch waits for something without a bound; its state is `running`.
    let held = stack.faults.gate.forget_permits(usize::MAX);
    stack.publish(&confirmed(new_id(), 1)).await;
    let status = stack.consume_as("tidings.ledger");
    until(&recorded, "inbox_partitions", &[("state", "stalled")], 1.0).await;
    let stalled = |state: &PartitionState| matches!(state, PartitionState::Stalled { .. });
    assert_eq!(status.partitions().values().filter(|state| stalled(state)).count(), 1);
    stack.faults.gate.add_permits(held);
    until(&recorded, "inbox_partitions", &[("state", "stalled")], 0.0).await;
    assert!(!status.partitions().values().any(stalled));
    stack.stop().await;
}
