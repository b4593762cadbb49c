//! A rejected fact takes back what its handler has changed, and no more; the batch goes on in its transaction.

use contracts::clock::new_id;
use testkit::wait::eventually;
use uuid::Uuid;

use crate::support::{Inventory, Row, cancelled, confirmed, placed};

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

async fn states(inventory: &Inventory, order: Uuid) -> Vec<String> {
    sqlx::query_scalar("SELECT state FROM reservations WHERE order_id = $1")
        .bind(order)
        .fetch_all(inventory.pool())
        .await
        .unwrap()
}

/// Waits until so many transactions wait for another one.
async fn until_waiting(inventory: &Inventory, expected: i64) {
    eventually("transactions wait", TIMEOUT, async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(inventory.pool())
        .await
        .unwrap();
        if waiting == expected { Ok(()) } else { Err(waiting) }
    })
    .await;
}

#[tokio::test]
async fn a_cancellation_in_its_orders_batch_releases_what_was_reserved() {
    let inventory = Inventory::start().await;
    inventory.replenish("mug", 5, "k-1").await;
    let [order, unknown] = [new_id(), new_id()];
    let facts = [placed(order, &[("mug", 3)]), confirmed(unknown), cancelled(order)];
    assert_eq!(inventory.apply_accepted(&facts).await, ["confirmed_without_stock"]);
    assert_eq!(inventory.stock("mug").await, Row { available: 5, reserved: 0, committed: 0 });
    let names: Vec<String> =
        inventory.sequences(&order.to_string()).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["StockReserved", "StockReleased"]);
}

#[tokio::test]
async fn a_rejection_takes_back_its_own_units_only() {
    let inventory = Inventory::start().await;
    inventory.replenish("mug", 9, "k-1").await;
    let [first, committed, last] = [new_id(), new_id(), new_id()];
    inventory.apply(&[placed(committed, &[("mug", 1)]), confirmed(committed)]).await.unwrap();
    let facts = [
        placed(first, &[("mug", 2)]),
        cancelled(committed),
        placed(new_id(), &[("mug", 1), (" mug", 1)]),
        placed(last, &[("mug", 4)]),
        confirmed(last),
    ];
    assert_eq!(inventory.apply_accepted(&facts).await, ["cancelled_after_commit", "invalid_sku"]);
    assert_eq!(inventory.stock("mug").await, Row { available: 2, reserved: 2, committed: 5 });
    let numbered: Vec<i64> =
        inventory.sequences("mug").await.into_iter().map(|(_, sequence)| sequence).collect();
    assert_eq!(numbered, (1..).take(numbered.len()).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_first_event_leaves_no_row() {
    let inventory = Inventory::start().await;
    inventory.replenish("mug", 5, "k-1").await;
    let [order, neighbour] = [new_id(), new_id()];
    assert_eq!(inventory.apply_accepted(&[confirmed(order)]).await, ["confirmed_without_stock"]);
    assert!(states(&inventory, order).await.is_empty());

    // Again, while another transaction waits to insert the same row.
    let mut stock = inventory.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM stock WHERE sku = 'mug' FOR UPDATE").execute(&mut *stock).await.unwrap();
    let facts = [placed(neighbour, &[("mug", 1)]), confirmed(order)];
    let of_order = [placed(order, &[("mug", 2)])];
    let (rejected, placed, ()) = tokio::join!(
        inventory.apply_accepted(&facts),
        async {
            until_waiting(&inventory, 1).await;
            inventory.apply_accepted(&of_order).await
        },
        async {
            until_waiting(&inventory, 2).await;
            stock.rollback().await.unwrap();
        }
    );
    assert_eq!((rejected, placed), (vec!["confirmed_without_stock"], vec![]));
    assert_eq!(states(&inventory, order).await, ["reserved"]);
    assert_eq!(inventory.stock("mug").await, Row { available: 2, reserved: 3, committed: 0 });
}
