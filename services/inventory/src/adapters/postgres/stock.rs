//! The table `stock`: one row per SKU.

use std::collections::BTreeSet;

use contracts::Topic;
use events::{LastEvent, Row};
use inbox::Locked;
use outbox::Numbered;
use sqlx::PgConnection;

use super::Statement;
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

/// Binds the changed levels to $7 to $15; gives how many there are.
pub(super) fn bind_changed<'q>(
    statement: Statement<'q>,
    stock: &Locked<Sku, Row<StockLevel>>,
    numbered: &Numbered,
) -> (Statement<'q>, usize) {
    let (skus, rows): (Vec<&str>, Vec<&Row<StockLevel>>) =
        stock.changed().map(|(sku, row)| (sku.as_str(), row)).unzip();
    let last_message_id =
        |(sku, row): (&&str, &&Row<StockLevel>)| row.last_event.message_id_after(numbered, Topic::Stock, sku);
    let last_message_ids = skus.iter().zip(&rows).map(last_message_id).collect::<Vec<_>>();
    let column =
        |figure: fn(Books) -> i64| rows.iter().map(|row| figure(row.aggregate.books())).collect::<Vec<_>>();
    let statement = statement
        .bind(skus)
        .bind(column(|books| books.replenished))
        .bind(column(|books| books.available))
        .bind(column(|books| books.reserved))
        .bind(column(|books| books.committed))
        .bind(column(|books| books.reorder_threshold))
        .bind(rows.iter().map(|row| row.last_event.sequence).collect::<Vec<_>>())
        .bind(last_message_ids)
        .bind(rows.iter().map(|row| row.last_event.message_id).collect::<Vec<_>>());
    (statement, rows.len())
}
