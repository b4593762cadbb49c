//! One corrupt row stops nothing but its own order.

use contracts::clock;
use order::adapters::deadline_worker::CatchUpBarrier;
use order::domain::OrderId;
use testkit::exposition::Recorded;
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::deadlines::{consume, ended, publish, timed_out, two_of_one_partition, worker};
use crate::events::payment_completed;
use crate::stack::{Stack, WAIT_TIMEOUT};

impl Stack {
    /// Lets the head of the order say what no code can read.
    async fn corrupt_head(&self, order_id: OrderId) {
        let unchecked =
            "ALTER TABLE orders DROP CONSTRAINT orders_status_check, DROP CONSTRAINT orders_check1";
        sqlx::raw_sql(unchecked).execute(self.pool()).await.unwrap();
        self.set_status(order_id, "lost").await;
    }

    async fn set_status(&self, order_id: OrderId, status: &str) {
        sqlx::query("UPDATE orders SET status = $2 WHERE order_id = $1")
            .bind(order_id.0)
            .bind(status)
            .execute(self.pool())
            .await
            .unwrap();
    }

    /// Adds an event to the order's stream that its head does not know.
    async fn corrupt_stream(&self, order_id: OrderId) {
        let added = sqlx::query(
            "INSERT INTO order_events (order_id, version, type, schema_version, data, metadata, occurred_at)
             SELECT order_id, version + 1, type, schema_version, data, metadata, occurred_at
             FROM order_events WHERE order_id = $1 ORDER BY version DESC LIMIT 1",
        )
        .bind(order_id.0)
        .execute(self.pool())
        .await
        .unwrap();
        assert_eq!(added.rows_affected(), 1);
    }

    /// The orders whose deadlines are looked at in four minutes or later.
    async fn set_aside(&self) -> Vec<OrderId> {
        let ids: Vec<uuid::Uuid> =
            sqlx::query_scalar("SELECT order_id FROM deadlines WHERE look_at > $1 ORDER BY order_id")
                .bind(clock::now() + chrono::TimeDelta::minutes(4))
                .fetch_all(self.pool())
                .await
                .unwrap();
        ids.into_iter().map(OrderId).collect()
    }
}

#[tokio::test]
async fn corrupt_orders_among_the_oldest_stop_no_other_deadline_and_are_named() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let orders = stack.place_many(25).await;
    let mut corrupt = [orders[3], orders[7]];
    corrupt.sort();
    let others = orders.iter().copied().filter(|order_id| !corrupt.contains(order_id));
    let others: Vec<OrderId> = others.collect();
    stack.corrupt_head(corrupt[0]).await;
    stack.corrupt_stream(corrupt[1]).await;
    // They are the oldest, and in one page with others.
    stack.let_deadlines_pass(&others).await;
    stack.let_deadlines_pass(&corrupt).await;
    sqlx::query("UPDATE deadlines SET look_at = look_at - interval '1 hour' WHERE order_id = ANY($1)")
        .bind(corrupt.map(|order_id| order_id.0))
        .execute(stack.pool())
        .await
        .unwrap();

    let worker = worker(&stack, &stack.replica, 10);
    let mut barrier = CatchUpBarrier::default();
    assert_eq!(worker.poll_once(&mut barrier).await.unwrap(), others.len());
    for order_id in &others {
        assert_eq!(stack.end_of(*order_id).await, timed_out());
    }
    assert_eq!(stack.set_aside().await, corrupt);
    let counted = || recorded.sum("corrupt_rows_total", &[("table", "orders")]).to_string();
    assert_eq!(counted(), "2");
    assert_eq!(worker.poll_once(&mut barrier).await.unwrap(), 0, "no hot loop");
    assert_eq!(counted(), "2");

    // One is repaired: it ends when it is looked at again.
    stack.set_status(corrupt[0], "placed").await;
    stack.let_deadlines_pass(&corrupt[..1]).await;
    assert_eq!(worker.poll_once(&mut barrier).await.unwrap(), 1);
    assert_eq!(stack.end_of(corrupt[0]).await, timed_out());
}

#[tokio::test]
async fn a_database_that_refuses_sets_no_order_aside() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let orders = stack.place_many(3).await;
    stack.let_deadlines_pass(&orders).await;
    let worker = worker(&stack, &stack.replica, 10);
    let away = "ALTER TABLE order_events RENAME TO order_events_away";
    sqlx::raw_sql(away).execute(stack.pool()).await.unwrap();
    worker.poll_once(&mut CatchUpBarrier::default()).await.expect_err("a table is missing");
    let back = "ALTER TABLE order_events_away RENAME TO order_events";
    sqlx::raw_sql(back).execute(stack.pool()).await.unwrap();
    assert!(stack.set_aside().await.is_empty());
    assert_eq!(recorded.sum("corrupt_rows_total", &[("table", "orders")]).to_string(), "0");
    assert_eq!(worker.poll_once(&mut CatchUpBarrier::default()).await.unwrap(), 3);
}

#[tokio::test]
async fn a_corrupt_order_is_left_out_of_the_list_and_ends_no_pages() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let orders = stack.place_many(6).await;
    sqlx::query("UPDATE order_views SET stage = 'lost' WHERE order_id = ANY($1)")
        .bind([orders[4].0, orders[3].0])
        .execute(stack.pool())
        .await
        .unwrap();
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = stack.replica.get(&format!("/orders?limit=2{cursor}")).await;
        assert_eq!(page.status, axum::http::StatusCode::OK, "{page:?}");
        let page = page.json();
        for order in page["orders"].as_array().unwrap() {
            listed.push(OrderId(order["order_id"].as_str().unwrap().parse().unwrap()));
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let mut expected = vec![orders[0], orders[1], orders[2], orders[5]];
    expected.sort();
    expected.reverse();
    assert_eq!(listed, expected);
    assert_ne!(recorded.sum("corrupt_rows_total", &[("table", "order_views")]).to_string(), "0");
}

#[tokio::test]
async fn events_of_a_corrupt_order_wait_as_dead_letters_and_stop_no_other_order_of_their_partition() {
    let stack = Stack::start().await;
    let [corrupt, whole] = two_of_one_partition(&stack).await;
    stack.corrupt_head(corrupt).await;
    publish(&stack, payment_completed(corrupt)).await;
    publish(&stack, payment_completed(whole)).await;
    let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
    consume(&stack, &mut tasks, &shutdown);
    assert_eq!(ended(&stack, whole).await, ("confirmed".to_owned(), None));
    eventually("the other is a dead letter", WAIT_TIMEOUT, async || {
        let reasons: Vec<String> = sqlx::query_scalar("SELECT reason FROM inbox.dead_letters WHERE key = $1")
            .bind(corrupt.to_string().into_bytes())
            .fetch_all(stack.pool())
            .await
            .unwrap();
        if reasons == ["unexpected_error"] { Ok(()) } else { Err(reasons) }
    })
    .await;
    shutdown.cancel();
    tasks.join_all().await;
}
