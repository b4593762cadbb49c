//! The mapping between order's domain and integration events, in and out; no other file knows both.

use std::collections::BTreeMap;

use contracts::order::{
    Address, CancellationReason as PublishedReason, OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced,
    Recipient,
};
use contracts::payment::{PaymentCompleted, PaymentDeclined};
use contracts::reservation::{StockRejected, StockReserved};
use contracts::{AnyEvent, Event, clock};
use events::Publication;
use uuid::Uuid;

use crate::application::{Outcome, Recorded};
use crate::domain::{self, CancellationReason, Fact, Line, OrderEvent, Placement};

/// Full names of the events that this service publishes.
pub const PUBLISHES: &[&str] = &[OrderPlaced::TYPE, OrderConfirmed::TYPE, OrderCancelled::TYPE];

/// What a transaction's events are called, and what is published of them.
#[derive(Debug, Default)]
pub struct Announcements {
    /// An id for each event of the journal; the integration event made of it bears the same.
    pub event_ids: Vec<Uuid>,
    /// In the order in which they happened.
    pub publications: Vec<Publication>,
}

/// Draws the ids, and numbers what is published: the sequence of an order is in its head, which is locked, so that it
/// has no gap.
pub fn announce(outcome: &mut Outcome) -> Announcements {
    let mut announced = Announcements::default();
    let mut heads: BTreeMap<_, _> = outcome.heads.iter_mut().map(|head| (head.order_id, head)).collect();
    for recorded in &outcome.changes.journal {
        let event_id = clock::new_id();
        announced.event_ids.push(event_id);
        let Some(head) = heads.get_mut(&recorded.order_id) else { continue };
        let publish = |sequence| publication(recorded, event_id, sequence);
        announced.publications.extend(head.last_event.publish(&recorded.cause, publish));
    }
    announced
}

/// What other services see of a domain event, under this id and sequence; nothing of an internal one.
pub fn publication(recorded: &Recorded, event_id: Uuid, sequence: i64) -> Option<AnyEvent> {
    let (occurred_at, order_id) = (recorded.occurred_at, recorded.order_id.0);
    match &recorded.event {
        OrderEvent::OrderPlaced(placement) => {
            Some(order_placed(recorded, placement, event_id, sequence).into_any())
        }
        OrderEvent::OrderConfirmed { payment_id } => Some(
            OrderConfirmed { event_id, occurred_at, order_id, sequence, payment_id: *payment_id }.into_any(),
        ),
        OrderEvent::OrderCancelled { reason, detail } => Some(
            OrderCancelled {
                event_id,
                occurred_at,
                order_id,
                sequence,
                reason: published_reason(*reason),
                detail: detail.clone(),
            }
            .into_any(),
        ),
        OrderEvent::DeadlineScheduled { .. }
        | OrderEvent::StockReservationRecorded { .. }
        | OrderEvent::LatePaymentRecorded { .. }
        | OrderEvent::LateDeclineRecorded { .. }
        | OrderEvent::LateStockRejectionRecorded {} => None,
    }
}

fn order_placed(recorded: &Recorded, placement: &Placement, event_id: Uuid, sequence: i64) -> OrderPlaced {
    OrderPlaced {
        event_id,
        occurred_at: recorded.occurred_at,
        order_id: recorded.order_id.0,
        sequence,
        customer_id: placement.customer_id.to_string(),
        lines: placement.lines.iter().map(order_line).collect(),
        total_minor: placement.total_minor,
        payment_method: placement.payment_method.token().to_owned(),
        recipient: placement.recipient.as_ref().map(recipient),
        currency: placement.currency.as_str().to_owned(),
    }
}

fn order_line(line: &Line) -> OrderLine {
    OrderLine {
        sku: line.sku.to_string(),
        quantity: line.quantity.units(),
        unit_price_minor: line.unit_price_minor.minor(),
    }
}

fn recipient(recipient: &domain::Recipient) -> Recipient {
    let address = &recipient.address;
    Recipient {
        name: recipient.name.to_string(),
        email: recipient.email.as_str().to_owned(),
        address: Address {
            street: address.street.to_string(),
            city: address.city.to_string(),
            postal_code: address.postal_code.to_string(),
            country: address.country.to_string(),
        },
    }
}

const fn published_reason(reason: CancellationReason) -> PublishedReason {
    match reason {
        CancellationReason::OutOfStock => PublishedReason::OutOfStock,
        CancellationReason::PaymentDeclined => PublishedReason::PaymentDeclined,
        CancellationReason::CustomerRequest => PublishedReason::CustomerRequest,
        CancellationReason::TimedOut => PublishedReason::TimedOut,
    }
}

pub const fn stock_reserved(event: &StockReserved) -> Fact {
    Fact::StockReserved { reservation_id: event.reservation_id }
}

pub fn stock_rejected(event: &StockRejected) -> Fact {
    let shortages = event.shortages.iter().map(|shortage| domain::Shortage {
        sku: shortage.sku.clone(),
        requested: shortage.requested,
        available: shortage.available,
    });
    Fact::StockRejected { shortages: shortages.collect() }
}

pub fn payment_completed(event: &PaymentCompleted) -> Fact {
    Fact::PaymentCompleted {
        payment_id: event.payment_id,
        amount_minor: event.amount_minor,
        currency: event.currency.clone(),
    }
}

pub fn payment_declined(event: &PaymentDeclined) -> Fact {
    Fact::PaymentDeclined { payment_id: event.payment_id, reason: event.reason.clone() }
}
