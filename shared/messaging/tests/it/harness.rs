//! The buses under test, and what the suite does to them from outside.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use messaging::{Bus, Delivered, InMemoryBus, KafkaBus, KafkaConfig, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use testkit::broker::{EmbeddedBroker, test_kafka, write_transaction};

/// An answer of a broker on this machine takes no longer.
const SOON: Duration = Duration::from_secs(10);
/// What a transaction writes.
pub(crate) const TRANSACTIONAL: &[u8] = b"transactional";

/// A bus under test.
#[async_trait]
pub(crate) trait Harness: Send + Sync {
    /// A client of the broker, as another process would have it.
    fn bus(&self) -> Arc<dyn Bus>;

    /// A client whose partitions buffer few records.
    fn bus_with_small_buffers(&self) -> Arc<dyn Bus>;

    /// A bus whose broker can't be reached.
    fn unreachable(&self) -> Arc<dyn Bus>;

    /// Appends what our producers never would: no key, no value.
    async fn append_raw(&self, id: &TopicPartition, key: Option<&[u8]>, value: Option<&[u8]>);

    /// Writes one record in a transaction, as other programs do, and commits or aborts it; `false` when this broker knows no
    /// transactions.
    async fn write_transaction(&self, id: &TopicPartition, commit: bool) -> bool;

    /// Makes the topic forget its oldest records, as retention does; the partition holds a few large records.
    async fn expire(&self, id: &TopicPartition);

    /// The offset that lag tools see.
    async fn committed(&self, group: &str, id: &TopicPartition) -> Option<i64>;

    /// Takes the broker away or gives it back; `false` when this one can't.
    fn set_available(&self, available: bool) -> bool;

    /// The embedded broker makes topics up.
    fn refuses_unknown_topics(&self) -> bool {
        true
    }
}

#[derive(Default)]
pub(crate) struct InMemory {
    bus: InMemoryBus,
}

#[async_trait]
impl Harness for InMemory {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(self.bus.clone())
    }

    fn bus_with_small_buffers(&self) -> Arc<dyn Bus> {
        // It reads from the log itself.
        self.bus()
    }

    fn unreachable(&self) -> Arc<dyn Bus> {
        let bus = InMemoryBus::new();
        bus.set_available(false);
        Arc::new(bus)
    }

    async fn append_raw(&self, id: &TopicPartition, key: Option<&[u8]>, value: Option<&[u8]>) {
        let record = Delivered {
            offset: 0,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers: vec![],
            timestamp_ms: None,
        };
        self.bus.append_raw(&id.topic, id.partition, record).unwrap();
    }

    async fn write_transaction(&self, id: &TopicPartition, commit: bool) -> bool {
        if commit {
            self.append_raw(id, None, Some(TRANSACTIONAL)).await;
        } else {
            // The record of an aborted transaction is not delivered.
            self.bus.append_control_record(&id.topic, id.partition).unwrap();
        }
        self.bus.append_control_record(&id.topic, id.partition).unwrap();
        true
    }

    async fn expire(&self, id: &TopicPartition) {
        self.bus.expire(&id.topic, id.partition, 3).unwrap();
    }

    async fn committed(&self, group: &str, id: &TopicPartition) -> Option<i64> {
        let committed = self.bus.committed_offsets(group, std::slice::from_ref(&id.topic)).await.unwrap();
        committed.get(id).copied()
    }

    fn set_available(&self, available: bool) -> bool {
        self.bus.set_available(available);
        true
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

#[async_trait]
impl Harness for Embedded {
    fn bus(&self) -> Arc<dyn Bus> {
        self.broker.bus_with(watchful(self.broker.config())).unwrap()
    }

    fn bus_with_small_buffers(&self) -> Arc<dyn Bus> {
        self.broker.bus_with(small_buffers(self.broker.config())).unwrap()
    }

    fn unreachable(&self) -> Arc<dyn Bus> {
        unreachable_kafka()
    }

    async fn append_raw(&self, id: &TopicPartition, key: Option<&[u8]>, value: Option<&[u8]>) {
        append_raw(self.broker.bootstrap_servers(), id, key, value);
    }

    /// The embedded broker answers transactional producers, and writes no markers.
    async fn write_transaction(&self, _id: &TopicPartition, _commit: bool) -> bool {
        false
    }

    /// The embedded broker drops the oldest records of a partition once it holds more than 5 MB.
    async fn expire(&self, id: &TopicPartition) {
        let large = vec![7; 900_000];
        for _ in 0..7 {
            self.append_raw(id, None, Some(&large)).await;
        }
    }

    async fn committed(&self, group: &str, id: &TopicPartition) -> Option<i64> {
        committed(self.broker.bootstrap_servers(), group, id).await
    }

    fn set_available(&self, available: bool) -> bool {
        let changed = if available { self.broker.up() } else { self.broker.down() };
        changed.unwrap();
        true
    }

    fn refuses_unknown_topics(&self) -> bool {
        false
    }
}

pub(crate) struct Real {
    brokers: String,
}

impl Real {
    pub(crate) fn from_environment() -> Self {
        Self {
            brokers: test_kafka().expect("TIDINGS_TEST_KAFKA names no broker: make test-kafka starts one"),
        }
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }
}

#[async_trait]
impl Harness for Real {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(KafkaBus::try_new(watchful(KafkaConfig::new(&self.brokers))).unwrap())
    }

    fn bus_with_small_buffers(&self) -> Arc<dyn Bus> {
        Arc::new(KafkaBus::try_new(small_buffers(KafkaConfig::new(&self.brokers))).unwrap())
    }

    fn unreachable(&self) -> Arc<dyn Bus> {
        unreachable_kafka()
    }

    async fn append_raw(&self, id: &TopicPartition, key: Option<&[u8]>, value: Option<&[u8]>) {
        append_raw(&self.brokers, id, key, value);
    }

    async fn write_transaction(&self, id: &TopicPartition, commit: bool) -> bool {
        let (brokers, id) = (self.brokers.clone(), id.clone());
        let write = move || write_transaction(&brokers, &id, TRANSACTIONAL, commit);
        tokio::task::spawn_blocking(write).await.unwrap().unwrap();
        true
    }

    async fn expire(&self, id: &TopicPartition) {
        let admin: rdkafka::admin::AdminClient<rdkafka::client::DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&id.topic, id.partition, Offset::Offset(3)).unwrap();
        admin.delete_records(&list, &rdkafka::admin::AdminOptions::new()).await.unwrap();
    }

    async fn committed(&self, group: &str, id: &TopicPartition) -> Option<i64> {
        committed(&self.brokers, group, id).await
    }

    fn set_available(&self, _available: bool) -> bool {
        false
    }
}

/// Sees new topics soon, and soon gives up hope for others. Questions may take their time on a busy machine.
fn watchful(mut config: KafkaConfig) -> KafkaConfig {
    config.request_timeout_ms = 30_000;
    config.properties.insert("topic.metadata.refresh.interval.ms".into(), "500".into());
    config.properties.insert("topic.metadata.propagation.max.ms".into(), "2000".into());
    config
}

fn small_buffers(config: KafkaConfig) -> KafkaConfig {
    let mut config = watchful(config);
    config.buffer_records = 20;
    config
}

fn unreachable_kafka() -> Arc<dyn Bus> {
    // Nothing listens on the port that the operating system reserves for nothing.
    let config = KafkaConfig { request_timeout_ms: 500, ..KafkaConfig::new("127.0.0.1:1") };
    Arc::new(KafkaBus::try_new(config).unwrap())
}

fn append_raw(brokers: &str, id: &TopicPartition, key: Option<&[u8]>, value: Option<&[u8]>) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let mut record = BaseRecord::<[u8], [u8]>::to(&id.topic).partition(id.partition);
    record.key = key;
    record.payload = value;
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(SOON).unwrap();
}

async fn committed(brokers: &str, group: &str, id: &TopicPartition) -> Option<i64> {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create().unwrap();
    let id = id.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let mut list = TopicPartitionList::new();
        list.add_partition(&id.topic, id.partition);
        let answer = client.committed_offsets(list, SOON).unwrap();
        answer.elements()[0].offset()
    });
    match asked.await.unwrap() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}
