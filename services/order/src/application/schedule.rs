//! A synchronous handler: which orders get a deadline, and which lose theirs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::stream::Recorded;
use crate::domain::{OrderEvent, OrderId};

/// What becomes of an order's deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineChange {
    /// It passes then.
    Set(DateTime<Utc>),
    /// It is not needed any more.
    Cleared,
}

/// An open order has one deadline, one that has ended has none.
pub(super) fn handle(changes: &mut BTreeMap<OrderId, DeadlineChange>, recorded: &Recorded) {
    let change = match &recorded.event {
        OrderEvent::DeadlineScheduled { due_at } => DeadlineChange::Set(*due_at),
        OrderEvent::OrderConfirmed { .. } | OrderEvent::OrderCancelled { .. } => DeadlineChange::Cleared,
        OrderEvent::OrderPlaced(_)
        | OrderEvent::StockReservationRecorded { .. }
        | OrderEvent::LatePaymentRecorded { .. }
        | OrderEvent::LateDeclineRecorded { .. }
        | OrderEvent::LateStockRejectionRecorded {} => return,
    };
    changes.insert(recorded.order_id, change);
}
