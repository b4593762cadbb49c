//! The harness for units of work: a batch is stored whole or not at all, and the inbox's tables have no part in it.

use contracts::clock::new_id;
use contracts::{AnyEvent, Envelope};
use inbox::HandlerError;
use inbox::testing::{apply, cuts, permutations};

use crate::ledger::{IMPOSSIBLE, subscriptions};
use crate::stack::{Stack, cancelled, cause, confirmed};

async fn apply_batch(stack: &Stack, events: &[AnyEvent]) -> Result<(), HandlerError> {
    let enveloped = |event: &AnyEvent| (Envelope::of(event, "order", &cause()), event.clone());
    let events = events.iter().map(enveloped).collect();
    apply(stack.database.database(), &subscriptions(), &stack.faults, events).await
}

#[tokio::test]
async fn events_have_their_effects_in_every_order_and_cut() {
    let stack = Stack::start().await;
    for sequences in permutations(&[1, 2, 3]) {
        for cut in cuts(&sequences) {
            let order_id = new_id();
            for batch in &cut {
                let events: Vec<_> = batch.iter().map(|sequence| confirmed(order_id, *sequence)).collect();
                apply_batch(&stack, &events).await.unwrap();
            }
            assert_eq!(stack.effects(order_id).await, sequences, "{cut:?}");
        }
    }
}

#[tokio::test]
async fn a_rejected_event_leaves_nothing_of_its_batch_and_what_is_applied_again_has_its_effect_again() {
    let stack = Stack::start().await;
    let order_id = new_id();
    let (first, impossible) = (confirmed(order_id, 1), cancelled(order_id, 2, IMPOSSIBLE));
    let rejected = apply_batch(&stack, &[first.clone(), impossible.clone()]).await.unwrap_err();
    let expected = format!("event {} is to be dead-lettered: {IMPOSSIBLE}: ", impossible.event_id());
    assert!(rejected.to_string().starts_with(&expected), "{rejected}");
    assert!(stack.effects(order_id).await.is_empty());
    for _ in 0..2 {
        apply_batch(&stack, std::slice::from_ref(&first)).await.unwrap();
    }
    assert_eq!(stack.effects(order_id).await, [1, 1]);
}
