//! Keeps one durable deadline per open order: a handler of domain events.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::handler::{DomainEventHandler, Recorded};
use super::stream::Stream;
use crate::domain::{OrderEvent, OrderId};

/// What becomes of an order's deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineChange {
    /// It passes then.
    Set(DateTime<Utc>),
    /// It is not needed any more.
    Cleared,
}

/// The changes of one transaction, one an order.
#[derive(Debug, Default)]
pub struct Deadlines {
    /// By order.
    pub changes: BTreeMap<OrderId, DeadlineChange>,
}

impl DomainEventHandler for Deadlines {
    fn handle(&mut self, recorded: &Recorded, _stream: &mut Stream) {
        let change = match &recorded.event {
            OrderEvent::DeadlineScheduled { due_at } => DeadlineChange::Set(*due_at),
            OrderEvent::OrderConfirmed { .. } | OrderEvent::OrderCancelled { .. } => DeadlineChange::Cleared,
            OrderEvent::OrderPlaced(_)
            | OrderEvent::StockReservationRecorded { .. }
            | OrderEvent::LatePaymentRecorded { .. }
            | OrderEvent::LateDeclineRecorded { .. }
            | OrderEvent::LateStockRejectionRecorded {} => return,
        };
        self.changes.insert(recorded.order_id, change);
    }
}
