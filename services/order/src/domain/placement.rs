//! What a customer orders: the content of an order, which never changes after it was placed.

use serde::{Deserialize, Serialize};

use super::recipient::Recipient;
use super::text::{CustomerId, PaymentMethod, Sku};
use super::values::{CurrencyCode, InvalidValue, Quantity, UnitPrice};

/// One line of an order; a SKU may stand on several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub sku: Sku,
    pub quantity: Quantity,
    /// At which price, as the cart quoted it.
    pub unit_price_minor: UnitPrice,
}

/// The content of an order. It is stored with the request's key, and compared by every release that runs beside this one:
/// a further field is an `Option`, or is left out while it has its default (`skip_serializing_if`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    pub customer_id: CustomerId,
    pub currency: CurrencyCode,
    /// 1 to [`Placement::MAX_LINES`] lines, in the customer's order.
    pub lines: Vec<Line>,
    /// The sum of all lines, in minor units.
    pub total_minor: i64,
    pub payment_method: PaymentMethod,
    /// Who gets it, if they said so.
    pub recipient: Option<Recipient>,
}

impl Placement {
    /// The most lines of one order.
    pub const MAX_LINES: usize = 2_000;

    /// The content with its total.
    ///
    /// # Errors
    /// When there is no line, too many, or the total leaves 64 bits.
    pub fn try_new(
        customer_id: CustomerId,
        currency: CurrencyCode,
        lines: Vec<Line>,
        payment_method: PaymentMethod,
        recipient: Option<Recipient>,
    ) -> Result<Self, InvalidValue> {
        Self::check_line_count(lines.len())?;
        let total_minor =
            Self::total_minor(&lines).ok_or_else(|| InvalidValue("the total must fit 64 bits".to_owned()))?;
        Ok(Self { customer_id, currency, lines, total_minor, payment_method, recipient })
    }

    /// Whether an order may have so many lines.
    ///
    /// # Errors
    /// When there is none, or there are too many.
    pub fn check_line_count(count: usize) -> Result<(), InvalidValue> {
        if (1..=Self::MAX_LINES).contains(&count) {
            return Ok(());
        }
        Err(InvalidValue(format!("must have 1 to {} lines; has {count}", Self::MAX_LINES)))
    }

    fn total_minor(lines: &[Line]) -> Option<i64> {
        lines.iter().try_fold(0_i64, |total, line| {
            let amount = line.quantity.units().checked_mul(line.unit_price_minor.minor())?;
            total.checked_add(amount)
        })
    }
}
