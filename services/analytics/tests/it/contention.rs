//! The partitions of a topic add to the same counters at the same time.

use std::time::Instant;

use analytics::adapters::postgres::Generation;
use contracts::AnyEvent;
use contracts::clock::new_id;

use crate::support::{Analytics, apply_at, confirmed, placed};

const PARTITIONS: usize = 12;
const BATCHES: usize = 10;
const ORDERS: usize = 50;
const LINES: usize = 20;
const SKUS: usize = 500;

/// One partition's batch: its orders share SKUs with every other partition, each in an order of its own.
fn batch(partition: usize, number: usize) -> Vec<AnyEvent> {
    let order = |index: usize| {
        let names: Vec<String> = (0..LINES)
            .map(|line| {
                format!("sku {}", (partition * 31 + number * 17 + index * 7 + (LINES - line) * 13) % SKUS)
            })
            .collect();
        let lines: Vec<(&str, i64, i64)> = names.iter().map(|name| (name.as_str(), 2, 100)).collect();
        let order_id = new_id();
        [placed(order_id, "GBP", &lines), confirmed(order_id)]
    };
    (0..ORDERS).flat_map(order).collect()
}

#[tokio::test]
async fn twelve_partitions_add_to_the_same_counters_without_a_deadlock_or_a_lost_addition() {
    let analytics = Analytics::start().await;
    let began = Instant::now();
    let partition = |partition: usize| {
        let analytics = &analytics;
        async move {
            for number in 0..BATCHES {
                let events = batch(partition, number);
                let partition = i32::try_from(partition).unwrap();
                apply_at(analytics.database(), Generation::Live, partition, &events).await.unwrap();
            }
        }
    };
    futures::future::join_all((0..PARTITIONS).map(partition)).await;
    let elapsed = began.elapsed();

    let orders = i64::try_from(PARTITIONS * BATCHES * ORDERS).unwrap();
    let units = orders * i64::try_from(LINES).unwrap() * 2;
    let seen = analytics.seen().await;
    assert_eq!(seen.funnel, [("placed", orders), ("confirmed", orders)].into());
    let revenue = seen.revenue["GBP"];
    assert_eq!(
        (revenue.orders, revenue.units, revenue.revenue_minor),
        (orders, i128::from(units), i128::from(units) * 100)
    );
    let sold: i64 = sqlx::query_scalar("SELECT sum(units)::bigint FROM best_sellers_totals")
        .fetch_one(analytics.pool())
        .await
        .unwrap();
    assert_eq!(sold, units);
    println!("{orders} orders of {LINES} lines by {PARTITIONS} partitions in {elapsed:?}");
}
