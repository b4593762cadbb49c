//! Listens for the other replicas' commits. Only latency depends on it: the poll interval is the fallback.

use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::relay::backoff::Backoff;
use crate::relay::config::RelayConfig;

/// Wakes the relay whenever another replica notifies, for as long as it is polled.
pub(super) async fn listen(options: Arc<PgConnectOptions>, wake: Arc<Notify>, config: RelayConfig) {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(config.statement_timeout())
        .connect_lazy_with(options.as_ref().clone().application_name("outbox-relay-listener"));
    let mut backoff = Backoff::new(config.backoff_max());
    loop {
        match PgListener::connect_with(&pool).await {
            Ok(listener) => {
                backoff.reset();
                if let Err(error) = forward(listener, &wake).await {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "outbox: no LISTEN connection; polling only"
                    );
                }
            }
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "outbox: no LISTEN connection; polling only"
                );
            }
        }
        sleep(backoff.next()).await;
    }
}

async fn forward(mut listener: PgListener, wake: &Notify) -> Result<(), sqlx::Error> {
    listener.listen("outbox").await?;
    // Commits before this moment were not notified to this session.
    wake.notify_one();
    while listener.try_recv().await?.is_some() {
        wake.notify_one();
    }
    Ok(())
}
