//! The JSON of orders.

use std::time::Duration;

use axum::response::sse::Event;
use chrono::{DateTime, Utc};
use contracts::TraceContext;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::adapters::postgres::{History, Listed, Unfolded};
use crate::domain::{CancellationReason, OrderId, OrderView, Progress, Recipient};

/// An order.
#[derive(Serialize, ToSchema)]
pub(super) struct OrderBody {
    /// Its id.
    order_id: Uuid,
    /// Whose it is.
    customer_id: String,
    #[serde(flatten)]
    progress: ProgressBody,
    /// ISO 4217.
    #[schema(example = "GBP")]
    currency: String,
    /// The sum of all lines in minor units.
    total_minor: i64,
    /// In the order in which they were placed.
    lines: Vec<LineBody>,
    /// Who gets it, if they said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<RecipientBody>,
    /// When it was placed.
    placed_at: DateTime<Utc>,
    /// Rises with every change; also the `ETag`.
    version: i64,
    /// The trace of the order, from the request to the mail (W3C Trace Context).
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// How far an order got.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProgressBody {
    /// `placed`, `confirmed` or `cancelled`; the last two are final.
    #[schema(example = "confirmed")]
    status: &'static str,
    /// Finer than the status: `placed`, `stock_reserved`, `confirmed` or `cancelled`.
    #[schema(example = "confirmed")]
    stage: &'static str,
    /// Why it was cancelled: `out_of_stock`, `payment_declined`, `customer_request` or `timed_out`.
    reason: Option<&'static str>,
    /// More about the reason, for a person.
    detail: Option<String>,
    /// The payment that confirmed it.
    payment_id: Option<Uuid>,
    /// When it ended.
    ended_at: Option<DateTime<Utc>>,
}

/// A line of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LineBody {
    /// What.
    #[schema(example = "85123A")]
    sku: String,
    /// How many.
    quantity: i64,
    /// The price of one unit in minor units.
    unit_price_minor: i64,
}

/// Who gets an order.
#[derive(Serialize, ToSchema)]
pub(super) struct RecipientBody {
    /// Their name.
    name: String,
    /// Their e-mail address.
    email: String,
    /// Where they live.
    address: AddressBody,
}

/// A postal address.
#[derive(Serialize, ToSchema)]
pub(super) struct AddressBody {
    /// Street and number.
    street: String,
    /// Town.
    city: String,
    /// Postal code.
    postal_code: String,
    /// Country.
    country: String,
}

/// An order in a list: without lines and recipient.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ListedBody {
    /// Its id.
    order_id: Uuid,
    /// Whose it is.
    customer_id: String,
    #[serde(flatten)]
    progress: ProgressBody,
    /// ISO 4217.
    currency: String,
    /// The sum of all lines in minor units.
    total_minor: i64,
    /// When it was placed.
    placed_at: DateTime<Utc>,
    /// Rises with every change.
    version: i64,
}

/// A page of orders.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PageBody {
    /// Newest first.
    pub(super) orders: Vec<ListedBody>,
    /// Give this as `cursor` for the next page; none on the last.
    pub(super) next_cursor: Option<String>,
}

/// A state that an order was in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StateBody {
    /// The version with which the order came into this state.
    pub(super) version: i64,
    /// When it did.
    occurred_at: DateTime<Utc>,
    #[serde(flatten)]
    progress: ProgressBody,
}

/// A state as a server-sent event.
#[derive(Debug, ToSchema)]
pub(super) struct StateEvent {
    /// The version with which the order came into this state.
    id: String,
    /// The stage.
    event: &'static str,
    /// In how many milliseconds a client resumes a stream that broke.
    retry: u64,
    /// The state as in the history, as JSON.
    data: String,
}

/// The states that an order was in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryBody {
    /// Its id.
    order_id: Uuid,
    /// Oldest first.
    states: Vec<StateBody>,
    /// The events from the first one on that only a newer release knows, oldest first; absent if there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unfolded: Vec<UnfoldedBody>,
}

/// An event of which no state is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnfoldedBody {
    /// The version that the order had after it.
    version: i64,
    /// Its stored type.
    #[serde(rename = "type")]
    kind: String,
    /// When it happened.
    occurred_at: DateTime<Utc>,
    /// Whether this release knows it.
    known: bool,
}

impl From<&Progress> for ProgressBody {
    fn from(progress: &Progress) -> Self {
        Self {
            status: progress.stage.status().as_str(),
            stage: progress.stage.as_str(),
            reason: progress.reason.map(CancellationReason::as_str),
            detail: progress.detail.clone(),
            payment_id: progress.payment_id,
            ended_at: progress.ended_at,
        }
    }
}

impl OrderBody {
    /// An order that was placed in this trace.
    pub(super) fn of(view: &OrderView, trace: &TraceContext) -> Self {
        let placement = &view.placement;
        let lines = placement.lines.iter().map(|line| LineBody {
            sku: line.sku.to_string(),
            quantity: line.quantity.units(),
            unit_price_minor: line.unit_price_minor.minor(),
        });
        Self {
            order_id: view.order_id.0,
            customer_id: placement.customer_id.to_string(),
            progress: ProgressBody::from(&view.progress),
            currency: placement.currency.as_str().to_owned(),
            total_minor: placement.total_minor,
            lines: lines.collect(),
            recipient: placement.recipient.as_ref().map(RecipientBody::from),
            placed_at: view.placed_at,
            version: view.version,
            trace_id: trace.trace_id().map(str::to_owned),
        }
    }
}

impl From<&Recipient> for RecipientBody {
    fn from(recipient: &Recipient) -> Self {
        let address = &recipient.address;
        Self {
            name: recipient.name.to_string(),
            email: recipient.email.as_str().to_owned(),
            address: AddressBody {
                street: address.street.to_string(),
                city: address.city.to_string(),
                postal_code: address.postal_code.to_string(),
                country: address.country.to_string(),
            },
        }
    }
}

impl From<&Listed> for ListedBody {
    fn from(listed: &Listed) -> Self {
        Self {
            order_id: listed.order_id.0,
            customer_id: listed.customer_id.clone(),
            progress: ProgressBody::from(&listed.progress),
            currency: listed.currency.clone(),
            total_minor: listed.total_minor,
            placed_at: listed.placed_at,
            version: listed.version,
        }
    }
}

impl HistoryBody {
    pub(super) fn of(order_id: OrderId, history: &History) -> Self {
        let unfolded = history.unfolded.iter().map(UnfoldedBody::from).collect();
        Self { order_id: order_id.0, states: states(&history.views), unfolded }
    }
}

impl From<&Unfolded> for UnfoldedBody {
    fn from(event: &Unfolded) -> Self {
        let Unfolded { version, kind, occurred_at, known } = event.clone();
        Self { version, kind, occurred_at, known }
    }
}

/// The states that people could tell apart; internal events leave no trace here.
pub(super) fn states(views: &[OrderView]) -> Vec<StateBody> {
    let mut states = Vec::new();
    let mut last: Option<&Progress> = None;
    for view in views {
        if last != Some(&view.progress) {
            states.push(StateBody {
                version: view.version,
                occurred_at: view.updated_at,
                progress: ProgressBody::from(&view.progress),
            });
        }
        last = Some(&view.progress);
    }
    states
}

impl StateEvent {
    /// # Errors
    /// When the state is no JSON.
    pub(super) fn of(state: &StateBody, retry: Duration) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: state.version.to_string(),
            event: state.progress.stage,
            retry: u64::try_from(retry.as_millis()).unwrap_or(u64::MAX),
            data: serde_json::to_string(state)?,
        })
    }
}

impl From<StateEvent> for Event {
    fn from(event: StateEvent) -> Self {
        let StateEvent { id, event, retry, data } = event;
        Self::default().id(id).event(event).retry(Duration::from_millis(retry)).data(data)
    }
}

impl StateBody {
    pub(super) const fn is_end(&self) -> bool {
        self.progress.ended_at.is_some()
    }
}
