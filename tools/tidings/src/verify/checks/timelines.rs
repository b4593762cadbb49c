//! G3: what the topics say of an order must agree with itself, whatever else may still come.

use contracts::Event;
use contracts::order::{CancellationReason, OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::{PaymentCompleted, PaymentDeclined, PaymentRefunded};
use contracts::reservation::{Shortage, StockRejected, StockReleased, StockReserved};
use contracts::stock::{StockLevelLow, StockLevelRestored, StockReplenished};
use uuid::Uuid;

use crate::verify::case::{self, Case, Occurrence, OrderEvents};
use crate::verify::check::Check;
use crate::verify::report::Comparisons;
use crate::verify::units::{ordered, units};

pub(super) fn check(case: &Case<'_>, out: &mut Comparisons) {
    for (order_id, events) in &case.orders {
        if !case.is_complete(*order_id) {
            out.not_compared(Check::Timelines, format!("order {order_id} goes on while it is read"));
            continue;
        }
        let mut timeline = Timeline { order_id: *order_id, out };
        timeline.once(events);
        timeline.causes(events);
        timeline.amounts(events);
    }
    for (sku, events) in &case.skus {
        levels(sku, events, out);
    }
}

struct Timeline<'o> {
    order_id: Uuid,
    out: &'o mut Comparisons,
}

impl Timeline<'_> {
    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        let order_id = self.order_id;
        self.out.holds(Check::Timelines, holds, || format!("order {order_id}: {}", what()));
    }

    fn once(&mut self, events: &OrderEvents<'_>) {
        let orders = &events.orders;
        let (reservations, payments) = (&events.reservations, &events.payments);
        for (count, what) in [
            (count::<OrderPlaced>(orders), OrderPlaced::TYPE),
            (
                count::<StockReserved>(reservations) + count::<StockRejected>(reservations),
                "an answer of inventory",
            ),
            (count::<StockReleased>(reservations), StockReleased::TYPE),
            (
                count::<PaymentCompleted>(payments) + count::<PaymentDeclined>(payments),
                "an answer of payment",
            ),
            (count::<PaymentRefunded>(payments), PaymentRefunded::TYPE),
        ] {
            self.check(count <= 1, || format!("{count} times {what}"));
        }
    }

    fn causes(&mut self, events: &OrderEvents<'_>) {
        let OrderEvents { orders, reservations, payments } = events;
        let placed = first::<OrderPlaced>(orders);
        let cancelled = first::<OrderCancelled>(orders);
        self.check(placed.is_some(), || "it has events and was never placed".to_owned());
        let reserved = first::<StockReserved>(reservations);
        if let (Some(placed), Some(reserved)) = (placed, reserved) {
            let is_so = units(&reserved.lines) == ordered(placed);
            self.check(is_so, || "reserved other lines than ordered".to_owned());
        }
        if let Some(rejected) = first::<StockRejected>(reservations) {
            let asked = placed.map(ordered).unwrap_or_default();
            let is_short = |line: &Shortage| {
                asked.get(line.sku.as_str()) == Some(&i128::from(line.requested))
                    && (0..line.requested).contains(&line.available)
            };
            let is_so = !rejected.shortages.is_empty() && rejected.shortages.iter().all(is_short);
            self.check(is_so, || "rejected for shortages that are none of its lines".to_owned());
        }
        if let Some(released) = first::<StockReleased>(reservations) {
            let held = reserved.is_some_and(|reserved| {
                units(&reserved.lines) == units(&released.lines)
                    && reserved.reservation_id == released.reservation_id
            });
            self.check(held, || "released other lines than reserved".to_owned());
            self.check(cancelled.is_some(), || "released stock without being cancelled".to_owned());
        }
        let completed = first::<PaymentCompleted>(payments);
        self.check(completed.is_none() || reserved.is_some(), || "charged without reserved stock".to_owned());
        let is_undone = first::<PaymentRefunded>(payments).is_none() || cancelled.is_some();
        self.check(is_undone, || "refunded without being cancelled".to_owned());
        if let Some(confirmed) = first::<OrderConfirmed>(orders) {
            let is_paid = completed.is_some_and(|completed| completed.payment_id == confirmed.payment_id);
            let payment_id = confirmed.payment_id;
            self.check(is_paid, || format!("confirmed by payment {payment_id}, which never completed"));
        }
        if let (Some(cancelled), Some(rejected)) = (cancelled, first::<StockRejected>(reservations))
            && cancelled.reason == CancellationReason::OutOfStock
        {
            let is_so = cancelled.detail.as_deref() == Some(in_words(&rejected.shortages).as_str());
            self.check(is_so, || "cancelled for other shortages than it was rejected for".to_owned());
        }
        if let Some(cancelled) = cancelled {
            let has_cause = match cancelled.reason {
                CancellationReason::OutOfStock => first::<StockRejected>(reservations).is_some(),
                CancellationReason::PaymentDeclined => first::<PaymentDeclined>(payments).is_some(),
                CancellationReason::CustomerRequest | CancellationReason::TimedOut => true,
                CancellationReason::Unknown => false,
            };
            let reason = cancelled.reason;
            self.check(has_cause, || format!("cancelled as {reason:?} without that having happened"));
        }
    }

    fn amounts(&mut self, events: &OrderEvents<'_>) {
        let Some(placed) = first::<OrderPlaced>(&events.orders) else { return };
        let price = |line: &contracts::order::OrderLine| {
            i128::from(line.quantity) * i128::from(line.unit_price_minor)
        };
        let total: i128 = placed.lines.iter().map(price).sum();
        self.check(total == i128::from(placed.total_minor), || {
            "its total is not that of its lines".to_owned()
        });
        let completed = first::<PaymentCompleted>(&events.payments).map(|e| (e.amount_minor, &e.currency));
        let declined = first::<PaymentDeclined>(&events.payments).map(|e| (e.amount_minor, &e.currency));
        let refunded = first::<PaymentRefunded>(&events.payments).map(|e| (e.amount_minor, &e.currency));
        for (amount_minor, currency) in [completed, declined, refunded].into_iter().flatten() {
            let is_total = amount_minor == placed.total_minor && *currency == placed.currency;
            let total_minor = placed.total_minor;
            self.check(is_total, || format!("moved {amount_minor} {currency}, not its total {total_minor}"));
        }
        let ids: Vec<Uuid> = events
            .payments
            .iter()
            .filter_map(|it| {
                let completed = PaymentCompleted::from_any(it.event).map(|e| e.payment_id);
                let declined = PaymentDeclined::from_any(it.event).map(|e| e.payment_id);
                completed.or(declined).or(PaymentRefunded::from_any(it.event).map(|e| e.payment_id))
            })
            .collect();
        self.check(ids.windows(2).all(|pair| pair[0] == pair[1]), || "it has several payments".to_owned());
    }
}

/// The shortages as a cancellation names them: three, and how many more; 500 characters at most.
fn in_words(shortages: &[Shortage]) -> String {
    let named: Vec<String> = shortages
        .iter()
        .take(3)
        .map(|it| format!("{}: {} wanted, {} available", it.sku, it.requested, it.available))
        .collect();
    let more = match shortages.len().saturating_sub(3) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{}{more}", named.join("; ")).chars().take(500).collect()
}

fn first<'a, E: Event>(occurrences: &[Occurrence<'a>]) -> Option<&'a E> {
    case::first(occurrences).map(|(event, _)| event)
}

fn count<E: Event>(occurrences: &[Occurrence<'_>]) -> usize {
    occurrences.iter().filter(|it| E::from_any(it.event).is_some()).count()
}

/// A SKU is low when it is below the threshold that its last replenishment left.
fn levels(sku: &str, events: &[Occurrence<'_>], out: &mut Comparisons) {
    let mut threshold = None;
    for it in events {
        let id = it.event.event_id();
        if let Some(low) = StockLevelLow::from_any(it.event) {
            let is_low = (0..low.threshold).contains(&low.available);
            out.holds(Check::Timelines, is_low && threshold.is_none_or(|it| it == low.threshold), || {
                format!("event {id} of SKU {sku}: {} available is not below {threshold:?}", low.available)
            });
        }
        if let Some(rose) = StockLevelRestored::from_any(it.event) {
            let is_so = rose.available >= rose.threshold && threshold.is_none_or(|it| it == rose.threshold);
            out.holds(Check::Timelines, is_so, || {
                format!("event {id} of SKU {sku}: {} available is still below {threshold:?}", rose.available)
            });
        }
        if let Some(replenished) = StockReplenished::from_any(it.event) {
            threshold = Some(replenished.threshold);
            let is_so = replenished.quantity > 0 && replenished.available >= replenished.quantity;
            out.holds(Check::Timelines, is_so, || {
                format!("event {id} of SKU {sku}: {} units came", replenished.quantity)
            });
        }
    }
}
