//! Rows ⇄ application and domain types.

use chrono::{DateTime, Utc};
use contracts::TraceContext;
use events::LastEvent;
use sqlx_macros::FromRow;
use uuid::Uuid;

use super::StoreError;
use crate::application::Stream;
use crate::application::work::Correlation;
use crate::domain::{CancellationReason, CurrencyCode, CustomerId, Facts, Order, OrderId, Status, Terms};

/// A row of `orders`.
#[derive(Debug, FromRow)]
pub(super) struct HeadRow {
    pub(super) order_id: Uuid,
    pub(super) customer_id: String,
    pub(super) correlation_id: Uuid,
    pub(super) traceparent: Option<String>,
    pub(super) tracestate: Option<String>,
    pub(super) version: i64,
    pub(super) last_sequence: i64,
    pub(super) last_message_id: Option<i64>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) currency: String,
    pub(super) total_minor: i64,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) due_at: Option<DateTime<Utc>>,
    pub(super) ended_at: Option<DateTime<Utc>>,
    pub(super) reservation_id: Option<Uuid>,
    pub(super) stock_rejected: bool,
    pub(super) payment_id: Option<Uuid>,
    pub(super) payment_declined: bool,
}

impl TryFrom<HeadRow> for Stream {
    type Error = StoreError;

    fn try_from(row: HeadRow) -> Result<Self, StoreError> {
        let order_id = OrderId(row.order_id);
        let corrupt = |detail: &str| StoreError::corrupt(order_id, detail);
        let terms = Terms { total_minor: row.total_minor, currency: CurrencyCode::trusted(row.currency) };
        let facts = Facts {
            reservation_id: row.reservation_id,
            stock_rejected: row.stock_rejected,
            payment_id: row.payment_id,
            payment_declined: row.payment_declined,
        };
        let ended_at = row.ended_at.ok_or_else(|| corrupt("it has ended, but not said when"));
        let reason = row.reason.as_deref().and_then(CancellationReason::parse);
        let order = match Status::parse(&row.status).ok_or_else(|| corrupt("its status is unknown"))? {
            Status::Placed => Order::Placed { terms, due_at: row.due_at, facts },
            Status::Confirmed => Order::Confirmed { terms, facts, ended_at: ended_at? },
            Status::Cancelled => Order::Cancelled {
                terms,
                facts,
                ended_at: ended_at?,
                reason: reason.ok_or_else(|| corrupt("its reason is unknown"))?,
                detail: row.detail,
            },
        };
        Ok(Self {
            order_id,
            customer_id: CustomerId::trusted(row.customer_id),
            correlation: Correlation {
                correlation_id: row.correlation_id,
                trace: TraceContext { traceparent: row.traceparent, tracestate: row.tracestate },
            },
            version: row.version,
            last_event: LastEvent { sequence: row.last_sequence, message_id: row.last_message_id },
            updated_at: row.updated_at,
            order,
        })
    }
}

/// The columns of `orders` that change.
#[derive(Debug)]
pub(super) struct HeadState<'a> {
    pub(super) status: Option<&'static str>,
    pub(super) reason: Option<&'static str>,
    pub(super) detail: Option<&'a str>,
    pub(super) due_at: Option<DateTime<Utc>>,
    pub(super) ended_at: Option<DateTime<Utc>>,
    pub(super) facts: Facts,
}

impl<'a> HeadState<'a> {
    pub(super) fn of(order: &'a Order) -> Self {
        let (reason, detail, due_at, ended_at) = match order {
            Order::Unplaced => (None, None, None, None),
            Order::Placed { due_at, .. } => (None, None, *due_at, None),
            Order::Confirmed { ended_at, .. } => (None, None, None, Some(*ended_at)),
            Order::Cancelled { ended_at, reason, detail, .. } => {
                (Some(reason.as_str()), detail.as_deref(), None, Some(*ended_at))
            }
        };
        let status = order.status().map(Status::as_str);
        Self { status, reason, detail, due_at, ended_at, facts: order.facts() }
    }
}
