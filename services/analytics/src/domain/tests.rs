//! What is counted, as given / when / then and as properties of any order of arrival.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

fn line(sku: &str, quantity: i64, unit_price_minor: i64) -> CartLine {
    CartLine { sku: sku.to_owned(), quantity, unit_price_minor }
}

fn placed() -> OrderFact {
    let lines = vec![line("mug", 2, 250), line("tea tin", 1, 999), line("mug", 3, 200)];
    OrderFact::Placed(Cart { currency: "GBP".to_owned(), lines, placed_at: at(100) })
}

const ORDER: OrderId = OrderId(Uuid::nil());

/// The progress and the counters after these facts; refused facts count nothing.
fn count(facts: &[OrderFact]) -> (OrderProgress, Tally) {
    let mut progress = OrderProgress::UNKNOWN;
    let mut tally = Tally::default();
    for fact in facts {
        if let Ok((next, milestones)) = progress.react(ORDER, fact) {
            progress = next;
            milestones.iter().for_each(|milestone| tally.count(milestone));
        }
    }
    (progress, tally)
}

#[test]
fn a_confirmed_order_is_revenue_and_sales_of_its_lines() {
    let (progress, tally) =
        count(&[placed(), OrderFact::Reserved, OrderFact::Paid, OrderFact::Confirmed(at(103))]);
    assert_eq!(progress.status, Status::Confirmed);
    assert_eq!(tally.revenue["GBP"], Revenue { orders: 1, units: 6, revenue_minor: 2099 });
    let sales = |sku: &str| tally.sales[&("GBP".to_owned(), sku.to_owned())];
    assert_eq!(sales("mug"), Sales { units: 5, revenue_minor: 1100 });
    assert_eq!(sales("tea tin"), Sales { units: 1, revenue_minor: 999 });
    assert_eq!(tally.time_to_confirm, [(Bound::of(3000), 1)].into());
    let stages: Vec<&str> = tally.funnel.keys().map(|stage| stage.name()).collect();
    assert_eq!(stages, ["placed", "reserved", "paid", "confirmed"]);
}

#[test]
fn a_cancelled_order_is_counted_by_its_reason_and_sells_nothing() {
    let (progress, tally) = count(&[placed(), OrderFact::Cancelled(Reason::OutOfStock)]);
    assert_eq!(progress.status, Status::Cancelled(Reason::OutOfStock));
    assert_eq!(tally.funnel, [(Stage::Placed, 1), (Stage::Cancelled(Reason::OutOfStock), 1)].into());
    assert!(tally.revenue.is_empty() && tally.sales.is_empty() && tally.time_to_confirm.is_empty());
}

#[test]
fn a_confirmation_met_before_its_order_becomes_a_sale_when_the_order_arrives() {
    let (_, early) = count(&[OrderFact::Confirmed(at(103))]);
    assert!(early.revenue.is_empty());
    let facts = [placed(), OrderFact::Confirmed(at(103))];
    let reversed: Vec<OrderFact> = facts.iter().rev().cloned().collect();
    assert_eq!(count(&facts), count(&reversed));
}

#[test]
fn an_order_can_not_end_both_ways() {
    let refused = |first: OrderFact, second: &OrderFact| {
        let (progress, _) = count(&[placed(), first]);
        progress.react(ORDER, second).map(|_| ()).map_err(|refusal| refusal.code())
    };
    let (confirmed, cancelled) = (OrderFact::Confirmed(at(103)), OrderFact::Cancelled(Reason::TimedOut));
    assert_eq!(refused(confirmed.clone(), &cancelled), Err("ended_otherwise"));
    assert_eq!(refused(cancelled, &confirmed), Err("ended_otherwise"));
}

#[test]
fn a_sale_beyond_counting_is_refused() {
    let lines = vec![line("mug", i64::MAX, 2)];
    let huge = OrderFact::Placed(Cart { currency: "GBP".to_owned(), lines, placed_at: at(0) });
    let (progress, _) = count(&[huge]);
    assert_eq!(
        progress.react(ORDER, &OrderFact::Confirmed(at(1))),
        Err(Refusal::TooLarge { order_id: ORDER })
    );
}

#[test]
fn buckets_are_exact_when_short_and_within_three_percent_when_long() {
    assert_eq!([-5, 0, 1, 31, 63].map(|ms| Bound::of(ms).0), [0, 0, 1, 31, 63]);
    for ms in (64..2_000_000).step_by(97) {
        let bound = Bound::of(ms).0;
        assert!(bound >= ms && (bound - ms) * 100 <= ms * 4, "{ms} in {bound}");
        assert_eq!(Bound::of(bound), Bound(bound), "a bound lies in its own bucket");
    }
}

#[test]
fn percentiles_are_those_of_the_nearest_rank() {
    let buckets: Vec<(Bound, i64)> = (1..=10).map(|ms| (Bound(ms), 10)).collect();
    let percentile = |percent| Bound::percentile(&buckets, percent).map(|bound| bound.0);
    assert_eq!([1, 50, 90, 99, 100].map(percentile), [Some(1), Some(5), Some(9), Some(10), Some(10)]);
    assert_eq!(Bound::percentile(&[], 50), None);
}

fn stock(sequence: i64, available: i64, fell_low: bool) -> StockFact {
    StockFact { sequence, at: at(sequence), available, threshold: 10, fell_low }
}

#[test]
fn an_alert_stands_until_a_replenishment_reaches_the_threshold() {
    let low = Alert::default().after(&stock(1, 50, false)).after(&stock(2, 9, true));
    assert_eq!((low.raised_at, low.times_raised), (Some(at(2)), 1));
    let still_low = low.after(&stock(3, 9, false));
    assert_eq!(still_low.raised_at, Some(at(2)));
    let lifted = still_low.after(&stock(4, 30, false));
    assert_eq!((lifted.raised_at, lifted.times_raised, lifted.available), (None, 1, 30));
}

#[test]
fn a_stock_fact_met_again_or_late_changes_nothing() {
    let alert = Alert::default().after(&stock(1, 50, false)).after(&stock(2, 9, true));
    assert_eq!(alert.after(&stock(2, 9, true)), alert);
    assert_eq!(alert.after(&stock(1, 50, false)), alert);
}

proptest! {
    #[test]
    fn the_counters_are_the_same_for_any_order_of_arrival_and_any_doubling(
        end in prop_oneof![
            Just(OrderFact::Confirmed(at(103))),
            Just(OrderFact::Cancelled(Reason::CustomerRequest)),
        ],
        shuffle in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let facts = [placed(), OrderFact::Reserved, OrderFact::Paid, end];
        let shuffled: Vec<OrderFact> = shuffle.iter().map(|index| facts[index % 4].clone()).collect();
        prop_assert_eq!(count(&facts), count(&shuffled));
    }
}
