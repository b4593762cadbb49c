//! Reads the business topics from their beginning to the ends of one moment, without joining a group.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use contracts::topics::{Topic, Topics};
use contracts::{AnyEvent, Codec, DecodeError, Event};
use messaging::KafkaConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::history::{History, Place, Range, Record, not_decoded};

/// How long broker or registry may take for one answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How many records small partitions may have that are read together.
const READ_TOGETHER: i64 = 20_000;
/// How many records are handed on together, and how many such pieces may wait.
const PIECE: usize = 500;
const PIECES: usize = 4;
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

/// Everything on the business topics, in memory. `registry` is the schema registry's URL.
///
/// # Errors
/// When the broker or the registry can't be read.
pub async fn read(kafka: &KafkaConfig, registry: &str, codec: &Codec) -> anyhow::Result<History> {
    let ranges = ranges(kafka, codec.topics()).await?;
    let mut pieces = stream(kafka, codec.topics(), &ranges);
    let mut records = Vec::new();
    while let Some(piece) = pieces.recv().await {
        for mut record in piece? {
            record.event = decode(codec, record.place.topic, record.value.as_deref()).await?;
            records.push(record);
        }
    }
    Ok(History { records, ranges, schemas: schemas(registry, codec.topics()).await?, ..History::default() })
}

/// Reads partitions one after the other, by topic name and number, and hands on what stands there in pieces: not decoded, in
/// the order of the offsets. Ends early when the receiver is dropped.
#[must_use]
pub fn stream(
    kafka: &KafkaConfig,
    topics: &Topics,
    ranges: &Ranges,
) -> mpsc::Receiver<anyhow::Result<Vec<Record>>> {
    let (pieces, received) = mpsc::channel(PIECES);
    let mut partitions: Vec<Partition> =
        ranges.iter().map(|(at, range)| (topics.name(at.0), *at, *range)).collect();
    partitions.sort_by(|one, other| (&one.0, one.1.1).cmp(&(&other.0, other.1.1)));
    let kafka = kafka.clone();
    tokio::task::spawn_blocking(move || {
        let read = |consumer: BaseConsumer| {
            groups(&partitions).into_iter().try_for_each(|group| read_group(&consumer, group, &pieces))
        };
        if let Err(error) = consumer(&kafka).and_then(read) {
            let _ = pieces.blocking_send(Err(error));
        }
    });
    received
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
pub(super) async fn schemas(
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
        .set("fetch.wait.max.ms", "50")
        // What is fetched ahead, in bounds.
        .set("queued.max.messages.kbytes", "16384");
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

type Partition = (String, (Topic, i32), Range);

/// Partitions that are read together, because they are small; a large one alone.
fn groups(partitions: &[Partition]) -> Vec<&[Partition]> {
    let (mut groups, mut from, mut records) = (Vec::new(), 0, 0);
    for (at, (.., range)) in partitions.iter().enumerate() {
        if records + (range.high - range.low) > READ_TOGETHER && at > from {
            groups.push(&partitions[from..at]);
            (from, records) = (at, 0);
        }
        records += range.high - range.low;
    }
    groups.push(&partitions[from..]);
    groups
}

fn read_group(
    consumer: &BaseConsumer,
    group: &[Partition],
    pieces: &mpsc::Sender<anyhow::Result<Vec<Record>>>,
) -> anyhow::Result<()> {
    let mut missing: BTreeMap<(Topic, i32), &Partition> = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in group.iter().filter(|(.., range)| range.high > range.low) {
        assignment.add_partition_offset(&partition.0, partition.1.1, Offset::Offset(partition.2.low))?;
        missing.insert(partition.1, partition);
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names: BTreeMap<&str, Topic> =
        group.iter().map(|(name, (topic, _), _)| (name.as_str(), *topic)).collect();
    consumer.assign(&assignment).context("assigning partitions")?;
    let (mut piece, mut progress) = (Vec::with_capacity(PIECE), Instant::now());
    while !missing.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                progress = Instant::now();
                let Some(topic) = names.get(message.topic()) else { continue };
                let at = (*topic, message.partition());
                let Some((.., range)) = missing.get(&at) else { continue };
                let high = range.high;
                if message.offset() < high {
                    piece.push(record(*topic, &message));
                }
                if message.offset() + 1 >= high {
                    missing.remove(&at);
                }
            }
            // The end was reached below the expected offset: control records or compaction took the last ones.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let position = consumer.position()?;
                missing.retain(|(_, id), (name, _, range)| {
                    let found = position.find_partition(name, partition);
                    let is_ended = found.is_some_and(|found| found.offset().to_raw() >= Some(range.high));
                    *id != partition || !is_ended
                });
            }
            Some(Err(error)) => return Err(error).context("reading the topics"),
            None => {}
        }
        if progress.elapsed() > STALL_TIMEOUT {
            let names: Vec<String> = missing.keys().map(|(topic, id)| format!("{topic}/{id}")).collect();
            bail!("no record arrived for {STALL_TIMEOUT:?} while {} were incomplete", names.join(", "));
        }
        // A partition that is read alone is in order.
        if group.len() == 1 && piece.len() == PIECE {
            hand_on(pieces, std::mem::take(&mut piece))?;
        }
    }
    // Partitions arrive interleaved; within each, the order is that of the offsets.
    piece.sort_by_key(|record| (record.place.topic.suffix(), record.place.partition));
    hand_on(pieces, piece)
}

fn hand_on(pieces: &mpsc::Sender<anyhow::Result<Vec<Record>>>, piece: Vec<Record>) -> anyhow::Result<()> {
    pieces.blocking_send(Ok(piece)).map_err(|_| anyhow::anyhow!("nobody wants the rest of the topics"))
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
        event: not_decoded(),
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
