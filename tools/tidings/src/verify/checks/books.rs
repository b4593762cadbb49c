//! G4: every order reaches exactly one end, and money adds up.

use contracts::Event;
use contracts::order::{OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::PaymentCompleted;
use uuid::Uuid;

use crate::services::ServiceName;
use crate::verify::case::{Case, OrderEvents, first};
use crate::verify::check::Check;
use crate::verify::fates::Fate;
use crate::verify::report::Comparisons;
use crate::verify::rows::payment::PaymentRow;
use crate::verify::sums::Money;
use crate::verify::totals::Totals;

/// Counts ends and money of some orders. Captured minus refunded money is the total of confirmed orders; an order that payment
/// has not done with is left out, with its reason.
pub(super) fn orders(case: &Case<'_>, totals: &mut Totals, out: &mut Comparisons) {
    let letters = [ServiceName::Payment, ServiceName::Order].map(|service| case.orders_with_letters(service));
    for (order_id, events) in &case.orders {
        let sums = &mut totals.of(case, *order_id).money;
        ends(*order_id, events, sums, out);
        if letters.iter().any(|orders| orders.contains(order_id)) {
            out.not_compared(
                Check::Money,
                format!("order {order_id}: payment or order has a dead letter of it"),
            );
            continue;
        }
        let row = case.snapshot.payment.payments.get(order_id).filter(|row| !row.is_under_way());
        let is_settled = row.is_some_and(|row| is_settled(case, row, events));
        let (Some(row), true) = (row, is_settled && case.is_complete(*order_id)) else {
            sums.under_way += 1;
            continue;
        };
        let steps = case.snapshot.payment.steps_of(row.payment_id).iter().filter(|step| step.approved);
        let mut balance = 0;
        for step in steps {
            let sign = match step.step.as_str() {
                "capture" => 1,
                "refund" => -1,
                _ => continue,
            };
            let moved = sign * i128::from(step.amount_minor);
            balance += moved;
            sums.currencies.entry(step.currency.clone()).or_default().0 += moved;
        }
        let confirmed = confirmed(events);
        let expected = confirmed.map_or(0, |placed| i128::from(placed.total_minor));
        if let Some(placed) = confirmed {
            sums.currencies.entry(placed.currency.clone()).or_default().1 += expected;
        }
        out.holds(Check::Money, balance == expected, || {
            format!("order {order_id}: captured less refunded is {balance}, its confirmed total {expected}")
        });
    }
}

fn ends(order_id: Uuid, events: &OrderEvents<'_>, sums: &mut Money, out: &mut Comparisons) {
    let is_end =
        |event| OrderConfirmed::from_any(event).is_some() || OrderCancelled::from_any(event).is_some();
    match events.orders.iter().filter(|it| is_end(it.event)).count() {
        0 => sums.open += 1,
        ends => out.holds(Check::Ends, ends == 1, || format!("order {order_id} has {ends} ends")),
    }
}

/// Whether payment had done with the order when its database was read: the topics may tell of more, because they are read
/// later.
fn is_settled(case: &Case<'_>, row: &PaymentRow, events: &OrderEvents<'_>) -> bool {
    if first::<OrderConfirmed>(&events.orders).is_some() {
        let completed = first::<PaymentCompleted>(&events.payments);
        return completed.is_none_or(|(completed, _)| row.has_published(completed.sequence));
    }
    first::<OrderCancelled>(&events.orders).is_some_and(|(cancelled, _)| {
        case.fate(ServiceName::Payment, cancelled.event_id) == Some(Fate::Applied)
    })
}

fn confirmed<'a>(events: &OrderEvents<'a>) -> Option<&'a OrderPlaced> {
    first::<OrderConfirmed>(&events.orders)?;
    first::<OrderPlaced>(&events.orders).map(|(placed, _)| placed)
}
