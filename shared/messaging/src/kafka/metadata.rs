//! Questions about topics and offsets, asked by a client that belongs to no group.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt as _, stream};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};

use super::config::KafkaConfig;
use super::context::Events;
use super::errors::{configuration, unavailable};
use super::list_offsets;
use crate::bus::{AT_ONCE, BusError, PartitionState, TopicPartition, Watermarks};

/// No broker has this number.
const UNKNOWN: i32 = -1;

/// Answers questions; cheap to clone.
#[derive(Clone)]
pub(crate) struct MetadataClient {
    client: Arc<BaseConsumer<Quiet>>,
    brokers: Arc<str>,
    timeout: Duration,
    /// The broker that led each partition when it was last asked. It says which partitions answer or fall silent together.
    leaders: Arc<Mutex<HashMap<TopicPartition, i32>>>,
}

impl MetadataClient {
    pub(crate) fn try_new(config: &KafkaConfig) -> Result<Self, BusError> {
        let client_id = format!("{}-metadata", config.client_id);
        let client = config
            .metadata(&client_id)
            .create_with_context(Quiet::new(&client_id))
            .map_err(|error| configuration(config, &error))?;
        Ok(Self {
            client: Arc::new(client),
            brokers: config.bootstrap_servers.as_str().into(),
            timeout: config.request_timeout(),
            leaders: Arc::default(),
        })
    }

    /// Asks on a thread that may block. librdkafka bounds the wait.
    async fn ask<T: Send + 'static>(
        &self,
        action: &str,
        question: impl FnOnce(&BaseConsumer<Quiet>) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, BusError> {
        self.answer(question).await?.map_err(|error| unavailable(&self.brokers, action, &error))
    }

    async fn answer<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<Quiet>) -> KafkaResult<T> + Send + 'static,
    ) -> Result<KafkaResult<T>, BusError> {
        let client = Arc::clone(&self.client);
        let answer = tokio::task::spawn_blocking(move || {
            let answer = question(&client);
            // Serves logs and errors, which would pile up otherwise.
            while client.poll(Duration::ZERO).is_some() {}
            answer
        });
        answer.await.map_err(|_| BusError::Closed)
    }

    /// Every topic of the cluster and how many partitions it has.
    pub(crate) async fn topics(&self) -> Result<BTreeMap<String, i32>, BusError> {
        let timeout = self.timeout;
        self.ask("list its topics", move |client| {
            let metadata = client.fetch_metadata(None, timeout)?;
            Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), count(topic))).collect())
        })
        .await
    }

    pub(crate) async fn partitions(&self, topic: &str) -> Result<Vec<PartitionState>, BusError> {
        let (timeout, name) = (self.timeout, topic.to_owned());
        let answer = self.ask("list partitions", move |client| {
            let metadata = client.fetch_metadata(Some(&name), timeout)?;
            let partitions = metadata.topics().first().map_or(&[][..], MetadataTopic::partitions);
            let leader = |partition: &MetadataPartition| (partition.id(), partition.leader());
            Ok(partitions.iter().map(leader).collect::<Vec<_>>())
        });
        let mut found = answer.await?;
        found.sort_unstable();
        self.note_leaders(topic, &found);
        let state = |(partition, leader): (i32, i32)| PartitionState { partition, has_leader: leader >= 0 };
        let partitions: Vec<PartitionState> = found.into_iter().map(state).collect();
        match partitions.len() {
            0 => Err(BusError::Unavailable {
                broker: self.brokers.to_string(),
                action: "list partitions".to_owned(),
                detail: format!("{topic} does not exist"),
            }),
            _ => Ok(partitions),
        }
    }

    pub(crate) async fn watermarks(&self, id: &TopicPartition) -> Result<Watermarks, BusError> {
        let (timeout, TopicPartition { topic, partition }) = (self.timeout, id.clone());
        let action = format!("return the watermarks of {topic}/{partition}");
        self.ask(&action, move |client| {
            let (low, high) = client.fetch_watermarks(&topic, partition, timeout)?;
            Ok(Watermarks { partition, low, high })
        })
        .await
    }

    /// The same of many: those of a broker are asked for together.
    pub(crate) async fn all_watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Vec<Result<Watermarks, BusError>> {
        let together = self.by_leader(partitions).into_iter().map(|group| self.watermarks_of_group(group));
        let mut found: HashMap<TopicPartition, Result<Watermarks, BusError>> =
            join_all(together).await.into_iter().flatten().collect();
        partitions.iter().map(|id| found.remove(id).unwrap_or(Err(BusError::Closed))).collect()
    }

    /// Those of one broker, which answers for all of them or for none. What fails by a partition's fault is asked one by one.
    async fn watermarks_of_group(
        &self,
        group: Vec<TopicPartition>,
    ) -> Vec<(TopicPartition, Result<Watermarks, BusError>)> {
        let (timeout, asked) = (self.timeout, group.clone());
        if asked.len() > 1 {
            match self.answer(move |client| list_offsets::watermarks(client, &asked, timeout)).await {
                Ok(Ok(found)) => return group.into_iter().zip(found.into_iter().map(Ok)).collect(),
                Ok(Err(error)) if is_of_broker(&error) => {
                    let failed = |id: TopicPartition| {
                        let action = format!("return the watermarks of {}/{}", id.topic, id.partition);
                        let error = unavailable(&self.brokers, &action, &error);
                        (id, Err(error))
                    };
                    return group.into_iter().map(failed).collect();
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
        let ask = async |id: TopicPartition| {
            let answer = self.watermarks(&id).await;
            (id, answer)
        };
        stream::iter(group).map(ask).buffered(AT_ONCE).collect().await
    }

    /// Each partition once, with those that the same broker leads. One without a leader, or of an unknown one, is by itself: it may
    /// be a long wait.
    fn by_leader(&self, partitions: &[TopicPartition]) -> Vec<Vec<TopicPartition>> {
        let leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        let mut groups: BTreeMap<i32, BTreeSet<&TopicPartition>> = BTreeMap::new();
        for id in partitions {
            let leader = leaders.get(id).copied().filter(|leader| *leader >= 0).unwrap_or(UNKNOWN);
            groups.entry(leader).or_default().insert(id);
        }
        let alone = groups.remove(&UNKNOWN).unwrap_or_default().into_iter().map(|id| vec![id.clone()]);
        let together = groups.into_values().map(|group| group.into_iter().cloned().collect());
        together.chain(alone).collect()
    }

    fn note_leaders(&self, topic: &str, found: &[(i32, i32)]) {
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, leader) in found {
            leaders.insert(TopicPartition { topic: topic.to_owned(), partition: *partition }, *leader);
        }
    }

    pub(crate) async fn ping(&self, timeout: Duration) -> Result<(), BusError> {
        self.ask("answer a ping", move |client| client.fetch_metadata(None, timeout).map(|_| ())).await
    }

    /// How long to wait before asking again what was not answered.
    pub(crate) const fn retry_pause() -> Duration {
        Duration::from_millis(500)
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }
}

/// Whether the broker itself has not answered, so that it would answer for none of its partitions.
fn is_of_broker(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| {
        matches!(code, RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::BrokerTransportFailure)
    })
}

fn count(topic: &MetadataTopic) -> i32 {
    i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX)
}

/// The context of a client that only asks.
pub(crate) struct Quiet {
    events: Events,
}

impl Quiet {
    pub(crate) fn new(client_id: &str) -> Self {
        Self { events: Events::new(client_id) }
    }
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ConsumerContext for Quiet {}
