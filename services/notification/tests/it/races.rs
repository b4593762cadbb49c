//! Facts of two topics in overlapping transactions: every interleaving of their statements and commits.

use contracts::clock::new_id;
use testkit::interleave::every_interleaving;

use crate::stack::{Stack, apply, cancelled, placed, refunded};

#[tokio::test]
async fn an_order_and_its_refund_at_the_same_time_lose_no_mail() {
    let stack = Stack::start().await;
    let explored = every_interleaving(
        stack.pool().connect_options().as_ref(),
        5_000,
        async || new_id(),
        |order_id, database| async move { apply(&database, &[placed(order_id), cancelled(order_id)]).await },
        |order_id, database| async move { apply(&database, &[refunded(order_id)]).await },
        async |order_id, schedule| {
            let expected = ["order_cancelled", "order_received", "payment_refunded"];
            assert_eq!(stack.kinds(order_id).await, expected, "schedule {schedule}");
        },
    )
    .await;
    println!("OrderPlaced + OrderCancelled | PaymentRefunded: {} interleavings", explored.schedules);
    assert!(explored.schedules > 1);
}

#[tokio::test]
async fn a_cancellation_and_a_refund_at_the_same_time_lose_no_mail_and_no_fact() {
    let stack = Stack::start().await;
    let explored = every_interleaving(
        stack.pool().connect_options().as_ref(),
        5_000,
        async || {
            let order_id = new_id();
            apply(stack.database(), &[placed(order_id)]).await;
            order_id
        },
        |order_id, database| async move { apply(&database, &[cancelled(order_id)]).await },
        |order_id, database| async move { apply(&database, &[refunded(order_id)]).await },
        async |order_id, schedule| {
            let expected = ["order_cancelled", "order_received", "payment_refunded"];
            assert_eq!(stack.kinds(order_id).await, expected, "schedule {schedule}");
            let both_known: bool = sqlx::query_scalar(
                "SELECT status IS NOT NULL AND refunded_minor IS NOT NULL FROM orders WHERE order_id = $1",
            )
            .bind(order_id)
            .fetch_one(stack.pool())
            .await
            .unwrap();
            assert!(both_known, "one fact has overwritten the other; schedule {schedule}");
        },
    )
    .await;
    println!("OrderCancelled | PaymentRefunded: {} interleavings", explored.schedules);
    assert!(explored.schedules > 1);
}

/// The left side commits an order that the right one is about to insert, and goes on with both, of which the other one was there.
#[tokio::test]
async fn a_batch_that_misses_a_row_holds_no_other_one_meanwhile() {
    let stack = Stack::start().await;
    let explored = every_interleaving(
        stack.pool().connect_options().as_ref(),
        5_000,
        async || {
            let (one, two) = (new_id(), new_id());
            apply(stack.database(), &[placed(two)]).await;
            (one, two)
        },
        |(one, two), database| async move {
            apply(&database, &[placed(one)]).await;
            apply(&database, &[cancelled(one), cancelled(two)]).await;
        },
        |(one, two), database| async move { apply(&database, &[refunded(one), refunded(two)]).await },
        async |(one, two), schedule| {
            let expected = ["order_cancelled", "order_received", "payment_refunded"];
            for order_id in [one, two] {
                assert_eq!(stack.kinds(order_id).await, expected, "schedule {schedule}");
            }
        },
    )
    .await;
    println!("an inserted and a known order, two batches: {} interleavings", explored.schedules);
}
