//! The row of a key makes the transactions take turns that concern its dead letters, also while it has none.

use contracts::clock::new_id;
use messaging::{Record, partition_for_key};
use testkit::wait::eventually;

use crate::held::{GROUP, orders_of_each};
use crate::ledger::REFUSED;
use crate::stack::{Stack, TIMEOUT, cancelled, confirmed};

const TOPIC: &str = "tidings.orders";

async fn open_letters(stack: &Stack) -> i32 {
    sqlx::query_scalar("SELECT open_letters FROM inbox.dead_letter_keys")
        .fetch_one(stack.database.pool())
        .await
        .unwrap()
}

/// Waits until a transaction waits for a row of another one.
async fn someone_waits(stack: &Stack) {
    eventually("a transaction waits for another one", TIMEOUT, async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(stack.database.pool())
        .await
        .unwrap();
        if waiting > 0 { Ok(()) } else { Err("none waits") }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_dead_letter_follows_the_first_ones_marker() {
    let mut stack = Stack::start().await;
    stack.consume_as(GROUP);
    let orders = orders_of_each();
    let key = orders[1];
    stack.publish(&cancelled(key, 1, REFUSED)).await;
    stack.caught_up().await;
    sqlx::query("ALTER TABLE ledger DROP CONSTRAINT ledger_detail_check")
        .execute(stack.database.pool())
        .await
        .unwrap();
    assert_eq!(stack.redrive_oldest().await.applied, 1);
    assert_eq!((stack.effects(key).await, open_letters(&stack).await), (vec![1], 0));

    // One batch: its transaction has the key's row, and is held open before it stores.
    stack.faults.gate.forget_permits(usize::MAX);
    let before = stack.loads().len();
    let neighbour = std::iter::repeat_with(new_id)
        .find(|order| partition_for_key(order.to_string().as_bytes(), 6) == 1)
        .unwrap();
    let malformed = Record { value: Some(vec![1, 2, 3]), ..stack.record(&confirmed(key, 2)) };
    stack.bus.set_leader(TOPIC, 1, false);
    stack.append_to(1, malformed);
    stack.append_to(1, stack.record(&confirmed(neighbour, 1)));
    stack.bus.set_leader(TOPIC, 1, true);
    eventually("the batch is held", TIMEOUT, async || {
        let loads = stack.loads().len();
        if loads > before { Ok(()) } else { Err(loads) }
    })
    .await;

    // The next event of the key, which a resumed relay has put on a partition that is applied in isolation.
    stack.append_to(2, stack.record(&confirmed(key, 3)));
    someone_waits(&stack).await;
    stack.release();
    stack.caught_up().await;
    stack.until_effects(&[neighbour], &[1]).await;
    assert_eq!((stack.effects(key).await, open_letters(&stack).await), (vec![1], 2));
    let reasons: Vec<String> = stack.dead_letters().await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons.get(1).map(String::as_str), Some("behind_dead_letter"), "{reasons:?}");
    stack.stop().await;
}
