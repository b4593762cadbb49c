//! inventory's tables: stock, reservations, replenishments.

use std::collections::{BTreeMap, BTreeSet};

use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::reservation::{StockRejected, StockReleased, StockReserved};
use contracts::stock::{StockLevelLow, StockReplenished};
use contracts::{Event, Topic};
use serde_json::json;
use uuid::Uuid;

use crate::services::ServiceName;
use crate::verify::case::{Case, Published, first, first_of};
use crate::verify::check::Check;
use crate::verify::report::Comparisons;
use crate::verify::rows::inventory::{ReplenishmentRow, ReservationRow, StockRow};
use crate::verify::sums::Held;
use crate::verify::totals::Totals;
use crate::verify::units::units;

const INVENTORY: ServiceName = ServiceName::Inventory;

/// Compares reservations with what inventory has applied and published; adds what they hold.
pub(in crate::verify) fn orders(case: &Case<'_>, totals: &mut Totals, out: &mut Comparisons) {
    let rows = &case.snapshot.inventory;
    for order_id in case.orders.keys() {
        let is_known = !case.applied(INVENTORY, *order_id).is_empty();
        out.holds(Check::Reservations, !is_known || rows.reservations.contains_key(order_id), || {
            format!("order {order_id}: inventory has applied an event of it and has no reservation")
        });
    }
    for (order_id, row) in &rows.reservations {
        let counters = (row.last_sequence, row.last_message_id);
        let published = case.aggregate(out, INVENTORY, Topic::Reservations, &order_id.to_string(), counters);
        reservation(case, row, &published, &mut totals.of(case, *order_id).held, out);
    }
}

/// Compares stock with what inventory has published and its reservations hold.
pub(in crate::verify) fn skus(case: &Case<'_>, held: &Held, out: &mut Comparisons) {
    let rows = &case.snapshot.inventory;
    let known: BTreeSet<&str> = rows.stock.iter().map(|row| row.sku.as_str()).collect();
    for (sku, events) in &case.skus {
        let was_before = events.iter().any(|it| case.history.was_before(it.record));
        let is_there = known.contains(sku) || !was_before;
        out.holds(Check::Stock, is_there, || format!("SKU {sku}: it has events and no stock row"));
    }
    let mut replenished: BTreeMap<&str, Vec<&ReplenishmentRow>> = BTreeMap::new();
    for row in &rows.replenishments {
        replenished.entry(&row.sku).or_default().push(row);
    }
    for row in &rows.stock {
        let asked = replenished.remove(row.sku.as_str()).unwrap_or_default();
        if case.history.unread.has_key(Topic::Stock, row.sku.as_bytes()) {
            continue;
        }
        let counters = (row.last_sequence, row.last_message_id);
        let published = case.aggregate(out, INVENTORY, Topic::Stock, &row.sku, counters);
        // What orders hold is not known without some of them.
        stock(row, &published, Some(held).filter(|_| !case.history.unread.has_orders()), out);
        replenishments(&row.sku, asked, &published, out);
    }
    for sku in replenished.keys() {
        out.violated(Check::Replenishments, format!("SKU {sku}: replenished and without a stock row"));
    }
    units_of_orders(case, held, out);
}

/// Compares what orders hold of each SKU, and that its units add up.
pub(in crate::verify) fn units_of_orders(case: &Case<'_>, held: &Held, out: &mut Comparisons) {
    for row in &case.snapshot.inventory.stock {
        let of = |units: &BTreeMap<String, i128>| units.get(&row.sku).copied().unwrap_or_default();
        let subject = format!("SKU {}", row.sku);
        let (reserved, committed) = (of(&held.reserved), of(&held.committed));
        if !case.history.unread.has_orders() {
            out.same(Check::Stock, &subject, "reserved", &i128::from(row.reserved), &reserved);
            out.same(Check::Stock, &subject, "committed", &i128::from(row.committed), &committed);
        }
        let parts = [row.available, row.reserved, row.committed].map(i128::from);
        let adds_up =
            i128::from(row.replenished) == parts.iter().sum::<i128>() && parts.iter().all(|part| *part >= 0);
        out.holds(Check::Units, adds_up, || {
            let (sku, replenished, [available, reserved, committed]) = (&row.sku, row.replenished, parts);
            format!("SKU {sku}: {replenished} replenished, {available} + {reserved} + {committed} there")
        });
    }
}

fn reservation(
    case: &Case<'_>,
    row: &ReservationRow,
    published: &[Published<'_>],
    held: &mut Held,
    out: &mut Comparisons,
) {
    const CHECK: Check = Check::Reservations;
    let subject = format!("the reservation of order {}", row.order_id);
    let applied = case.applied(INVENTORY, row.order_id);
    let is_placed = first::<OrderPlaced>(&applied).is_some();
    let is_confirmed = first::<OrderConfirmed>(&applied).is_some();
    let is_cancelled = first::<OrderCancelled>(&applied).is_some();
    let reserved = first_of::<StockReserved>(published);
    let released = first_of::<StockReleased>(published);
    let is_rejected = first_of::<StockRejected>(published).is_some();
    let expected = match (reserved, released) {
        (Some(_), Some(_)) => "released",
        (Some(_), None) if is_cancelled => "released, and announced",
        (Some(_), None) if is_confirmed => "committed",
        (Some(_), None) => "reserved",
        (None, _) if is_rejected => "rejected",
        (None, _) if is_cancelled => "cancelled_before_placed",
        (None, _) if is_placed => "reserved or rejected, and announced",
        (None, _) => "unknown",
    };
    out.same(CHECK, &subject, "state", &row.state.as_str(), &expected);
    let lines = reserved.map(|event| units(&event.lines));
    out.same(CHECK, &subject, "lines", &row.lines, &lines.as_ref().map(|lines| json!(lines)));
    if let Some(reserved) = reserved {
        out.same(CHECK, &subject, "reservation_id", &row.reservation_id, &reserved.reservation_id);
        out.holds(CHECK, is_placed, || format!("{subject}: it was made without its order"));
    }
    match (expected, lines) {
        ("reserved", Some(lines)) => Held::add(&mut held.reserved, &lines),
        ("committed", Some(lines)) => Held::add(&mut held.committed, &lines),
        _ => {}
    }
}

fn stock(row: &StockRow, published: &[Published<'_>], held: Option<&Held>, out: &mut Comparisons) {
    const CHECK: Check = Check::Stock;
    let subject = format!("SKU {}", row.sku);
    let came = published.iter().filter_map(|it| StockReplenished::from_any(it.event));
    let replenished: i128 = came.clone().map(|event| i128::from(event.quantity)).sum();
    out.same(CHECK, &subject, "replenished", &i128::from(row.replenished), &replenished);
    if let Some(held) = held {
        let of = |units: &BTreeMap<String, i128>| units.get(&row.sku).copied().unwrap_or_default();
        let available = replenished - of(&held.reserved) - of(&held.committed);
        out.same(CHECK, &subject, "available", &i128::from(row.available), &available);
    }
    let threshold = |it: &Published<'_>| {
        let replenished = StockReplenished::from_any(it.event).map(|event| event.threshold);
        replenished.or(StockLevelLow::from_any(it.event).map(|event| event.threshold))
    };
    let threshold = published.iter().rev().find_map(threshold);
    out.same(CHECK, &subject, "reorder_threshold", &Some(row.reorder_threshold), &threshold);
}

/// Each replenishment has led to one StockReplenished; the correlation id is drawn from its key.
fn replenishments(
    sku: &str,
    rows: Vec<&ReplenishmentRow>,
    published: &[Published<'_>],
    out: &mut Comparisons,
) {
    const CHECK: Check = Check::Replenishments;
    let mut came: Vec<(Option<Uuid>, &StockReplenished)> = published
        .iter()
        .filter_map(|it| {
            let header = it.record.and_then(|record| record.header("ce_correlationid"));
            let correlation_id = header.and_then(|id| Uuid::parse_str(id).ok());
            let waits = it.message.and_then(|row| row.correlation_id);
            Some((correlation_id.or(waits), StockReplenished::from_any(it.event)?))
        })
        .collect();
    out.same(CHECK, &format!("SKU {sku}"), "its replenishments", &rows.len(), &came.len());
    for row in rows {
        let subject = format!("replenishment {} of SKU {sku}", row.idempotency_key);
        let derived = contracts::envelope::correlation_id_of("inventory", &[&row.idempotency_key]);
        // An id of version 7 was drawn before ids were derived from keys.
        let at = came.iter().position(|(id, event)| match id {
            Some(id) if id.get_version_num() == 7 => event.occurred_at == row.occurred_at,
            id => *id == Some(derived),
        });
        let Some((_, event)) = at.map(|at| came.remove(at)) else {
            out.violated(CHECK, format!("{subject} has led to no event"));
            continue;
        };
        let level = &row.level_after;
        let part = |name: &str| level[name].as_i64().unwrap_or(-1);
        out.same(CHECK, &subject, "quantity", &row.quantity, &event.quantity);
        out.same(CHECK, &subject, "occurred_at", &row.occurred_at, &event.occurred_at);
        out.same(CHECK, &subject, "available in level_after", &part("available"), &event.available);
        out.same(
            CHECK,
            &subject,
            "reorder_threshold in level_after",
            &part("reorder_threshold"),
            &event.threshold,
        );
        let earlier = published.iter().rev().find_map(|it| {
            let earlier = StockReplenished::from_any(it.event).filter(|it| it.sequence < event.sequence);
            earlier.map(|earlier| earlier.threshold)
        });
        // Without one asked for it stays; that of a new SKU is the configured one.
        let asked = row.reorder_threshold.or(earlier).is_none_or(|threshold| threshold == event.threshold);
        out.holds(CHECK, asked, || {
            format!("{subject}: the threshold asked for is not the one that came of it")
        });
        let before: i128 = published
            .iter()
            .filter_map(|it| StockReplenished::from_any(it.event))
            .filter(|other| other.sequence <= event.sequence)
            .map(|other| i128::from(other.quantity))
            .sum();
        out.same(CHECK, &subject, "replenished in level_after", &i128::from(part("replenished")), &before);
        let sum =
            i128::from(part("available")) + i128::from(part("reserved")) + i128::from(part("committed"));
        out.same(CHECK, &subject, "the units in level_after", &sum, &before);
        let is_whole = level.as_object().is_some_and(|fields| fields.len() == 5);
        out.holds(CHECK, is_whole, || format!("{subject}: level_after has other fields"));
        out.same(CHECK, &subject, "created_sku", &row.created_sku, &(event.sequence == 1));
    }
}
