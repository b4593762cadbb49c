//! `PaymentRefunded`: say that money was given back. It comes by another topic and may be the first thing heard.

use contracts::payment::PaymentRefunded;
use inbox::{Context, Rejection};

use super::Orders;
use crate::domain::Money;

/// Says how much was given back.
///
/// # Errors
/// Never by the domain's rules.
pub fn note_refund(
    orders: &mut Orders,
    event: &PaymentRefunded,
    context: Context<'_>,
) -> Result<(), Rejection> {
    let amount = Money { amount_minor: event.amount_minor, currency: event.currency.clone() };
    orders.learn(event.order_id, context, None, |order| Ok(order.refunded(amount)))
}
