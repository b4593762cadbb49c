//! Keeps the read model behind `GET /orders`: a handler of domain events.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::handler::{DomainEventHandler, Recorded};
use super::stream::Stream;
use crate::domain::{OrderEvent, OrderId, Placement, Progress};

/// What the read model gets to know of one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewChange {
    /// Content and time, if the order is new to the read model.
    pub placed: Option<(Placement, DateTime<Utc>)>,
    /// The stream's version.
    pub version: i64,
    /// When it changed.
    pub updated_at: DateTime<Utc>,
    /// How far it got.
    pub progress: Progress,
}

/// The changes of one transaction, one an order.
#[derive(Debug, Default)]
pub struct Projection {
    /// By order.
    pub changes: BTreeMap<OrderId, ViewChange>,
}

impl DomainEventHandler for Projection {
    fn handle(&mut self, recorded: &Recorded, stream: &mut Stream) {
        let Some(progress) = Progress::of(&stream.order) else { return };
        let placed = match &recorded.event {
            OrderEvent::OrderPlaced(placement) => Some((Placement::clone(placement), recorded.occurred_at)),
            OrderEvent::DeadlineScheduled { .. }
            | OrderEvent::StockReservationRecorded { .. }
            | OrderEvent::OrderConfirmed { .. }
            | OrderEvent::OrderCancelled { .. }
            | OrderEvent::LatePaymentRecorded { .. }
            | OrderEvent::LateDeclineRecorded { .. }
            | OrderEvent::LateStockRejectionRecorded {} => {
                self.changes.remove(&recorded.order_id).and_then(|change| change.placed)
            }
        };
        let change =
            ViewChange { placed, version: recorded.version, updated_at: recorded.occurred_at, progress };
        self.changes.insert(recorded.order_id, change);
    }
}
