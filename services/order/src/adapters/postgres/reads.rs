//! Reads: the read model for the present, the event stream for the past.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use contracts::TraceContext;
use database::Operation;
use serde_json::Value;
use service::corrupt_rows;
use sqlx_macros::FromRow;
use uuid::Uuid;

use super::{OrderStore, StoreError};
use crate::adapters::metrics::ORDER_VIEWS;
use crate::adapters::stored::{self, StoredEvent};
use crate::domain::{
    CancellationReason, CustomerId, OrderEvent, OrderId, OrderView, Placement, Progress, Stage, Status,
    replay,
};

/// Which orders to list, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    pub customer_id: Option<CustomerId>,
    pub status: Option<Status>,
    /// Only those older than this one: the last of the page before.
    pub before: Option<OrderId>,
    pub limit: i64,
}

/// An order in a list: without its lines and its recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub order_id: OrderId,
    pub customer_id: String,
    pub version: i64,
    pub currency: String,
    /// Its total in minor units.
    pub total_minor: i64,
    pub placed_at: DateTime<Utc>,
    pub progress: Progress,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Without those whose row is corrupt.
    pub orders: Vec<Listed>,
    /// The last order of this page, if there are more behind it.
    pub next: Option<OrderId>,
}

/// What a watcher needs to know of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    pub order_id: OrderId,
    pub version: i64,
    pub ended: bool,
}

/// The past of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// After each event, up to the first one that only a newer release knows.
    pub views: Vec<OrderView>,
    /// That one and all behind it: which state follows from them, this release can't know.
    pub unfolded: Vec<Unfolded>,
}

/// An event of which no state is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfolded {
    pub version: i64,
    /// The stored type.
    pub kind: String,
    pub occurred_at: DateTime<Utc>,
    /// Whether this release knows it.
    pub known: bool,
}

/// The state asked for follows from an event that only a newer release knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a newer release has written events of this order that this one does not know")]
pub struct WrittenByNewerRelease;

impl History {
    /// The order as it was then; none before it was placed.
    ///
    /// # Errors
    /// When only a newer release can tell.
    pub fn at(&self, as_of: DateTime<Utc>) -> Result<Option<&OrderView>, WrittenByNewerRelease> {
        if self.unfolded.first().is_some_and(|event| event.occurred_at <= as_of) {
            return Err(WrittenByNewerRelease);
        }
        Ok(self.views.iter().rev().find(|view| view.updated_at <= as_of))
    }

    /// The version of the last event.
    pub fn version(&self) -> i64 {
        let folded = self.views.last().map_or(0, |view| view.version);
        self.unfolded.last().map_or(folded, |event| event.version)
    }
}

#[derive(FromRow)]
struct ListRow {
    order_id: Uuid,
    customer_id: String,
    version: i64,
    stage: String,
    reason: Option<String>,
    detail: Option<String>,
    payment_id: Option<Uuid>,
    currency: String,
    total_minor: i64,
    placed_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

#[derive(FromRow)]
struct ViewRow {
    #[sqlx(flatten)]
    listed: ListRow,
    placement: Value,
}

#[derive(FromRow)]
struct EventRow {
    version: i64,
    #[sqlx(rename = "type")]
    kind: String,
    schema_version: i32,
    data: Value,
    occurred_at: DateTime<Utc>,
}

impl ListRow {
    fn progress(&self) -> Result<Progress, StoreError> {
        let corrupt = |detail| StoreError::corrupt(OrderId(self.order_id), detail);
        let reason = match self.reason.as_deref() {
            None => None,
            Some(name) => {
                Some(CancellationReason::parse(name).ok_or_else(|| corrupt("its reason is unknown"))?)
            }
        };
        Ok(Progress {
            stage: Stage::parse(&self.stage).ok_or_else(|| corrupt("its stage is unknown"))?,
            reason,
            detail: self.detail.clone(),
            payment_id: self.payment_id,
            ended_at: self.ended_at,
        })
    }

    fn listed(self) -> Result<Listed, StoreError> {
        Ok(Listed {
            order_id: OrderId(self.order_id),
            progress: self.progress()?,
            customer_id: self.customer_id,
            version: self.version,
            currency: self.currency,
            total_minor: self.total_minor,
            placed_at: self.placed_at,
        })
    }
}

impl OrderStore {
    /// An order as it stands.
    pub async fn view(&self, order_id: OrderId) -> Result<Option<OrderView>, StoreError> {
        let row: Option<ViewRow> = sqlx::query_as(
            "SELECT order_id, customer_id, version, stage, reason, detail, payment_id, currency, total_minor,
                    placed_at, updated_at, ended_at, placement
             FROM order_views
             WHERE order_id = $1",
        )
        .bind(order_id.0)
        .fetch_optional(self.database.statement(Operation::Request))
        .await?;
        let Some(ViewRow { listed, placement }) = row else { return Ok(None) };
        let placement: Placement =
            serde_json::from_value(placement).map_err(|error| StoreError::corrupt(order_id, error))?;
        Ok(Some(OrderView {
            order_id,
            version: listed.version,
            placement: Arc::new(placement),
            placed_at: listed.placed_at,
            updated_at: listed.updated_at,
            progress: listed.progress()?,
        }))
    }

    /// The trace in which the order was placed; empty if it was not traced.
    pub async fn trace(&self, order_id: OrderId) -> Result<TraceContext, StoreError> {
        let row: Option<(Option<String>, Option<String>)> =
            sqlx::query_as("SELECT traceparent, tracestate FROM orders WHERE order_id = $1")
                .bind(order_id.0)
                .fetch_optional(self.database.statement(Operation::Request))
                .await?;
        let (traceparent, tracestate) = row.unwrap_or_default();
        Ok(TraceContext { traceparent, tracestate })
    }

    /// Every state that the order went through, oldest first, from its event stream; empty if there is no such order.
    ///
    /// # Errors
    /// When the database refuses or does not answer, or the stream is corrupt.
    pub async fn history(&self, order_id: OrderId) -> Result<History, StoreError> {
        let rows: Vec<EventRow> = sqlx::query_as(
            "SELECT version, type, schema_version, data, occurred_at
             FROM order_events
             WHERE order_id = $1
             ORDER BY version",
        )
        .bind(order_id.0)
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        let corrupt = |error: &dyn std::fmt::Display| StoreError::corrupt(order_id, error);
        let mut events: Vec<(OrderEvent, DateTime<Utc>)> = Vec::with_capacity(rows.len());
        let mut unfolded = Vec::new();
        for EventRow { version, kind, schema_version, data, occurred_at } in rows {
            match stored::read(StoredEvent { kind: kind.clone(), schema_version, data }) {
                Ok(event) if unfolded.is_empty() => events.push((event, occurred_at)),
                Ok(_) => unfolded.push(Unfolded { version, kind, occurred_at, known: true }),
                Err(error) if error.is_newer() => {
                    unfolded.push(Unfolded { version, kind, occurred_at, known: false });
                }
                Err(error) => return Err(corrupt(&error)),
            }
        }
        let views = replay(order_id, events.iter().map(|(event, at)| (event, *at)));
        Ok(History { views: views.map_err(|error| corrupt(&error))?, unfolded })
    }

    /// A page of orders, newest first. A corrupt row is reported and left out: it would fail every page that it is on.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let mut rows: Vec<ListRow> = sqlx::query_as(
            "SELECT order_id, customer_id, version, stage, reason, detail, payment_id, currency, total_minor,
                    placed_at, updated_at, ended_at
             FROM order_views
             WHERE ($1::text IS NULL OR customer_id = $1)
               AND ($2::text IS NULL OR status = $2)
               AND ($3::uuid IS NULL OR order_id < $3)
             ORDER BY order_id DESC
             LIMIT $4",
        )
        .bind(query.customer_id.as_ref().map(CustomerId::as_str))
        .bind(query.status.map(Status::as_str))
        .bind(query.before.map(|id| id.0))
        // One more than asked for tells whether there is another page.
        .bind(query.limit + 1)
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        let limit = usize::try_from(query.limit).unwrap_or_default();
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(|last| OrderId(last.order_id));
        let listed = rows.into_iter().filter_map(|row| {
            let order_id = OrderId(row.order_id);
            row.listed().inspect_err(|error| corrupt_rows::report(ORDER_VIEWS, &order_id, error)).ok()
        });
        Ok(Page { orders: listed.collect(), next })
    }

    /// How far these orders got: one statement for all requests that wait on this replica.
    pub async fn watched(&self, order_ids: &[OrderId]) -> Result<Vec<Watched>, StoreError> {
        let rows: Vec<(Uuid, i64, bool)> = sqlx::query_as(
            "SELECT order_id, version, status <> 'placed' FROM orders WHERE order_id = ANY($1)",
        )
        .bind(order_ids.iter().map(|id| id.0).collect::<Vec<Uuid>>())
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        Ok(rows
            .into_iter()
            .map(|(order_id, version, ended)| Watched { order_id: OrderId(order_id), version, ended })
            .collect())
    }
}
