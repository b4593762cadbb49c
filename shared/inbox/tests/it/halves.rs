//! A batch with a record that the database refuses is halved; each half commits its own position (docs/adr/0016).

use contracts::clock::new_id;
use contracts::topics::PARTITIONS;
use messaging::partition_for_key;
use testkit::wait::eventually;
use uuid::Uuid;

use crate::held::GROUP;
use crate::ledger::REFUSED;
use crate::stack::{Stack, TIMEOUT, cancelled, confirmed};

const PARTITION: i32 = 1;

async fn position(stack: &Stack) -> Option<i64> {
    sqlx::query_scalar("SELECT next_offset FROM inbox.consumer_positions WHERE partition = $1")
        .bind(PARTITION)
        .fetch_optional(stack.database.pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_halves_repeats_the_rest() {
    let mut stack = Stack::start().await;
    let is_there = |order: &Uuid| partition_for_key(order.to_string().as_bytes(), PARTITIONS) == PARTITION;
    let orders: Vec<Uuid> = std::iter::repeat_with(new_id).filter(is_there).take(4).collect();
    for order in &orders[..3] {
        stack.append(&confirmed(*order, 1));
    }
    let refused = cancelled(orders[3], 1, REFUSED);
    stack.append(&refused);
    // One transaction may store: the first half. That of the third record alone is held before its commit.
    stack.faults.gate.forget_permits(usize::MAX);
    stack.faults.gate.add_permits(1);
    stack.consume_as(GROUP);
    eventually("the first half is applied, and the next one held", TIMEOUT, async || {
        let seen = (position(&stack).await, stack.faults.gate.available_permits(), stack.loads().len());
        // The batch, its first half, its second half, the first half of that.
        if seen == (Some(2), 0, 4) { Ok(()) } else { Err(seen) }
    })
    .await;
    stack.crash().await;
    assert_eq!(position(&stack).await, Some(2));
    assert!(stack.effects(orders[2]).await.is_empty() && stack.dead_letters().await.is_empty());

    stack.release();
    stack.consume_as(GROUP);
    stack.caught_up().await;
    for order in &orders[..3] {
        assert_eq!(stack.effects(*order).await, [1]);
    }
    assert!(stack.effects(orders[3]).await.is_empty());
    assert_eq!(stack.dead_letters().await, [(refused.event_id(), "data_error".to_owned())]);
    stack.stop().await;
}
