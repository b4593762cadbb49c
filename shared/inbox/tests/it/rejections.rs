//! What a batch of rejected events costs, and what it leaves.

use contracts::AnyEvent;
use contracts::clock::new_id;
use messaging::partition_for_key;
use uuid::Uuid;

use crate::held::GROUP;
use crate::ledger::IMPOSSIBLE;
use crate::stack::{Stack, cancelled, confirmed};
use crate::wire::Wire;

const TOPIC: &str = "tidings.orders";
const EVENTS: usize = 500;

/// So many orders of one partition.
fn orders(partition: i32, count: usize) -> Vec<Uuid> {
    let lies_there = |order: &Uuid| partition_for_key(order.to_string().as_bytes(), 6) == partition;
    std::iter::repeat_with(new_id).filter(lies_there).take(count).collect()
}

/// The transactions of a batch of these events of one partition, each by its number of statements.
async fn batch(stack: &Stack, wire: &Wire, partition: i32, events: &[AnyEvent]) -> Vec<usize> {
    let before = wire.transactions().len();
    stack.bus.set_leader(TOPIC, partition, false);
    for event in events {
        stack.append(event);
    }
    stack.bus.set_leader(TOPIC, partition, true);
    stack.caught_up().await;
    // Others are shorter.
    wire.transactions().split_off(before).into_iter().filter(|statements| *statements > 5).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_rejections_costs_one_transaction() {
    let mut stack = Stack::start().await;
    let wire = Wire::start(&stack).await;
    stack.consume_through(wire.database(), GROUP);
    stack.until_joined().await;
    let before = stack.loads().len();
    let good: Vec<AnyEvent> = orders(1, EVENTS).into_iter().map(|order| confirmed(order, 1)).collect();
    let applied = batch(&stack, &wire, 1, &good).await;
    let bad: Vec<AnyEvent> =
        orders(2, EVENTS).into_iter().map(|order| cancelled(order, 1, IMPOSSIBLE)).collect();
    let rejected = batch(&stack, &wire, 2, &bad).await;
    assert_eq!((applied.len(), stack.loads().len() - before), (1, 2), "{applied:?} {rejected:?}");
    // Their dead letters are one statement more.
    assert!(rejected.len() == 1 && rejected[0] <= applied[0] + 1, "{applied:?} {rejected:?}");
    let letters: Vec<Uuid> = stack.dead_letters().await.into_iter().map(|(event, _)| event).collect();
    assert_eq!(letters, bad.iter().map(AnyEvent::event_id).collect::<Vec<_>>(), "in the order of the topic");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_with_rejections_the_other_events_are_applied_once_and_in_order() {
    let mut stack = Stack::start().await;
    let wire = Wire::start(&stack).await;
    stack.consume_through(wire.database(), GROUP);
    stack.until_joined().await;
    // Of each order a good event, then, of every second one, a rejected one and another good one behind it.
    let orders = orders(3, 40);
    let mut events: Vec<AnyEvent> = orders.iter().map(|order| confirmed(*order, 1)).collect();
    for (number, order) in orders.iter().enumerate() {
        if number % 2 == 0 {
            events.push(cancelled(*order, 2, IMPOSSIBLE));
        }
        events.push(confirmed(*order, 3));
    }
    let first = self::orders(3, 1)[0];
    events.push(cancelled(first, 1, IMPOSSIBLE));
    let transactions = batch(&stack, &wire, 3, &events).await;
    assert_eq!(transactions.len(), 1, "{transactions:?}");
    for (number, order) in orders.iter().enumerate() {
        let expected: &[i64] = if number % 2 == 0 { &[1] } else { &[1, 3] };
        assert_eq!(stack.effects(*order).await, expected);
    }
    let reasons: Vec<String> = stack.dead_letters().await.into_iter().map(|(_, reason)| reason).collect();
    let mut expected = ["impossible", "behind_dead_letter"].repeat(20);
    expected.push("impossible");
    assert_eq!(reasons, expected);
    let details: i64 = sqlx::query_scalar("SELECT count(*) FROM ledger WHERE detail <> '' OR order_id = $1")
        .bind(first)
        .fetch_one(stack.database.pool())
        .await
        .unwrap();
    assert_eq!(details, 0, "a rejected event leaves neither what its handler changed nor a row");
    stack.stop().await;
}
