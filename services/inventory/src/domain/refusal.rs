//! Why the rules refuse a fact or a command.

use super::{OrderId, Sku, sku::InvalidSku};

/// A refusal by the rules of stock; it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("an order without lines")]
    NoLines,
    #[error(transparent)]
    InvalidSku(#[from] InvalidSku),
    #[error("quantity {quantity} of {sku} is not positive")]
    QuantityNotPositive { sku: Sku, quantity: i64 },
    #[error("the units of {sku} exceed what can be counted")]
    TooMany { sku: Sku },
    #[error("reorder threshold {threshold} of {sku} is negative")]
    NegativeThreshold { sku: Sku, threshold: i64 },
    #[error("order {order_id} was confirmed, but its stock is {state}")]
    ConfirmedWithoutStock { order_id: OrderId, state: &'static str },
    #[error("order {order_id} was cancelled, but its stock is committed")]
    CancelledAfterCommit { order_id: OrderId },
    /// Only a row that was changed by hand leads to it.
    #[error("{quantity} units of {sku} can't be moved: {reserved} are reserved")]
    StockOutOfBalance { sku: Sku, quantity: i64, reserved: i64 },
}

impl Refusal {
    /// A stable code: the reason of a dead letter, and a metric's label.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoLines => "no_lines",
            Self::InvalidSku(_) => "invalid_sku",
            Self::QuantityNotPositive { .. } => "quantity_not_positive",
            Self::TooMany { .. } => "too_many_units",
            Self::NegativeThreshold { .. } => "negative_threshold",
            Self::ConfirmedWithoutStock { .. } => "confirmed_without_stock",
            Self::CancelledAfterCommit { .. } => "cancelled_after_commit",
            Self::StockOutOfBalance { .. } => "stock_out_of_balance",
        }
    }
}
