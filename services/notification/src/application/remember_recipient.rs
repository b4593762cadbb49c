//! `OrderPlaced`: remember who is to be told, and say that the order has arrived.

use contracts::order::OrderPlaced;
use inbox::{Context, Rejection};

use super::Orders;
use super::mail::{Contents, Line, PostalAddress, Recipient};
use super::orders::Introduction;
use crate::domain::{Money, RecipientStatus};

/// Remembers the recipient, or that there is none.
///
/// # Errors
/// When another order bears the same id.
pub fn remember_recipient(
    orders: &mut Orders,
    event: &OrderPlaced,
    context: Context<'_>,
) -> Result<(), Rejection> {
    let total = Money { amount_minor: event.total_minor, currency: event.currency.clone() };
    let recipient_status = match &event.recipient {
        Some(_) => RecipientStatus::Present { total },
        None => RecipientStatus::Absent { total },
    };
    orders.learn(event.order_id, context, introduction(event), |order| order.placed(recipient_status))
}

fn introduction(event: &OrderPlaced) -> Option<Introduction> {
    let recipient = event.recipient.as_ref()?;
    let line = |line: &contracts::order::OrderLine| Line {
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price_minor: line.unit_price_minor,
    };
    Some(Introduction {
        recipient: Recipient { name: recipient.name.clone(), email: recipient.email.clone() },
        contents: Contents {
            lines: event.lines.iter().map(line).collect(),
            address: PostalAddress {
                street: recipient.address.street.clone(),
                city: recipient.address.city.clone(),
                postal_code: recipient.address.postal_code.clone(),
                country: recipient.address.country.clone(),
            },
        },
    })
}
