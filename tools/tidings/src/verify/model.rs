//! The effects that the topics alone imply: every order's story, every SKU's units, all money. Pure.

use std::collections::{BTreeMap, BTreeSet};

use contracts::order::{CancellationReason, OrderCancelled, OrderConfirmed, OrderPlaced};
use contracts::payment::{PaymentCompleted, PaymentDeclined, PaymentRefunded};
use contracts::reservation::{ReservedLine, StockRejected, StockReleased, StockReserved};
use contracts::{AnyEvent, Event};
use uuid::Uuid;

use super::history::History;
use super::report::Findings;

/// Everything that the topics say of one order.
#[derive(Clone, Debug, Default)]
pub struct Story<'a> {
    /// How it began.
    pub placed: Vec<&'a OrderPlaced>,
    /// Ends.
    pub confirmed: Vec<&'a OrderConfirmed>,
    /// Ends.
    pub cancelled: Vec<&'a OrderCancelled>,
    /// Units held.
    pub reserved: Vec<&'a StockReserved>,
    /// Units refused.
    pub rejected: Vec<&'a StockRejected>,
    /// Units given back.
    pub released: Vec<&'a StockReleased>,
    /// Money taken.
    pub completed: Vec<&'a PaymentCompleted>,
    /// Money refused.
    pub declined: Vec<&'a PaymentDeclined>,
    /// Money given back.
    pub refunded: Vec<&'a PaymentRefunded>,
}

/// The one end of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Delivered and paid.
    Confirmed,
    /// Not delivered, for this reason.
    Cancelled(CancellationReason),
}

/// The units of one SKU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Ever given.
    pub replenished: i64,
    /// Held for orders that have not ended.
    pub reserved: i64,
    /// Gone with confirmed orders.
    pub committed: i64,
}

/// What the topics imply.
#[derive(Clone, Debug, Default)]
pub struct Model<'a> {
    /// Every order that any event names.
    pub orders: BTreeMap<Uuid, Story<'a>>,
    /// `StockReplenished` quantities by SKU.
    pub replenished: BTreeMap<&'a str, i64>,
    /// How often each SKU's level fell below its threshold.
    pub low_alerts: BTreeMap<&'a str, i64>,
}

/// Lines with repeated SKUs summed.
pub type Quantities<'a> = BTreeMap<&'a str, i64>;

fn summed(lines: &[ReservedLine]) -> Quantities<'_> {
    let mut quantities = Quantities::new();
    for line in lines {
        *quantities.entry(line.sku.as_str()).or_default() += line.quantity;
    }
    quantities
}

impl<'a> Model<'a> {
    /// Reads every event's first occurrence.
    #[must_use]
    pub fn of(history: &'a History) -> Self {
        let mut model = Self::default();
        for seen in history.first_occurrences() {
            model.apply(&seen.event);
        }
        model
    }

    fn apply(&mut self, event: &'a AnyEvent) {
        match event {
            AnyEvent::OrderPlaced(e) => self.story(e.order_id).placed.push(e),
            AnyEvent::OrderConfirmed(e) => self.story(e.order_id).confirmed.push(e),
            AnyEvent::OrderCancelled(e) => self.story(e.order_id).cancelled.push(e),
            AnyEvent::StockReserved(e) => self.story(e.order_id).reserved.push(e),
            AnyEvent::StockReleased(e) => self.story(e.order_id).released.push(e),
            AnyEvent::StockRejected(e) => self.story(e.order_id).rejected.push(e),
            AnyEvent::PaymentCompleted(e) => self.story(e.order_id).completed.push(e),
            AnyEvent::PaymentDeclined(e) => self.story(e.order_id).declined.push(e),
            AnyEvent::PaymentRefunded(e) => self.story(e.order_id).refunded.push(e),
            AnyEvent::StockReplenished(e) => {
                *self.replenished.entry(e.sku.as_str()).or_default() += e.quantity;
            }
            AnyEvent::StockLevelLow(e) => *self.low_alerts.entry(e.sku.as_str()).or_default() += 1,
        }
    }

    fn story(&mut self, order_id: Uuid) -> &mut Story<'a> {
        self.orders.entry(order_id).or_default()
    }

    /// The units of every SKU that any event names.
    #[must_use]
    pub fn units(&self) -> BTreeMap<&'a str, Units> {
        let mut units: BTreeMap<&str, Units> = BTreeMap::new();
        for (sku, quantity) in &self.replenished {
            units.entry(sku).or_default().replenished = *quantity;
        }
        for story in self.orders.values() {
            let Some(reserved) = story.reserved.first() else { continue };
            if !story.released.is_empty() {
                continue;
            }
            let is_committed = !story.confirmed.is_empty();
            for line in &reserved.lines {
                let of_sku = units.entry(line.sku.as_str()).or_default();
                let kind = if is_committed { &mut of_sku.committed } else { &mut of_sku.reserved };
                *kind += line.quantity;
            }
        }
        units
    }
}

impl Story<'_> {
    /// The order's end, if it has exactly one.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        match (self.confirmed.as_slice(), self.cancelled.as_slice()) {
            ([_], []) => Some(End::Confirmed),
            ([], [cancelled]) => Some(End::Cancelled(cancelled.reason)),
            _ => None,
        }
    }

    /// How many ends the topics show.
    #[must_use]
    pub fn ends(&self) -> usize {
        self.confirmed.len() + self.cancelled.len()
    }

    /// What was asked for, repeated SKUs summed.
    #[must_use]
    pub fn ordered(&self) -> Quantities<'_> {
        let mut quantities = Quantities::new();
        for line in self.placed.first().map_or(&[][..], |placed| &placed.lines) {
            *quantities.entry(line.sku.as_str()).or_default() += line.quantity;
        }
        quantities
    }

    /// What is impossible in this story whatever else may still come: an effect that happened twice, or one
    /// without its cause, or one that differs from its cause.
    fn contradictions(&self, order_id: Uuid, findings: &mut Findings) {
        let mut check = |holds: bool, what: String| {
            if !holds {
                findings.add(format!("order {order_id}: {what}"));
            }
        };
        for (count, what) in [
            (self.placed.len(), OrderPlaced::TYPE),
            (self.reserved.len() + self.rejected.len(), "StockReserved or StockRejected"),
            (self.released.len(), StockReleased::TYPE),
            (self.completed.len() + self.declined.len(), "PaymentCompleted or PaymentDeclined"),
            (self.refunded.len(), PaymentRefunded::TYPE),
        ] {
            check(count <= 1, format!("{count} times {what}"));
        }
        check(!self.placed.is_empty(), "has events but was never placed".to_owned());
        for reserved in &self.reserved {
            check(summed(&reserved.lines) == self.ordered(), "reserved other lines than ordered".to_owned());
        }
        for released in &self.released {
            let held = self.reserved.first().map(|reserved| summed(&reserved.lines));
            check(held == Some(summed(&released.lines)), "released other lines than reserved".to_owned());
            check(!self.cancelled.is_empty(), "released stock without being cancelled".to_owned());
        }
        if let Some(placed) = self.placed.first() {
            let paid = self.completed.iter().map(|e| (e.amount_minor, &e.currency));
            let refunds = self.refunded.iter().map(|e| (e.amount_minor, &e.currency));
            for (amount_minor, currency) in paid.chain(refunds) {
                let is_total = amount_minor == placed.total_minor && *currency == placed.currency;
                check(
                    is_total,
                    format!("moved {amount_minor} {currency}, not its total {}", placed.total_minor),
                );
            }
        }
        check(
            self.completed.is_empty() || !self.reserved.is_empty(),
            "was charged without reserved stock".to_owned(),
        );
        // The charge itself may never have been announced: when the cancellation came between the two.
        check(
            self.refunded.is_empty() || !self.cancelled.is_empty(),
            "was refunded without being cancelled".to_owned(),
        );
        self.ends_with_causes(&mut check);
    }

    fn ends_with_causes(&self, check: &mut impl FnMut(bool, String)) {
        for confirmed in &self.confirmed {
            let paid = self.completed.iter().any(|completed| completed.payment_id == confirmed.payment_id);
            check(paid, format!("confirmed by payment {} that never completed", confirmed.payment_id));
        }
        for cancelled in &self.cancelled {
            let has_cause = match cancelled.reason {
                CancellationReason::OutOfStock => !self.rejected.is_empty(),
                CancellationReason::PaymentDeclined => !self.declined.is_empty(),
                CancellationReason::CustomerRequest | CancellationReason::TimedOut => true,
                CancellationReason::Unknown => false,
            };
            check(has_cause, format!("cancelled as {:?} without that having happened", cancelled.reason));
        }
    }

    /// What a quiet system would have done by now and has not.
    fn omissions(&self, order_id: Uuid, findings: &mut Findings) {
        let mut check = |holds: bool, what: &str| {
            if !holds {
                findings.add(format!("order {order_id}: {what}"));
            }
        };
        let is_cancelled = !self.cancelled.is_empty();
        check(
            is_cancelled || !self.reserved.is_empty() || !self.rejected.is_empty(),
            "neither reserved nor rejected",
        );
        check(
            !is_cancelled || self.reserved.is_empty() || !self.released.is_empty(),
            "cancelled, and its stock was not released",
        );
        check(
            !is_cancelled || self.completed.is_empty() || !self.refunded.is_empty(),
            "cancelled, and its money was not refunded",
        );
    }
}

/// What contradicts "effects once" in the stories themselves. Of orders in `excluded`, and while the system is not
/// quiet, only what no later event can mend counts.
#[must_use]
pub fn check_stories(model: &Model<'_>, excluded: &BTreeSet<Uuid>, is_quiet: bool) -> Findings {
    let mut findings = Findings::default();
    for (order_id, story) in &model.orders {
        story.contradictions(*order_id, &mut findings);
        if is_quiet && !excluded.contains(order_id) {
            story.omissions(*order_id, &mut findings);
        }
    }
    findings
}
