//! The only place where notification's own vocabulary meets the published one.

use contracts::order::{CancellationReason, OrderCancelled, OrderLine, OrderPlaced};
use contracts::payment::PaymentRefunded;

use crate::application::mail::{Contents, Introduction, Line, PostalAddress, Recipient};
use crate::domain::{Money, Reason, RecipientStatus};

pub fn recipient_status(event: &OrderPlaced) -> RecipientStatus {
    let total = Money { amount_minor: event.total_minor, currency: event.currency.clone() };
    match &event.recipient {
        Some(_) => RecipientStatus::Present { total },
        None => RecipientStatus::Absent { total },
    }
}

/// The personal data of an order that has a recipient.
pub fn introduction(event: &OrderPlaced) -> Option<Introduction> {
    let recipient = event.recipient.as_ref()?;
    let address = &recipient.address;
    Some(Introduction {
        recipient: Recipient { name: recipient.name.clone(), email: recipient.email.clone() },
        contents: Contents {
            lines: event.lines.iter().map(line).collect(),
            address: PostalAddress {
                street: address.street.clone(),
                city: address.city.clone(),
                postal_code: address.postal_code.clone(),
                country: address.country.clone(),
            },
        },
    })
}

fn line(line: &OrderLine) -> Line {
    Line { sku: line.sku.clone(), quantity: line.quantity, unit_price_minor: line.unit_price_minor }
}

pub const fn reason(event: &OrderCancelled) -> Reason {
    match event.reason {
        CancellationReason::OutOfStock => Reason::OutOfStock,
        CancellationReason::PaymentDeclined => Reason::PaymentDeclined,
        CancellationReason::CustomerRequest => Reason::CustomerRequest,
        CancellationReason::TimedOut => Reason::TimedOut,
        CancellationReason::Unknown => Reason::Unknown,
    }
}

pub fn refund(event: &PaymentRefunded) -> Money {
    Money { amount_minor: event.amount_minor, currency: event.currency.clone() }
}
