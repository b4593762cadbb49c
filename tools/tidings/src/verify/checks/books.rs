//! G4: every order reaches exactly one end; units and money add up.

use std::collections::BTreeMap;

use contracts::Event;
use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};

use crate::services::ServiceName;
use crate::text::money;
use crate::verify::case::{Case, OrderEvents, first};
use crate::verify::check::Check;
use crate::verify::report::Comparisons;

pub(super) fn check(case: &Case<'_>, out: &mut Comparisons) {
    ends(case, out);
    for row in &case.snapshot.inventory.stock {
        let parts = [row.available, row.reserved, row.committed].map(i128::from);
        let adds_up =
            i128::from(row.replenished) == parts.iter().sum::<i128>() && parts.iter().all(|part| *part >= 0);
        out.holds(Check::Units, adds_up, || {
            let (sku, replenished, [available, reserved, committed]) = (&row.sku, row.replenished, parts);
            format!("SKU {sku}: {replenished} replenished, {available} + {reserved} + {committed} there")
        });
    }
    balance(case, out);
}

fn ends(case: &Case<'_>, out: &mut Comparisons) {
    let mut open = 0_usize;
    for (order_id, events) in &case.orders {
        let is_end =
            |event| OrderConfirmed::from_any(event).is_some() || OrderCancelled::from_any(event).is_some();
        match events.orders.iter().filter(|it| is_end(it.event)).count() {
            0 => open += 1,
            ends => out.holds(Check::Ends, ends == 1, || format!("order {order_id} has {ends} ends")),
        }
    }
    if open > 0 {
        out.not_compared(Check::Ends, format!("{open} orders have not ended"));
    }
}

/// Captured minus refunded money is the total of confirmed orders, by order and by currency. An order that payment has not
/// done with is left out, with its reason.
fn balance(case: &Case<'_>, out: &mut Comparisons) {
    let mut sums: BTreeMap<&str, (i128, i128)> = BTreeMap::new();
    let letters = [ServiceName::Payment, ServiceName::Order].map(|service| case.orders_with_letters(service));
    let mut left_out = BTreeMap::new();
    for (order_id, events) in &case.orders {
        let row = case.snapshot.payment.payments.get(order_id);
        let steps = row.map(|row| case.snapshot.payment.steps_of(row.payment_id)).unwrap_or_default();
        let why = if letters.iter().any(|orders| orders.contains(order_id)) {
            Some(format!("order {order_id}: payment or order has a dead letter of it"))
        } else if row.is_none_or(crate::verify::services::payment::PaymentRow::is_under_way)
            || !has_ended(events)
        {
            Some("is under way".to_owned())
        } else {
            None
        };
        let expected = confirmed(events).map_or(0, |placed| i128::from(placed.total_minor));
        if let Some(why) = why {
            *left_out.entry(why).or_insert(0_usize) += 1;
            continue;
        }
        let moved = |name: &str| -> i128 {
            let amounts = steps.iter().filter(|step| step.approved && step.step == name);
            amounts.map(|step| i128::from(step.amount_minor)).sum()
        };
        let balance = moved("capture") - moved("refund");
        out.holds(Check::Money, balance == expected, || {
            format!("order {order_id}: captured less refunded is {balance}, its confirmed total {expected}")
        });
        for step in
            steps.iter().filter(|step| step.approved && ["capture", "refund"].contains(&step.step.as_str()))
        {
            let sign = if step.step == "capture" { 1 } else { -1 };
            sums.entry(&step.currency).or_default().0 += sign * i128::from(step.amount_minor);
        }
        if let Some(placed) = confirmed(events) {
            sums.entry(&placed.currency).or_default().1 += expected;
        }
    }
    for (currency, (balance, expected)) in sums {
        out.holds(Check::Money, balance == expected, || {
            let (balance, expected) = (money(balance), money(expected));
            format!("{currency}: captured less refunded is {balance}, confirmed orders come to {expected}")
        });
    }
    for (why, orders) in left_out {
        out.not_compared(
            Check::Money,
            if why == "is under way" { format!("{orders} orders are under way") } else { why },
        );
    }
}

fn has_ended(events: &OrderEvents<'_>) -> bool {
    first::<OrderConfirmed>(&events.orders).is_some() || first::<OrderCancelled>(&events.orders).is_some()
}

fn confirmed<'a>(events: &OrderEvents<'a>) -> Option<&'a OrderPlaced> {
    first::<OrderConfirmed>(&events.orders)?;
    first::<OrderPlaced>(&events.orders).map(|(placed, _)| placed)
}
