//! Two releases side by side: what the older one does not know is neither lost nor overtaken.

use std::sync::atomic::Ordering;

use contracts::clock::{new_id, now};
use contracts::envelope::CONTENT_TYPE;
use contracts::order::{OrderConfirmed, OrderPlaced};
use contracts::{AnyEvent, Codec, Envelope, Event, Topics};
use messaging::Record;
use testkit::wait::eventually;
use uuid::Uuid;

use crate::stack::{Stack, TIMEOUT, cancelled, cause, confirmed};

const GROUP: &str = "tidings.ledger";

/// A release that does not know these events yet reads what is there.
async fn older_release(stack: &mut Stack, unknown: &[&str]) {
    let newer = std::mem::replace(&mut stack.release, Codec::offline_before(Topics::default(), unknown));
    stack.consume_as(GROUP);
    stack.caught_up().await;
    stack.release = newer;
}

fn placed(order_id: Uuid, sequence: i64) -> AnyEvent {
    AnyEvent::OrderPlaced(OrderPlaced {
        event_id: new_id(),
        occurred_at: now(),
        order_id,
        sequence,
        customer_id: "customer-1".to_owned(),
        recipient: None,
        currency: "EUR".to_owned(),
        total_minor: 100,
        lines: Vec::new(),
        payment_method: "pm_ok".to_owned(),
    })
}

async fn in_order(stack: &Stack, order: Uuid, expected: &[i64]) {
    eventually("the events have their effects", TIMEOUT, async || {
        let effects = stack.effects(order).await;
        assert!(expected.starts_with(&effects), "out of order: {effects:?}");
        let letters = stack.dead_letters().await;
        if effects == expected && letters.is_empty() { Ok(()) } else { Err((effects, letters)) }
    })
    .await;
}

async fn reasons(stack: &Stack) -> Vec<String> {
    stack.listed().await.into_iter().map(|letter| letter.reason).collect()
}

async fn audit(stack: &Stack) -> Vec<(String, String, String)> {
    sqlx::query_as("SELECT actor, action, result FROM inbox.dead_letter_audit ORDER BY id")
        .fetch_all(stack.database.pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_type_between_two_releases_is_applied_once_and_in_order() {
    let mut stack = Stack::start().await;
    let order = new_id();
    for event in [cancelled(order, 1, ""), confirmed(order, 2), cancelled(order, 3, "")] {
        stack.publish(&event).await;
    }
    older_release(&mut stack, &[OrderConfirmed::TYPE]).await;
    assert_eq!(stack.effects(order).await, [1]);
    assert_eq!(reasons(&stack).await, ["unknown_event_type", "behind_dead_letter"]);
    assert_eq!(stack.listed().await[0].event_type.as_deref(), Some(OrderConfirmed::TYPE));

    stack.consume_as(GROUP);
    in_order(&stack, order, &[1, 2, 3]).await;
    // Whichever release reads it now.
    stack.publish(&confirmed(order, 4)).await;
    stack.publish(&cancelled(order, 5, "")).await;
    in_order(&stack, order, &[1, 2, 3, 4, 5]).await;
    stack.stop().await;
    stack.consume_as(GROUP);
    stack.caught_up().await;
    in_order(&stack, order, &[1, 2, 3, 4, 5]).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_redrive_a_key_once() {
    let mut stack = Stack::start().await;
    let orders: Vec<Uuid> = (0..20).map(|_| new_id()).collect();
    for order in &orders {
        stack.publish(&confirmed(*order, 1)).await;
        stack.publish(&cancelled(*order, 2, "")).await;
    }
    older_release(&mut stack, &[OrderConfirmed::TYPE]).await;
    stack.stop().await;
    stack.consume_as(GROUP);
    stack.consume_as(GROUP);
    for order in &orders {
        in_order(&stack, *order, &[1, 2]).await;
    }
    let applied = ("release".to_owned(), "redrive".to_owned(), "applied".to_owned());
    assert_eq!(audit(&stack).await, vec![applied; 40]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_redrives_no_further_than_the_first_other_letter() {
    let mut stack = Stack::start().await;
    let (behind, before) = (new_id(), new_id());
    let unreadable = |event: &AnyEvent| Record {
        topic: "tidings.orders".to_owned(),
        key: Some(event.key().into_bytes()),
        value: Some(vec![9, 9, 9]),
        headers: Envelope::of(event, "order", &cause()).to_headers(CONTENT_TYPE),
    };
    stack.publish(&confirmed(before, 1)).await;
    stack.publish_raw(unreadable(&cancelled(before, 2, ""))).await;
    stack.publish(&confirmed(before, 3)).await;
    stack.publish_raw(unreadable(&cancelled(behind, 1, ""))).await;
    stack.publish(&confirmed(behind, 2)).await;
    older_release(&mut stack, &[OrderConfirmed::TYPE]).await;
    assert_eq!(stack.listed().await.len(), 5);
    stack.consume_as(GROUP);
    eventually("the first letter of a key is redriven", TIMEOUT, async || {
        let effects = stack.effects(before).await;
        if effects == [1] { Ok(()) } else { Err(effects) }
    })
    .await;
    stack.stop().await;
    assert!(stack.effects(behind).await.is_empty());
    let mut left: Vec<_> =
        stack.listed().await.into_iter().map(|letter| (letter.reason, letter.attempts)).collect();
    left.sort();
    let expected = ["unknown_event_type", "unknown_event_type", "wrong_magic_byte", "wrong_magic_byte"];
    assert_eq!(left, expected.map(|reason| (reason.to_owned(), 0)));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_nobody_wants_lets_its_key_go_on() {
    let mut stack = Stack::start().await;
    let order = new_id();
    stack.publish(&placed(order, 1)).await;
    stack.publish(&confirmed(order, 2)).await;
    older_release(&mut stack, &[OrderPlaced::TYPE]).await;
    assert_eq!(reasons(&stack).await, ["unknown_event_type", "behind_dead_letter"]);
    let id = stack.listed().await[0].event_id;
    stack.consume_as(GROUP);
    in_order(&stack, order, &[2]).await;
    assert_eq!(stack.outcome(id).await.as_deref(), Some("discarded"));
    let entry = |action: &str, result: &str| ("release".to_owned(), action.to_owned(), result.to_owned());
    assert_eq!(audit(&stack).await, [entry("discard", "discarded"), entry("redrive", "applied")]);
    stack.stop().await;
}

/// Between two letters the process ends, or an error is transient: what is left of the key waits for no decision of an operator.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_left_half_way_goes_on() {
    let mut stack = Stack::start().await;
    let order = new_id();
    for event in [placed(order, 1), confirmed(order, 2), confirmed(order, 3)] {
        stack.publish(&event).await;
    }
    older_release(&mut stack, &[OrderPlaced::TYPE]).await;
    stack.stop().await;
    assert_eq!(stack.listed().await.len(), 3);
    stack.faults.failures_before_commit.store(1, Ordering::SeqCst);
    stack.consume_as(GROUP);
    in_order(&stack, order, &[2, 3]).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_without_a_header_waits_for_its_release_as_well() {
    let mut stack = Stack::start().await;
    let order = new_id();
    let event = confirmed(order, 1);
    stack
        .publish_raw(Record {
            topic: "tidings.orders".to_owned(),
            key: Some(event.key().into_bytes()),
            value: Some(stack.codec.encode(&event).unwrap()),
            headers: Vec::new(),
        })
        .await;
    older_release(&mut stack, &[OrderConfirmed::TYPE]).await;
    assert_eq!(reasons(&stack).await, ["unknown_event_type"]);
    stack.consume_as(GROUP);
    in_order(&stack, order, &[1]).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_of_another_namespace_is_skipped() {
    let mut stack = Stack::start().await;
    let order = new_id();
    stack
        .publish_raw(Record {
            topic: "tidings.orders".to_owned(),
            key: Some(order.to_string().into_bytes()),
            value: Some(vec![9, 9, 9]),
            headers: vec![("ce_type".to_owned(), b"elsewhere.OrderSeen".to_vec())],
        })
        .await;
    stack.publish(&confirmed(order, 1)).await;
    stack.consume_as(GROUP);
    stack.caught_up().await;
    in_order(&stack, order, &[1]).await;
    stack.stop().await;
}
