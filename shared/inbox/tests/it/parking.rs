//! What can't be applied is kept with its reason; its key waits behind it, everything else goes on.

use contracts::ambient::new_id;
use messaging::Record;
use uuid::Uuid;

use crate::ledger::{IMPOSSIBLE, REFUSED};
use crate::stack::{Stack, cancelled, confirmed};

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_event_changes_nothing_else() {
    let mut stack = Stack::start().await;
    let orders: Vec<_> = (0..12).map(|_| new_id()).collect();
    let mut rejected = Vec::new();
    for order in &orders {
        stack.publish(&confirmed(*order, 1)).await;
        let impossible = cancelled(*order, 2, IMPOSSIBLE);
        rejected.push(impossible.event_id());
        stack.publish(&impossible).await;
    }
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    for order in &orders {
        assert_eq!(stack.effects(*order).await, [1], "the rejected event's change must not be stored");
    }
    let mut parked = stack.parked().await;
    parked.sort();
    rejected.sort();
    assert_eq!(
        parked,
        rejected.into_iter().map(|id| (Some(id), "impossible".to_owned())).collect::<Vec<_>>()
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn later_events_of_a_parked_key_wait_behind_it_and_other_keys_pass() {
    let mut stack = Stack::start().await;
    let (stuck, free) = (new_id(), new_id());
    stack.consume_as("tidings.ledger");
    stack.publish(&cancelled(stuck, 1, IMPOSSIBLE)).await;
    stack.caught_up().await;
    stack.publish(&confirmed(stuck, 2)).await;
    stack.publish(&confirmed(free, 1)).await;
    stack.publish(&confirmed(stuck, 3)).await;
    stack.caught_up().await;
    assert!(stack.effects(stuck).await.is_empty());
    assert_eq!(stack.effects(free).await, [1]);
    let reasons: Vec<String> = stack.parked().await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["impossible", "behind_parked", "behind_parked"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_delivery_of_a_parked_event_is_a_duplicate() {
    let mut stack = Stack::start().await;
    let event = cancelled(new_id(), 1, IMPOSSIBLE);
    stack.consume_as("tidings.ledger");
    for _ in 0..3 {
        stack.publish(&event).await;
        stack.caught_up().await;
    }
    assert_eq!(stack.parked().await, [(Some(event.event_id()), "impossible".to_owned())]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_the_database_refuses_parks_the_one_event_that_brings_it() {
    let mut stack = Stack::start().await;
    let orders: Vec<_> = (0..12).map(|_| new_id()).collect();
    let refused = cancelled(orders[5], 1, REFUSED);
    for order in &orders {
        if *order == orders[5] {
            stack.publish(&refused).await;
        } else {
            stack.publish(&confirmed(*order, 1)).await;
        }
    }
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    for order in orders.iter().filter(|order| **order != orders[5]) {
        assert_eq!(stack.effects(*order).await, [1]);
    }
    assert_eq!(stack.parked().await, [(Some(refused.event_id()), "data_refused".to_owned())]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_no_events_are_parked_with_their_reason_and_bytes() {
    let mut stack = Stack::start().await;
    let good = confirmed(new_id(), 1);
    let value = stack.codec.encode(&good).unwrap();
    let unknown_id = [&[0, 0xff, 0xff, 0xff, 0x00][..], &value[5..]].concat();
    let cases: [(&str, Vec<u8>); 5] = [
        ("empty_value", Vec::new()),
        ("wrong_magic_byte", vec![1, 2, 3]),
        ("truncated", value[..value.len() - 1].to_vec()),
        ("leftover_bytes", [&value[..], &[0]].concat()),
        ("unknown_schema", unknown_id),
    ];
    for (name, value) in &cases {
        stack.publish_raw(record("tidings.orders", name, value.clone())).await;
    }
    stack.publish_raw(record("tidings.orders", "key_mismatch", value.clone())).await;
    stack.publish(&good).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    let mut kept: Vec<(String, String, Vec<u8>)> =
        sqlx::query_as("SELECT convert_from(key, 'UTF8'), reason, coalesce(value, '') FROM inbox.parked")
            .fetch_all(stack.database.pool())
            .await
            .unwrap();
    kept.sort();
    let mut expected: Vec<(String, String, Vec<u8>)> =
        cases.into_iter().map(|(name, value)| (name.to_owned(), name.to_owned(), value)).collect();
    expected.push(("key_mismatch".to_owned(), "key_mismatch".to_owned(), value));
    expected.sort();
    assert_eq!(kept, expected);
    assert_eq!(stack.effects(order_of(&good)).await, [1], "the good event on the same topic goes on");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_a_reaction_is_skipped_by_its_header_before_decoding() {
    let mut stack = Stack::start().await;
    let mut foreign = record("tidings.orders", "whatever", b"no Avro at all".to_vec());
    foreign.headers = vec![("ce_type".to_owned(), b"tidings.order.OrderPlaced".to_vec())];
    stack.publish_raw(foreign).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert!(stack.parked().await.is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_older_than_the_inbox_remembers_is_refused_visibly() {
    let mut stack = Stack::start().await;
    let old = confirmed(new_id(), 1);
    sqlx::query("SELECT inbox.drop_partitions(now() + interval '2 weeks')")
        .execute(stack.database.pool())
        .await
        .unwrap();
    stack.publish(&old).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert_eq!(stack.parked().await, [(Some(old.event_id()), "older_than_inbox".to_owned())]);
    assert!(stack.effects(order_of(&old)).await.is_empty());
    stack.stop().await;
}

fn record(topic: &str, key: &str, value: Vec<u8>) -> Record {
    Record { topic: topic.to_owned(), key: key.to_owned(), value, headers: Vec::new() }
}

fn order_of(event: &contracts::AnyEvent) -> Uuid {
    event.key().parse().unwrap()
}
