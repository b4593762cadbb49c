//! Inventory's tables.

mod batch;
mod changes;
mod reads;
mod replenishments;
mod reservations;
mod stock;

use std::future::Future;

use database::{Database, Operation};
use events::{PublishError, Publisher};
use inbox::Rejection;

pub use batch::Batch;
pub use replenishments::PgTransaction;

use crate::domain::Refusal;

/// A statement on its way to its parameters.
type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

pub fn migrator() -> sqlx::migrate::Migrator {
    sqlx_macros::migrate!("./migrations")
}

/// Why a replenishment failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("changing a row that is not locked: {0}")]
    NotLocked(#[from] Rejection),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("the inventory database: {0}")]
    Database(#[from] sqlx::Error),
}

/// The inventory database as HTTP uses it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StockStore {
    database: Database,
    outbox: Publisher,
}

impl StockStore {
    pub const fn new(database: Database, outbox: Publisher) -> Self {
        Self { database, outbox }
    }

    /// The name that spans give its database.
    pub fn database_name(&self) -> &str {
        self.database.name()
    }

    /// Runs a use case in a transaction, within the bound of a request.
    ///
    /// # Errors
    /// When the use case fails, or the database refuses or does not answer.
    pub async fn transaction<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        use_case: impl FnOnce(PgTransaction) -> F,
    ) -> Result<T, StoreError> {
        let begun = |transaction| use_case(PgTransaction::new(transaction, self.outbox.clone()));
        self.database.transaction(Operation::Request, begun).await
    }
}
