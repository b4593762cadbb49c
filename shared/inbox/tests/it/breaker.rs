//! A release that fails with every event of a type stops its partitions, and writes few dead letters (docs/adr/0016).

use std::time::Duration;

use contracts::AnyEvent;
use contracts::clock::new_id;
use contracts::topics::PARTITIONS;
use inbox::PartitionState;
use messaging::{Record, partition_for_key};
use testkit::exposition::Recorded;
use testkit::wait::eventually;
use uuid::Uuid;

use crate::ledger::{IMPOSSIBLE, PANICS, fixed_subscriptions};
use crate::stack::{Stack, cancelled, confirmed, stopped};

/// So many dead letters in succession are taken for the events' own fault.
const RUN: usize = 20;
/// More than the first pause of a partition that was stopped.
const PAUSE: Duration = Duration::from_secs(60);

/// So many orders whose keys lie on one partition.
fn orders(count: usize) -> Vec<Uuid> {
    let lies_there = |order: &Uuid| partition_for_key(order.to_string().as_bytes(), PARTITIONS) == 0;
    std::iter::repeat_with(new_id).filter(lies_there).take(count).collect()
}

/// Waits until the events took effect.
async fn applied(stack: &Stack, order: Uuid, sequences: &[i64], within: Duration) {
    eventually("the events are applied", within, async || {
        let effects = stack.effects(order).await;
        if effects == sequences { Ok(()) } else { Err(effects) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_always_panics_does_not_empty_the_topic_into_dead_letters() {
    let mut stack = Stack::start().await;
    let (cancelled_ones, free) = (orders(60), orders(60));
    for (order, other) in cancelled_ones.iter().zip(&free) {
        stack.publish(&cancelled(*order, 1, PANICS)).await;
        // What other handlers do is no sign that this one works.
        stack.publish(&confirmed(*other, 1)).await;
    }
    for order in &cancelled_ones {
        stack.publish(&confirmed(*order, 2)).await;
    }
    let status = stack.consume_as("tidings.ledger");
    let reason = stopped(&status).await;
    assert!(reason.contains("handler_panicked"), "{reason}");
    stack.stop().await;
    let letters = stack.dead_letters().await;
    assert!((RUN..RUN + 3).contains(&letters.len()), "{} dead letters", letters.len());

    // The next release goes on where this one stopped, and nothing was passed over.
    stack.subscriptions = fixed_subscriptions;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    for letter in stack.listed().await {
        stack.redrive(letter.id).await;
    }
    for (order, other) in cancelled_ones.iter().zip(&free) {
        assert_eq!(stack.effects(*order).await, [1, 2]);
        assert_eq!(stack.effects(*other).await, [1]);
    }
    assert!(stack.dead_letters().await.is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_every_event_does_not_empty_the_topic_into_dead_letters() {
    let mut stack = Stack::start().await;
    sqlx::raw_sql("ALTER TABLE ledger ADD CONSTRAINT none CHECK (sequences = '{}')")
        .execute(stack.database.pool())
        .await
        .unwrap();
    let orders = orders(30);
    for order in &orders {
        stack.publish(&confirmed(*order, 1)).await;
    }
    let status = stack.consume_as("tidings.ledger");
    let reason = stopped(&status).await;
    assert!(reason.contains("data_error") && reason.contains("23514"), "{reason}");
    let letters = stack.dead_letters().await.len();
    assert!((RUN..RUN + 3).contains(&letters), "{letters} dead letters");
    sqlx::raw_sql("ALTER TABLE ledger DROP CONSTRAINT none").execute(stack.database.pool()).await.unwrap();
    applied(&stack, orders[29], &[1], PAUSE).await;
    let passed = stack.dead_letters().await.len();
    assert!(passed < RUN + 3, "the partition went on without dead letters: {passed}");
    stack.stop().await;
}

#[tokio::test]
async fn a_run_of_bad_records_is_passed_without_an_operator() {
    let recorded = Recorded::start();
    let mut stack = Stack::start().await;
    let orders = orders(RUN + 2);
    let (good, bad) = orders.split_last().unwrap();
    for order in bad {
        stack.publish(&cancelled(*order, 1, PANICS)).await;
    }
    stack.publish(&cancelled(*good, 1, "fine")).await;
    stack.consume_as("tidings.ledger");
    applied(&stack, *good, &[1], PAUSE).await;
    assert_eq!(stack.dead_letters().await.len(), bad.len());
    let stops = recorded.read().sum("inbox_partitions_stopped_total", &[("reason", "repeated_failure")]);
    assert!(stops.is_some_and(|stops| (stops - 1.0).abs() < 0.5), "{stops:?}");
    stack.stop().await;
}

/// The dead letters after these events, and an event behind them which has its effect at once.
async fn passed(events: Vec<AnyEvent>, raw: Vec<Record>) -> usize {
    let mut stack = Stack::start().await;
    for event in &events {
        stack.publish(event).await;
    }
    for record in raw {
        stack.publish_raw(record).await;
    }
    let good = orders(1)[0];
    stack.publish(&confirmed(good, 1)).await;
    let status = stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    let stopped = |state: &PartitionState| matches!(state, PartitionState::Stopped { .. });
    assert!(!status.partitions().values().any(stopped));
    assert_eq!(stack.effects(good).await, [1]);
    stack.stop().await;
    stack.dead_letters().await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_bad_records_of_one_key_stops_no_partition() {
    let order = orders(1)[0];
    let events = (1..=60).map(|sequence| cancelled(order, sequence, PANICS)).collect();
    assert_eq!(passed(events, Vec::new()).await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_records_that_are_at_fault_themselves_stops_no_partition() {
    let rejected = orders(60).into_iter().map(|order| cancelled(order, 1, IMPOSSIBLE)).collect();
    let garbage = orders(60).into_iter().map(|order| Record {
        topic: "tidings.orders".to_owned(),
        key: Some(order.to_string().into_bytes()),
        value: Some(vec![1, 2, 3]),
        headers: Vec::new(),
    });
    assert_eq!(passed(rejected, garbage.collect()).await, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_between_events_of_the_same_type_that_are_applied_stop_no_partition() {
    let alternating = orders(80)
        .into_iter()
        .enumerate()
        .map(|(number, order)| cancelled(order, 1, if number % 10 == 0 { "fine" } else { PANICS }));
    assert_eq!(passed(alternating.collect(), Vec::new()).await, 72);
}
