//! Reads the business topics from their beginning to the ends of one moment, raw and without joining a group.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use contracts::topics::{Topic, Topics};
use contracts::{Codec, DecodeError, Event};
use messaging::KafkaConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::history::{History, Place, Range, Seen, Unreadable};

/// How long the broker may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long no record may arrive while some are missing.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The offsets of every partition.
pub type Ranges = BTreeMap<(Topic, i32), Range>;

/// A record as it stands on its topic.
struct Raw {
    place: Place,
    claimed_type: Option<String>,
    value: Option<Vec<u8>>,
}

/// The offsets that every partition of the business topics holds now.
///
/// # Errors
/// When the broker does not answer or lacks a topic.
pub async fn ranges(kafka: &KafkaConfig, topics: &Topics) -> anyhow::Result<Ranges> {
    let (kafka, topics) = (kafka.clone(), topics.clone());
    tokio::task::spawn_blocking(move || ranges_of(&consumer(&kafka)?, &topics)).await?
}

/// Everything on the business topics.
///
/// # Errors
/// When the broker or the registry can't be read.
pub async fn read(kafka: &KafkaConfig, codec: &Codec) -> anyhow::Result<History> {
    let (kafka, topics) = (kafka.clone(), codec.topics().clone());
    let (ranges, records) = tokio::task::spawn_blocking(move || read_raw(&kafka, &topics)).await??;
    let mut history = History { ranges, ..History::default() };
    for raw in records {
        let name = codec.topics().name(raw.place.topic);
        match codec.decode(&name, raw.value.as_deref()).await {
            Ok(event) => history.seen.push(Seen { place: raw.place, event }),
            Err(error @ DecodeError::RegistryUnavailable { .. }) => {
                return Err(error).context("the topics can't be read without their schemas");
            }
            Err(error) => history.unreadable.push(Unreadable {
                place: raw.place,
                claimed_type: raw.claimed_type,
                reason: error.to_string(),
            }),
        }
    }
    Ok(history)
}

fn consumer(kafka: &KafkaConfig) -> anyhow::Result<BaseConsumer> {
    let mut config = ClientConfig::from_iter(kafka.properties.clone());
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        // Needed for assigning partitions; nobody joins it, and nothing is committed.
        .set("group.id", "tidings-verify")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "50");
    config.create().context("a Kafka consumer")
}

fn ranges_of(consumer: &BaseConsumer, topics: &Topics) -> anyhow::Result<Ranges> {
    let mut ranges = BTreeMap::new();
    for topic in Topic::ALL {
        let name = topics.name(topic);
        let metadata = consumer
            .fetch_metadata(Some(&name), ANSWER_TIMEOUT)
            .with_context(|| format!("asking the broker about {name}"))?;
        let partitions = metadata.topics().first().map_or(&[][..], |found| found.partitions());
        if partitions.is_empty() {
            bail!("topic {name} does not exist");
        }
        for partition in partitions {
            let id = partition.id();
            let (low, high) = consumer
                .fetch_watermarks(&name, id, ANSWER_TIMEOUT)
                .with_context(|| format!("asking the broker for the offsets of {name}/{id}"))?;
            ranges.insert((topic, id), Range { low, high });
        }
    }
    Ok(ranges)
}

fn read_raw(kafka: &KafkaConfig, topics: &Topics) -> anyhow::Result<(Ranges, Vec<Raw>)> {
    let consumer = consumer(kafka)?;
    let ranges = ranges_of(&consumer, topics)?;
    let mut missing: HashMap<(Topic, i32), i64> = HashMap::new();
    let mut assignment = TopicPartitionList::new();
    for ((topic, partition), range) in &ranges {
        if range.high > range.low {
            assignment.add_partition_offset(&topics.name(*topic), *partition, Offset::Offset(range.low))?;
            missing.insert((*topic, *partition), range.high);
        }
    }
    consumer.assign(&assignment).context("assigning the partitions")?;
    let mut records = Vec::new();
    let mut progress = Instant::now();
    while !missing.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                progress = Instant::now();
                let Some(topic) = topics.parse(message.topic()) else { continue };
                let at = (topic, message.partition());
                let Some(&high) = missing.get(&at) else { continue };
                if message.offset() < high {
                    records.push(raw(topic, &message));
                }
                if message.offset() + 1 >= high {
                    missing.remove(&at);
                }
            }
            // The end was reached below the expected offset: control records or compaction took the last ones.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let ended: Vec<_> = missing.keys().filter(|(_, id)| *id == partition).copied().collect();
                for at in ended {
                    let position = consumer.position()?;
                    let found = position.find_partition(&topics.name(at.0), partition);
                    if found.is_some_and(|found| found.offset().to_raw() >= missing.get(&at).copied()) {
                        missing.remove(&at);
                    }
                }
            }
            Some(Err(error)) => return Err(error).context("reading the topics"),
            None => {}
        }
        if progress.elapsed() > STALL_TIMEOUT {
            bail!("no record arrived for {STALL_TIMEOUT:?} while partitions {missing:?} were incomplete");
        }
    }
    consumer.unassign().context("letting go of the partitions")?;
    // Partitions arrive interleaved; within each, the order is that of the offsets.
    Ok((ranges, records))
}

fn raw(topic: Topic, message: &impl Message) -> Raw {
    let claimed_type = message.headers().and_then(|headers| {
        let header = headers.iter().find(|header| header.key == contracts::envelope::CE_TYPE)?;
        Some(String::from_utf8_lossy(header.value?).into_owned())
    });
    Raw {
        place: Place { topic, partition: message.partition(), offset: message.offset() },
        claimed_type,
        value: message.payload().map(<[u8]>::to_vec),
    }
}

/// The full names of all events on the business topics.
pub const ALL_EVENTS: &[&str] = &[
    contracts::order::OrderPlaced::TYPE,
    contracts::order::OrderConfirmed::TYPE,
    contracts::order::OrderCancelled::TYPE,
    contracts::reservation::StockReserved::TYPE,
    contracts::reservation::StockReleased::TYPE,
    contracts::reservation::StockRejected::TYPE,
    contracts::payment::PaymentCompleted::TYPE,
    contracts::payment::PaymentDeclined::TYPE,
    contracts::payment::PaymentRefunded::TYPE,
    contracts::stock::StockReplenished::TYPE,
    contracts::stock::StockLevelLow::TYPE,
];
