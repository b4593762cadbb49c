//! order's tables: streams, heads, views, keys and deadlines.

mod heads;
mod stream;

use std::collections::BTreeMap;

use anyhow::Context;
use chrono::{DateTime, Utc};
use contracts::Topic;
use contracts::order::OrderPlaced;
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx_macros::FromRow;
use uuid::Uuid;

use crate::services::ServiceName;
use crate::verify::case::Case;
use crate::verify::check::Check;
use crate::verify::keys::Keys;
use crate::verify::report::Comparisons;
use stream::Stream;

/// Orders that are compared at once, unless there would be too many ranges.
const ORDERS_AT_ONCE: i64 = 1_000;
/// The most ranges, each with a temporary file of its own.
const MOST_RANGES: i64 = 500;

/// order's rows.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    heads: BTreeMap<Uuid, HeadRow>,
    events: BTreeMap<Uuid, Vec<EventRow>>,
    views: BTreeMap<Uuid, ViewRow>,
    keys: BTreeMap<Uuid, Vec<KeyRow>>,
    deadlines: BTreeMap<Uuid, DeadlineRow>,
}

#[derive(Clone, Debug, FromRow)]
struct HeadRow {
    order_id: Uuid,
    customer_id: String,
    correlation_id: Uuid,
    traceparent: Option<String>,
    tracestate: Option<String>,
    version: i64,
    last_sequence: i64,
    last_message_id: i64,
    updated_at: DateTime<Utc>,
    currency: String,
    total_minor: i64,
    status: String,
    reason: Option<String>,
    detail: Option<String>,
    due_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    reservation_id: Option<Uuid>,
    stock_rejected: bool,
    payment_id: Option<Uuid>,
    payment_declined: bool,
}

#[derive(Clone, Debug, FromRow)]
struct EventRow {
    order_id: Uuid,
    version: i64,
    r#type: String,
    schema_version: i32,
    data: Value,
    metadata: Value,
    occurred_at: DateTime<Utc>,
}

#[derive(Clone, Debug, FromRow)]
struct ViewRow {
    order_id: Uuid,
    customer_id: String,
    version: i64,
    status: String,
    stage: String,
    reason: Option<String>,
    detail: Option<String>,
    payment_id: Option<Uuid>,
    currency: String,
    total_minor: i64,
    placed_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    placement: Value,
}

#[derive(Clone, Debug, FromRow)]
struct KeyRow {
    customer_id: String,
    key: String,
    request: Value,
    order_id: Uuid,
    status_code: i16,
    etag: String,
    body: String,
}

#[derive(Clone, Debug, FromRow)]
struct DeadlineRow {
    order_id: Uuid,
    deadline_at: DateTime<Utc>,
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

/// Compares order's tables with what it has published and applied.
pub(in crate::verify) fn orders(case: &Case<'_>, out: &mut Comparisons) {
    let rows = &case.snapshot.order;
    for (order_id, events) in &case.orders {
        let was_before = events.orders.iter().any(|it| case.history.was_before(it.record));
        match (!events.orders.is_empty(), rows.heads.contains_key(order_id)) {
            (true, false) if !was_before => {
                out.not_compared(
                    Check::Orders,
                    format!("order {order_id} is newer than what was read of order"),
                );
            }
            (true, is_there) => out.holds(Check::Orders, is_there, || {
                format!("order {order_id} is on the topic and not in order's database")
            }),
            (false, _) => {}
        }
    }
    for order_id in rows.events.keys().chain(rows.views.keys()) {
        out.holds(Check::Orders, rows.heads.contains_key(order_id), || {
            format!("order {order_id} has a stream or a view and no head")
        });
    }
    for order_id in rows.keys.keys().chain(rows.deadlines.keys()) {
        out.holds(Check::Orders, rows.heads.contains_key(order_id), || {
            format!("order {order_id} has a key or a deadline and no head")
        });
    }
    for (order_id, head) in &rows.heads {
        let counters = (head.last_sequence, Some(head.last_message_id));
        let key = order_id.to_string();
        let published = case.aggregate(out, ServiceName::Order, Topic::Orders, &key, counters);
        let events = rows.events.get(order_id).map_or(&[][..], Vec::as_slice);
        let Some(stream) = stream::check(case, *order_id, events, &published, out) else { continue };
        heads::head(head, &stream, out);
        heads::view(*order_id, rows.views.get(order_id), &stream, out);
        heads::deadline(*order_id, rows.deadlines.get(order_id), &stream, out);
        let keys = rows.keys.get(order_id).map_or(&[][..], Vec::as_slice);
        idempotency_key(*order_id, keys, &stream, out);
    }
}

/// One key an order, which says what was asked for and what was answered. The story's id is drawn from customer and key.
fn idempotency_key(order_id: Uuid, keys: &[KeyRow], stream: &Stream<'_>, out: &mut Comparisons) {
    const CHECK: Check = Check::IdempotencyKeys;
    let subject = format!("order {order_id}");
    out.holds(CHECK, keys.len() == 1, || format!("{subject} has {} idempotency keys", keys.len()));
    let [key] = keys else { return };
    let placed = stream.placed;
    out.same_hidden(CHECK, &subject, "the key's customer_id", &key.customer_id, &placed.customer_id);
    out.same_hidden(CHECK, &subject, "the key's request", &key.request, &placement(placed));
    out.same(CHECK, &subject, "the key's status_code", &key.status_code, &202);
    out.same(CHECK, &subject, "the key's etag", &key.etag.as_str(), &"\"2\"");
    let answer: Value = serde_json::from_str(&key.body).unwrap_or_default();
    let expected = answer_to(order_id, stream);
    out.same_hidden(CHECK, &subject, "the key's body", &without_time(&answer), &expected);
    let placed_at = answer["placed_at"].as_str().and_then(|at| at.parse::<DateTime<Utc>>().ok());
    out.same(CHECK, &subject, "placed_at in the key's body", &placed_at, &Some(placed.occurred_at));
    // A story's id of version 7 was drawn before ids were derived from keys.
    if stream.correlation_id.is_some_and(|id| id.get_version_num() != 7) {
        let derived = contracts::envelope::correlation_id_of("order", &[&key.customer_id, &key.key]);
        out.same(CHECK, &subject, "the key's correlation id", &Some(derived), &stream.correlation_id);
    }
}

/// The answer with which the order was placed, but for the time.
fn answer_to(order_id: Uuid, stream: &Stream<'_>) -> Value {
    let placement = placement(stream.placed);
    let mut answer = json!({
        "order_id": order_id,
        "customer_id": placement["customer_id"],
        "status": "placed",
        "stage": "placed",
        "reason": null,
        "detail": null,
        "payment_id": null,
        "ended_at": null,
        "currency": placement["currency"],
        "total_minor": placement["total_minor"],
        "lines": placement["lines"],
        "version": 2,
    });
    if let Some(answer) = answer.as_object_mut() {
        if !placement["recipient"].is_null() {
            answer.insert("recipient".to_owned(), placement["recipient"].clone());
        }
        if let Some(trace_id) = &stream.trace_id {
            answer.insert("trace_id".to_owned(), json!(trace_id));
        }
    }
    answer
}

fn without_time(answer: &Value) -> Value {
    let mut answer = answer.clone();
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("placed_at");
    }
    answer
}

/// The content of an order as order stores it.
fn placement(placed: &OrderPlaced) -> Value {
    let lines: Vec<Value> = placed
        .lines
        .iter()
        .map(|line| {
            json!({ "sku": line.sku, "quantity": line.quantity, "unit_price_minor": line.unit_price_minor })
        })
        .collect();
    let recipient = placed.recipient.as_ref().map(|recipient| {
        let address = &recipient.address;
        json!({
            "name": recipient.name,
            "email": recipient.email,
            "address": {
                "street": address.street,
                "city": address.city,
                "postal_code": address.postal_code,
                "country": address.country,
            },
        })
    });
    json!({
        "customer_id": placed.customer_id,
        "currency": placed.currency,
        "lines": lines,
        "total_minor": placed.total_minor,
        "payment_method": placed.payment_method,
        "recipient": recipient,
    })
}
