//! What can't be applied is kept with its reason; its key waits behind it, everything else goes on.

use std::sync::atomic::Ordering;

use contracts::clock::{new_id, now};
use contracts::codec::RegistryConfig;
use contracts::envelope::CE_TYPE;
use contracts::order::OrderConfirmed;
use contracts::{AnyEvent, Codec, Event, Topics};
use inbox::PartitionState;
use messaging::Record;
use testkit::ports::ReservedPort;
use testkit::registry::EmbeddedRegistry;
use testkit::wait::eventually;
use uuid::Uuid;

use crate::ledger::{IMPOSSIBLE, PANICS, PANICS_IN_LOAD, PANICS_IN_STORE, REFUSED};
use crate::stack::{Stack, TIMEOUT, cancelled, confirmed};

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
    let mut letters = stack.dead_letters().await;
    letters.sort();
    rejected.sort();
    assert_eq!(letters, rejected.into_iter().map(|id| (id, "impossible".to_owned())).collect::<Vec<_>>());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_rejects_its_event_and_changes_nothing_else() {
    let mut stack = Stack::start().await;
    let (broken, free) = (new_id(), new_id());
    let panics = cancelled(broken, 2, PANICS);
    for event in [&confirmed(broken, 1), &panics, &confirmed(free, 1)] {
        stack.publish(event).await;
    }
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert_eq!((stack.effects(broken).await, stack.effects(free).await), (vec![1], vec![1]));
    assert_eq!(stack.dead_letters().await, [(panics.event_id(), "handler_panicked".to_owned())]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_panics_for_one_event_dead_letters_that_event() {
    for detail in [PANICS_IN_STORE, PANICS_IN_LOAD] {
        let mut stack = Stack::start().await;
        let (broken, free) = (new_id(), new_id());
        let panics = cancelled(broken, 2, detail);
        for event in [&confirmed(broken, 1), &panics, &confirmed(free, 1)] {
            stack.publish(event).await;
        }
        stack.consume_as("tidings.ledger");
        stack.caught_up().await;
        assert_eq!((stack.effects(broken).await, stack.effects(free).await), (vec![1], vec![1]), "{detail}");
        let letters = stack.listed().await;
        assert_eq!(letters.len(), 1, "{letters:?}");
        assert_eq!((letters[0].event_id, &*letters[0].reason), (panics.event_id(), "unit_of_work_panicked"));
        assert!(letters[0].detail.contains("the test asks for it"), "{}", letters[0].detail);
        no_transaction_is_left_open(&stack).await;

        // A redrive meets the same, until the cause is fixed.
        let redriven = stack.redrive_oldest().await;
        assert!(redriven.rejected.is_some() && redriven.remaining == 1, "{redriven:?}");
        no_transaction_is_left_open(&stack).await;
        stack.faults.panics.store(false, Ordering::SeqCst);
        assert_eq!(stack.redrive_oldest().await.applied, 1);
        assert_eq!(stack.effects(broken).await, [1, 2], "{detail}");
        stack.stop().await;
    }
}

async fn no_transaction_is_left_open(stack: &Stack) {
    eventually("no session is idle in a transaction", TIMEOUT, async || {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(stack.database.pool())
        .await
        .unwrap();
        if open == 0 { Ok(()) } else { Err(open) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_stands_twice_counts_as_its_last_value() {
    let mut stack = Stack::start().await;
    let (ours, foreign) = (confirmed(new_id(), 1), confirmed(new_id(), 1));
    let unknown = (CE_TYPE.to_owned(), b"elsewhere.order.OrderForgotten".to_vec());
    let right = (CE_TYPE.to_owned(), ours.event_type().as_bytes().to_vec());
    for (event, headers) in [(&ours, [unknown.clone(), right.clone()]), (&foreign, [right, unknown])] {
        let value = stack.codec.encode(event).unwrap();
        let headers = headers.to_vec();
        stack.publish_raw(Record { headers, ..record("tidings.orders", &event.key(), value) }).await;
    }
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert_eq!(stack.effects(order_of(&ours)).await, [1]);
    assert!(stack.effects(order_of(&foreign)).await.is_empty(), "its header names another type");
    assert!(stack.dead_letters().await.is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_the_registry_learns_late_blames_no_event() {
    let mut stack = Stack::start().await;
    let order = new_id();
    let port = ReservedPort::reserve(0).unwrap();
    let registry = EmbeddedRegistry::start(port.address()).await.unwrap();
    let config = RegistryConfig { url: registry.url(), auto_register_schemas: true };
    for sequence in [1, 2] {
        // The schema will be the registry's first one.
        let value = stack.codec.encode(&confirmed(order, sequence)).unwrap();
        let value = [&[0, 0, 0, 0, 1], &value[5..]].concat();
        stack.publish_raw(record("tidings.orders", &order.to_string(), value)).await;
    }
    stack.release = Codec::connect(&config, Topics::default(), &[], &[]).await.unwrap();
    let status = stack.consume_as("tidings.ledger");
    eventually("the schema is asked for again", TIMEOUT, async || {
        let states = status.partitions();
        let is_retried = |state: &PartitionState| matches!(state, PartitionState::Retrying { .. });
        if states.values().any(is_retried) { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
    Codec::connect(&config, Topics::default(), &[OrderConfirmed::TYPE], &[]).await.unwrap();
    stack.caught_up().await;
    assert_eq!(stack.effects(order).await, [1, 2]);
    assert!(stack.dead_letters().await.is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn later_events_of_a_dead_letters_key_wait_behind_it_and_other_keys_pass() {
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
    let reasons: Vec<String> = stack.dead_letters().await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["impossible", "behind_dead_letter", "behind_dead_letter"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_delivery_of_a_dead_letter_is_a_duplicate() {
    let mut stack = Stack::start().await;
    let event = cancelled(new_id(), 1, IMPOSSIBLE);
    stack.consume_as("tidings.ledger");
    for _ in 0..3 {
        stack.publish(&event).await;
        stack.caught_up().await;
    }
    assert_eq!(stack.dead_letters().await, [(event.event_id(), "impossible".to_owned())]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_the_database_refuses_dead_letters_the_one_event_that_brings_it() {
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
    assert_eq!(stack.dead_letters().await, [(refused.event_id(), "data_error".to_owned())]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_no_events_are_dead_lettered_with_their_reason_and_bytes() {
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
    let mut kept: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
        "SELECT convert_from(key, 'UTF8'), reason, coalesce(value, '') FROM inbox.dead_letters",
    )
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
async fn an_event_without_a_handler_is_skipped_by_its_header_before_decoding() {
    let mut stack = Stack::start().await;
    let mut foreign = record("tidings.orders", "whatever", b"no Avro at all".to_vec());
    foreign.headers = vec![("ce_type".to_owned(), b"tidings.order.OrderPlaced".to_vec())];
    stack.publish_raw(foreign).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert!(stack.dead_letters().await.is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_older_than_the_inbox_remembers_is_a_dead_letter_once() {
    let mut stack = Stack::start().await;
    let old = confirmed(new_id(), 1);
    stack.publish(&confirmed(new_id(), 1)).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    stack.forget_everything().await;
    for _ in 0..2 {
        stack.publish(&old).await;
        stack.caught_up().await;
    }
    assert_eq!(stack.dead_letters().await, [(old.event_id(), "event_id_below_floor".to_owned())]);
    assert_eq!(stack.outcome(old.event_id()).await.as_deref(), Some("undecidable"));
    assert!(stack.effects(order_of(&old)).await.is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_event_of_a_topic_that_was_never_read_before_is_applied() {
    let mut stack = Stack::start().await;
    let old = confirmed(new_id(), 1);
    stack.forget_everything().await;
    stack.publish(&old).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    assert_eq!(stack.effects(order_of(&old)).await, [1]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_week_keeps_what_is_undecided() {
    let mut stack = Stack::start().await;
    let (good, bad) = (confirmed(new_id(), 1), cancelled(new_id(), 1, IMPOSSIBLE));
    for event in [&good, &bad] {
        stack.publish(event).await;
    }
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    stack.forget_everything().await;
    assert_eq!(stack.outcome(good.event_id()).await, None, "it was applied, and is forgotten");
    assert_eq!(stack.outcome(bad.event_id()).await.as_deref(), Some("dead_lettered"));
    stack.publish(&bad).await;
    stack.caught_up().await;
    assert_eq!(
        stack.dead_letters().await,
        [(bad.event_id(), "impossible".to_owned())],
        "a duplicate, and no second letter"
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_any_range_is_applied_or_dead_lettered_once() {
    let mut stack = Stack::start().await;
    let years_ahead = Uuid::from_u128((u128::from(7_u8) << 76) | (0x0fff_ffff_ffff_u128 << 80) | 1);
    let weeks_ahead = Uuid::from_u128(
        ((now() + chrono::TimeDelta::weeks(7)).timestamp_millis().unsigned_abs() as u128) << 80
            | (7_u128 << 76)
            | 2,
    );
    stack.consume_as("tidings.ledger");
    let mut orders = Vec::new();
    for event_id in [weeks_ahead, years_ahead] {
        let AnyEvent::OrderConfirmed(mut event) = confirmed(new_id(), 1) else { unreachable!("it is one") };
        event.event_id = event_id;
        let event = AnyEvent::OrderConfirmed(event);
        orders.push(order_of(&event));
        stack.publish(&event).await;
        stack.caught_up().await;
        assert!(in_default(&stack).await.contains(&event_id));
        // The week of one of them is made in between: the id leaves the default partition, and is still known.
        sqlx::query("SELECT inbox.add_table_partitions(now() + interval '9 weeks')")
            .execute(stack.database.pool())
            .await
            .unwrap();
        stack.publish(&event).await;
        stack.caught_up().await;
    }
    for order in orders {
        assert_eq!(stack.effects(order).await, [1]);
    }
    assert_eq!(in_default(&stack).await, [years_ahead]);
    stack.stop().await;
}

async fn in_default(stack: &Stack) -> Vec<Uuid> {
    sqlx::query_scalar("SELECT event_id FROM inbox.events_default")
        .fetch_all(stack.database.pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_before_1970_forgets_nothing() {
    let stack = Stack::start().await;
    let dropped: i32 = sqlx::query_scalar("SELECT inbox.drop_table_partitions('1926-01-01')")
        .fetch_one(stack.database.pool())
        .await
        .unwrap();
    assert_eq!(dropped, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_any_length_can_be_dead_lettered_and_blocks_its_own() {
    let mut stack = Stack::start().await;
    let long = "k".repeat(6_000);
    for _ in 0..2 {
        stack.publish_raw(record("tidings.orders", &long, vec![1, 2, 3])).await;
    }
    let good = confirmed(new_id(), 1);
    stack.publish(&good).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    let reasons: Vec<String> = stack.dead_letters().await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["wrong_magic_byte", "wrong_magic_byte"]);
    let open: i32 =
        sqlx::query_scalar("SELECT open_letters FROM inbox.dead_letter_keys WHERE key_digest = sha256($1)")
            .bind(long.as_bytes())
            .fetch_one(stack.database.pool())
            .await
            .unwrap();
    assert_eq!(open, 2);
    assert_eq!(stack.effects(order_of(&good)).await, [1]);
    stack.stop().await;
}

fn record(topic: &str, key: &str, value: Vec<u8>) -> Record {
    Record { topic: topic.to_owned(), key: Some(key.into()), value: Some(value), headers: Vec::new() }
}

fn order_of(event: &contracts::AnyEvent) -> Uuid {
    event.key().parse().unwrap()
}
