//! Reads of the table `stock` for HTTP.

use database::Operation;

use super::StockStore;
use super::stock::StockRow;
use crate::domain::{Books, Sku};

impl StockStore {
    /// The figures of a SKU, if it is kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find(&self, sku: &Sku) -> Result<Option<Books>, sqlx::Error> {
        let row: Option<StockRow> = sqlx::query_as(
            "SELECT sku, replenished, available, reserved, committed, reorder_threshold, last_sequence,
                 last_message_id
             FROM stock WHERE sku = $1",
        )
        .bind(sku.as_str())
        .fetch_optional(self.database.statement(Operation::Request))
        .await?;
        Ok(row.map(|row| row.books().1))
    }

    /// Up to `limit` SKUs behind `after`, in their order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn page(&self, after: &str, limit: i64) -> Result<Vec<(Sku, Books)>, sqlx::Error> {
        let rows: Vec<StockRow> = sqlx::query_as(
            "SELECT sku, replenished, available, reserved, committed, reorder_threshold, last_sequence,
                 last_message_id
             FROM stock WHERE sku > $1 ORDER BY sku LIMIT $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(self.database.statement(Operation::Request))
        .await?;
        Ok(rows.into_iter().map(StockRow::books).collect())
    }
}
