//! `OrderConfirmed` and `OrderCancelled`: say how the order ended.

use contracts::order::{CancellationReason, OrderCancelled, OrderConfirmed};
use inbox::{Context, Rejection};

use super::Orders;
use crate::domain::{End, Reason};

/// Says that the order is confirmed.
///
/// # Errors
/// When it was cancelled before.
pub fn note_confirmation(
    orders: &mut Orders,
    event: &OrderConfirmed,
    context: Context<'_>,
) -> Result<(), Rejection> {
    orders.learn(event.order_id, context, None, |order| order.ended(End::Confirmed))
}

/// Says that the order was cancelled, and why.
///
/// # Errors
/// When it was confirmed before.
pub fn note_cancellation(
    orders: &mut Orders,
    event: &OrderCancelled,
    context: Context<'_>,
) -> Result<(), Rejection> {
    let reason = match event.reason {
        CancellationReason::OutOfStock => Reason::OutOfStock,
        CancellationReason::PaymentDeclined => Reason::PaymentDeclined,
        CancellationReason::CustomerRequest => Reason::CustomerRequest,
        CancellationReason::TimedOut => Reason::TimedOut,
        CancellationReason::Unknown => Reason::Unknown,
    };
    orders.learn(event.order_id, context, None, |order| order.ended(End::Cancelled(reason)))
}
