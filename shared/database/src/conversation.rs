//! One conversation: a connection is lent, used, and comes back; or it is dropped.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{Object, PoolError};
use metrics::{counter, histogram};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::{Instant, timeout};

use crate::connect::too_late;
use crate::operation::Operation;
use crate::pool::{Database, Manager};

/// The longest that a rollback may take before its connection is dropped instead.
const ROLLBACK_TIMEOUT: Duration = Duration::from_millis(500);

/// A lent connection, outside a transaction: each statement is one of its own. It returns to the pool when it is dropped.
pub struct Connection {
    object: Option<Object<Manager>>,
    returned: Arc<Mutex<Option<Object<Manager>>>>,
}

/// A lent connection inside a transaction. Rolled back unless it is committed.
#[derive(Debug)]
pub struct Transaction(Connection);

impl Database {
    /// Lends a connection to `work`, in a transaction that has begun (READ COMMITTED). The bound of `operation` holds for all of it,
    /// the wait for a connection included. When it runs out, or `work` panics, or the caller is dropped, so is the connection; what
    /// was committed by then is unknown.
    ///
    /// # Errors
    /// Those of `work`; when there is no connection, or the bound has run out: `sqlx::Error::Io` with `ErrorKind::TimedOut`.
    pub async fn transaction<T, E, F>(
        &self,
        operation: Operation,
        work: impl FnOnce(Transaction) -> F,
    ) -> Result<T, E>
    where
        E: From<sqlx::Error>,
        F: Future<Output = Result<T, E>>,
    {
        self.converse(operation, true, |lent| work(Transaction(lent))).await
    }

    /// Lends a connection to `work`, outside a transaction. Bounds and errors are those of [`Database::transaction`].
    ///
    /// # Errors
    /// As there.
    pub async fn connection<T, E, F>(
        &self,
        operation: Operation,
        work: impl FnOnce(Connection) -> F,
    ) -> Result<T, E>
    where
        E: From<sqlx::Error>,
        F: Future<Output = Result<T, E>>,
    {
        self.converse(operation, false, work).await
    }

    async fn converse<T, E, F>(
        &self,
        operation: Operation,
        begin: bool,
        work: impl FnOnce(Connection) -> F,
    ) -> Result<T, E>
    where
        E: From<sqlx::Error>,
        F: Future<Output = Result<T, E>>,
    {
        let bound = operation.bound(self.bounds);
        let returned = Returned::default();
        let conversation = async {
            let mut lent = self.lend(&returned).await?;
            if begin {
                lent.begin(self.begin(operation)).await?;
            }
            work(lent).await
        };
        if let Ok(outcome) = timeout(bound, conversation).await {
            returned.give_back(outcome.is_err()).await;
            return outcome;
        }
        drop(returned);
        self.close_idle();
        counter!("database_timeouts_total", "operation" => operation.label()).increment(1);
        Err(too_late(bound).into())
    }

    async fn lend(&self, returned: &Returned) -> Result<Connection, sqlx::Error> {
        let began = Instant::now();
        let object = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Timeout(_) | PoolError::NoRuntimeSpecified => sqlx::Error::PoolTimedOut,
            PoolError::Closed | PoolError::PostCreateHook(_) => sqlx::Error::PoolClosed,
        })?;
        histogram!("database_pool_acquire_duration_seconds").record(began.elapsed().as_secs_f64());
        Ok(Connection { object: Some(object), returned: Arc::clone(&returned.0) })
    }
}

impl Connection {
    async fn begin(&mut self, statement: &str) -> Result<(), sqlx::Error> {
        let statement = AssertSqlSafe(statement.to_owned());
        self.set_in_transaction(true);
        sqlx::raw_sql(statement).execute(&mut **self).await?;
        Ok(())
    }

    fn set_in_transaction(&mut self, in_transaction: bool) {
        if let Some(object) = &mut self.object {
            object.in_transaction = in_transaction;
        }
    }
}

const LENT: &str = "only dropping takes it";

#[expect(clippy::expect_used, reason = "see the text")]
impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.object.as_ref().expect(LENT).connection
    }
}

#[expect(clippy::expect_used, reason = "see the text")]
impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.object.as_mut().expect(LENT).connection
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        *self.returned.lock().unwrap_or_else(PoisonError::into_inner) = self.object.take();
    }
}

/// The connection of a conversation: returned to the pool if the conversation has ended, otherwise closed without a message to
/// the server, which may not answer.
#[derive(Default)]
struct Returned(Arc<Mutex<Option<Object<Manager>>>>);

impl Returned {
    fn take(&self) -> Option<Object<Manager>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Rolls back what was not committed, and sees after a failure whether the connection still answers.
    async fn give_back(self, failed: bool) {
        let Some(object) = self.take() else { return };
        // Dropped in the middle of this, it is closed too.
        let mut lent = Connection { object: Some(object), returned: Arc::clone(&self.0) };
        let Some(object) = &mut lent.object else { return };
        let answers = if object.in_transaction {
            answers(sqlx::raw_sql("ROLLBACK").execute(&mut object.connection)).await
        } else {
            !failed || answers(object.connection.ping()).await
        };
        if answers {
            object.in_transaction = false;
            object.answered();
            drop(lent.object.take());
        }
    }
}

async fn answers<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> bool {
    matches!(timeout(ROLLBACK_TIMEOUT, statement).await, Ok(Ok(_)))
}

impl Drop for Returned {
    fn drop(&mut self) {
        if let Some(object) = self.take() {
            drop(Object::take(object));
        }
    }
}

impl Transaction {
    /// Commits. PostgreSQL answers the COMMIT of a failed transaction with ROLLBACK and no error; the statement before it, in the
    /// same message, fails instead.
    ///
    /// # Errors
    /// When a statement had failed, or the database refuses or does not answer; then it is unknown whether it was committed.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("SELECT 1; COMMIT").execute(&mut *self.0).await?;
        self.0.set_in_transaction(false);
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}
