//! Why the rules refuse a fact or a command.

use super::{OrderId, Sku, sku::InvalidSku};

/// A refusal by the rules of stock; it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An order that asks for nothing.
    #[error("an order without lines")]
    NoLines,
    /// A SKU that can't be one.
    #[error(transparent)]
    InvalidSku(#[from] InvalidSku),
    /// A quantity below one.
    #[error("quantity {quantity} of {sku} is not positive")]
    QuantityNotPositive {
        /// Of what.
        sku: Sku,
        /// How many.
        quantity: i64,
    },
    /// More units than can be counted.
    #[error("the units of {sku} exceed what can be counted")]
    TooMany {
        /// Of what.
        sku: Sku,
    },
    /// A reorder threshold below zero.
    #[error("reorder threshold {threshold} of {sku} is negative")]
    NegativeThreshold {
        /// Of what.
        sku: Sku,
        /// The threshold asked for.
        threshold: i64,
    },
    /// An order confirmed although nothing is held for it.
    #[error("order {order_id} was confirmed, but its stock is {state}")]
    ConfirmedWithoutStock {
        /// Which order.
        order_id: OrderId,
        /// What its reservation is.
        state: &'static str,
    },
    /// An order cancelled after it was confirmed.
    #[error("order {order_id} was cancelled, but its stock is committed")]
    CancelledAfterCommit {
        /// Which order.
        order_id: OrderId,
    },
    /// An order whose row was not loaded before the decision.
    #[error("order {order_id} was not loaded before deciding")]
    NotLoaded {
        /// Which order.
        order_id: OrderId,
    },
    /// The units of a reservation are not among the reserved ones: the books were tampered with.
    #[error("{quantity} units of {sku} are to leave the reserved ones, of which there are {reserved}")]
    StockOutOfBalance {
        /// Of what.
        sku: Sku,
        /// How many are to leave.
        quantity: i64,
        /// How many there are.
        reserved: i64,
    },
}

impl Refusal {
    /// A stable code, for metrics and for the reason of a dead letter.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoLines => "no_lines",
            Self::InvalidSku(_) => "invalid_sku",
            Self::QuantityNotPositive { .. } => "quantity_not_positive",
            Self::TooMany { .. } => "too_many_units",
            Self::NegativeThreshold { .. } => "negative_threshold",
            Self::ConfirmedWithoutStock { .. } => "confirmed_without_stock",
            Self::CancelledAfterCommit { .. } => "cancelled_after_commit",
            Self::NotLoaded { .. } => "not_loaded",
            Self::StockOutOfBalance { .. } => "stock_out_of_balance",
        }
    }
}
