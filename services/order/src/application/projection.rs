//! A synchronous handler: the read model behind `GET /orders`.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::stream::Recorded;
use crate::domain::{Order, OrderEvent, OrderId, OrderView, Placement, Progress};

/// What becomes of an order in the read model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewChange {
    /// It is new there.
    Placed(OrderView),
    /// It got further.
    Progressed { version: i64, updated_at: DateTime<Utc>, progress: Progress },
}

/// Later changes of one order take the place of earlier ones; `order` is the state after the event.
pub(super) fn handle(changes: &mut BTreeMap<OrderId, ViewChange>, recorded: &Recorded, order: &Order) {
    let Some(progress) = Progress::of(order) else { return };
    let Recorded { order_id, version, occurred_at: updated_at, .. } = *recorded;
    let change = match (&recorded.event, changes.remove(&order_id)) {
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
    changes.insert(order_id, change);
}
