//! The table `stock`: one row per SKU.

use std::collections::BTreeSet;

use contracts::Topic;
use events::{LastEvent, PublishError, Row};
use inbox::Locked;
use outbox::{Numbered, expect_stored};
use sqlx::PgConnection;

use crate::domain::{Books, Sku, StockLevel};

#[derive(sqlx_macros::FromRow)]
pub(super) struct StockRow {
    sku: String,
    replenished: i64,
    available: i64,
    reserved: i64,
    committed: i64,
    reorder_threshold: i64,
    last_sequence: i64,
    last_message_id: Option<i64>,
}

impl StockRow {
    pub(super) fn locked(self) -> (Sku, Row<StockLevel>) {
        let last_event = LastEvent { sequence: self.last_sequence, message_id: self.last_message_id };
        let (sku, books) = self.books();
        (sku, Row { aggregate: StockLevel::restore(books), last_event })
    }

    pub(super) fn books(self) -> (Sku, Books) {
        let Self { replenished, available, reserved, committed, reorder_threshold, .. } = self;
        (Sku::trusted(self.sku), Books { replenished, available, reserved, committed, reorder_threshold })
    }
}

/// Locks these SKUs in one sorted statement. Those that are not kept are left out.
pub(super) async fn lock(
    conn: &mut PgConnection,
    skus: BTreeSet<String>,
) -> Result<Vec<(Sku, Row<StockLevel>)>, sqlx::Error> {
    let rows: Vec<StockRow> = sqlx::query_as(
        "SELECT sku, replenished, available, reserved, committed, reorder_threshold, last_sequence,
             last_message_id
         FROM stock WHERE sku = ANY($1) ORDER BY sku FOR UPDATE",
    )
    .bind(skus.into_iter().collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(StockRow::locked).collect())
}

/// Stores the levels that have changed.
///
/// # Errors
/// When a row has published since it was read, or the database refuses.
pub(super) async fn store(
    conn: &mut PgConnection,
    stock: &Locked<Sku, Row<StockLevel>>,
    numbered: &Numbered,
) -> Result<(), PublishError> {
    let (skus, rows): (Vec<&str>, Vec<&Row<StockLevel>>) =
        stock.changed().map(|(sku, row)| (sku.as_str(), row)).unzip();
    if rows.is_empty() {
        return Ok(());
    }
    let last_message_id =
        |(sku, row): (&&str, &&Row<StockLevel>)| row.last_event.message_id_after(numbered, Topic::Stock, sku);
    let last_message_ids = skus.iter().zip(&rows).map(last_message_id).collect::<Vec<_>>();
    let column =
        |figure: fn(Books) -> i64| rows.iter().map(|row| figure(row.aggregate.books())).collect::<Vec<_>>();
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
    .bind(rows.iter().map(|row| row.last_event.sequence).collect::<Vec<_>>())
    .bind(last_message_ids)
    .bind(rows.iter().map(|row| row.last_event.message_id).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(expect_stored(stored.rows_affected(), rows.len())?)
}
