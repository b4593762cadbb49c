//! The partitions of the orders topic hold the same SKUs at the same time.

use std::time::Instant;

use contracts::AnyEvent;
use contracts::clock::new_id;

use crate::support::{Inventory, Row, confirmed, placed};

const PARTITIONS: usize = 8;
const BATCHES: usize = 8;
const ORDERS: usize = 25;
const LINES: usize = 10;
const SKUS: usize = 100;

fn sku(number: usize) -> String {
    format!("sku {}", number % SKUS)
}

/// One partition's batch: its orders share SKUs with every other partition, each in an order of its own.
fn batch(partition: usize, number: usize) -> Vec<AnyEvent> {
    let order = |index: usize| {
        let names: Vec<String> = (0..LINES)
            .map(|line| sku(partition * 31 + number * 17 + index * 7 + (LINES - line) * 13))
            .collect();
        let lines: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let order_id = new_id();
        [placed(order_id, &lines), confirmed(order_id)]
    };
    (0..ORDERS).flat_map(order).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_partitions_sell_the_same_skus_without_a_deadlock_or_a_lost_unit() {
    let inventory = Inventory::start().await;
    for number in 0..SKUS {
        inventory.replenish(&sku(number), 1_000_000, &sku(number)).await;
    }
    let began = Instant::now();
    let partition = |partition: usize| {
        let inventory = &inventory;
        async move {
            for number in 0..BATCHES {
                inventory.apply(&batch(partition, number)).await.unwrap();
            }
        }
    };
    futures::future::join_all((0..PARTITIONS).map(partition)).await;
    let elapsed = began.elapsed();

    let orders = PARTITIONS * BATCHES * ORDERS;
    let mut sold = 0;
    for number in 0..SKUS {
        let Row { available, reserved, committed } = inventory.stock(&sku(number)).await;
        assert_eq!((available + committed, reserved), (1_000_000, 0));
        sold += committed;
    }
    assert_eq!(sold, i64::try_from(orders * LINES).unwrap());
    println!("{orders} orders of {LINES} lines by {PARTITIONS} partitions in {elapsed:?}");
}
