//! The rows of inventory's tables.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx_macros::FromRow;
use uuid::Uuid;

use crate::verify::keys::Keys;

/// inventory's rows.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub(in crate::verify) stock: Vec<StockRow>,
    pub(in crate::verify) reservations: BTreeMap<Uuid, ReservationRow>,
    pub(in crate::verify) replenishments: Vec<ReplenishmentRow>,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct StockRow {
    pub(in crate::verify) sku: String,
    pub(in crate::verify) replenished: i64,
    pub(in crate::verify) available: i64,
    pub(in crate::verify) reserved: i64,
    pub(in crate::verify) committed: i64,
    pub(in crate::verify) reorder_threshold: i64,
    pub(in crate::verify) last_sequence: i64,
    pub(in crate::verify) last_message_id: Option<i64>,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct ReservationRow {
    pub(in crate::verify) order_id: Uuid,
    pub(in crate::verify) reservation_id: Uuid,
    pub(in crate::verify) state: String,
    pub(in crate::verify) lines: Option<Value>,
    pub(in crate::verify) last_sequence: i64,
    pub(in crate::verify) last_message_id: Option<i64>,
}

#[derive(Clone, Debug, FromRow)]
pub(in crate::verify) struct ReplenishmentRow {
    pub(in crate::verify) idempotency_key: String,
    pub(in crate::verify) sku: String,
    pub(in crate::verify) quantity: i64,
    pub(in crate::verify) reorder_threshold: Option<i64>,
    pub(in crate::verify) created_sku: bool,
    pub(in crate::verify) level_after: Value,
    pub(in crate::verify) occurred_at: DateTime<Utc>,
}

/// Reads stock.
///
/// # Errors
/// When the database refuses.
pub(in crate::verify) async fn read(conn: &mut PgConnection) -> sqlx::Result<Rows> {
    let stock = sqlx::query_as(
        "SELECT sku, replenished, available, reserved, committed, reorder_threshold, last_sequence, last_message_id
         FROM stock ORDER BY sku",
    );
    Ok(Rows { stock: stock.fetch_all(conn).await?, ..Rows::default() })
}

impl Rows {
    /// Keeps the reservations of these orders only.
    pub(in crate::verify) fn retain(&mut self, keep: &dyn Fn(&Uuid) -> bool) {
        self.reservations.retain(|id, _| keep(id));
    }

    /// How many events of an order's reservation it says to have published.
    pub(in crate::verify) fn last_sequence(&self, order_id: Uuid) -> i64 {
        self.reservations.get(&order_id).map_or(0, |row| row.last_sequence)
    }

    /// The last message of each reservation and SKU.
    pub(in crate::verify) fn last_messages(&self) -> Vec<i64> {
        let of_stock = self.stock.iter().filter_map(|row| row.last_message_id);
        self.reservations.values().filter_map(|row| row.last_message_id).chain(of_stock).collect()
    }

    /// Adds the replenishments.
    ///
    /// # Errors
    /// When the database refuses.
    pub(in crate::verify) async fn add_replenishments(
        &mut self,
        conn: &mut PgConnection,
    ) -> sqlx::Result<()> {
        let replenishments = sqlx::query_as(
            "SELECT idempotency_key, sku, quantity, reorder_threshold, created_sku, level_after, occurred_at
             FROM replenishments ORDER BY occurred_at, idempotency_key",
        );
        self.replenishments = replenishments.fetch_all(conn).await?;
        Ok(())
    }

    /// Adds the reservations of these orders.
    ///
    /// # Errors
    /// When the database refuses.
    pub(in crate::verify) async fn add_orders(
        &mut self,
        conn: &mut PgConnection,
        keys: &Keys,
    ) -> sqlx::Result<()> {
        let reservations: Vec<ReservationRow> = keys.bind(sqlx::query_as("SELECT order_id, reservation_id, state, lines, last_sequence, last_message_id FROM reservations
             WHERE order_id BETWEEN $1 AND $2 AND ($3::uuid[] IS NULL OR order_id = ANY($3))"))
        .fetch_all(conn)
        .await?;
        self.reservations.extend(reservations.into_iter().map(|row| (row.order_id, row)));
        Ok(())
    }
}
