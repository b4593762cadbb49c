//! Dead letters keep back what follows them on their own topic, and nothing on another one (docs/adr/0016).

use contracts::clock::{new_id, now};
use contracts::payment::PaymentDeclined;
use contracts::topics::Topic;
use contracts::{AnyEvent, Event as _};
use uuid::Uuid;

use crate::held::GROUP;
use crate::ledger::{IMPOSSIBLE, subscriptions_of_two_topics};
use crate::stack::{Stack, cancelled, confirmed};

/// Its key is that of the order's own events.
fn declined(order_id: Uuid, sequence: i64) -> AnyEvent {
    PaymentDeclined {
        event_id: new_id(),
        occurred_at: now(),
        order_id,
        sequence,
        payment_id: new_id(),
        amount_minor: 100,
        currency: "GBP".to_owned(),
        reason: "authorization_declined".to_owned(),
    }
    .into_any()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_blocks_its_topic_only() {
    let mut stack = Stack::start().await;
    stack.topics = vec![Topic::Orders, Topic::Payments];
    stack.subscriptions = subscriptions_of_two_topics;
    stack.consume_as(GROUP);
    let order = new_id();
    stack.publish(&cancelled(order, 1, IMPOSSIBLE)).await;
    stack.caught_up().await;
    stack.publish(&declined(order, 7)).await;
    stack.publish(&confirmed(order, 2)).await;
    stack.caught_up().await;
    assert_eq!(stack.effects(order).await, [7]);
    let reasons: Vec<String> = stack.dead_letters().await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["impossible", "behind_dead_letter"]);
    stack.stop().await;
}
