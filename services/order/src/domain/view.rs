//! What people may see of an order: its content and how far it got.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::event::OrderEvent;
use super::order::{ImpossibleTransition, Order};
use super::placement::Placement;
use super::values::{CancellationReason, OrderId, Status};

/// How far an order got, finer than its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waits for stock.
    Placed,
    /// Has its stock, waits for payment.
    StockReserved,
    /// Ended: paid.
    Confirmed,
    /// Ended: not going to happen.
    Cancelled,
}

impl Stage {
    pub const ALL: [Self; 4] = [Self::Placed, Self::StockReserved, Self::Confirmed, Self::Cancelled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::StockReserved => "stock_reserved",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }

    /// The status that it belongs to.
    pub const fn status(self) -> Status {
        match self {
            Self::Placed | Self::StockReserved => Status::Placed,
            Self::Confirmed => Status::Confirmed,
            Self::Cancelled => Status::Cancelled,
        }
    }
}

/// The part of the view that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub stage: Stage,
    /// Why it was cancelled, if it was.
    pub reason: Option<CancellationReason>,
    /// More about it, for a person.
    pub detail: Option<String>,
    /// The payment that confirmed it, if one did.
    pub payment_id: Option<Uuid>,
    /// When it ended, if it did.
    pub ended_at: Option<DateTime<Utc>>,
}

impl Progress {
    /// What an order's state shows of itself; nothing before it was placed.
    pub fn of(order: &Order) -> Option<Self> {
        let open = |stage| Self { stage, reason: None, detail: None, payment_id: None, ended_at: None };
        match order {
            Order::Unplaced => None,
            Order::Placed { facts, .. } if facts.reservation_id.is_some() => Some(open(Stage::StockReserved)),
            Order::Placed { .. } => Some(open(Stage::Placed)),
            Order::Confirmed { facts, ended_at, .. } => Some(Self {
                payment_id: facts.payment_id,
                ended_at: Some(*ended_at),
                ..open(Stage::Confirmed)
            }),
            Order::Cancelled { ended_at, reason, detail, .. } => Some(Self {
                reason: Some(*reason),
                detail: detail.clone(),
                ended_at: Some(*ended_at),
                ..open(Stage::Cancelled)
            }),
        }
    }
}

/// An order as people see it, at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderView {
    pub order_id: OrderId,
    pub version: i64,
    pub placement: Arc<Placement>,
    pub placed_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub progress: Progress,
}

/// The views after each event of a stream: its history, which has every past state.
///
/// # Errors
/// When the stream holds what no decision could have led to.
pub fn replay<'a>(
    order_id: OrderId,
    stream: impl IntoIterator<Item = (&'a OrderEvent, DateTime<Utc>)>,
) -> Result<Vec<OrderView>, ImpossibleTransition> {
    let mut order = Order::Unplaced;
    let mut views: Vec<OrderView> = Vec::new();
    for (version, (event, at)) in (1_i64..).zip(stream) {
        order = order.evolve(event, at)?;
        let Some(progress) = Progress::of(&order) else { continue };
        let view = match (views.last(), event) {
            (Some(previous), _) => OrderView { version, updated_at: at, progress, ..previous.clone() },
            (None, OrderEvent::OrderPlaced(placement)) => OrderView {
                order_id,
                version,
                placement: Arc::new(Placement::clone(placement)),
                placed_at: at,
                updated_at: at,
                progress,
            },
            (None, _) => continue,
        };
        views.push(view);
    }
    Ok(views)
}
