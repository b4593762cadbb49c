//! What wiring may use, and work that outlives the request that began it.

use std::future::Future;
use std::sync::Arc;

use contracts::Codec;
use messaging::Bus;
use outbox::Outbox;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// What wiring may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The service's name.
    pub name: &'static str,
    /// Its database.
    pub pool: PgPool,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// Encodes and decodes events.
    pub codec: Arc<Codec>,
    /// Its outbox.
    pub outbox: Outbox,
    /// Cancelled when the service is asked to stop.
    pub shutdown: CancellationToken,
    /// Work that the service waits for before it ends.
    pub tasks: TaskTracker,
}

impl Deps {
    /// Dependencies that nobody asked to stop yet.
    #[must_use]
    pub fn new(
        name: &'static str,
        pool: PgPool,
        bus: Arc<dyn Bus>,
        codec: Arc<Codec>,
        outbox: Outbox,
    ) -> Self {
        let shutdown = CancellationToken::new();
        Self { name, pool, bus, codec, outbox, shutdown, tasks: TaskTracker::new() }
    }

    /// Runs `work` to its end even if the caller is dropped, as an HTTP handler is when its client disconnects: a
    /// transaction that is dropped half-way can leave its connection inside it (sqlx#4385). Every handler that begins a
    /// transaction does it in here.
    ///
    /// # Panics
    /// When `work` panics.
    pub async fn detached<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        match self.tasks.spawn(work.in_current_span()).await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the runtime cancels a tracked task, and with it whoever waits here.
                Err(_) => std::future::pending().await,
            },
        }
    }
}
