//! Sessions outside the pool, and whether a session is one.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::time::timeout;

use crate::connect::{open, too_late};
use crate::pool::Database;

/// The longest that a service's migrations may take together.
pub const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// Why a database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It does not answer, or refuses.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Something between us and the server lends its connections for one transaction each.
    #[error(
        "the sessions of this database are not ours alone ({found}): a pooler in transaction mode stands before it; locks and \
         settings need sessions, so connect to the server itself, or to a pooler in session mode"
    )]
    Pooler {
        /// What was seen.
        found: &'static str,
    },
}

impl Database {
    /// A connection outside the pool, such as one that holds an advisory lock. Every wait for it is the caller's to bound.
    ///
    /// # Errors
    /// When the server can't be reached in time, or refuses.
    pub async fn session(&self) -> Result<PgConnection, sqlx::Error> {
        open(self.options(), self.bounds).await
    }

    /// Sees whether the server answers on a fresh connection, within `bound`. An error of the server is an answer.
    ///
    /// # Errors
    /// When it can't be reached, or does not answer in time.
    pub async fn answers(&self, bound: Duration) -> Result<(), sqlx::Error> {
        let asking = async {
            let mut connection = self.options().connect().await?;
            sqlx::query("SELECT 1").execute(&mut connection).await?;
            connection.close().await
        };
        match timeout(bound, asking).await {
            Ok(Err(sqlx::Error::Database(_))) => Ok(()),
            Ok(answer) => answer,
            Err(_) => Err(too_late(bound)),
        }
    }

    /// A connection outside the pool for migrations, whose statements may take longer than others may.
    ///
    /// # Errors
    /// When the server can't be reached in time, or refuses.
    pub async fn migration_session(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.session().await?;
        sqlx::query(
            "SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $1, false)",
        )
        .bind((MIGRATION_TIMEOUT * 9 / 10).as_millis().to_string())
        .execute(&mut connection)
        .await?;
        Ok(connection)
    }

    /// Applies what is missing of these migrations, one replica after the other.
    ///
    /// # Errors
    /// When one fails, or all of them take too long.
    pub async fn migrate(&self, migrator: &Migrator) -> Result<(), MigrateError> {
        let migrating = async {
            let mut connection = self.migration_session().await?;
            migrator.run_direct(None, &mut connection, false).await?;
            Ok(connection.close().await?)
        };
        timeout(MIGRATION_TIMEOUT, migrating)
            .await
            .unwrap_or_else(|_| Err(too_late(MIGRATION_TIMEOUT).into()))
    }

    /// Sees that a session is one: a pooler in transaction mode would lose locks and settings without a word.
    ///
    /// Three connections: the first one sets a value; the others begin a transaction each and listen for it, so that a pooler has to
    /// give each of them a server connection; then the first one is asked whether it is still the same.
    ///
    /// # Errors
    /// When it is none, or the server can't be reached in time.
    pub async fn check_sessions(&self) -> Result<(), SessionError> {
        let bound = self.bounds.request;
        timeout(bound, self.compare_sessions()).await.unwrap_or_else(|_| Err(too_late(bound).into()))
    }

    async fn compare_sessions(&self) -> Result<(), SessionError> {
        let mut first = self.session().await.map_err(pooled)?;
        let mut second = self.session().await.map_err(pooled)?;
        let mut third = self.session().await.map_err(pooled)?;
        let mine: i32 = sqlx::query_scalar(
            "SELECT pg_backend_pid() FROM set_config('bounded_postgres.session', pg_backend_pid()::text, false)",
        )
        .fetch_one(&mut first)
        .await
        .map_err(pooled)?;
        let mut met = vec![mine];
        for other in [&mut second, &mut third] {
            sqlx::query("BEGIN").execute(&mut *other).await.map_err(pooled)?;
            let (seen, pid) = look(other).await?;
            if seen.is_some_and(|seen| !seen.is_empty()) {
                return Err(SessionError::Pooler { found: "one's setting is another's" });
            }
            if met.contains(&pid) {
                return Err(SessionError::Pooler { found: "two share a server process" });
            }
            met.push(pid);
        }
        let (seen, pid) = look(&mut first).await?;
        if pid != mine || seen.as_deref() != Some(&*mine.to_string()) {
            return Err(SessionError::Pooler { found: "one was moved to another server process" });
        }
        Ok(())
    }
}

async fn look(connection: &mut PgConnection) -> Result<(Option<String>, i32), SessionError> {
    sqlx::query_as("SELECT current_setting('bounded_postgres.session', true), pg_backend_pid()")
        .fetch_one(connection)
        .await
        .map_err(pooled)
}

/// A prepared statement that is missing, or there already, is another session's.
fn pooled(error: sqlx::Error) -> SessionError {
    match error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() {
        Some("26000" | "42P05") => SessionError::Pooler { found: "one's prepared statement is another's" },
        _ => error.into(),
    }
}
