//! Facts about one order on two topics, applied in two transactions through every interleaving.

use analytics::adapters::postgres::Generation;
use contracts::AnyEvent;
use contracts::clock::new_id;
use testkit::interleave::every_interleaving;
use uuid::Uuid;

use crate::support::{Analytics, apply_at, confirmed, fell_low, paid, placed, replenished, reserved};

/// What is said of an order.
type Facts = fn(Uuid) -> Vec<AnyEvent>;

/// Plays `left` against `right`, and checks the funnel's sum: `milestones` a schedule.
async fn race(left: Facts, right: Facts, milestones: i64) {
    race_after(|_| Vec::new(), left, right, milestones).await;
}

/// As `race`, with an order of which `before` is known already.
async fn race_after(before: Facts, left: Facts, right: Facts, milestones: i64) {
    let analytics = Analytics::start().await;
    let apply = |partition: i32, events: Facts| {
        move |order: Uuid, database: database::Database| async move {
            apply_at(&database, Generation::Live, partition, &events(order)).await.unwrap();
        }
    };
    let known = analytics.database().clone();
    let schedules = std::cell::Cell::new(0_i64);
    let explored = Box::pin(every_interleaving(
        &analytics.options(),
        5_000,
        async || {
            let order = new_id();
            apply_at(&known, Generation::Live, 0, &before(order)).await.unwrap();
            order
        },
        apply(0, left),
        apply(1, right),
        |_, schedule| {
            schedules.set(schedules.get() + 1);
            let (analytics, expected) = (&analytics, schedules.get());
            async move {
                let seen = analytics.seen().await;
                assert_eq!(seen.funnel.values().sum::<i64>(), milestones * expected, "{schedule}");
                let sold = seen.revenue.get("GBP").map_or(0, |revenue| revenue.orders);
                assert_eq!(sold, seen.funnel.get("confirmed").copied().unwrap_or(0), "{schedule}");
            }
        },
    ))
    .await;
    println!("{explored:?}");
}

#[tokio::test]
async fn an_order_and_its_reservation_are_both_counted() {
    race(
        |order| vec![placed(order, "GBP", &[("mug", 2, 250)]), confirmed(order)],
        |order| vec![reserved(order)],
        3,
    )
    .await;
}

#[tokio::test]
async fn a_reservation_and_a_payment_are_both_counted() {
    race(|order| vec![reserved(order)], |order| vec![paid(order)], 2).await;
}

#[tokio::test]
async fn an_order_and_its_confirmation_in_two_transactions_are_one_sale() {
    race(
        |order| vec![placed(order, "GBP", &[("mug", 2, 250)])],
        |order| vec![confirmed(order), placed(order, "GBP", &[("mug", 2, 250)])],
        2,
    )
    .await;
}

#[tokio::test]
async fn an_order_that_is_known_and_confirmed_in_two_transactions_is_one_sale() {
    race_after(
        |order| vec![placed(order, "GBP", &[("mug", 2, 250)])],
        |order| vec![confirmed(order)],
        |order| vec![confirmed(order)],
        2,
    )
    .await;
}

/// Facts about two rows, the first of which is not there.
type FactsOfTwo = fn(&Two) -> Vec<AnyEvent>;

/// Two orders and two SKUs, in the order of their rows.
#[derive(Clone, Debug)]
struct Two {
    orders: [Uuid; 2],
    skus: [String; 2],
}

/// Plays `first` and then `left` against `right`: the left side commits a row that the right one is about to insert, and goes on
/// with both rows, of which the other one was there by `before`. Gives the number of interleavings.
async fn race_for_a_missed_row(analytics: &Analytics, [before, first, left, right]: [FactsOfTwo; 4]) -> i64 {
    let known = analytics.database().clone();
    let schedules = std::cell::Cell::new(0);
    let explored = Box::pin(every_interleaving(
        &analytics.options(),
        5_000,
        async || {
            let orders = [new_id(), new_id()];
            let two = Two { orders, skus: orders.map(|order| format!("mug {order}")) };
            apply_at(&known, Generation::Live, 0, &before(&two)).await.unwrap();
            two
        },
        |two: Two, database| async move {
            apply_at(&database, Generation::Live, 0, &first(&two)).await.unwrap();
            apply_at(&database, Generation::Live, 0, &left(&two)).await.unwrap();
        },
        |two: Two, database| async move {
            apply_at(&database, Generation::Live, 1, &right(&two)).await.unwrap();
        },
        async |_, _| schedules.set(schedules.get() + 1),
    ))
    .await;
    println!("a row that is missed: {explored:?}");
    schedules.get()
}

#[tokio::test]
async fn a_batch_that_misses_an_order_holds_no_other_one_meanwhile() {
    let analytics = Analytics::start().await;
    let schedules = race_for_a_missed_row(
        &analytics,
        [
            |two| vec![reserved(two.orders[1])],
            |two| vec![reserved(two.orders[0])],
            |two| vec![reserved(two.orders[0]), reserved(two.orders[1])],
            |two| vec![paid(two.orders[0]), paid(two.orders[1])],
        ],
    )
    .await;
    let seen = analytics.seen().await;
    assert_eq!((seen.funnel["reserved"], seen.funnel["paid"]), (2 * schedules, 2 * schedules));
}

#[tokio::test]
async fn a_batch_that_misses_a_sku_holds_no_other_one_meanwhile() {
    let analytics = Analytics::start().await;
    let schedules = race_for_a_missed_row(
        &analytics,
        [
            |two| vec![replenished(&two.skus[1], 1, 20)],
            |two| vec![replenished(&two.skus[0], 1, 20)],
            |two| two.skus.iter().map(|sku| replenished(sku, 1, 20)).collect(),
            |two| two.skus.iter().map(|sku| fell_low(sku, 2, 5)).collect(),
        ],
    )
    .await;
    let raised: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM stock_alerts WHERE sequence = 2 AND available = 5 AND times_raised = 1",
    )
    .fetch_one(analytics.pool())
    .await
    .unwrap();
    assert_eq!(raised, 2 * schedules);
}
