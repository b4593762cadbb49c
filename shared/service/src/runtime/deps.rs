//! What wiring may use.

use std::sync::Arc;

use contracts::Codec;
use database::Database;
use events::Publisher;
use messaging::Bus;
use tokio_util::sync::CancellationToken;

/// What wiring may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The service's name.
    pub name: &'static str,
    /// Its database.
    pub database: Database,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// Encodes and decodes events.
    pub codec: Arc<Codec>,
    /// Its outbox.
    pub outbox: Publisher,
    /// Cancelled when the service is asked to stop.
    pub shutdown: CancellationToken,
}

impl Deps {
    /// Dependencies whose shutdown has not been requested.
    pub fn new(
        name: &'static str,
        database: Database,
        bus: Arc<dyn Bus>,
        codec: Arc<Codec>,
        outbox: Publisher,
    ) -> Self {
        let shutdown = CancellationToken::new();
        Self { name, database, bus, codec, outbox, shutdown }
    }
}
