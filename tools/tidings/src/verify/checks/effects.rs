//! G3: each consumer's stored effects are those that the topics imply, each once.

use std::collections::{BTreeMap, HashMap};

use contracts::order::CancellationReason;
use uuid::Uuid;

use super::count;
use crate::verify::case::Case;
use crate::verify::model::{End, Story, check_stories};
use crate::verify::report::{Findings, Guarantee, Verdict};
use crate::verify::snapshot::{Analytics, LedgerRow};

/// Compares inventory, payment, its provider, notification and analytics with the stories.
#[must_use]
pub fn check(case: &Case<'_>) -> Verdict {
    let mut violations = check_stories(&case.model, &case.excluded, case.is_quiet());
    at_most_once(case, &mut violations);
    let mut unverifiable = Findings::default();
    if case.is_quiet() {
        reservations(case, &mut violations);
        stock(case, &mut violations);
        payments(case, &mut violations);
        mails(case, &mut violations);
        if case.excluded.is_empty() {
            analytics(case, &mut violations);
        }
    } else {
        unverifiable.add("effects can't be compared while the system is busy (--wait waits)".to_owned());
        unverifiable.append(case.busy.clone());
    }
    let figures = vec![
        ("orders", count(case.model.orders.len())),
        ("stock levels", count(case.snapshot.stock.len())),
        ("payments", count(case.snapshot.payments.len())),
        ("ledger entries", count(case.snapshot.ledger.len())),
        ("mails", count(case.snapshot.mails.len())),
    ];
    Verdict::new(Guarantee::G3, figures, violations, unverifiable)
}

/// What must hold at any moment: the provider moved each payment's money once each way.
fn at_most_once(case: &Case<'_>, violations: &mut Findings) {
    let mut steps: HashMap<(Uuid, &str), usize> = HashMap::new();
    for row in &case.snapshot.ledger {
        *steps.entry((row.payment_id, &row.step)).or_default() += 1;
    }
    for ((payment_id, step), times) in steps.into_iter().filter(|(_, times)| *times > 1) {
        violations.add(format!("payment {payment_id}: {times} times {step} in the provider's ledger"));
    }
}

fn reservations(case: &Case<'_>, violations: &mut Findings) {
    let stored: HashMap<Uuid, &str> =
        case.snapshot.reservations.iter().map(|(order_id, state)| (*order_id, state.as_str())).collect();
    for (order_id, story) in case.orders() {
        let expected = expected_reservation(story);
        let found = stored.get(&order_id).copied().unwrap_or("no row");
        if !expected.contains(&found) {
            violations
                .add(format!("order {order_id}: its reservation is {found}, the topics say {expected:?}"));
        }
    }
}

fn expected_reservation(story: &Story<'_>) -> &'static [&'static str] {
    if !story.rejected.is_empty() {
        return &["rejected"];
    }
    match (story.reserved.is_empty(), story.end()) {
        (true, Some(End::Cancelled(_))) => &["cancelled_before_placed"],
        (true, Some(End::Confirmed) | None) => &["unknown"],
        (false, Some(End::Confirmed)) => &["committed"],
        (false, Some(End::Cancelled(_))) => &["released"],
        (false, None) => &["reserved"],
    }
}

fn stock(case: &Case<'_>, violations: &mut Findings) {
    let apart = case.excluded_skus();
    let mut expected = case.model.units();
    for row in &case.snapshot.stock {
        let units = expected.remove(row.sku.as_str()).unwrap_or_default();
        if apart.contains(row.sku.as_str()) {
            continue;
        }
        let found = (row.replenished, row.reserved, row.committed);
        if found != (units.replenished, units.reserved, units.committed) {
            violations.add(format!(
                "SKU {}: replenished, reserved, committed are {found:?}, the topics say {:?}",
                row.sku,
                (units.replenished, units.reserved, units.committed)
            ));
        }
    }
    for (sku, units) in expected {
        if units != crate::verify::model::Units::default() && !apart.contains(sku) {
            violations.add(format!("SKU {sku}: has no stock row, the topics say {units:?}"));
        }
    }
}

fn payments(case: &Case<'_>, violations: &mut Findings) {
    let states: HashMap<Uuid, &str> =
        case.snapshot.payments.iter().map(|row| (row.order_id, row.state.as_str())).collect();
    let ledger = case.ledger_by_order();
    for (order_id, story) in case.orders() {
        let expected = expected_payment(story);
        let found = states.get(&order_id).copied().unwrap_or("no row");
        if !expected.contains(&found) {
            violations.add(format!("order {order_id}: its payment is {found}, the topics say {expected:?}"));
        }
        let rows = ledger.get(&order_id).map_or(&[][..], Vec::as_slice);
        let (captured, refunded) = (moved(rows, "capture"), moved(rows, "refund"));
        let announced: i64 = story.completed.iter().map(|event| event.amount_minor).sum();
        let given_back: i64 = story.refunded.iter().map(|event| event.amount_minor).sum();
        if captured != announced || refunded != given_back {
            violations.add(format!(
                "order {order_id}: the provider captured {captured} and refunded {refunded}, \
                 the topics say {announced} and {given_back}"
            ));
        }
    }
    for order_id in ledger.keys().filter(|order_id| !case.model.orders.contains_key(order_id)) {
        violations.add(format!("the provider moved money for {order_id}, which no topic knows"));
    }
}

fn moved(rows: &[&LedgerRow], step: &str) -> i64 {
    rows.iter().filter(|row| row.step == step).map(|row| row.amount_minor).sum()
}

fn expected_payment(story: &Story<'_>) -> &'static [&'static str] {
    if !story.refunded.is_empty() {
        return &["refunded"];
    }
    if !story.completed.is_empty() {
        return &["completed"];
    }
    if !story.declined.is_empty() {
        return &["declined"];
    }
    match (story.end(), story.reserved.is_empty()) {
        (Some(End::Cancelled(_)), _) => &["cancelled", "voided"],
        (Some(End::Confirmed) | None, true) => &["awaiting_stock"],
        // With stock held and no answer yet, the saga is under way, and the system not quiet.
        (Some(End::Confirmed) | None, false) => &[],
    }
}

fn mails(case: &Case<'_>, violations: &mut Findings) {
    let mut found: BTreeMap<(Uuid, &str), usize> = BTreeMap::new();
    for (order_id, kind) in &case.snapshot.mails {
        *found.entry((*order_id, kind.as_str())).or_default() += 1;
    }
    for (order_id, story) in case.orders() {
        for kind in expected_mails(story) {
            let times = found.remove(&(order_id, kind)).unwrap_or_default();
            if times != 1 {
                violations.add(format!("order {order_id}: {times} mails of kind {kind} instead of one"));
            }
        }
    }
    for ((order_id, kind), times) in found {
        if !case.excluded.contains(&order_id) {
            violations.add(format!("order {order_id}: {times} mails of kind {kind} that nothing asked for"));
        }
    }
}

/// Only an order with a recipient has mails: one for each thing that its customer should know.
fn expected_mails(story: &Story<'_>) -> Vec<&'static str> {
    if story.placed.first().is_none_or(|placed| placed.recipient.is_none()) {
        return Vec::new();
    }
    let mut kinds = vec!["order_received"];
    match story.end() {
        Some(End::Confirmed) => kinds.push("order_confirmed"),
        Some(End::Cancelled(_)) => kinds.push("order_cancelled"),
        None => {}
    }
    if !story.refunded.is_empty() {
        kinds.push("payment_refunded");
    }
    kinds
}

fn analytics(case: &Case<'_>, violations: &mut Findings) {
    let expected = expected_analytics(case);
    let found = &case.snapshot.analytics;
    differences("funnel", &found.funnel, &expected.funnel, violations);
    differences("revenue in", &found.revenue, &expected.revenue, violations);
    differences("sales of", &found.sales, &expected.sales, violations);
    differences("alerts for", &found.alerts, &expected.alerts, violations);
}

fn differences<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &BTreeMap<String, T>,
    expected: &BTreeMap<String, T>,
    violations: &mut Findings,
) {
    let keys: std::collections::BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    for key in keys {
        let (stored, implied) = (found.get(key), expected.get(key));
        if stored != implied {
            violations.add(format!("analytics' {what} {key}: {stored:?}, the topics say {implied:?}"));
        }
    }
}

/// The read models that the stories imply.
#[must_use]
fn expected_analytics(case: &Case<'_>) -> Analytics {
    let mut totals = Analytics::default();
    let mut reached = |stage: &str, is_reached: bool| {
        if is_reached {
            *totals.funnel.entry(stage.to_owned()).or_default() += 1;
        }
    };
    for (_, story) in case.orders() {
        reached("placed", !story.placed.is_empty());
        reached("reserved", !story.reserved.is_empty());
        reached("paid", !story.completed.is_empty());
        match story.end() {
            None => {}
            Some(End::Confirmed) => reached("confirmed", true),
            Some(End::Cancelled(reason)) => reached(cancelled(reason), true),
        }
    }
    let confirmed = case.orders().filter(|(_, story)| story.end() == Some(End::Confirmed));
    for placed in confirmed.filter_map(|(_, story)| story.placed.first()) {
        let of_currency = totals.revenue.entry(placed.currency.clone()).or_default();
        of_currency.0 += 1;
        of_currency.2 += placed.total_minor;
        for line in &placed.lines {
            of_currency.1 += line.quantity;
            let of_sku = totals.sales.entry(format!("{} {}", placed.currency, line.sku)).or_default();
            of_sku.0 += line.quantity;
            of_sku.1 += line.quantity * line.unit_price_minor;
        }
    }
    totals.alerts = case.model.low_alerts.iter().map(|(sku, times)| ((*sku).to_owned(), *times)).collect();
    totals
}

const fn cancelled(reason: CancellationReason) -> &'static str {
    match reason {
        CancellationReason::OutOfStock => "cancelled_out_of_stock",
        CancellationReason::PaymentDeclined => "cancelled_payment_declined",
        CancellationReason::CustomerRequest => "cancelled_customer_request",
        CancellationReason::TimedOut => "cancelled_timed_out",
        CancellationReason::Unknown => "cancelled_unknown",
    }
}
