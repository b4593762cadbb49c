//! The buses under test, and what the suite has to do to them from outside.

use std::sync::Arc;

use messaging::{Bus, InMemoryBus, KafkaBus, KafkaConfig};
use testkit::broker::{EmbeddedBroker, test_kafka};

/// A bus under test.
pub(crate) trait Harness: Send + Sync {
    /// A client of the broker, as another process would have it.
    fn bus(&self) -> Arc<dyn Bus>;
}

#[derive(Default)]
pub(crate) struct InMemory {
    bus: InMemoryBus,
}

impl Harness for InMemory {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(self.bus.clone())
    }
}

pub(crate) struct Embedded {
    broker: EmbeddedBroker,
}

impl Embedded {
    pub(crate) fn start() -> Self {
        Self { broker: EmbeddedBroker::start().unwrap() }
    }
}

impl Harness for Embedded {
    fn bus(&self) -> Arc<dyn Bus> {
        self.broker.bus().unwrap()
    }
}

pub(crate) struct Real {
    brokers: String,
}

impl Real {
    pub(crate) fn from_environment() -> Option<Self> {
        Some(Self { brokers: test_kafka()? })
    }
}

impl Harness for Real {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(KafkaBus::try_new(KafkaConfig::new(&self.brokers)).unwrap())
    }
}
