//! Once the cause is mended, a key's parked events have their effect, once and in order, whatever else goes on.

use std::sync::atomic::Ordering;

use contracts::ambient::new_id;
use inbox::redrive::Redriven;
use messaging::Record;
use testkit::wait::eventually;

use crate::ledger::{IMPOSSIBLE, REFUSED};
use crate::stack::{PATIENCE, Stack, cancelled, confirmed};

/// The database accepts what it refused.
async fn mend(stack: &Stack) {
    sqlx::query("ALTER TABLE ledger DROP CONSTRAINT ledger_detail_check")
        .execute(stack.database.pool())
        .await
        .unwrap();
}

const fn all_of(applied: u64) -> Redriven {
    Redriven { applied, remaining: 0, refused: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_keys_events_have_their_effect_once_and_in_order_and_the_key_is_free_again() {
    let mut stack = Stack::start().await;
    let order = new_id();
    let events = [cancelled(order, 1, REFUSED), confirmed(order, 2), confirmed(order, 3)];
    for event in &events {
        stack.publish(event).await;
    }
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    let listed = stack.listed().await;
    let told: Vec<_> = listed.iter().map(|event| (event.event_id, event.reason.as_str())).collect();
    let ids = events.each_ref().map(|event| Some(event.event_id()));
    assert_eq!(told, [(ids[0], "data_refused"), (ids[1], "behind_parked"), (ids[2], "behind_parked")]);
    assert_eq!(listed[0].key, Some(order.to_string()));

    let refused = stack.redrive_oldest().await;
    assert_eq!((refused.applied, refused.remaining), (0, 3));
    assert!(refused.refused.is_some_and(|why| why.contains("data_refused")));
    assert!(stack.effects(order).await.is_empty());

    mend(&stack).await;
    assert_eq!(stack.redrive_oldest().await, all_of(3));
    assert_eq!(stack.effects(order).await, [1, 2, 3]);
    assert!(stack.parked().await.is_empty());
    assert_eq!(stack.redriver().redrive(listed[0].id).await.unwrap(), None, "it is parked no more");

    for event in &events {
        stack.publish(event).await;
    }
    stack.publish(&confirmed(order, 4)).await;
    stack.caught_up().await;
    assert_eq!(
        stack.effects(order).await,
        [1, 2, 3, 4],
        "delivered again, they are duplicates; the next one passes"
    );
    assert!(stack.parked().await.is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_ends_before_what_is_refused_for_a_reason_of_its_own() {
    let mut stack = Stack::start().await;
    let order = new_id();
    stack.publish(&cancelled(order, 1, REFUSED)).await;
    stack.publish(&cancelled(order, 2, IMPOSSIBLE)).await;
    stack.publish(&confirmed(order, 3)).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    mend(&stack).await;
    let redriven = stack.redrive_oldest().await;
    assert_eq!((redriven.applied, redriven.remaining), (1, 2));
    assert_eq!(stack.effects(order).await, [1], "the refused event's change must not be stored");
    let reasons: Vec<String> = stack.parked().await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["impossible", "behind_parked"]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_fails_before_its_commit_leaves_the_event_parked() {
    let mut stack = Stack::start().await;
    let order = new_id();
    stack.publish(&cancelled(order, 1, REFUSED)).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    mend(&stack).await;
    stack.faults.failures_before_commit.store(1, Ordering::SeqCst);
    let id = stack.listed().await[0].id;
    assert!(stack.redriver().redrive(id).await.is_err(), "the world is at fault");
    assert_eq!(stack.parked().await.len(), 1);
    assert!(stack.effects(order).await.is_empty());
    assert_eq!(stack.redrive_oldest().await, all_of(1));
    assert_eq!(stack.effects(order).await, [1]);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redrives_at_once_and_a_key_that_goes_on_keep_the_order() {
    const EVENTS: i64 = 60;
    let mut stack = Stack::start().await;
    stack.max_batch_records = 2;
    stack.consume_as("tidings.ledger");
    let order = new_id();
    stack.publish(&cancelled(order, 1, REFUSED)).await;
    stack.caught_up().await;
    mend(&stack).await;
    let publishing = async {
        for sequence in 2..=EVENTS {
            stack.publish(&confirmed(order, sequence)).await;
            tokio::task::yield_now().await;
        }
    };
    let redriving = async || {
        eventually("nothing is parked", PATIENCE, async || {
            for parked in stack.listed().await {
                stack.redriver().redrive(parked.id).await.unwrap();
            }
            let effects = stack.effects(order).await.len();
            if i64::try_from(effects) == Ok(EVENTS) { Ok(()) } else { Err(effects) }
        })
        .await;
    };
    tokio::join!(publishing, redriving(), redriving(), redriving());
    stack.caught_up().await;
    assert_eq!(stack.effects(order).await, (1..=EVENTS).collect::<Vec<_>>());
    assert!(stack.parked().await.is_empty());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_stays_parked_and_what_the_inbox_had_forgotten_can_be_applied() {
    let mut stack = Stack::start().await;
    let old = confirmed(new_id(), 1);
    sqlx::query("SELECT inbox.drop_partitions(now() + interval '2 weeks')")
        .execute(stack.database.pool())
        .await
        .unwrap();
    let topic = stack.codec.topics().name(old.topic());
    let nonsense = Record { topic, key: "nonsense".to_owned(), value: vec![1, 2, 3], headers: Vec::new() };
    stack.publish_raw(nonsense).await;
    stack.publish(&old).await;
    stack.consume_as("tidings.ledger");
    stack.caught_up().await;
    for parked in stack.listed().await {
        let redriven = stack.redriver().redrive(parked.id).await.unwrap().unwrap();
        if parked.key.as_deref() == Some("nonsense") {
            assert!(redriven.refused.is_some_and(|why| why.contains("wrong_magic_byte")));
        } else {
            assert_eq!(redriven, all_of(1));
        }
    }
    assert_eq!(stack.effects(old.key().parse().unwrap()).await, [1]);
    assert_eq!(stack.parked().await.len(), 1);
    stack.stop().await;
}
