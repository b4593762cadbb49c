//! Batches of order facts, stored and published as one.

use contracts::AnyEvent;
use contracts::clock::new_id;
use inbox::HandlerError;

use crate::support::{Inventory, Row, THRESHOLD, cancelled, confirmed, placed};

#[tokio::test]
async fn a_batch_stores_its_orders_and_skus_and_publishes_in_sequence() {
    let inventory = Inventory::start().await;
    inventory.replenish("85123A", 30, "k-1").await;
    inventory.replenish("BANK CHARGES", 5, "k-2").await;
    let [kept, returned, short] = [new_id(), new_id(), new_id()];

    inventory
        .apply(&[
            placed(kept, &[("85123A", 20), ("BANK CHARGES", 1), ("85123A", 5)]),
            placed(returned, &[("85123A", 5)]),
            placed(short, &[("85123A", 1), ("nowhere", 1)]),
            cancelled(returned),
            cancelled(short),
        ])
        .await
        .unwrap();
    inventory.apply(&[confirmed(kept)]).await.unwrap();

    assert_eq!(inventory.stock("85123A").await, Row { available: 5, reserved: 0, committed: 25 });
    assert_eq!(inventory.stock("BANK CHARGES").await, Row { available: 4, reserved: 0, committed: 1 });
    let named = |names: &[&str]| -> Vec<(String, i64)> {
        names.iter().zip(1..).map(|(name, sequence)| ((*name).to_owned(), sequence)).collect()
    };
    assert_eq!(inventory.sequences(&kept.to_string()).await, named(&["StockReserved"]));
    assert_eq!(inventory.sequences(&returned.to_string()).await, named(&["StockReserved", "StockReleased"]));
    assert_eq!(inventory.sequences("85123A").await, named(&["StockReplenished", "StockLevelLow"]));
    assert_eq!(inventory.sequences("BANK CHARGES").await, named(&["StockReplenished", "StockLevelLow"]));
    let AnyEvent::StockRejected(rejected) = &inventory.published(&short.to_string()).await[0].2 else {
        panic!("not rejected")
    };
    let shortages: Vec<_> =
        rejected.shortages.iter().map(|s| (s.sku.as_str(), s.requested, s.available)).collect();
    assert_eq!(shortages, [("85123A", 1, 0), ("nowhere", 1, 0)]);
}

#[tokio::test]
async fn the_lines_of_a_reservation_are_published_summed_and_under_one_reservation_id() {
    let inventory = Inventory::start().await;
    inventory.replenish("mug", 30, "k-1").await;
    let order = new_id();
    inventory.apply(&[placed(order, &[("mug", 2), ("mug", 3)])]).await.unwrap();
    inventory.apply(&[cancelled(order)]).await.unwrap();

    let published = inventory.published(&order.to_string()).await;
    let [(_, _, AnyEvent::StockReserved(reserved)), (_, _, AnyEvent::StockReleased(released))] =
        &published[..]
    else {
        panic!("{published:?}")
    };
    assert_eq!(reserved.lines.iter().map(|l| (l.sku.as_str(), l.quantity)).collect::<Vec<_>>(), [("mug", 5)]);
    assert_eq!((reserved.reservation_id, &reserved.lines), (released.reservation_id, &released.lines));
}

#[tokio::test]
async fn a_low_level_is_published_from_its_first_units_to_the_release_that_ends_it() {
    let inventory = Inventory::start().await;
    inventory.replenish("mug", THRESHOLD - 1, "k-1").await;
    inventory.replenish("mug", 1, "k-2").await;
    let [one, two] = [new_id(), new_id()];
    inventory.apply(&[placed(one, &[("mug", 2)]), placed(two, &[("mug", 1)])]).await.unwrap();
    inventory.apply(&[cancelled(one), cancelled(two)]).await.unwrap();
    let published: Vec<String> = inventory.sequences("mug").await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        published,
        ["StockReplenished", "StockLevelLow", "StockReplenished", "StockLevelLow", "StockLevelRestored"]
    );
}

#[tokio::test]
async fn an_impossible_fact_is_rejected_by_name_and_leaves_nothing() {
    let inventory = Inventory::start().await;
    inventory.replenish("mug", 3, "k-1").await;
    let [rejected, committed] = [new_id(), new_id()];
    inventory.apply(&[placed(rejected, &[("mug", 4)]), placed(committed, &[("mug", 1)])]).await.unwrap();
    inventory.apply(&[confirmed(committed)]).await.unwrap();

    for (event, reason) in [
        (confirmed(rejected), "confirmed_without_stock"),
        (confirmed(new_id()), "confirmed_without_stock"),
        (cancelled(committed), "cancelled_after_commit"),
        (placed(new_id(), &[]), "no_lines"),
        (placed(new_id(), &[(" mug", 1)]), "invalid_sku"),
    ] {
        match inventory.apply(std::slice::from_ref(&event)).await {
            Err(HandlerError::Rejected { rejection, .. }) => {
                assert_eq!(rejection.reason, reason, "{rejection}");
            }
            other => panic!("{event:?} gave {other:?}"),
        }
    }
    assert_eq!(inventory.stock("mug").await, Row { available: 2, reserved: 0, committed: 1 });
}

#[tokio::test]
async fn the_tables_themselves_refuse_books_that_do_not_balance() {
    let inventory = Inventory::start().await;
    inventory.replenish("mug", 3, "k-1").await;
    let tampering = [
        sqlx::query("UPDATE stock SET available = available - 1").execute(inventory.pool()).await,
        sqlx::query("UPDATE stock SET available = -1, reserved = 4").execute(inventory.pool()).await,
    ];
    for result in tampering {
        let error = result.unwrap_err();
        assert_eq!(
            error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref(),
            Some("23514"),
            "{error}"
        );
    }
}
