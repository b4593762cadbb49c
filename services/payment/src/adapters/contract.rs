//! The only place where payment's own vocabulary meets the published one.

use chrono::{DateTime, Utc};
use contracts::order::OrderPlaced;
use contracts::payment::{PaymentCompleted, PaymentDeclined, PaymentRefunded};
use contracts::{AnyEvent, Event};
use uuid::Uuid;

use crate::domain::{Charge, Money, Payment, PaymentEvent, PaymentMethod};

/// Full names of the events that this service publishes.
pub const PUBLISHES: &[&str] = &[PaymentCompleted::TYPE, PaymentDeclined::TYPE, PaymentRefunded::TYPE];

pub fn charge(event: &OrderPlaced) -> Charge {
    Charge {
        money: Money { amount_minor: event.total_minor, currency: event.currency.clone() },
        method: PaymentMethod::new(event.payment_method.clone()),
    }
}

/// What other services see of `event`: nothing of a void, as no authorization is published.
pub fn publication(
    payment: &Payment,
    event: &PaymentEvent,
    sequence: i64,
    event_id: Uuid,
    occurred_at: DateTime<Utc>,
) -> Option<AnyEvent> {
    let (order_id, payment_id) = (payment.order_id.0, payment.payment_id.0);
    let published = match event {
        PaymentEvent::Completed { charge, capture } => PaymentCompleted {
            event_id,
            occurred_at,
            order_id,
            sequence,
            payment_id,
            amount_minor: charge.money.amount_minor,
            currency: charge.money.currency.clone(),
            transaction_id: capture.0.clone(),
        }
        .into_any(),
        PaymentEvent::Declined { charge, reason } => PaymentDeclined {
            event_id,
            occurred_at,
            order_id,
            sequence,
            payment_id,
            amount_minor: charge.money.amount_minor,
            currency: charge.money.currency.clone(),
            reason: reason.clone(),
        }
        .into_any(),
        PaymentEvent::Refunded { charge, refund_id } => PaymentRefunded {
            event_id,
            occurred_at,
            order_id,
            sequence,
            payment_id,
            refund_id: refund_id.0,
            amount_minor: charge.money.amount_minor,
            currency: charge.money.currency.clone(),
        }
        .into_any(),
        PaymentEvent::Voided => return None,
    };
    Some(published)
}
