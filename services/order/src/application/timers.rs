//! Keeps one durable timer per open order: a handler of domain events.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::dispatch::{DomainEventHandler, Recorded};
use super::stream::Stream;
use crate::domain::{OrderEvent, OrderId};

/// What becomes of an order's timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerChange {
    /// It rings then.
    Set(DateTime<Utc>),
    /// It is not needed any more.
    Cleared,
}

/// The changes of one transaction, one an order.
#[derive(Debug, Default)]
pub struct Timers {
    /// By order.
    pub changes: BTreeMap<OrderId, TimerChange>,
}

impl DomainEventHandler for Timers {
    fn handle(&mut self, recorded: &Recorded, _stream: &mut Stream) {
        let change = match &recorded.event {
            OrderEvent::DeadlineScheduled { due_at } => TimerChange::Set(*due_at),
            OrderEvent::OrderConfirmed { .. } | OrderEvent::OrderCancelled { .. } => TimerChange::Cleared,
            OrderEvent::OrderPlaced(_)
            | OrderEvent::StockReservationRecorded { .. }
            | OrderEvent::LatePaymentRecorded { .. }
            | OrderEvent::LateDeclineRecorded { .. }
            | OrderEvent::LateStockRejectionRecorded {} => return,
        };
        self.changes.insert(recorded.order_id, change);
    }
}
