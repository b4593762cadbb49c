//! The table `orders`: one row per order.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use inbox::Locked;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::{Cart, CartLine, OrderId, OrderProgress, Reason, Status};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredLine {
    sku: String,
    quantity: i64,
    unit_price_minor: i64,
}

#[derive(sqlx_macros::FromRow)]
struct OrderRow {
    order_id: Uuid,
    status: String,
    reserved: bool,
    paid: bool,
    currency: Option<String>,
    lines: Option<Json<Vec<StoredLine>>>,
    placed_at: Option<DateTime<Utc>>,
    confirmed_at: Option<DateTime<Utc>>,
    reason: Option<String>,
    /// By this transaction.
    is_inserted: bool,
}

impl OrderRow {
    fn progress(self) -> Result<(OrderId, OrderProgress), sqlx::Error> {
        let order_id = OrderId(self.order_id);
        let (reserved, paid) = (self.reserved, self.paid);
        let corrupt = || sqlx::Error::Decode(format!("order {order_id}: its row is corrupt").into());
        let reason = self.reason.as_deref().and_then(reason);
        let cart = self.currency.zip(self.lines).zip(self.placed_at).map(|((currency, lines), placed_at)| {
            let line = |line: StoredLine| CartLine {
                sku: line.sku,
                quantity: line.quantity,
                unit_price_minor: line.unit_price_minor,
            };
            Cart { currency, lines: lines.0.into_iter().map(line).collect(), placed_at }
        });
        let status = match self.status.as_str() {
            "unknown" => Some(Status::Unknown),
            "placed" => cart.map(Status::Placed),
            "confirmed_before_placed" => self.confirmed_at.map(Status::ConfirmedBeforePlaced),
            "confirmed" => Some(Status::Confirmed),
            "cancelled_before_placed" => reason.map(Status::CancelledBeforePlaced),
            "cancelled" => reason.map(Status::Cancelled),
            _ => None,
        };
        Ok((order_id, OrderProgress { status: status.ok_or_else(corrupt)?, reserved, paid }))
    }
}

/// Inserts the rows of unknown orders, and locks all of these, sorted (docs/adr/0007).
pub(super) async fn lock(
    conn: &mut PgConnection,
    generation: i32,
    order_ids: &BTreeSet<OrderId>,
) -> Result<Locked<OrderId, OrderProgress>, sqlx::Error> {
    if order_ids.is_empty() {
        return Ok(Locked::default());
    }
    let order_ids: Vec<Uuid> = order_ids.iter().map(|id| id.0).collect();
    let mut rows: Vec<OrderRow> = sqlx::query_as(
        "WITH inserted AS (
             INSERT INTO orders (generation, order_id)
             SELECT $1, n.order_id FROM unnest($2::uuid[]) AS n (order_id) ORDER BY n.order_id
             ON CONFLICT (generation, order_id) DO NOTHING
             RETURNING order_id, status, reserved, paid, currency, lines, placed_at, confirmed_at, reason
         ), locked AS (
             SELECT order_id, status, reserved, paid, currency, lines, placed_at, confirmed_at, reason
             FROM orders
             WHERE generation = $1 AND order_id = ANY($2)
               AND (SELECT count(*) FROM inserted)
                   + (SELECT count(*) FROM orders WHERE generation = $1 AND order_id = ANY($2)) = cardinality($2)
             ORDER BY order_id FOR UPDATE
         )
         SELECT *, true AS is_inserted FROM inserted UNION ALL SELECT *, false FROM locked",
    )
    .bind(generation)
    .bind(&order_ids)
    .fetch_all(&mut *conn)
    .await?;
    let inserted: Vec<Uuid> = rows.iter().filter(|row| row.is_inserted).map(|row| row.order_id).collect();
    if rows.len() < order_ids.len() {
        rows = sqlx::query_as(
            "SELECT order_id, status, reserved, paid, currency, lines, placed_at, confirmed_at, reason,
                 false AS is_inserted
             FROM orders WHERE generation = $1 AND order_id = ANY($2) ORDER BY order_id FOR UPDATE",
        )
        .bind(generation)
        .bind(&order_ids)
        .fetch_all(conn)
        .await?;
    }
    let rows = rows.into_iter().map(OrderRow::progress).collect::<Result<Vec<_>, _>>()?;
    Ok(Locked::new(rows).with_inserted(inserted.into_iter().map(OrderId)))
}

/// Deletes the rows of orders of which no event was accepted.
pub(super) async fn delete_unused(
    conn: &mut PgConnection,
    generation: i32,
    orders: &Locked<OrderId, OrderProgress>,
) -> Result<(), sqlx::Error> {
    let unused: Vec<Uuid> = orders.unused().map(|order_id| order_id.0).collect();
    if !unused.is_empty() {
        let delete = sqlx::query("DELETE FROM orders WHERE generation = $1 AND order_id = ANY($2)");
        delete.bind(generation).bind(unused).execute(conn).await?;
    }
    Ok(())
}

/// One column per field of the rows to be stored.
#[derive(Default)]
struct Columns {
    order_ids: Vec<Uuid>,
    statuses: Vec<&'static str>,
    reserved: Vec<bool>,
    paid: Vec<bool>,
    currencies: Vec<Option<String>>,
    lines: Vec<Option<Json<Vec<StoredLine>>>>,
    placed_at: Vec<Option<DateTime<Utc>>>,
    confirmed_at: Vec<Option<DateTime<Utc>>>,
    reasons: Vec<Option<&'static str>>,
}

impl Columns {
    fn push(&mut self, order_id: OrderId, order: &OrderProgress) {
        let (status, cart, confirmed_at, reason) = match &order.status {
            Status::Unknown => ("unknown", None, None, None),
            Status::Placed(cart) => ("placed", Some(cart), None, None),
            Status::ConfirmedBeforePlaced(at) => ("confirmed_before_placed", None, Some(*at), None),
            Status::Confirmed => ("confirmed", None, None, None),
            Status::CancelledBeforePlaced(reason) => ("cancelled_before_placed", None, None, Some(*reason)),
            Status::Cancelled(reason) => ("cancelled", None, None, Some(*reason)),
        };
        let line = |line: &CartLine| StoredLine {
            sku: line.sku.clone(),
            quantity: line.quantity,
            unit_price_minor: line.unit_price_minor,
        };
        self.order_ids.push(order_id.0);
        self.statuses.push(status);
        self.reserved.push(order.reserved);
        self.paid.push(order.paid);
        self.currencies.push(cart.map(|cart| cart.currency.clone()));
        self.lines.push(cart.map(|cart| Json(cart.lines.iter().map(line).collect())));
        self.placed_at.push(cart.map(|cart| cart.placed_at));
        self.confirmed_at.push(confirmed_at);
        self.reasons.push(reason.map(reason_name));
    }
}

/// Stores the orders that have changed.
pub(super) async fn store(
    conn: &mut PgConnection,
    generation: i32,
    orders: &Locked<OrderId, OrderProgress>,
) -> Result<(), sqlx::Error> {
    let mut columns = Columns::default();
    orders.changed().for_each(|(order_id, order)| columns.push(*order_id, order));
    if columns.order_ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE orders o
         SET status = n.status, reserved = n.reserved, paid = n.paid, currency = n.currency, lines = n.lines,
             placed_at = n.placed_at, confirmed_at = n.confirmed_at, reason = n.reason
         FROM unnest($2::uuid[], $3::text[], $4::boolean[], $5::boolean[], $6::text[], $7::jsonb[],
                     $8::timestamptz[], $9::timestamptz[], $10::text[])
             AS n (order_id, status, reserved, paid, currency, lines, placed_at, confirmed_at, reason)
         WHERE o.generation = $1 AND o.order_id = n.order_id",
    )
    .bind(generation)
    .bind(columns.order_ids)
    .bind(columns.statuses)
    .bind(columns.reserved)
    .bind(columns.paid)
    .bind(columns.currencies)
    .bind(columns.lines)
    .bind(columns.placed_at)
    .bind(columns.confirmed_at)
    .bind(columns.reasons)
    .execute(conn)
    .await?;
    Ok(())
}

const fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::OutOfStock => "out_of_stock",
        Reason::PaymentDeclined => "payment_declined",
        Reason::CustomerRequest => "customer_request",
        Reason::TimedOut => "timed_out",
        Reason::Unknown => "unknown",
    }
}

fn reason(name: &str) -> Option<Reason> {
    let all = [
        Reason::OutOfStock,
        Reason::PaymentDeclined,
        Reason::CustomerRequest,
        Reason::TimedOut,
        Reason::Unknown,
    ];
    all.into_iter().find(|reason| reason_name(*reason) == name)
}
