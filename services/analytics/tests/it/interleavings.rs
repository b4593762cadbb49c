//! Facts about one order on two topics, applied in two transactions through every interleaving.

use analytics::adapters::postgres::Generation;
use contracts::AnyEvent;
use contracts::clock::new_id;
use testkit::interleave::every_interleaving;
use uuid::Uuid;

use crate::support::{Analytics, apply_at, confirmed, paid, placed, reserved};

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
