//! Adds units to a SKU: once per Idempotency-Key, however often and however concurrently it is requested.

use std::future::Future;

use chrono::{DateTime, Utc};
use contracts::Cause;

use crate::domain::{Books, LevelChange, Refusal, Sku, StockLevel};

#[cfg(test)]
mod tests;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplenishStock {
    pub idempotency_key: String,
    pub sku: Sku,
    pub quantity: i64,
    /// The reorder threshold from now on; unchanged if absent.
    pub reorder_threshold: Option<i64>,
}

/// What a replenishment led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replenished {
    /// Whether the SKU was unknown before.
    pub created: bool,
    /// The level right after it.
    pub level: Books,
}

/// The command that has used an Idempotency-Key, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    pub command: ReplenishStock,
    pub answer: Replenished,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done(Replenished),
    /// Done before, with this stored answer.
    Replayed(Replenished),
    /// Another replenishment has used the key.
    KeyReused,
}

/// One transaction, rolled back unless it is committed. `lock` comes before every other call.
pub trait Transaction: Sized + Send {
    /// How the database fails, or a refusal.
    type Error: From<Refusal> + Send;

    /// Locks the SKU until the end of the transaction. An unknown one is created without units, with this threshold.
    fn lock(
        &mut self,
        sku: &Sku,
        default_threshold: i64,
    ) -> impl Future<Output = Result<StockLevel, Self::Error>> + Send;

    /// Keeps the answer to this command; gives the earlier command of the same key, if there was one.
    fn remember(
        &mut self,
        command: &ReplenishStock,
        answer: &Replenished,
        now: DateTime<Utc>,
    ) -> impl Future<Output = Result<Option<Earlier>, Self::Error>> + Send;

    /// Stores the level of the locked SKU, and appends its events to the outbox.
    fn store(
        &mut self,
        change: LevelChange,
        cause: &Cause,
        now: DateTime<Utc>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Commits, and lets the outbox publish.
    fn commit(self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Adds the units, unless the key has been used before.
///
/// The SKU is locked before the key is inserted, so that a repetition waits for the first request's commit and then finds
/// its answer.
///
/// # Errors
/// When the rules refuse the command or the database fails.
pub async fn replenish_stock<T: Transaction>(
    mut transaction: T,
    command: &ReplenishStock,
    default_threshold: i64,
    cause: &Cause,
    now: DateTime<Utc>,
) -> Result<Outcome, T::Error> {
    let before = transaction.lock(&command.sku, default_threshold).await?;
    let decided = before.replenish(&command.sku, command.quantity, command.reorder_threshold);
    let level = decided.as_ref().map_or(before, |change| change.level).books();
    // No row outlives its first transaction without units, so one without any has just been created.
    let answer = Replenished { created: before.books().replenished == 0, level };
    // Before a refusal: a repetition gets its stored answer even if the same command would be refused by now.
    match transaction.remember(command, &answer, now).await? {
        Some(earlier) if earlier.command == *command => return Ok(Outcome::Replayed(earlier.answer)),
        Some(_) => return Ok(Outcome::KeyReused),
        None => transaction.store(decided?, cause, now).await?,
    }
    transaction.commit().await?;
    Ok(Outcome::Done(answer))
}
