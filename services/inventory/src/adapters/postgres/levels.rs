//! The table `stock`: one row per SKU.

use std::collections::BTreeMap;

use contracts::Topic;
use database::{Database, Operation};
use events::PublishError;
use outbox::{Numbered, expect_stored};
use sqlx::PgConnection;

use super::last::Last;
use crate::domain::{Books, Sku, StockLevel};

#[derive(sqlx_macros::FromRow)]
pub(super) struct LevelRow {
    pub(super) sku: String,
    pub(super) replenished: i64,
    pub(super) available: i64,
    pub(super) reserved: i64,
    pub(super) committed: i64,
    pub(super) reorder_threshold: i64,
    last_sequence: i64,
    last_message_id: Option<i64>,
}

impl LevelRow {
    pub(super) fn sku(&self) -> Sku {
        Sku::trusted(self.sku.clone())
    }

    pub(super) const fn last(&self) -> Last {
        Last { sequence: self.last_sequence, message_id: self.last_message_id }
    }

    pub(super) const fn books(&self) -> Books {
        Books {
            replenished: self.replenished,
            available: self.available,
            reserved: self.reserved,
            committed: self.committed,
            reorder_threshold: self.reorder_threshold,
        }
    }

    pub(super) const fn level(&self) -> StockLevel {
        StockLevel::restore(self.books())
    }
}

/// Locks these SKUs in one sorted statement, so that batches that share SKUs can't deadlock. Unknown ones stay unknown.
pub(super) async fn lock(conn: &mut PgConnection, skus: &[String]) -> Result<Vec<LevelRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT sku, replenished, available, reserved, committed, reorder_threshold, last_sequence,
             last_message_id
         FROM stock WHERE sku = ANY($1) ORDER BY sku FOR UPDATE",
    )
    .bind(skus)
    .fetch_all(conn)
    .await
}

/// Locks the SKU, created without units if it is not known.
pub(super) async fn lock_or_create(
    conn: &mut PgConnection,
    sku: &Sku,
    default_threshold: i64,
) -> Result<LevelRow, sqlx::Error> {
    sqlx::query_as(
        "INSERT INTO stock (sku, reorder_threshold) VALUES ($1, $2)
         ON CONFLICT (sku) DO UPDATE SET reorder_threshold = stock.reorder_threshold
         RETURNING sku, replenished, available, reserved, committed, reorder_threshold, last_sequence,
             last_message_id",
    )
    .bind(sku.as_str())
    .bind(default_threshold)
    .fetch_one(conn)
    .await
}

/// Stores these levels with what their rows have published last.
///
/// # Errors
/// When a row has published since it was read, or the database refuses.
pub(super) async fn store(
    conn: &mut PgConnection,
    levels: &BTreeMap<&Sku, &StockLevel>,
    published: &BTreeMap<Sku, Last>,
    numbered: &Numbered,
) -> Result<(), PublishError> {
    if levels.is_empty() {
        return Ok(());
    }
    let books: Vec<Books> = levels.values().map(|level| level.books()).collect();
    let column = |figure: fn(&Books) -> i64| books.iter().map(figure).collect::<Vec<_>>();
    let skus: Vec<&str> = levels.keys().map(|sku| sku.as_str()).collect();
    let last: Vec<Last> = levels.keys().map(|sku| published.get(*sku).copied().unwrap_or_default()).collect();
    let next = levels
        .keys()
        .zip(&last)
        .map(|(sku, last)| numbered.last_message_id(Topic::Stock.suffix(), sku.as_str()).or(last.message_id));
    let stored = sqlx::query(
        "UPDATE stock s
         SET replenished = n.replenished, available = n.available, reserved = n.reserved, committed = n.committed,
             reorder_threshold = n.reorder_threshold, last_sequence = n.last_sequence,
             last_message_id = n.last_message_id
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                 $8::bigint[], $9::bigint[])
             AS n (sku, replenished, available, reserved, committed, reorder_threshold, last_sequence, last_message_id,
                 message_id_before)
         WHERE s.sku = n.sku AND s.last_message_id IS NOT DISTINCT FROM n.message_id_before",
    )
    .bind(skus)
    .bind(column(|books| books.replenished))
    .bind(column(|books| books.available))
    .bind(column(|books| books.reserved))
    .bind(column(|books| books.committed))
    .bind(column(|books| books.reorder_threshold))
    .bind(last.iter().map(|last| last.sequence).collect::<Vec<_>>())
    .bind(next.collect::<Vec<_>>())
    .bind(last.iter().map(|last| last.message_id).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(expect_stored(stored.rows_affected(), levels.len())?)
}

/// The level of a SKU, if it is kept.
///
/// # Errors
/// When the database fails.
pub async fn find(database: &Database, sku: &Sku) -> Result<Option<Books>, sqlx::Error> {
    let row: Option<LevelRow> = sqlx::query_as(
        "SELECT sku, replenished, available, reserved, committed, reorder_threshold, last_sequence,
             last_message_id
         FROM stock WHERE sku = $1",
    )
    .bind(sku.as_str())
    .fetch_optional(database.statement(Operation::Request))
    .await?;
    Ok(row.map(|row| row.books()))
}

/// Up to `limit` levels behind the SKU `after`, in the order of the SKUs.
///
/// # Errors
/// When the database fails.
pub async fn page(database: &Database, after: &str, limit: i64) -> Result<Vec<(Sku, Books)>, sqlx::Error> {
    let rows: Vec<LevelRow> = sqlx::query_as(
        "SELECT sku, replenished, available, reserved, committed, reorder_threshold, last_sequence,
             last_message_id
         FROM stock WHERE sku > $1 ORDER BY sku LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(database.statement(Operation::Request))
    .await?;
    Ok(rows.iter().map(|row| (row.sku(), row.books())).collect())
}
