//! Units come in: once per Idempotency-Key, however often and however concurrently it is asked for.

use std::collections::BTreeMap;
use std::future::Future;

use chrono::{DateTime, Utc};
use contracts::Cause;

use super::fulfilment::Fulfilment;
use crate::domain::{Books, Refusal, Sku, StockLevel, Warehouse};

/// Units of a SKU have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplenishStock {
    /// The caller's name for this replenishment: the same key is the same replenishment.
    pub idempotency_key: String,
    /// Of what.
    pub sku: Sku,
    /// How many.
    pub quantity: i64,
    /// Another reorder threshold from now on, if any.
    pub reorder_threshold: Option<i64>,
}

/// What a replenishment led to, now or when it was first asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replenished {
    /// Whether the SKU was unknown before.
    pub created: bool,
    /// The level right after it.
    pub level: Books,
}

/// A replenishment that was asked for before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// What was asked then.
    pub command: ReplenishStock,
    /// What was answered.
    pub answer: Replenished,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done now.
    Done(Replenished),
    /// Done before; this is the stored answer.
    Replayed(Replenished),
    /// The key stands for another replenishment.
    KeyReused,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplenishError<E> {
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed; whether anything was kept is decided by its transaction.
    #[error("storing the replenishment")]
    Store(#[source] E),
}

/// What the use case needs of its store: one transaction, dropped unless it is committed.
pub trait Transaction: Sized + Send {
    /// How the store fails.
    type Error: Send;

    /// The SKU's level, locked; a SKU not yet known is created without units and with this threshold.
    fn lock(
        &mut self,
        sku: &Sku,
        default_threshold: i64,
    ) -> impl Future<Output = Result<StockLevel, Self::Error>> + Send;

    /// Notes that this command led to this answer; gives what the key stands for already, if it does.
    fn remember(
        &mut self,
        command: &ReplenishStock,
        answer: &Replenished,
        now: DateTime<Utc>,
    ) -> impl Future<Output = Result<Option<Earlier>, Self::Error>> + Send;

    /// Stores the new level and what is to be published, and commits.
    fn commit(self, fulfilment: Fulfilment) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Adds the units, unless this key did so before.
///
/// The SKU is locked before the key is noted, so that a repetition waits for the first to commit and then finds its
/// answer.
///
/// # Errors
/// When the rules refuse the command or the store fails.
pub async fn replenish_stock<T: Transaction>(
    mut transaction: T,
    command: &ReplenishStock,
    default_threshold: i64,
    cause: &Cause,
    now: DateTime<Utc>,
) -> Result<Outcome, ReplenishError<T::Error>> {
    let ReplenishStock { sku, quantity, reorder_threshold, .. } = command;
    let before = transaction.lock(sku, default_threshold).await.map_err(ReplenishError::Store)?;
    let warehouse = Warehouse { shelves: BTreeMap::from([(sku.clone(), before)]), ..Warehouse::default() };
    let mut fulfilment = Fulfilment::new(warehouse);
    let decided = fulfilment.replenish(sku, *quantity, *reorder_threshold, default_threshold, cause, now);
    // No row outlives its first transaction without units, so one without any has just been created.
    let created = before.books().replenished == 0;
    let level = fulfilment.level(sku).copied().unwrap_or(before).books();
    let answer = Replenished { created, level };
    // Before a refusal: a repetition gets its stored answer even if the same command would be refused by now.
    match transaction.remember(command, &answer, now).await.map_err(ReplenishError::Store)? {
        Some(earlier) if earlier.command == *command => return Ok(Outcome::Replayed(earlier.answer)),
        Some(_) => return Ok(Outcome::KeyReused),
        None => decided?,
    }
    transaction.commit(fulfilment).await.map_err(ReplenishError::Store)?;
    Ok(Outcome::Done(answer))
}
