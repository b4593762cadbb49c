//! The table `replenishments`: what each Idempotency-Key stands for.

use chrono::{DateTime, Utc};
use database::Transaction as SqlTransaction;
use events::{PublishError, Publisher};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use super::announcements::{self, Published};
use super::levels;
use crate::adapters::metrics;
use crate::application::fulfilment::Fulfilment;
use crate::application::replenish_stock::{Earlier, ReplenishStock, Replenished, Transaction};
use crate::domain::{Books, Sku, StockLevel};

/// One replenishment's transaction. Dropped without a commit it leaves nothing.
#[derive(Debug)]
pub struct PgReplenishment<'a> {
    transaction: SqlTransaction,
    outbox: &'a Publisher,
    published: Published,
}

impl<'a> PgReplenishment<'a> {
    /// In this transaction, publishing through `outbox`.
    #[must_use]
    pub fn new(transaction: SqlTransaction, outbox: &'a Publisher) -> Self {
        Self { transaction, outbox, published: Published::default() }
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

impl Transaction for PgReplenishment<'_> {
    type Error = PublishError;

    async fn lock(&mut self, sku: &Sku, default_threshold: i64) -> Result<StockLevel, PublishError> {
        let row = levels::lock_or_create(&mut self.transaction, sku, default_threshold).await?;
        self.published.skus.insert(sku.clone(), row.last());
        Ok(row.level())
    }

    async fn remember(
        &mut self,
        command: &ReplenishStock,
        answer: &Replenished,
        now: DateTime<Utc>,
    ) -> Result<Option<Earlier>, PublishError> {
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

    async fn commit(mut self, fulfilment: Fulfilment) -> Result<(), PublishError> {
        announcements::store(&mut self.transaction, self.outbox, &fulfilment, self.published).await?;
        self.transaction.commit().await?;
        metrics::count(metrics::alerts(&fulfilment));
        self.outbox.wake();
        Ok(())
    }
}
