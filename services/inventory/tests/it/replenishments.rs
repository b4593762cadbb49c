//! Replenishments: once per key, however they meet.

use inventory::application::replenish_stock::{Outcome, ReplenishStock};
use inventory::domain::Sku;

use crate::support::{Inventory, Row, THRESHOLD, placed};

#[tokio::test]
async fn the_first_replenishment_creates_the_sku_and_later_ones_add_to_it() {
    let inventory = Inventory::start().await;
    let Outcome::Done(first) = inventory.replenish("tea tin", 5, "k-1").await else { panic!("not done") };
    let Outcome::Done(second) = inventory.replenish("tea tin", 7, "k-2").await else { panic!("not done") };
    assert!(first.created && !second.created);
    assert_eq!((first.level.available, first.level.reorder_threshold), (5, THRESHOLD));
    assert_eq!((second.level.available, second.level.replenished), (12, 12));
    let published = inventory.sequences("tea tin").await;
    let published: Vec<_> = published.iter().map(|(name, sequence)| (name.as_str(), *sequence)).collect();
    assert_eq!(published, [("StockReplenished", 1), ("StockLevelLow", 2), ("StockReplenished", 3)]);
}

#[tokio::test]
async fn a_repeated_key_gets_its_stored_answer_and_adds_nothing() {
    let inventory = Inventory::start().await;
    let Outcome::Done(first) = inventory.replenish("mug", 5, "k-1").await else { panic!("not done") };
    inventory.replenish("mug", 100, "k-2").await;
    assert_eq!(inventory.replenish("mug", 5, "k-1").await, Outcome::Replayed(first));
    assert_eq!(inventory.stock("mug").await.available, 105);
}

#[tokio::test]
async fn a_key_stands_for_one_replenishment_only() {
    let inventory = Inventory::start().await;
    inventory.replenish("mug", 5, "k-1").await;
    assert_eq!(inventory.replenish("mug", 6, "k-1").await, Outcome::KeyReused);
    assert_eq!(inventory.replenish("lamp", 5, "k-1").await, Outcome::KeyReused);
    let other_threshold = ReplenishStock {
        idempotency_key: "k-1".to_owned(),
        sku: Sku::parse("mug").unwrap(),
        quantity: 5,
        reorder_threshold: Some(3),
    };
    assert_eq!(inventory.replenish_through(inventory.database(), &other_threshold).await, Outcome::KeyReused);
    assert_eq!(inventory.stock("mug").await.available, 5);
    let skus: i64 =
        sqlx::query_scalar("SELECT count(*) FROM stock").fetch_one(inventory.pool()).await.unwrap();
    assert_eq!(skus, 1, "a refused key creates no SKU");
}

#[tokio::test]
async fn twenty_requests_with_one_key_released_together_add_once() {
    let inventory = Inventory::start().await;
    for round in 0..10 {
        let key = format!("k-{round}");
        let outcomes = futures::future::join_all((0..20).map(|_| inventory.replenish("mug", 3, &key))).await;
        let done = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Done(_))).count();
        let replayed = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Replayed(_))).count();
        assert_eq!((done, replayed), (1, 19), "{outcomes:?}");
    }
    assert_eq!(inventory.stock("mug").await.available, 30);
    let published = inventory.sequences("mug").await;
    let count = |name: &str| published.iter().filter(|(published, _)| published == name).count();
    assert_eq!((count("StockReplenished"), count("StockLevelLow"), published.len()), (10, 1, 11));
}

#[tokio::test]
async fn replenishments_and_orders_of_one_sku_take_turns() {
    let inventory = Inventory::start().await;
    inventory.replenish("mug", 50, "first").await;
    let orders: Vec<_> = (0..20).map(|_| [placed(contracts::clock::new_id(), &[("mug", 5)])]).collect();
    let replenishing = futures::future::join_all((0..20).map(|n| {
        let inventory = &inventory;
        async move { inventory.replenish("mug", 5, &format!("k-{n}")).await }
    }));
    let ordering = futures::future::join_all(orders.iter().map(|batch| inventory.apply(batch)));
    let (_, applied) = tokio::join!(replenishing, ordering);
    assert!(applied.iter().all(Result::is_ok), "{applied:?}");

    let Row { available, reserved, committed } = inventory.stock("mug").await;
    assert_eq!((available + reserved, committed), (150, 0));
    let sequences: Vec<i64> =
        inventory.sequences("mug").await.into_iter().map(|(_, sequence)| sequence).collect();
    assert_eq!(sequences, (1..=i64::try_from(sequences.len()).unwrap()).collect::<Vec<_>>());
}
