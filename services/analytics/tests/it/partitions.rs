//! Transactions of several partitions that change the same counters.

use analytics::adapters::postgres::{Batch, Generation};
use contracts::AnyEvent;
use contracts::clock::{new_id, now};
use inbox::{Context, UnitOfWork as _};
use sqlx::{Postgres, Transaction};
use testkit::interleave::every_interleaving;

use crate::support::{
    Analytics, Seen, apply_at, cancelled, confirmed, paid, placed, received_at, reserved, subscriptions,
};

/// Two orders that reach every counter with the same keys; the second one's lines have a negative price.
fn sold_and_cancelled(price: i64) -> Vec<AnyEvent> {
    let [sold, given_up] = [new_id(), new_id()];
    let lines = [("mug", 2, price), ("lamp", 1, 2 * price)];
    vec![
        placed(sold, "GBP", &lines),
        reserved(sold),
        paid(sold),
        confirmed(sold),
        placed(given_up, "GBP", &lines),
        cancelled(given_up),
    ]
}

/// Applies these events of a partition in a transaction that stays open, and whose waits for a lock fail.
async fn open_transaction(
    analytics: &Analytics,
    generation: Generation,
    partition: i32,
    events: &[AnyEvent],
) -> Transaction<'static, Postgres> {
    let mut tx = analytics.pool().begin().await.unwrap();
    // The other transaction ends later: a wait for it has no other end.
    sqlx::query("SET LOCAL lock_timeout = '1s'").execute(&mut *tx).await.unwrap();
    let received = received_at(partition, events);
    let mut batch = Batch::load(&generation, &mut tx, &received).await.unwrap();
    let subscriptions = subscriptions();
    for one in &received {
        let context = Context { envelope: &one.envelope, now: now() };
        subscriptions.handle(&mut batch, &one.event, context).unwrap();
    }
    batch.store(&generation, &mut tx).await.unwrap();
    tx
}

fn of_both(price: i64, other: i64) -> impl Fn(&Seen) {
    move |seen: &Seen| {
        let stages =
            [("placed", 4), ("reserved", 2), ("paid", 2), ("confirmed", 2), ("cancelled_out_of_stock", 2)];
        assert_eq!(seen.funnel, stages.into());
        let revenue = seen.revenue["GBP"];
        let minor = i128::from(4 * (price + other));
        assert_eq!((revenue.orders, revenue.units, revenue.revenue_minor), (2, 6, minor));
        let sold: Vec<(&str, i128, i128)> =
            seen.best_sellers.iter().map(|one| (one.sku.as_str(), one.units, one.revenue_minor)).collect();
        assert_eq!(sold, [("mug", 4, minor / 2), ("lamp", 2, minor / 2)]);
        assert_eq!(seen.times.iter().map(|(_, orders)| orders).sum::<i64>(), 2);
    }
}

#[tokio::test]
async fn transactions_of_two_partitions_that_count_the_same_do_not_wait_for_each_other() {
    let analytics = Analytics::start().await;
    let first = open_transaction(&analytics, Generation::Live, 0, &sold_and_cancelled(250)).await;
    let second = open_transaction(&analytics, Generation::Live, 1, &sold_and_cancelled(-900)).await;
    second.commit().await.unwrap();
    first.commit().await.unwrap();
    of_both(250, -900)(&analytics.seen().await);
}

#[tokio::test]
async fn counters_below_zero_in_one_partition_are_part_of_the_sums() {
    let analytics = Analytics::start().await;
    apply_at(analytics.database(), Generation::Live, 0, &sold_and_cancelled(-900)).await.unwrap();
    apply_at(analytics.database(), Generation::Live, 1, &sold_and_cancelled(250)).await.unwrap();
    of_both(-900, 250)(&analytics.seen().await);
}

#[tokio::test]
async fn a_rebuild_does_not_wait_for_the_counters_of_the_live_generation() {
    let analytics = Analytics::start().await;
    sqlx::query("INSERT INTO generations (generation, state, started_at) VALUES (2, 'building', now())")
        .execute(analytics.pool())
        .await
        .unwrap();
    let live = open_transaction(&analytics, Generation::Live, 0, &sold_and_cancelled(250)).await;
    let rebuilt = open_transaction(&analytics, Generation::Building(2), 0, &sold_and_cancelled(99)).await;
    rebuilt.commit().await.unwrap();
    live.commit().await.unwrap();
    let seen = analytics.seen().await;
    assert_eq!((seen.revenue["GBP"].orders, seen.revenue["GBP"].revenue_minor), (1, 1_000));
}

#[tokio::test]
async fn a_stage_is_exact_after_every_interleaving_of_two_partitions() {
    let analytics = Analytics::start().await;
    let apply = |partition: i32| {
        move |(): (), database: database::Database| async move {
            apply_at(&database, Generation::Building(2), partition, &[reserved(new_id())]).await.unwrap();
        }
    };
    let schedules = std::cell::Cell::new(0_i64);
    let explored = Box::pin(every_interleaving(
        &analytics.options(),
        1_000,
        async || {},
        apply(0),
        apply(1),
        |(), schedule| {
            schedules.set(schedules.get() + 1);
            let (analytics, orders) = (&analytics, 2 * schedules.get());
            async move {
                let counted: i64 = sqlx::query_scalar(
                    "SELECT orders::bigint FROM funnel_totals WHERE generation = 2 AND stage = 'reserved'",
                )
                .fetch_one(analytics.pool())
                .await
                .unwrap();
                assert_eq!(counted, orders, "{schedule}");
            }
        },
    ))
    .await;
    println!("{explored:?}");
}

/// What a replica of the previous release adds: one row per counter, for all partitions.
const PREVIOUS_RELEASE: [&str; 4] = [
    "INSERT INTO funnel (generation, stage, orders) VALUES (1, 'placed', 7), (1, 'paid', 3)
     ON CONFLICT (generation, stage) DO UPDATE SET orders = funnel.orders + excluded.orders",
    "INSERT INTO revenue (generation, currency, orders, units, revenue_minor) VALUES (1, 'GBP', 3, 4, 5)
     ON CONFLICT (generation, currency) DO UPDATE
     SET orders = revenue.orders + excluded.orders, units = revenue.units + excluded.units,
         revenue_minor = revenue.revenue_minor + excluded.revenue_minor",
    "INSERT INTO best_sellers (generation, currency, sku, units, revenue_minor)
     VALUES (1, 'GBP', 'lamp', 4, 5)
     ON CONFLICT (generation, currency, sku) DO UPDATE
     SET units = best_sellers.units + excluded.units,
         revenue_minor = best_sellers.revenue_minor + excluded.revenue_minor",
    "INSERT INTO time_to_confirm (generation, upper_bound_ms, orders) VALUES (1, 2015, 3)
     ON CONFLICT (generation, upper_bound_ms) DO UPDATE SET orders = time_to_confirm.orders + excluded.orders",
];

#[tokio::test]
async fn what_the_previous_release_has_counted_and_counts_meanwhile_is_part_of_every_counter() {
    let analytics = Analytics::start().await;
    for statement in PREVIOUS_RELEASE {
        sqlx::query(statement).execute(analytics.pool()).await.unwrap();
    }
    apply_at(analytics.database(), Generation::Live, 0, &sold_and_cancelled(250)).await.unwrap();
    for statement in PREVIOUS_RELEASE {
        sqlx::query(statement).execute(analytics.pool()).await.unwrap();
    }
    apply_at(analytics.database(), Generation::Live, 1, &sold_and_cancelled(250)).await.unwrap();

    let seen = analytics.seen().await;
    assert_eq!(
        seen.funnel,
        [("placed", 18), ("reserved", 2), ("paid", 8), ("confirmed", 2), ("cancelled_out_of_stock", 2)]
            .into()
    );
    let revenue = seen.revenue["GBP"];
    assert_eq!((revenue.orders, revenue.units, revenue.revenue_minor), (8, 14, 2_010));
    let sold: Vec<(&str, i128, i128)> =
        seen.best_sellers.iter().map(|one| (one.sku.as_str(), one.units, one.revenue_minor)).collect();
    assert_eq!(sold, [("lamp", 10, 1_010), ("mug", 4, 1_000)]);
    assert_eq!(seen.times, [(2_015, 8)]);
}
