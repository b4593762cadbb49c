//! What is counted, in whatever order and batches the facts arrive.

use analytics::domain::Revenue;
use contracts::AnyEvent;
use contracts::clock::new_id;
use inbox::HandlerError;
use inbox::testing::permutations;
use uuid::Uuid;

use crate::support::{
    Analytics, Seen, cancelled, confirmed, fell_low, paid, placed, replenished, reserved, restored,
};

#[tokio::test]
async fn confirmed_orders_are_revenue_best_sellers_and_times_and_cancelled_ones_are_not() {
    let analytics = Analytics::start().await;
    let [one, two, three, lost] = [new_id(), new_id(), new_id(), new_id()];
    analytics
        .apply(&[
            placed(one, "GBP", &[("mug", 2, 250), ("BANK CHARGES", 1, 1500), ("mug", 1, 200)]),
            placed(two, "GBP", &[("lamp", 3, 900)]),
            placed(three, "USD", &[("mug", 9, 300)]),
            placed(lost, "GBP", &[("mug", 500, 250)]),
            confirmed(one),
            cancelled(lost),
        ])
        .await
        .unwrap();
    analytics.apply(&[reserved(one), reserved(two)]).await.unwrap();
    analytics.apply(&[paid(one)]).await.unwrap();
    analytics.apply(&[confirmed(two), confirmed(three)]).await.unwrap();

    let seen = analytics.seen().await;
    assert_eq!(seen.revenue["GBP"], Revenue { orders: 2, units: 7, revenue_minor: 4900 });
    assert_eq!(seen.revenue["USD"], Revenue { orders: 1, units: 9, revenue_minor: 2700 });
    let ranks: Vec<_> = seen
        .best_sellers
        .iter()
        .map(|b| (b.sku.as_str(), b.currency.as_str(), b.units, b.revenue_minor))
        .collect();
    // Three lamps and three British mugs: a tie, broken by SKU. Then those sold for dollars.
    assert_eq!(
        ranks,
        [
            ("lamp", "GBP", 3, 2700),
            ("mug", "GBP", 3, 700),
            ("BANK CHARGES", "GBP", 1, 1500),
            ("mug", "USD", 9, 2700)
        ]
    );
    assert_eq!(
        seen.funnel,
        [("cancelled_out_of_stock", 1), ("confirmed", 3), ("paid", 1), ("placed", 4), ("reserved", 2)].into()
    );
    assert_eq!(seen.times.iter().map(|(_, orders)| orders).sum::<i64>(), 3);
}

/// Plays every order of arrival of `facts`, each also doubled at the end, each fact in a transaction of its own; all
/// must leave the same.
async fn same_end_in_every_order(facts: &[fn(Uuid) -> AnyEvent]) -> Seen {
    let mut ends: Vec<Seen> = Vec::new();
    let indexes: Vec<usize> = (0..facts.len()).collect();
    let arrivals = permutations(&indexes);
    for arrival in &arrivals {
        let analytics = Analytics::start().await;
        let order = new_id();
        let events: Vec<AnyEvent> = arrival.iter().map(|index| facts[*index](order)).collect();
        for event in &events {
            analytics.apply(std::slice::from_ref(event)).await.unwrap();
        }
        let once = analytics.seen().await;
        analytics.apply(&events).await.unwrap();
        assert_eq!(analytics.seen().await, once, "doubled after {arrival:?}");
        ends.push(once);
    }
    println!("{} orders of arrival", arrivals.len());
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]));
    ends.remove(0)
}

#[tokio::test]
async fn a_confirmed_order_is_counted_the_same_in_every_order_of_arrival() {
    let facts: [fn(Uuid) -> AnyEvent; 4] =
        [|order| placed(order, "GBP", &[("mug", 2, 250)]), reserved, paid, confirmed];
    let seen = same_end_in_every_order(&facts).await;
    assert_eq!(seen.revenue["GBP"], Revenue { orders: 1, units: 2, revenue_minor: 500 });
    assert_eq!(seen.funnel.values().sum::<i64>(), 4);
}

#[tokio::test]
async fn a_cancelled_order_is_counted_the_same_in_every_order_of_arrival() {
    let facts: [fn(Uuid) -> AnyEvent; 4] =
        [|order| placed(order, "GBP", &[("mug", 2, 250)]), reserved, paid, cancelled];
    let seen = same_end_in_every_order(&facts).await;
    assert!(seen.revenue.is_empty() && seen.best_sellers.is_empty() && seen.times.is_empty());
    assert_eq!(seen.funnel["cancelled_out_of_stock"], 1);
}

#[tokio::test]
async fn an_order_that_is_said_to_end_both_ways_is_rejected_and_leaves_nothing() {
    let analytics = Analytics::start().await;
    let order = new_id();
    analytics.apply(&[placed(order, "GBP", &[("mug", 2, 250)]), confirmed(order)]).await.unwrap();
    let before = analytics.seen().await;
    let other = new_id();
    match analytics.apply(&[placed(other, "GBP", &[("mug", 1, 1)]), cancelled(order)]).await {
        Err(HandlerError::Rejected { rejection, .. }) => assert_eq!(rejection.reason, "ended_otherwise"),
        result => panic!("{result:?}"),
    }
    assert_eq!(analytics.seen().await, before);
}

#[tokio::test]
async fn alerts_follow_the_skus_sequence_whatever_arrives_again() {
    let analytics = Analytics::start().await;
    let (first, low, more) = (replenished("mug", 1, 30), fell_low("mug", 2, 9), replenished("mug", 3, 40));
    analytics.apply(&[first.clone(), replenished("lamp", 1, 50), low.clone()]).await.unwrap();
    let open_alerts = analytics.seen().await.alerts;
    assert_eq!(open_alerts.iter().map(|a| (a.sku.as_str(), a.available)).collect::<Vec<_>>(), [("mug", 9)]);

    analytics.apply(&[first]).await.unwrap();
    assert_eq!(analytics.seen().await.alerts, open_alerts);
    analytics.apply(&[more, low]).await.unwrap();
    assert!(analytics.seen().await.alerts.is_empty());
}

#[tokio::test]
async fn an_alert_ends_with_a_release_that_reaches_the_threshold() {
    let analytics = Analytics::start().await;
    let low = fell_low("mug", 2, 9);
    analytics.apply(&[replenished("mug", 1, 30), low.clone()]).await.unwrap();
    assert_eq!(analytics.seen().await.alerts.len(), 1);
    analytics.apply(&[restored("mug", 3, 12), low]).await.unwrap();
    assert!(analytics.seen().await.alerts.is_empty());
    analytics.apply(&[fell_low("mug", 4, 8)]).await.unwrap();
    let alerts = analytics.seen().await.alerts;
    assert_eq!(
        alerts.iter().map(|alert| (alert.available, alert.times_raised)).collect::<Vec<_>>(),
        [(8, 2)]
    );
}
