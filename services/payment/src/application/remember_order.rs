//! `OrderPlaced`: remember what the order costs and how it is paid, so that nobody has to be asked later.

use contracts::order::OrderPlaced;
use inbox::{Context, Rejection};

use super::Payments;
use crate::domain::{Charge, Money, PaymentMethod};

/// Remembers the charge; begins it if the stock is held already.
///
/// # Errors
/// When the order is impossible: a negative total, or another order under the same id.
pub fn remember_order(
    payments: &mut Payments,
    event: &OrderPlaced,
    context: Context<'_>,
) -> Result<(), Rejection> {
    let charge = Charge {
        money: Money { amount_minor: event.total_minor, currency: event.currency.clone() },
        method: PaymentMethod::new(event.payment_method.clone()),
    };
    payments.change(event.order_id, context, |payment| payment.order_placed(charge))
}
