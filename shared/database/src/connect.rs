//! A new connection, and what each is set to.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::time::timeout;

use crate::operation::{Bounds, lock, statement};

/// The longest that connecting, and the first statement of a connection, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The server ends a session that is silent for so long: its client may be gone without notice.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// The same within a transaction, whose locks others wait for.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server waits for the acknowledgement of what it has sent.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects, and sets what each session has. By a statement, because poolers drop options of the start-up message.
pub(crate) async fn open(options: &PgConnectOptions, bounds: Bounds) -> Result<PgConnection, sqlx::Error> {
    let opening = async {
        let mut connection = options.connect().await?;
        sqlx::query(
            "SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
                 set_config('idle_in_transaction_session_timeout', $3, false),
                 set_config('idle_session_timeout', $4, false), set_config('tcp_user_timeout', $5, false)",
        )
        .bind(statement(bounds.request).as_millis().to_string())
        .bind(lock(bounds.request).as_millis().to_string())
        .bind(IDLE_IN_TRANSACTION_TIMEOUT.as_millis().to_string())
        .bind(IDLE_TIMEOUT.as_millis().to_string())
        .bind(UNACKNOWLEDGED_TIMEOUT.as_millis().to_string())
        .execute(&mut connection)
        .await?;
        Ok(connection)
    };
    timeout(CONNECT_TIMEOUT, opening).await.unwrap_or_else(|_| Err(too_late(CONNECT_TIMEOUT)))
}

/// What a conversation without an answer becomes: transient, like any failure of the way to the server.
pub(crate) fn too_late(bound: Duration) -> sqlx::Error {
    let detail = format!("the database did not answer within {} ms", bound.as_millis());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, detail))
}
