//! The transaction of a replenishment, and the table `replenishments`: the answer of each Idempotency-Key.

use chrono::{DateTime, Utc};
use contracts::Cause;
use events::Publisher;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use super::StoreError;
use super::batch::Batch;
use super::stock::StockRow;
use crate::adapters::metrics;
use crate::application::replenish_stock::{Earlier, ReplenishStock, Replenished, Transaction};
use crate::domain::{Books, LevelChange, Sku, StockLevel};

/// Dropped without a commit it leaves nothing.
#[derive(Debug)]
pub struct PgTransaction {
    transaction: database::Transaction,
    outbox: Publisher,
    batch: Batch,
}

impl PgTransaction {
    pub(super) fn new(transaction: database::Transaction, outbox: Publisher) -> Self {
        Self { transaction, outbox, batch: Batch::default() }
    }
}

#[derive(Serialize, Deserialize)]
struct StoredLevel {
    replenished: i64,
    available: i64,
    reserved: i64,
    committed: i64,
    reorder_threshold: i64,
}

#[derive(sqlx_macros::FromRow)]
struct EarlierRow {
    sku: String,
    quantity: i64,
    reorder_threshold: Option<i64>,
    created_sku: bool,
    level_after: Json<StoredLevel>,
}

impl EarlierRow {
    fn earlier(self, idempotency_key: &str) -> Earlier {
        let StoredLevel { replenished, available, reserved, committed, reorder_threshold } =
            self.level_after.0;
        Earlier {
            command: ReplenishStock {
                idempotency_key: idempotency_key.to_owned(),
                sku: Sku::trusted(self.sku),
                quantity: self.quantity,
                reorder_threshold: self.reorder_threshold,
            },
            answer: Replenished {
                created: self.created_sku,
                level: Books { replenished, available, reserved, committed, reorder_threshold },
            },
        }
    }
}

impl Transaction for PgTransaction {
    type Error = StoreError;

    async fn lock(&mut self, sku: &Sku, default_threshold: i64) -> Result<StockLevel, StoreError> {
        let row: StockRow = sqlx::query_as(
            "INSERT INTO stock (sku, reorder_threshold) VALUES ($1, $2)
             ON CONFLICT (sku) DO UPDATE SET reorder_threshold = stock.reorder_threshold
             RETURNING sku, replenished, available, reserved, committed, reorder_threshold, last_sequence,
                 last_message_id",
        )
        .bind(sku.as_str())
        .bind(default_threshold)
        .fetch_one(&mut *self.transaction)
        .await?;
        let (sku, row) = row.locked();
        let level = row.aggregate;
        self.batch = Batch::of_sku(sku, row);
        Ok(level)
    }

    async fn remember(
        &mut self,
        command: &ReplenishStock,
        answer: &Replenished,
        now: DateTime<Utc>,
    ) -> Result<Option<Earlier>, StoreError> {
        let Books { replenished, available, reserved, committed, reorder_threshold } = answer.level;
        let inserted = sqlx::query(
            "INSERT INTO replenishments
                 (idempotency_key, sku, quantity, reorder_threshold, created_sku, level_after, occurred_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (idempotency_key) DO NOTHING",
        )
        .bind(&command.idempotency_key)
        .bind(command.sku.as_str())
        .bind(command.quantity)
        .bind(command.reorder_threshold)
        .bind(answer.created)
        .bind(Json(StoredLevel { replenished, available, reserved, committed, reorder_threshold }))
        .bind(now)
        .execute(&mut *self.transaction)
        .await?;
        if inserted.rows_affected() == 1 {
            return Ok(None);
        }
        // A statement of its own: only a new snapshot sees what a concurrent repetition has just committed.
        let row: EarlierRow = sqlx::query_as(
            "SELECT sku, quantity, reorder_threshold, created_sku, level_after
             FROM replenishments WHERE idempotency_key = $1",
        )
        .bind(&command.idempotency_key)
        .fetch_one(&mut *self.transaction)
        .await?;
        Ok(Some(row.earlier(&command.idempotency_key)))
    }

    async fn store(
        &mut self,
        change: LevelChange,
        cause: &Cause,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.batch.change_level(&change, cause, now)?;
        Ok(self.batch.write(&self.outbox, &mut self.transaction).await?)
    }

    async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await?;
        metrics::count(self.batch.alerts());
        self.outbox.wake();
        Ok(())
    }
}
