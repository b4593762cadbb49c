//! A position belongs to one log: a topic that was made anew, restored or mirrored under its name is not read on (docs/adr/0018).

use std::time::{Duration, Instant};

use contracts::clock::new_id;
use contracts::topics::PARTITIONS;
use messaging::{TopicPartition, partition_for_key};
use uuid::Uuid;

use crate::reach::Reach;
use crate::stack::{Stack, confirmed, stopped};

/// Applies the first events of an order, and stops.
async fn applied(count: i64) -> (Stack, Uuid) {
    let (mut stack, order) = (Stack::start().await, new_id());
    for sequence in 1..=count {
        stack.publish(&confirmed(order, sequence)).await;
    }
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    stack.stop().await;
    (stack, order)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_stops_its_partition_and_nothing_of_it_is_skipped() {
    let (mut stack, order) = applied(3).await;
    stack.make_topics_anew().await;
    for sequence in 1..=5 {
        stack.publish(&confirmed(order, 10 + sequence)).await;
    }
    let status = stack.consume_as("tidings.ledger");
    let reason = stopped(&status).await;
    assert!(reason.contains("offset 2"), "{reason}");
    assert_eq!(stack.effects(order).await, [1, 2, 3]);
    stack.stop().await;

    // A restart does not go on; an operator does, who reads the new log from its beginning.
    let status = stack.consume_as("tidings.ledger");
    assert_eq!(stopped(&status).await, reason);
    stack.stop().await;
    sqlx::query(
        "UPDATE inbox.consumer_positions SET next_offset = 0, last_record_offset = NULL, last_record_digest = NULL,
             last_record_at = NULL, stopped_reason = NULL, stopped_at = NULL
         WHERE stopped_reason IS NOT NULL",
    )
    .execute(stack.database.pool())
    .await
    .unwrap();
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert_eq!(stack.effects(order).await, [1, 2, 3, 11, 12, 13, 14, 15]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_with_fewer_records_stops_its_partition() {
    let (mut stack, order) = applied(3).await;
    stack.make_topics_anew().await;
    stack.publish(&confirmed(order, 11)).await;
    let began = Instant::now();
    let status = stack.consume_as("tidings.ledger");
    stopped(&status).await;
    // A leader that was replaced may give an end of before.
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_under_a_running_consumer_stops_its_partition() {
    let (mut stack, order) = (Stack::start().await, new_id());
    for sequence in 1..=3 {
        stack.publish(&confirmed(order, sequence)).await;
    }
    let status = stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    // When the consumer looks again, the new log reaches beyond its position.
    stack.bus.set_available(false);
    stack.bus.recreate_topic("tidings.orders");
    for sequence in 11..=15 {
        stack.append(&confirmed(order, sequence));
    }
    stack.bus.set_available(true);
    let reason = stopped(&status).await;
    assert!(reason.contains("another log") && reason.contains("offset 2"), "{reason}");
    assert_eq!(stack.effects(order).await, [1, 2, 3]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_a_replaced_leader_gives_stops_no_partition() {
    let (mut stack, order) = applied(3).await;
    stack.publish(&confirmed(order, 4)).await;
    let partition = partition_for_key(order.to_string().as_bytes(), PARTITIONS);
    let id = TopicPartition { topic: "tidings.orders".to_owned(), partition };
    let reach = Reach::all_of(&stack.bus);
    // Whoever else asks gets fewer of these answers than make an end believed.
    reach.ask_a_replaced_leader(&id, 1, 4);
    stack.consume_on(reach, "tidings.ledger");
    stack.caught_up().await;
    assert_eq!(stack.effects(order).await, [1, 2, 3, 4]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_retention_removed_stops_nobody() {
    let (mut stack, order) = applied(3).await;
    for partition in 0..6 {
        let high = stack.bus.records("tidings.orders", partition).len();
        if high > 0 {
            stack.bus.expire("tidings.orders", partition, i64::try_from(high).unwrap()).unwrap();
        }
    }
    stack.publish(&confirmed(order, 4)).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert_eq!(stack.effects(order).await, [1, 2, 3, 4]);
    stack.stop().await;
}
