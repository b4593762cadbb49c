//! A single statement as a conversation of its own.

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Either, Execute, Executor, Postgres, SqlStr};

use crate::{Database, Operation};

/// Runs one statement, outside a transaction: `sqlx::query(...).fetch_all(database.statement(Operation::Request))`. Its rows are
/// kept until the last one has come, because the time that their reader takes is not known.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    database: &'a Database,
    operation: Operation,
}

impl Database {
    /// A connection for one statement. Bounds and errors are those of [`Database::connection`].
    #[must_use]
    pub const fn statement(&self, operation: Operation) -> Statement<'_> {
        Statement { database: self, operation }
    }
}

type Step = Either<PgQueryResult, PgRow>;

impl<'c> Executor<'c> for Statement<'c> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let steps = async move {
            let fetched = self.database.connection(self.operation, |mut connection| async move {
                connection.fetch_many(query).try_collect::<Vec<Step>>().await
            });
            fetched.await.map(|steps| stream::iter(steps.into_iter().map(Ok)))
        };
        steps.into_stream().try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let fetched = async move {
            self.database
                .connection(
                    self.operation,
                    |mut connection| async move { connection.fetch_optional(query).await },
                )
                .await
        };
        fetched.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        let prepared = async move {
            self.database
                .connection(self.operation, |mut connection| async move {
                    connection.prepare_with(sql, parameters).await
                })
                .await
        };
        prepared.boxed()
    }
}
