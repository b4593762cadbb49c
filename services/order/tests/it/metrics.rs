//! Orders are counted once, by their end.

use order::domain::OrderId;
use testkit::exposition::Recorded;

use crate::events::{payment_completed, payment_declined, stock_rejected, stock_reserved};
use crate::stack::{Stack, expire};

fn ended(recorded: &Recorded, end: &str, reason: &str) -> String {
    recorded.sum("orders_ended_total", &[("status", end), ("reason", reason)]).to_string()
}

#[tokio::test]
async fn each_order_is_counted_once_when_it_is_placed_and_once_by_its_end_whatever_comes_late() {
    let recorded = Recorded::start();
    let stack = Stack::start().await;
    let orders = stack.place_many(7).await;
    let [confirmed, declined, out_of_stock, cancelled, timed_out, twice, open]: [OrderId; 7] =
        orders.try_into().unwrap();
    stack.apply([confirmed, declined, cancelled, twice].map(stock_reserved).to_vec()).await;
    stack
        .apply(vec![
            payment_completed(confirmed),
            payment_declined(declined),
            stock_rejected(out_of_stock),
            payment_completed(twice),
        ])
        .await;
    stack.replica.cancel(cancelled).await;
    stack.let_deadlines_pass(&[timed_out]).await;
    expire(&stack.replica.store, &[timed_out], chrono::TimeDelta::zero()).await;
    // Too late to end anything.
    stack
        .apply(vec![payment_completed(cancelled), stock_rejected(timed_out), payment_completed(twice)])
        .await;
    stack.replica.cancel(confirmed).await;

    assert_eq!(recorded.sum("orders_placed_total", &[]).to_string(), "7");
    assert_eq!(ended(&recorded, "confirmed", "none"), "2");
    for reason in ["payment_declined", "out_of_stock", "customer_request", "timed_out"] {
        assert_eq!(ended(&recorded, "cancelled", reason), "1", "{reason}");
    }
    let took =
        |part: &str, end| recorded.sum(&format!("orders_time_to_end_seconds_{part}"), &[("status", end)]);
    assert_eq!(took("count", "confirmed").to_string(), "2");
    assert_eq!(took("count", "cancelled").to_string(), "4");
    assert!(took("sum", "confirmed") < 120.0, "from placed, not from 1970: {}", took("sum", "confirmed"));
    assert!(took("sum", "confirmed") > 0.0);

    assert_eq!(stack.replica.store.count_due(contracts::clock::now()).await.unwrap(), 0);
    stack.let_deadlines_pass(&[open]).await;
    assert_eq!(stack.replica.store.count_due(contracts::clock::now()).await.unwrap(), 1);
}
