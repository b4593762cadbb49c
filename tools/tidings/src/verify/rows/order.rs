//! The rows of order's tables.

use std::collections::BTreeMap;

use anyhow::Context;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx_macros::FromRow;
use uuid::Uuid;

use crate::verify::keys::Keys;

/// Orders that are compared at once, unless there would be too many ranges.
const ORDERS_AT_ONCE: i64 = 1_000;
/// The most ranges, each with a temporary file of its own.
const MOST_RANGES: i64 = 500;

/// order's rows.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub(in crate::verify) heads: BTreeMap<Uuid, HeadRow>,
    pub(in crate::verify) events: BTreeMap<Uuid, Vec<EventRow>>,
    pub(in crate::verify) views: BTreeMap<Uuid, ViewRow>,
    pub(in crate::verify) keys: BTreeMap<Uuid, Vec<KeyRow>>,
    pub(in crate::verify) deadlines: BTreeMap<Uuid, DeadlineRow>,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct HeadRow {
    pub(in crate::verify) order_id: Uuid,
    pub(in crate::verify) customer_id: String,
    pub(in crate::verify) correlation_id: Uuid,
    pub(in crate::verify) traceparent: Option<String>,
    pub(in crate::verify) tracestate: Option<String>,
    pub(in crate::verify) version: i64,
    pub(in crate::verify) last_sequence: i64,
    pub(in crate::verify) last_message_id: i64,
    pub(in crate::verify) updated_at: DateTime<Utc>,
    pub(in crate::verify) currency: String,
    pub(in crate::verify) total_minor: i64,
    pub(in crate::verify) status: String,
    pub(in crate::verify) reason: Option<String>,
    pub(in crate::verify) detail: Option<String>,
    pub(in crate::verify) due_at: Option<DateTime<Utc>>,
    pub(in crate::verify) ended_at: Option<DateTime<Utc>>,
    pub(in crate::verify) reservation_id: Option<Uuid>,
    pub(in crate::verify) stock_rejected: bool,
    pub(in crate::verify) payment_id: Option<Uuid>,
    pub(in crate::verify) payment_declined: bool,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct EventRow {
    pub(in crate::verify) order_id: Uuid,
    pub(in crate::verify) version: i64,
    pub(in crate::verify) r#type: String,
    pub(in crate::verify) schema_version: i32,
    pub(in crate::verify) data: Value,
    pub(in crate::verify) metadata: Value,
    pub(in crate::verify) occurred_at: DateTime<Utc>,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct ViewRow {
    pub(in crate::verify) order_id: Uuid,
    pub(in crate::verify) customer_id: String,
    pub(in crate::verify) version: i64,
    pub(in crate::verify) status: String,
    pub(in crate::verify) stage: String,
    pub(in crate::verify) reason: Option<String>,
    pub(in crate::verify) detail: Option<String>,
    pub(in crate::verify) payment_id: Option<Uuid>,
    pub(in crate::verify) currency: String,
    pub(in crate::verify) total_minor: i64,
    pub(in crate::verify) placed_at: DateTime<Utc>,
    pub(in crate::verify) updated_at: DateTime<Utc>,
    pub(in crate::verify) ended_at: Option<DateTime<Utc>>,
    pub(in crate::verify) placement: Value,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct KeyRow {
    pub(in crate::verify) customer_id: String,
    pub(in crate::verify) key: String,
    pub(in crate::verify) request: Value,
    pub(in crate::verify) order_id: Uuid,
    pub(in crate::verify) status_code: i16,
    pub(in crate::verify) etag: String,
    pub(in crate::verify) body: String,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct DeadlineRow {
    pub(in crate::verify) order_id: Uuid,
    pub(in crate::verify) deadline_at: DateTime<Utc>,
}

impl Rows {
    /// Keeps the rows of these orders only.
    pub(in crate::verify) fn retain(&mut self, keep: &dyn Fn(&Uuid) -> bool) {
        self.heads.retain(|id, _| keep(id));
        self.events.retain(|id, _| keep(id));
        self.views.retain(|id, _| keep(id));
        self.keys.retain(|id, _| keep(id));
        self.deadlines.retain(|id, _| keep(id));
    }

    /// How many events of an order it says to have published.
    pub(in crate::verify) fn last_sequence(&self, order_id: Uuid) -> i64 {
        self.heads.get(&order_id).map_or(0, |row| row.last_sequence)
    }

    /// The last message of each order.
    pub(in crate::verify) fn last_messages(&self) -> Vec<i64> {
        self.heads.values().map(|row| row.last_message_id).collect()
    }

    /// Adds the rows of these orders.
    ///
    /// # Errors
    /// When the database refuses.
    pub(in crate::verify) async fn add_orders(
        &mut self,
        conn: &mut PgConnection,
        keys: &Keys,
    ) -> sqlx::Result<()> {
        let heads: Vec<HeadRow> = keys.bind(sqlx::query_as("SELECT order_id, customer_id, correlation_id, traceparent, tracestate, version, last_sequence,
                 last_message_id, updated_at, currency, total_minor, status, reason, detail, due_at, ended_at,
                 reservation_id, stock_rejected, payment_id, payment_declined
             FROM orders WHERE order_id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR order_id = ANY($3))"))
        .fetch_all(&mut *conn)
        .await?;
        let events: Vec<EventRow> = keys.bind(sqlx::query_as("SELECT order_id, version, type, schema_version, data, metadata, occurred_at FROM order_events
             WHERE order_id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR order_id = ANY($3)) ORDER BY order_id, version"))
        .fetch_all(&mut *conn)
        .await?;
        let views: Vec<ViewRow> = keys.bind(sqlx::query_as("SELECT order_id, customer_id, version, status, stage, reason, detail, payment_id, currency, total_minor,
                 placed_at, updated_at, ended_at, placement
             FROM order_views WHERE order_id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR order_id = ANY($3))"))
        .fetch_all(&mut *conn)
        .await?;
        let idempotency_keys: Vec<KeyRow> = keys
            .bind(sqlx::query_as(
                "SELECT customer_id, key, request, order_id, status_code, etag, body FROM idempotency_keys
             WHERE order_id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR order_id = ANY($3))",
            ))
            .fetch_all(&mut *conn)
            .await?;
        let deadlines: Vec<DeadlineRow> =
            keys.bind(sqlx::query_as("SELECT order_id, deadline_at FROM deadlines WHERE order_id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR order_id = ANY($3))"))
                .fetch_all(conn)
                .await?;
        self.heads.extend(heads.into_iter().map(|row| (row.order_id, row)));
        self.views.extend(views.into_iter().map(|row| (row.order_id, row)));
        self.deadlines.extend(deadlines.into_iter().map(|row| (row.order_id, row)));
        events.into_iter().for_each(|row| self.events.entry(row.order_id).or_default().push(row));
        idempotency_keys.into_iter().for_each(|row| self.keys.entry(row.order_id).or_default().push(row));
        Ok(())
    }
}

/// How many orders there are, and ranges of their ids that are compared one after the other.
///
/// # Errors
/// When the database refuses.
pub(in crate::verify) async fn ranges(conn: &mut PgConnection) -> anyhow::Result<(i64, Vec<Keys>)> {
    let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
        .fetch_one(&mut *conn)
        .await
        .context("counting orders")?;
    let starts: Vec<Uuid> = sqlx::query_scalar(
        "SELECT order_id FROM (SELECT order_id, row_number() OVER (ORDER BY order_id) AS number FROM orders) AS numbered
         WHERE number % $1 = 0 ORDER BY order_id",
    )
    .bind((orders / MOST_RANGES).max(ORDERS_AT_ONCE))
    .fetch_all(conn)
    .await
    .context("dividing orders")?;
    Ok((orders, Keys::beginning_at(&starts)))
}
