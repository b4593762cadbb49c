//! Two transactions on two connections, through every interleaving of their statements and commits.

use contracts::clock::new_id;
use inventory::application::replenish_stock::{Outcome, ReplenishStock};
use inventory::domain::Sku;
use testkit::interleave::every_interleaving;
use uuid::Uuid;

use crate::support::{Inventory, Row, cancelled, placed};

/// SKUs and orders that no other schedule touches.
#[derive(Clone, Debug)]
struct Case {
    mug: String,
    lamp: String,
    left: Uuid,
    right: Uuid,
}

async fn case(inventory: &Inventory, units: i64) -> Case {
    let number = new_id().simple().to_string();
    let case = Case {
        mug: format!("mug {number}"),
        lamp: format!("lamp {number}"),
        left: new_id(),
        right: new_id(),
    };
    for sku in [&case.mug, &case.lamp] {
        inventory.replenish(sku, units, sku).await;
    }
    case
}

async fn assert_gapless(inventory: &Inventory, key: &str, schedule: &str) {
    let sequences: Vec<i64> =
        inventory.sequences(key).await.into_iter().map(|(_, sequence)| sequence).collect();
    assert!(
        sequences.iter().copied().eq(1..=i64::try_from(sequences.len()).unwrap()),
        "{schedule}: {sequences:?}"
    );
}

#[tokio::test]
async fn two_batches_that_want_the_same_last_units_take_turns() {
    let inventory = Inventory::start().await;
    let explored = Box::pin(every_interleaving(
        &inventory.options(),
        5_000,
        async || case(&inventory, 15).await,
        |case, database| {
            let inventory = &inventory;
            async move {
                let order = placed(case.left, &[(&case.mug, 10), (&case.lamp, 1)]);
                inventory.apply_through(&database, &[order]).await.unwrap();
            }
        },
        |case, database| {
            let inventory = &inventory;
            async move {
                let order = placed(case.right, &[(&case.lamp, 1), (&case.mug, 10)]);
                inventory.apply_through(&database, &[order]).await.unwrap();
            }
        },
        |case, schedule| {
            let inventory = &inventory;
            async move {
                let mut states =
                    [inventory.state(case.left).await.unwrap(), inventory.state(case.right).await.unwrap()];
                states.sort();
                assert_eq!(states, ["rejected", "reserved"], "{schedule}");
                assert_eq!(
                    inventory.stock(&case.mug).await,
                    Row { available: 5, reserved: 10, committed: 0 }
                );
                assert_eq!(
                    inventory.stock(&case.lamp).await,
                    Row { available: 14, reserved: 1, committed: 0 }
                );
                assert_gapless(inventory, &case.mug, &schedule).await;
            }
        },
    ))
    .await;
    println!("two batches on the same units: {explored:?}");
}

#[tokio::test]
async fn an_order_and_its_cancellation_in_two_transactions_leave_nothing_held() {
    let inventory = Inventory::start().await;
    let explored = Box::pin(every_interleaving(
        &inventory.options(),
        5_000,
        async || case(&inventory, 15).await,
        |case, database| {
            let inventory = &inventory;
            async move {
                inventory.apply_through(&database, &[placed(case.left, &[(&case.mug, 10)])]).await.unwrap();
            }
        },
        |case, database| {
            let inventory = &inventory;
            async move { inventory.apply_through(&database, &[cancelled(case.left)]).await.unwrap() }
        },
        |case, schedule| {
            let inventory = &inventory;
            async move {
                let state = inventory.state(case.left).await.unwrap();
                assert!(
                    ["released", "cancelled_before_placed"].contains(&state.as_str()),
                    "{schedule}: {state}"
                );
                assert_eq!(
                    inventory.stock(&case.mug).await,
                    Row { available: 15, reserved: 0, committed: 0 }
                );
                assert_gapless(inventory, &case.left.to_string(), &schedule).await;
            }
        },
    ))
    .await;
    println!("an order and its cancellation: {explored:?}");
}

#[tokio::test]
async fn a_cancellation_applied_twice_at_once_gives_the_units_back_once() {
    let inventory = Inventory::start().await;
    let cancel = |case: Case, database: database::Database| {
        let inventory = &inventory;
        async move { inventory.apply_through(&database, &[cancelled(case.left)]).await.unwrap() }
    };
    let explored = Box::pin(every_interleaving(
        &inventory.options(),
        5_000,
        async || {
            let case = case(&inventory, 15).await;
            // Another order's units, which a release too many would take.
            let orders = [placed(case.left, &[(&case.mug, 5)]), placed(case.right, &[(&case.mug, 10)])];
            inventory.apply(&orders).await.unwrap();
            case
        },
        cancel,
        cancel,
        |case, schedule| {
            let inventory = &inventory;
            async move {
                let expected = Row { available: 5, reserved: 10, committed: 0 };
                assert_eq!(inventory.stock(&case.mug).await, expected, "{schedule}");
                assert_eq!(inventory.sequences(&case.left.to_string()).await.len(), 2, "{schedule}");
            }
        },
    ))
    .await;
    println!("one cancellation twice: {explored:?}");
}

#[tokio::test]
async fn a_batch_and_a_replenishment_of_its_sku_take_turns() {
    let inventory = Inventory::start().await;
    let explored = Box::pin(every_interleaving(
        &inventory.options(),
        5_000,
        async || case(&inventory, 5).await,
        |case, database| {
            let inventory = &inventory;
            async move {
                inventory.apply_through(&database, &[placed(case.left, &[(&case.mug, 10)])]).await.unwrap();
            }
        },
        |case, database| {
            let inventory = &inventory;
            async move {
                let outcome = inventory.replenish_through(&database, &units(&case.mug, 10, "more")).await;
                assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
            }
        },
        |case, schedule| {
            let inventory = &inventory;
            async move {
                let reserved = match inventory.state(case.left).await.as_deref() {
                    Some("reserved") => 10,
                    Some("rejected") => 0,
                    other => panic!("{schedule}: {other:?}"),
                };
                let expected = Row { available: 15 - reserved, reserved, committed: 0 };
                assert_eq!(inventory.stock(&case.mug).await, expected, "{schedule}");
                assert_gapless(inventory, &case.mug, &schedule).await;
            }
        },
    ))
    .await;
    println!("a batch and a replenishment: {explored:?}");
}

#[tokio::test]
async fn a_replenishment_asked_for_twice_at_once_adds_once() {
    let inventory = Inventory::start().await;
    let ask = |case: Case, database: database::Database| {
        let inventory = &inventory;
        async move {
            let outcome = inventory.replenish_through(&database, &units(&case.mug, 10, "twice")).await;
            assert!(matches!(outcome, Outcome::Done(_) | Outcome::Replayed(_)), "{outcome:?}");
        }
    };
    let explored = Box::pin(every_interleaving(
        &inventory.options(),
        5_000,
        async || case(&inventory, 5).await,
        ask,
        ask,
        |case, schedule| {
            let inventory = &inventory;
            async move {
                assert_eq!(inventory.stock(&case.mug).await.available, 15, "{schedule}");
                let published = inventory.sequences(&case.mug).await;
                let names: Vec<&str> = published.iter().map(|(name, _)| name.as_str()).collect();
                // The first five units are below the threshold.
                assert_eq!(names, ["StockReplenished", "StockLevelLow", "StockReplenished"], "{schedule}");
            }
        },
    ))
    .await;
    println!("one replenishment asked for twice: {explored:?}");
}

fn units(sku: &str, quantity: i64, key: &str) -> ReplenishStock {
    ReplenishStock {
        idempotency_key: format!("{key} {sku}"),
        sku: Sku::parse(sku).unwrap(),
        quantity,
        reorder_threshold: None,
    }
}

/// The left side commits an order that the right one is about to insert, and goes on with both, of which the other one was there.
#[tokio::test]
async fn a_batch_that_misses_a_row_holds_no_other_one_meanwhile() {
    let inventory = Inventory::start().await;
    let explored = Box::pin(every_interleaving(
        &inventory.options(),
        5_000,
        async || {
            let (one, two) = (new_id(), new_id());
            inventory.apply(&[cancelled(two)]).await.unwrap();
            (one, two)
        },
        |(one, two), database| {
            let inventory = &inventory;
            async move {
                inventory.apply_through(&database, &[cancelled(one)]).await.unwrap();
                inventory.apply_through(&database, &[cancelled(one), cancelled(two)]).await.unwrap();
            }
        },
        |(one, two), database| {
            let inventory = &inventory;
            async move {
                inventory.apply_through(&database, &[cancelled(one), cancelled(two)]).await.unwrap();
            }
        },
        |(one, two), schedule| {
            let inventory = &inventory;
            async move {
                for order_id in [one, two] {
                    let state = inventory.state(order_id).await.unwrap();
                    assert_eq!(state, "cancelled_before_placed", "{schedule}");
                }
            }
        },
    ))
    .await;
    println!("an inserted and a known order, two batches: {explored:?}");
}
