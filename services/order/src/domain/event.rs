//! Domain events: what happened to an order, in its own words. Internal; other services see what
//! `adapters::contract` makes of them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::placement::Placement;
use super::values::CancellationReason;

/// Something that happened to an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum OrderEvent {
    /// The customer placed it.
    OrderPlaced(Box<Placement>),
    /// It must end by then.
    DeadlineScheduled { due_at: DateTime<Utc> },
    /// Inventory holds all its lines.
    StockReservationRecorded { reservation_id: Uuid },
    /// It ended: paid.
    OrderConfirmed { payment_id: Uuid },
    /// It ended: not going to happen.
    OrderCancelled {
        reason: CancellationReason,
        /// More about it, for a person.
        detail: Option<String>,
    },
    /// A payment completed after the order was cancelled; payment refunds it.
    LatePaymentRecorded { payment_id: Uuid },
    /// A payment was declined after the order had ended.
    LateDeclineRecorded { payment_id: Uuid },
    /// Inventory rejected the order after it had ended.
    LateStockRejectionRecorded {},
}

impl OrderEvent {
    /// The event's name: what it is stored under, and what a reader of a log sees.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OrderPlaced(_) => "OrderPlaced",
            Self::DeadlineScheduled { .. } => "DeadlineScheduled",
            Self::StockReservationRecorded { .. } => "StockReservationRecorded",
            Self::OrderConfirmed { .. } => "OrderConfirmed",
            Self::OrderCancelled { .. } => "OrderCancelled",
            Self::LatePaymentRecorded { .. } => "LatePaymentRecorded",
            Self::LateDeclineRecorded { .. } => "LateDeclineRecorded",
            Self::LateStockRejectionRecorded {} => "LateStockRejectionRecorded",
        }
    }
}
