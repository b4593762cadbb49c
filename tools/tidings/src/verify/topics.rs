//! Reads the business topics from their beginning to the ends of one moment, without joining a group.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
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
use uuid::Uuid;

use super::Target;
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

/// How many offsets below a position its record is looked for.
const LOOK_BACK: i64 = 100;
/// Places so far apart are read in one go.
const TOGETHER: i64 = 1_000;
/// The most stretches of one partition that are read.
const MOST_TURNS: usize = 500;

/// The offsets of every partition.
pub type Ranges = BTreeMap<(Topic, i32), Range>;

/// What reads the business topics of a deployment. One thing at a time: it has one consumer.
#[derive(Clone)]
pub struct Reader {
    consumer: Arc<BaseConsumer>,
    topics: Topics,
    brokers: Arc<str>,
}

impl Reader {
    /// Connects in the background.
    ///
    /// # Errors
    /// When a property of Kafka's client is wrong.
    pub fn new(kafka: &KafkaConfig, topics: &Topics) -> anyhow::Result<Self> {
        let brokers = kafka.bootstrap_servers.as_str().into();
        Ok(Self { consumer: Arc::new(consumer(kafka)?), topics: topics.clone(), brokers })
    }

    /// The offsets that every partition of the business topics holds now. Given what was read before the databases, the ends are
    /// asked for twice, so that the causes of what stands below the first ones are below the second ones.
    ///
    /// # Errors
    /// When the broker does not answer or lacks a topic.
    pub async fn ranges(&self, before: Option<&Ranges>) -> anyhow::Result<Ranges> {
        let Self { consumer, topics, brokers } = self.clone();
        let asked = before.is_some();
        let (first, mut ranges) = tokio::task::spawn_blocking(move || {
            let first = if asked { ranges_of(&consumer, &topics)? } else { Ranges::new() };
            anyhow::Ok((first, ranges_of(&consumer, &topics)?))
        })
        .await?
        .with_context(|| format!("reading the topics at {brokers}"))?;
        for (at, range) in &mut ranges {
            let end = |ranges: &Ranges| ranges.get(at).map_or(range.low, |range| range.high);
            (range.before, range.complete) = (before.map_or(range.low, end), end(&first));
        }
        Ok(ranges)
    }

    /// Reads partitions one after the other, by topic name and number, and hands on what stands there in pieces: not decoded,
    /// in the order of the offsets. Ends early when the receiver is dropped.
    pub fn stream(&self, ranges: &Ranges) -> mpsc::Receiver<anyhow::Result<Vec<Record>>> {
        let (pieces, received) = mpsc::channel(PIECES);
        let mut partitions: Vec<Partition> =
            ranges.iter().map(|(at, range)| (self.topics.name(at.0), *at, *range)).collect();
        partitions.sort_by(|one, other| (&one.0, one.1.1).cmp(&(&other.0, other.1.1)));
        let consumer = Arc::clone(&self.consumer);
        tokio::task::spawn_blocking(move || {
            let mut groups = groups(&partitions).into_iter();
            if let Err(error) = groups.try_for_each(|group| read_group(&consumer, group, &pieces)) {
                let _ = pieces.blocking_send(Err(error));
            }
        });
        received
    }

    /// The events that stock's events name as their causes: records of orders.
    ///
    /// # Errors
    /// When the broker can't be read.
    pub(super) async fn causes_of_stock(&self, ranges: &Ranges) -> anyhow::Result<BTreeSet<Uuid>> {
        let mut pieces = self.stream(&of_stock(ranges));
        let mut causes = BTreeSet::new();
        while let Some(piece) = pieces.recv().await {
            let ids = |record: &Record| Uuid::parse_str(record.header("ce_causationid")?).ok();
            causes.extend(piece?.iter().filter_map(ids));
        }
        Ok(causes)
    }

    /// The records at these places, and the last ones below these positions, decoded. Of the latter, one that lies behind many
    /// offsets without records is not found.
    ///
    /// # Errors
    /// When broker or registry can't be read, or the places are too far apart.
    pub(super) async fn records_at(
        &self,
        codec: &Codec,
        places: &BTreeSet<Place>,
        positions: &HashMap<(Topic, i32), BTreeSet<i64>>,
    ) -> anyhow::Result<Vec<Record>> {
        let mut wanted: BTreeMap<(Topic, i32), Vec<Range>> = BTreeMap::new();
        let mut offsets: BTreeSet<((Topic, i32), i64, i64)> = BTreeSet::new();
        for place in places {
            offsets.insert(((place.topic, place.partition), place.offset, place.offset + 1));
        }
        for (at, positions) in positions {
            offsets.extend(positions.iter().map(|end| (*at, (end - LOOK_BACK).max(0), *end)));
        }
        for (at, low, high) in offsets {
            let ranges = wanted.entry(at).or_default();
            match ranges.last_mut() {
                Some(last) if low <= last.high + TOGETHER => last.high = last.high.max(high),
                _ => ranges.push(Range { low, before: low, complete: high, high }),
            }
        }
        let mut records = Vec::new();
        for turn in 0.. {
            let ranges: Ranges =
                wanted.iter().filter_map(|(at, ranges)| Some((*at, *ranges.get(turn)?))).collect();
            if ranges.is_empty() {
                break;
            }
            if turn == MOST_TURNS {
                bail!("dead letters lie in more than {MOST_TURNS} places of a partition");
            }
            records.extend(self.records(codec, &ranges).await?);
        }
        Ok(records)
    }

    /// All of it in memory, decoded.
    ///
    /// # Errors
    /// When broker or registry can't be read.
    pub async fn records(&self, codec: &Codec, ranges: &Ranges) -> anyhow::Result<Vec<Record>> {
        let mut pieces = self.stream(ranges);
        let mut records = Vec::new();
        while let Some(piece) = pieces.recv().await {
            for mut record in piece? {
                record.event = decode(codec, record.place.topic, record.value.as_deref()).await?;
                records.push(record);
            }
        }
        Ok(records)
    }
}

/// Everything on the business topics, in memory. `before` is what they held before the databases were read.
///
/// # Errors
/// When the broker or the registry can't be read.
pub async fn read(target: &Target, codec: &Codec, before: &Ranges) -> anyhow::Result<History> {
    let reader = Reader::new(&target.kafka, codec.topics())?;
    let ranges = reader.ranges(Some(before)).await?;
    let records = reader.records(codec, &ranges).await?;
    let schemas = schemas(&target.registry, codec.topics()).await?;
    Ok(History { records, ranges, schemas, ..History::default() })
}

/// The partitions of stock alone.
pub(super) fn of_stock(ranges: &Ranges) -> Ranges {
    ranges.iter().filter(|((topic, _), _)| *topic == Topic::Stock).map(|(at, range)| (*at, *range)).collect()
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
        // Needed for assigning partitions; no member joins it, and nothing is committed.
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
            ranges.insert((topic, id), Range { low, before: low, complete: high, high });
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
    consumer.unassign().context("giving partitions up")?;
    hand_on(pieces, piece)
}

fn hand_on(pieces: &mpsc::Sender<anyhow::Result<Vec<Record>>>, piece: Vec<Record>) -> anyhow::Result<()> {
    pieces.blocking_send(Ok(piece)).map_err(|_| anyhow::anyhow!("the reader of the topics has stopped"))
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
pub fn all_types() -> Vec<&'static str> {
    ALL.iter().map(|(_, event_type)| *event_type).collect()
}
