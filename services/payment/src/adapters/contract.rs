//! Where payment's own events become the published language; no other file knows both.

use chrono::{DateTime, Utc};
use contracts::payment::{PaymentCompleted, PaymentDeclined, PaymentRefunded};
use contracts::{AnyEvent, Event};
use uuid::Uuid;

use crate::domain::{Payment, PaymentEvent};

/// Full names of all that payment publishes.
pub const PUBLISHES: &[&str] = &[PaymentCompleted::TYPE, PaymentDeclined::TYPE, PaymentRefunded::TYPE];

/// What the world hears of `event`: nothing of an authorization given back, for nobody was told that it was held.
#[must_use]
pub fn publish(
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
