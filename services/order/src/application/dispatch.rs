//! The synchronous handlers: they see each domain event within the transaction that stores it. Other services see events
//! after the commit, through the outbox.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use contracts::Cause;

use crate::domain::{Order, OrderEvent, OrderId, OrderView, Placement, Progress};

/// A domain event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub order_id: OrderId,
    /// Its place in the stream: 1, 2, 3, ...
    pub version: i64,
    pub occurred_at: DateTime<Utc>,
    pub event: OrderEvent,
    /// Why: the request or event that led to it.
    pub cause: Cause,
}

/// What the handlers make of a transaction's events: rows in memory, which the adapter writes set-based.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The events, for the event stream and the outbox.
    pub journal: Vec<Recorded>,
    pub views: BTreeMap<OrderId, ViewChange>,
    pub deadlines: BTreeMap<OrderId, DeadlineChange>,
}

/// A change of the read model behind `GET /orders`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewChange {
    Placed(OrderView),
    Progressed { version: i64, updated_at: DateTime<Utc>, progress: Progress },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineChange {
    Set(DateTime<Utc>),
    Cleared,
}

impl Changes {
    /// Calls the handlers one after the other; `order` is the state after the event.
    pub(super) fn dispatch(&mut self, recorded: Recorded, order: &Order) {
        self.change_view(&recorded, order);
        self.change_deadline(&recorded);
        self.journal.push(recorded);
    }

    /// Later changes of one order take the place of earlier ones.
    fn change_view(&mut self, recorded: &Recorded, order: &Order) {
        let Some(progress) = Progress::of(order) else { return };
        let Recorded { order_id, version, occurred_at: updated_at, .. } = *recorded;
        let change = match (&recorded.event, self.views.remove(&order_id)) {
            (OrderEvent::OrderPlaced(placement), _) => ViewChange::Placed(OrderView {
                order_id,
                version,
                placement: Arc::new(Placement::clone(placement)),
                placed_at: updated_at,
                updated_at,
                progress,
            }),
            (_, Some(ViewChange::Placed(view))) => {
                ViewChange::Placed(OrderView { version, updated_at, progress, ..view })
            }
            (_, Some(ViewChange::Progressed { .. }) | None) => {
                ViewChange::Progressed { version, updated_at, progress }
            }
        };
        self.views.insert(order_id, change);
    }

    /// An open order has one deadline, one that has ended has none.
    fn change_deadline(&mut self, recorded: &Recorded) {
        let change = match &recorded.event {
            OrderEvent::DeadlineScheduled { due_at } => DeadlineChange::Set(*due_at),
            OrderEvent::OrderConfirmed { .. } | OrderEvent::OrderCancelled { .. } => DeadlineChange::Cleared,
            OrderEvent::OrderPlaced(_)
            | OrderEvent::StockReservationRecorded { .. }
            | OrderEvent::LatePaymentRecorded { .. }
            | OrderEvent::LateDeclineRecorded { .. }
            | OrderEvent::LateStockRejectionRecorded {} => return,
        };
        self.deadlines.insert(recorded.order_id, change);
    }
}
