//! A batch whose COMMIT or its response is lost on the way is applied once.

use std::ops::Range;

use contracts::clock::new_id;
use futures::future::join_all;

use crate::held::GROUP;
use crate::stack::{Stack, confirmed};
use crate::wire::Wire;

/// The bytes are shared by so many stacks at the same time: a consumer that has lost its connection waits more than it works.
const STACKS: usize = 5;

/// Cuts after each of these bytes of a COMMIT and its response. Gives how many bytes these have.
async fn cut_after(part: impl Fn(usize) -> Range<usize>) -> usize {
    let mut stack = Stack::start().await;
    let wire = Wire::start(&stack).await;
    stack.consume_through(wire.database(), GROUP);
    stack.until_joined().await;
    stack.publish(&confirmed(new_id(), 1)).await;
    stack.caught_up().await;
    let (request, response) = wire.commit();
    assert!(request > 0 && response > 0, "{request} and {response} bytes");
    let before = stack.loads().len();
    let (mut orders, mut rolled_back) = (Vec::new(), 0);
    for bytes in part(request + response) {
        wire.cut_commit_after(bytes);
        let order = new_id();
        stack.publish(&confirmed(order, 1)).await;
        stack.caught_up().await;
        orders.push(order);
        let found = (wire.cuts(), stack.effects(order).await);
        assert_eq!(found, (orders.len(), vec![1]), "after {bytes} bytes");
        rolled_back += usize::from(bytes < request);
    }
    stack.stop().await;
    stack.until_effects(&orders, &[1]).await;
    // Without all of its COMMIT a transaction is rolled back and repeated; with it, the position has moved.
    assert_eq!(stack.loads().len() - before, orders.len() + rolled_back);
    assert!(stack.dead_letters().await.is_empty());
    request + response
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_cut_at_any_byte_is_applied_once() {
    let part = |stack: usize| move |bytes: usize| bytes * stack / STACKS..bytes * (stack + 1) / STACKS;
    let bytes = join_all((0..STACKS).map(|stack| cut_after(part(stack)))).await;
    assert!(bytes.iter().all(|one| *one == bytes[0]), "{bytes:?}");
}
