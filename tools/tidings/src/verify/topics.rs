//! Reads the business topics from their beginning to the ends of one moment, without joining a group.

mod stream;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use contracts::topics::{Topic, Topics};
use contracts::{AnyEvent, Codec, DecodeError, Event};
use messaging::KafkaConfig;
use tokio::sync::mpsc;
use uuid::Uuid;

pub(super) use self::stream::Stalled;
use self::stream::{Partition, Streams};
use super::Target;
use super::history::{History, Place, Range, Record};
use super::unread::Unread;

/// How long the registry may take for one answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How many offsets below a position its record is looked for.
const LOOK_BACK: i64 = 100;
/// Places so far apart are read in one go.
const TOGETHER: i64 = 1_000;
/// The most stretches of one partition that are read.
const MOST_TURNS: usize = 500;

/// Offsets by partition.
pub type Ranges = BTreeMap<(Topic, i32), Range>;

/// The offsets of the partitions that can be read, and those that can't.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    /// The offsets of every partition that is read.
    pub ranges: Ranges,
    /// Partitions that can't be read.
    pub unread: Unread,
}

/// What reads the business topics of a deployment.
#[derive(Clone)]
pub struct Reader {
    streams: Streams,
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
        Ok(Self { streams: Streams::try_new(kafka)?, topics: topics.clone(), brokers })
    }

    /// The offsets that the partitions of the business topics hold now. Given what was read before the databases, the ends are
    /// asked for twice, so that the causes of what stands below the first ones are below the second ones. What can't be read is
    /// left out, with what depends on it.
    ///
    /// # Errors
    /// When the broker does not answer or lacks a topic, or no partition can be read.
    pub async fn ranges(&self, before: Option<&Ranges>) -> anyhow::Result<Offsets> {
        let asked =
            async || self.offsets().await.with_context(|| format!("reading the topics at {}", self.brokers));
        let first = if before.is_some() { asked().await? } else { Offsets::default() };
        let Offsets { mut ranges, mut unread } = asked().await?;
        unread.add_all(first.unread);
        ranges.retain(|at, _| !unread.has(*at));
        for (at, range) in &mut ranges {
            let end = |ranges: &Ranges| ranges.get(at).map_or(range.low, |range| range.high);
            (range.before, range.complete) = (before.map_or(range.low, end), end(&first.ranges));
        }
        Ok(Offsets { ranges, unread })
    }

    async fn offsets(&self) -> anyhow::Result<Offsets> {
        let mut offsets = Offsets::default();
        for found in self.streams.watermarks(Topic::ALL.map(|topic| self.topics.name(topic))).await? {
            let Some(topic) = self.topics.parse(&found.topic) else { continue };
            let at = (topic, found.partition);
            offsets.unread.count(topic);
            match found.offsets {
                Ok((low, high)) => {
                    let range = Range { low, before: low, complete: high, high };
                    offsets.ranges.insert(at, range);
                }
                Err(reason) => offsets.unread.add(at, reason),
            }
        }
        Ok(offsets)
    }

    /// Reads partitions one after the other, by topic name and number, and hands on what stands there in pieces: not decoded,
    /// in the order of the offsets. Partitions from which nothing arrives are an error, after which the others follow. Ends early
    /// when the receiver is dropped.
    pub fn stream(&self, ranges: &Ranges) -> mpsc::Receiver<anyhow::Result<Vec<Record>>> {
        let mut partitions: Vec<Partition> =
            ranges.iter().map(|(at, range)| (self.topics.name(at.0), *at, *range)).collect();
        partitions.sort_by(|one, other| (&one.0, one.1.1).cmp(&(&other.0, other.1.1)));
        self.streams.read(partitions)
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
pub async fn read(target: &Target, codec: &Codec, before: &Offsets) -> anyhow::Result<History> {
    let reader = Reader::new(&target.kafka, codec.topics())?;
    let Offsets { ranges, unread } = reader.ranges(Some(&before.ranges)).await?;
    let records = reader.records(codec, &ranges).await?;
    let schemas = schemas(&target.registry, codec.topics()).await?;
    Ok(History { records, ranges, unread, schemas, ..History::default() })
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
    (Topic::Stock, contracts::stock::StockLevelRestored::TYPE),
];

/// The full names of all events on the business topics.
pub fn all_types() -> Vec<&'static str> {
    ALL.iter().map(|(_, event_type)| *event_type).collect()
}
