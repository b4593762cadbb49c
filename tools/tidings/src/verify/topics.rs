//! Reads the business topics from their beginning to the ends of one moment, raw and without joining a group.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use contracts::topics::{Topic, Topics};
use contracts::{AnyEvent, Codec, DecodeError, Event};
use messaging::KafkaConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::history::{History, Place, Range, Record};

/// How long broker or registry may take for one answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long no record may arrive while some are missing.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The offsets of every partition.
pub type Ranges = BTreeMap<(Topic, i32), Range>;

/// The offsets that every partition of the business topics holds now.
///
/// # Errors
/// When the broker does not answer or lacks a topic.
pub async fn ranges(kafka: &KafkaConfig, topics: &Topics) -> anyhow::Result<Ranges> {
    let (kafka, topics) = (kafka.clone(), topics.clone());
    tokio::task::spawn_blocking(move || ranges_of(&consumer(&kafka)?, &topics)).await?
}

/// Everything on the business topics. `registry` is the schema registry's URL.
///
/// # Errors
/// When the broker or the registry can't be read.
pub async fn read(kafka: &KafkaConfig, registry: &str, codec: &Codec) -> anyhow::Result<History> {
    let (kafka, topics) = (kafka.clone(), codec.topics().clone());
    let (ranges, mut records) = tokio::task::spawn_blocking(move || read_raw(&kafka, &topics)).await??;
    for record in &mut records {
        record.event = decode(codec, record.place.topic, record.value.as_deref()).await?;
    }
    Ok(History { records, ranges, schemas: schemas(registry, codec.topics()).await? })
}

/// What a record's value says, or why it is no event.
///
/// # Errors
/// When the registry can't be read.
pub async fn decode(
    codec: &Codec,
    topic: Topic,
    value: Option<&[u8]>,
) -> anyhow::Result<Result<AnyEvent, String>> {
    match codec.decode(&codec.topics().name(topic), value).await {
        Ok(event) => Ok(Ok(event)),
        Err(error @ DecodeError::RegistryUnavailable { .. }) => {
            Err(error).context("the topics can't be read without their schemas")
        }
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// The schema ids registered under the subject of each topic and type (TopicRecordName).
async fn schemas(
    registry: &str,
    topics: &Topics,
) -> anyhow::Result<BTreeMap<(Topic, &'static str), BTreeSet<u32>>> {
    #[derive(serde::Deserialize)]
    struct Version {
        id: u32,
    }
    let client = contracts::http::client().timeout(ANSWER_TIMEOUT).build()?;
    let get = async |path: String| {
        let url = format!("{}/subjects/{path}", registry.trim_end_matches('/'));
        client.get(url).send().await?.error_for_status()
    };
    let mut schemas = BTreeMap::new();
    for (topic, event_type) in ALL {
        let subject = format!("{}-{event_type}", topics.name(*topic));
        let asking = || format!("asking the registry for the versions of {subject}");
        let versions = match get(format!("{subject}/versions")).await {
            Ok(answer) => answer.json::<Vec<u32>>().await.with_context(asking)?,
            Err(error) if error.status().is_some_and(|status| status.as_u16() == 404) => continue,
            Err(error) => return Err(error.without_url()).with_context(asking),
        };
        let mut ids = BTreeSet::new();
        for version in versions {
            let answer = get(format!("{subject}/versions/{version}")).await;
            let answer = answer.map_err(reqwest::Error::without_url).with_context(asking)?;
            ids.insert(answer.json::<Version>().await.with_context(asking)?.id);
        }
        schemas.insert((*topic, *event_type), ids);
    }
    Ok(schemas)
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

fn read_raw(kafka: &KafkaConfig, topics: &Topics) -> anyhow::Result<(Ranges, Vec<Record>)> {
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
                    records.push(record(topic, &message));
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

fn record(topic: Topic, message: &impl Message) -> Record {
    let header = |header: rdkafka::message::Header<'_, &[u8]>| {
        (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
    };
    Record {
        place: Place { topic, partition: message.partition(), offset: message.offset() },
        key: message.key().map(<[u8]>::to_vec),
        headers: message.headers().map(|headers| headers.iter().map(header).collect()).unwrap_or_default(),
        value: message.payload().map(<[u8]>::to_vec),
        timestamp_ms: message.timestamp().to_millis(),
        event: Err("not decoded yet".to_owned()),
    }
}

/// Every event, with its topic.
pub const ALL: &[(Topic, &str)] = &[
    (Topic::Orders, contracts::order::OrderPlaced::TYPE),
    (Topic::Orders, contracts::order::OrderConfirmed::TYPE),
    (Topic::Orders, contracts::order::OrderCancelled::TYPE),
    (Topic::Reservations, contracts::reservation::StockReserved::TYPE),
    (Topic::Reservations, contracts::reservation::StockReleased::TYPE),
    (Topic::Reservations, contracts::reservation::StockRejected::TYPE),
    (Topic::Payments, contracts::payment::PaymentCompleted::TYPE),
    (Topic::Payments, contracts::payment::PaymentDeclined::TYPE),
    (Topic::Payments, contracts::payment::PaymentRefunded::TYPE),
    (Topic::Stock, contracts::stock::StockReplenished::TYPE),
    (Topic::Stock, contracts::stock::StockLevelLow::TYPE),
];

/// The full names of all events on the business topics.
#[must_use]
pub fn all_types() -> Vec<&'static str> {
    ALL.iter().map(|(_, event_type)| *event_type).collect()
}
