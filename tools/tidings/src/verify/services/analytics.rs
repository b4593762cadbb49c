//! analytics' read models: those of the live generation.

mod alerts;

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::PaymentCompleted;
use contracts::reservation::StockReserved;
use serde_json::{Value, json};
use uuid::Uuid;

use super::reason_name;
use crate::services::ServiceName;
use crate::verify::case::{Case, Occurrence, first};
use crate::verify::check::Check;
use crate::verify::report::Comparisons;
use crate::verify::rows::analytics::{OrderRow, Rows};
use crate::verify::sums::Counted;
use crate::verify::totals::Totals;

pub(in crate::verify) use alerts::skus;

const ANALYTICS: ServiceName = ServiceName::Analytics;

/// Compares what analytics remembers of orders with what it has applied; adds what they count.
pub(in crate::verify) fn orders(case: &Case<'_>, totals: &mut Totals, out: &mut Comparisons) {
    let rows = &case.snapshot.analytics;
    let mut known = BTreeSet::new();
    for order_id in case.orders.keys() {
        let applied = case.applied(ANALYTICS, *order_id);
        if !applied.is_empty() {
            known.insert(*order_id);
            let counted = &mut totals.of(case, *order_id).counted;
            order(*order_id, rows.orders.get(order_id), &applied, counted, out);
        }
    }
    for order_id in rows.orders.keys().filter(|id| !known.contains(id)) {
        out.violated(
            Check::CountedOrders,
            format!("order {order_id}: analytics counts it, and has applied nothing of it"),
        );
    }
}

/// Compares the counters with what all orders count, and the generations.
pub(in crate::verify) fn whole(case: &Case<'_>, counted: &Counted, out: &mut Comparisons) {
    let rows = &case.snapshot.analytics;
    generations(case, rows, out);
    if case.history.unread.has_orders() {
        return;
    }
    differences(Check::Funnel, "the funnel's", &rows.funnel, &counted.funnel, out);
    differences(Check::Revenue, "revenue in", &rows.revenue, &counted.revenue, out);
    differences(Check::BestSellers, "sales of", &rows.best_sellers, &counted.best_sellers, out);
    let times = (&rows.time_to_confirm, &counted.time_to_confirm);
    differences(Check::TimeToConfirm, "confirmed within ms", times.0, times.1, out);
}

fn generations(case: &Case<'_>, rows: &Rows, out: &mut Comparisons) {
    const CHECK: Check = Check::Generations;
    let live: Vec<i32> =
        rows.generations.iter().filter(|row| row.state == "live").map(|row| row.generation).collect();
    out.holds(CHECK, live.len() == 1, || format!("the generations {live:?} are live"));
    let numbers: Vec<i32> = rows.generations.iter().map(|row| row.generation).collect();
    out.holds(CHECK, numbers.iter().copied().eq((1..).take(numbers.len())), || {
        format!("the generations {numbers:?} are not numbered one after the other")
    });
    let taken_at = case.taken_at(ANALYTICS);
    for row in &rows.generations {
        let subject = format!("generation {}", row.generation);
        let was_live = ["live", "retired"].contains(&row.state.as_str());
        out.same(CHECK, &subject, "it was live", &row.live_since.is_some(), &was_live);
        out.same(CHECK, &subject, "it has failed", &row.detail.is_some(), &(row.state == "failed"));
        case.plausible(out, CHECK, &subject, "started_at", row.started_at, (DateTime::UNIX_EPOCH, taken_at));
        if let Some(at) = row.live_since {
            case.plausible(out, CHECK, &subject, "live_since", at, (row.started_at, taken_at));
        }
    }
    for (table, generation) in &rows.mentioned {
        out.holds(CHECK, numbers.contains(generation), || {
            format!("{table} has rows of generation {generation}, which is not there")
        });
    }
}

fn order(
    order_id: Uuid,
    row: Option<&OrderRow>,
    applied: &[Occurrence<'_>],
    counted: &mut Counted,
    out: &mut Comparisons,
) {
    const CHECK: Check = Check::CountedOrders;
    let subject = format!("analytics' order {order_id}");
    let placed = first::<OrderPlaced>(applied).map(|(event, _)| event);
    let confirmed = first::<OrderConfirmed>(applied).map(|(event, _)| event);
    let cancelled = first::<OrderCancelled>(applied).map(|(event, _)| event);
    let is_reserved = first::<StockReserved>(applied).is_some();
    let is_paid = first::<PaymentCompleted>(applied).is_some();
    counted.count(placed, confirmed, cancelled, (is_reserved, is_paid));
    let Some(row) = row else {
        out.violated(CHECK, format!("{subject} is not there: it would be counted again"));
        return;
    };
    let status = match (placed, confirmed, cancelled) {
        (Some(_), Some(_), _) => "confirmed",
        (None, Some(_), _) => "confirmed_before_placed",
        (Some(_), None, Some(_)) => "cancelled",
        (None, None, Some(_)) => "cancelled_before_placed",
        (Some(_), None, None) => "placed",
        (None, None, None) => "unknown",
    };
    let open = placed.filter(|_| status == "placed");
    let lines = open.map(|placed| {
        let line = |line: &contracts::order::OrderLine| {
            json!({ "sku": line.sku, "quantity": line.quantity, "unit_price_minor": line.unit_price_minor })
        };
        Value::Array(placed.lines.iter().map(line).collect())
    });
    let early = confirmed.filter(|_| status == "confirmed_before_placed");
    out.same(CHECK, &subject, "order_id", &row.order_id, &order_id);
    out.same(CHECK, &subject, "status", &row.status.as_str(), &status);
    out.same(CHECK, &subject, "reserved", &row.reserved, &is_reserved);
    out.same(CHECK, &subject, "paid", &row.paid, &is_paid);
    out.same(CHECK, &subject, "currency", &row.currency.as_ref(), &open.map(|placed| &placed.currency));
    out.same(CHECK, &subject, "lines", &row.lines, &lines);
    out.same(CHECK, &subject, "placed_at", &row.placed_at, &open.map(|placed| placed.occurred_at));
    out.same(CHECK, &subject, "confirmed_at", &row.confirmed_at, &early.map(|event| event.occurred_at));
    let reason = cancelled.map(|event| reason_name(event.reason));
    out.same(CHECK, &subject, "reason", &row.reason.as_deref(), &reason);
}

fn differences<K: Ord + std::fmt::Display, T: PartialEq + std::fmt::Debug>(
    check: Check,
    what: &str,
    found: &BTreeMap<K, T>,
    expected: &BTreeMap<K, T>,
    out: &mut Comparisons,
) {
    let keys: BTreeSet<&K> = found.keys().chain(expected.keys()).collect();
    for key in keys {
        out.same(
            check,
            &format!("analytics' {what} {key}"),
            "its figure",
            &found.get(key),
            &expected.get(key),
        );
    }
}
