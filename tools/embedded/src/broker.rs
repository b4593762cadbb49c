//! Brokers for tests and the demo: the embedded mock cluster, or a real Kafka named by the environment.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use messaging::{
    Bus, BusError, Consumer, KafkaBus, KafkaConfig, PartitionState, Producer, Subscription, TopicPartition,
    TopicSpec, Watermarks, ends,
};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::RDKafkaApiKey;
pub use rdkafka::types::RDKafkaRespErr;

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Command = Box<dyn FnOnce(&Cluster) + Send>;

/// How long a broker on this machine may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// More requests of one kind than a test waits for.
const MANY_REQUESTS: usize = 10_000;

/// Versions of requests that are answered at most. From the next ones on, the answer to a partition without a leader names the
/// leader, and librdkafka 2.12 ends with a segmentation fault (`mpart->leader->id` in rdkafka_mock_handlers.c).
const VERSIONS: [(RDKafkaApiKey, i16, i16); 2] =
    [(RDKafkaApiKey::Produce, 3, 9), (RDKafkaApiKey::Fetch, 4, 11)];

/// The only broker of the cluster.
const ONLY_BROKER: i32 = 1;
/// All of them.
const ALL_BROKERS: i32 = -1;

/// librdkafka's mock cluster: a broker within this process that any Kafka client on this machine can use.
///
/// It is made for tests and the demo. It keeps about 5 MB or 100,000 records per partition and then drops the oldest,
/// forgets everything when it stops, lets a group's first member wait three seconds, doesn't wake a fetch that waits,
/// and can't create topics for its clients: [`EmbeddedBroker::create_topics`] does, and so does [`EmbeddedBroker::bus`].
/// It lives until the last clone is dropped.
#[derive(Clone)]
pub struct EmbeddedBroker {
    running: Arc<Running>,
}

/// The cluster lives on a thread of its own, because its handle can't leave the thread that made it.
struct Running {
    bootstrap_servers: String,
    commands: Mutex<Option<mpsc::Sender<Command>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedBroker {
    /// Starts a cluster of one broker on a free port of the loopback interface.
    ///
    /// # Errors
    /// When librdkafka can't make one.
    pub fn start() -> anyhow::Result<Self> {
        let (commands, inbox) = mpsc::channel::<Command>();
        let (started, starting) = mpsc::channel();
        let serve = move || {
            let cluster = match cluster() {
                Ok(cluster) => cluster,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            };
            let _ = started.send(Ok(cluster.bootstrap_servers()));
            while let Ok(command) = inbox.recv() {
                command(&cluster);
            }
        };
        let thread = std::thread::Builder::new().name("embedded-broker".into()).spawn(serve)?;
        let bootstrap_servers = starting
            .recv_timeout(Duration::from_secs(10))
            .context("the embedded broker did not start")?
            .context("the embedded broker could not be made")?;
        let running = Running {
            bootstrap_servers,
            commands: Mutex::new(Some(commands)),
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self { running: Arc::new(running) })
    }

    /// `host:port`.
    pub fn bootstrap_servers(&self) -> &str {
        &self.running.bootstrap_servers
    }

    /// The client configuration that suits this broker.
    pub fn config(&self) -> KafkaConfig {
        KafkaConfig { fetch_wait_max_ms: 10, ..KafkaConfig::new(self.bootstrap_servers()) }
    }

    /// A bus on this broker whose `create_topics` creates topics.
    ///
    /// # Errors
    /// When the client can't be made.
    pub fn bus(&self) -> Result<Arc<dyn Bus>, BusError> {
        self.bus_with(self.config())
    }

    /// The same with another client configuration.
    ///
    /// # Errors
    /// When the client can't be made.
    pub fn bus_with(&self, config: KafkaConfig) -> Result<Arc<dyn Bus>, BusError> {
        Ok(Arc::new(EmbeddedBus { broker: self.clone(), kafka: KafkaBus::try_new(config)? }))
    }

    /// Creates the topics that are missing. Services in other processes find them there.
    ///
    /// # Errors
    /// When the broker refuses, for a bad name, say.
    pub fn create_topics(&self, topics: &[TopicSpec]) -> anyhow::Result<()> {
        for spec in topics.iter().cloned() {
            let name = spec.name.clone();
            let created = self.ask(move |cluster| {
                cluster.create_topic(&spec.name, spec.partitions, spec.replication_factor)
            });
            match created? {
                Ok(()) | Err(KafkaError::MockCluster(RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err(error) => return Err(error).with_context(|| format!("creating topic {name}")),
            }
        }
        Ok(())
    }

    /// Disconnects everybody and takes no connection until [`EmbeddedBroker::up`].
    ///
    /// # Errors
    /// When the broker has ended.
    pub fn down(&self) -> anyhow::Result<()> {
        Ok(self.ask(|cluster| cluster.broker_down(ALL_BROKERS))??)
    }

    /// Takes connections again.
    ///
    /// # Errors
    /// When the broker has ended.
    pub fn up(&self) -> anyhow::Result<()> {
        Ok(self.ask(|cluster| cluster.broker_up(ALL_BROKERS))??)
    }

    /// Takes a partition's leader away, or gives it back.
    ///
    /// # Errors
    /// When the broker has ended, or has no such topic.
    pub fn set_leader(&self, topic: &str, partition: i32, present: bool) -> anyhow::Result<()> {
        let (topic, leader) = (topic.to_owned(), present.then_some(ONLY_BROKER));
        Ok(self.ask(move |cluster| cluster.partition_leader(&topic, partition, leader))??)
    }

    /// Delays every answer.
    ///
    /// # Errors
    /// When the broker has ended.
    pub fn round_trip(&self, delay: Duration) -> anyhow::Result<()> {
        Ok(self.ask(move |cluster| cluster.broker_round_trip_time(ALL_BROKERS, delay))??)
    }

    /// Answers the next produce requests with these errors, one each, without appending anything.
    ///
    /// # Errors
    /// When the broker has ended.
    pub fn fail_produce(&self, errors: Vec<RDKafkaRespErr>) -> anyhow::Result<()> {
        self.ask(move |cluster| cluster.request_errors(RDKafkaApiKey::Produce, &errors))
    }

    /// Answers that the group's coordinator is not there, so that no member joins a group, until it is switched back.
    ///
    /// # Errors
    /// When the broker has ended.
    pub fn set_coordinator(&self, present: bool) -> anyhow::Result<()> {
        let absent = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE; MANY_REQUESTS];
        self.ask(move |cluster| {
            for api in [RDKafkaApiKey::FindCoordinator, RDKafkaApiKey::JoinGroup] {
                cluster.clear_request_errors(api);
                if !present {
                    cluster.request_errors(api, &absent);
                }
            }
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        command: impl FnOnce(&Cluster) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let (answer, answered) = mpsc::channel();
        let command: Command = Box::new(move |cluster| {
            let _ = answer.send(command(cluster));
        });
        let commands = self.running.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = commands.as_ref().is_some_and(|commands| commands.send(command).is_ok());
        drop(commands);
        if !sent {
            return Err(anyhow!("the embedded broker has ended"));
        }
        answered.recv_timeout(Duration::from_secs(10)).context("the embedded broker did not answer")
    }
}

fn cluster() -> Result<Cluster, KafkaError> {
    let cluster = MockCluster::new(1)?;
    for (request, first, last) in VERSIONS {
        cluster.apiversion(request, Some(first), Some(last))?;
    }
    Ok(cluster)
}

impl std::fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedBroker")
            .field("bootstrap_servers", &self.bootstrap_servers())
            .finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.commands.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

/// Kafka, on a broker that creates topics by another way.
#[derive(Debug)]
struct EmbeddedBus {
    broker: EmbeddedBroker,
    kafka: KafkaBus,
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.broker.create_topics(topics).map_err(|error| BusError::Unavailable {
            broker: self.broker.bootstrap_servers().to_owned(),
            action: "create topics".to_owned(),
            detail: format!("{error:#}"),
        })?;
        self.kafka.create_topics(topics).await
    }

    async fn producer(&self) -> Result<Box<dyn Producer>, BusError> {
        self.kafka.producer().await
    }

    async fn subscribe(
        &self,
        group: &str,
        subscription: &Subscription,
    ) -> Result<Box<dyn Consumer>, BusError> {
        self.kafka.subscribe(group, subscription).await
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<PartitionState>, BusError> {
        self.kafka.partitions(topic).await
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, BusError> {
        self.kafka.watermarks(partition).await
    }

    async fn all_watermarks(&self, partitions: &[TopicPartition]) -> Vec<Result<Watermarks, BusError>> {
        self.kafka.all_watermarks(partitions).await
    }

    async fn committed_offsets(
        &self,
        group: &str,
        topics: &[String],
    ) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        self.kafka.committed_offsets(group, topics).await
    }

    async fn ping(&self, timeout: Duration) -> Result<(), BusError> {
        self.kafka.ping(timeout).await
    }
}

/// The real Kafka that tests should use, `host:port`, if the environment names one in `TIDINGS_TEST_KAFKA`.
#[expect(clippy::disallowed_methods, reason = "the tests' own switch, no service's configuration")]
pub fn test_kafka() -> Option<String> {
    std::env::var("TIDINGS_TEST_KAFKA").ok().filter(|address| !address.is_empty())
}

/// Writes one record to a partition in a transaction of its own, as other programs do, and commits or aborts it. Behind it the
/// broker writes a marker, which is given to no reader. The embedded broker writes none.
///
/// # Errors
/// When the broker does not answer.
pub fn write_transaction(
    brokers: &str,
    id: &TopicPartition,
    value: &[u8],
    commit: bool,
) -> anyhow::Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("transactional.id", unique("transaction"))
        .create()?;
    producer.init_transactions(ANSWER_TIMEOUT)?;
    producer.begin_transaction()?;
    let record = BaseRecord::<[u8], [u8]>::to(&id.topic).partition(id.partition).payload(value);
    producer.send(record).map_err(|(error, _)| error)?;
    producer.flush(ANSWER_TIMEOUT)?;
    if commit {
        producer.commit_transaction(ANSWER_TIMEOUT)?;
    } else {
        producer.abort_transaction(ANSWER_TIMEOUT)?;
    }
    Ok(())
}

/// The offsets of each partition of a topic, by partition number.
///
/// # Errors
/// When one of them is not told.
pub async fn all_watermarks(bus: &dyn Bus, topic: &str) -> Result<Vec<Watermarks>, BusError> {
    let partitions = ends::partitions(bus, topic).await?;
    ends::watermarks(bus, partitions).await.into_iter().map(|(_, answer)| answer).collect()
}

/// A name that no other test uses, for topics and groups.
pub fn unique(name: &str) -> String {
    format!("{name}-{}", contracts::clock::new_id().simple())
}
