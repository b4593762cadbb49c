//! A new slot, made beside the leader.

use std::time::Duration;

use database::Database;
use tokio::sync::mpsc;

use crate::relay::wal::slot::{self, Prepared, Slot};

/// How long it may take to make a slot, which waits for open transactions, before it is said.
const MAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes a slot, beside the leader, which polls meanwhile. Never ends.
pub(super) async fn prepare(database: Database, slot: Slot, into: mpsc::Sender<Prepared>, pause: Duration) {
    loop {
        match make(&database, &slot).await {
            Ok(prepared) => {
                let _ = into.send(prepared).await;
                return std::future::pending().await;
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                slot = slot.name,
                "outbox: the replication slot can't be made, will be retried; it waits for transactions that stay open, and \
                 polling goes on meanwhile"
            ),
        }
        tokio::time::sleep(pause).await;
    }
}

async fn make(database: &Database, slot: &Slot) -> Result<Prepared, sqlx::Error> {
    let mut conn = database.session().await?;
    sqlx::query(
        "SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', '1000', false)",
    )
    .bind(MAKE_TIMEOUT.as_millis().to_string())
    .execute(&mut conn)
    .await?;
    let bound = MAKE_TIMEOUT * 2;
    tokio::time::timeout(bound, slot::make(&mut conn, slot)).await.unwrap_or_else(|_| {
        let detail = format!("the database has not answered for {bound:?}");
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, detail)))
    })
}
