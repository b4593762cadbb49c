//! Partitions read from one offset to another. A consumer reads one thing at a time: each stream has its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use contracts::topics::Topic;
use messaging::KafkaConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::verify::history::{Place, Range, Record, not_decoded};
use crate::watermarks::{self, Watermarks};

/// How many records small partitions may have that are read together.
const READ_TOGETHER: i64 = 20_000;
/// How many records are handed on together, and how many such pieces may wait.
const PIECE: usize = 500;
const PIECES: usize = 4;
/// How long no record may arrive while some are missing.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Partitions from which no record arrives, although there are some.
#[derive(Debug, thiserror::Error)]
#[error("no record arrived for {STALL_TIMEOUT:?} while {} were incomplete", names(.partitions))]
pub(in crate::verify) struct Stalled {
    pub(in crate::verify) partitions: Vec<(Topic, i32)>,
}

fn names(partitions: &[(Topic, i32)]) -> String {
    let names: Vec<String> = partitions.iter().map(|(topic, id)| format!("{topic}/{id}")).collect();
    names.join(", ")
}

/// Reads partitions, each time with a consumer that no other stream uses.
#[derive(Clone)]
pub(super) struct Streams {
    kafka: KafkaConfig,
    /// Asks for offsets.
    asking: Arc<BaseConsumer>,
    /// The consumer of the last stream, once that is read to its end.
    idle: Arc<Mutex<Option<BaseConsumer>>>,
}

impl Streams {
    /// Connects in the background.
    ///
    /// # Errors
    /// When a property of Kafka's client is wrong.
    pub(super) fn try_new(kafka: &KafkaConfig) -> anyhow::Result<Self> {
        Ok(Self { kafka: kafka.clone(), asking: Arc::new(consumer(kafka)?), idle: Arc::default() })
    }

    /// The offsets of all partitions of these topics.
    ///
    /// # Errors
    /// When the broker does not answer or lacks a topic, or no partition can be read.
    pub(super) async fn watermarks(
        &self,
        topics: impl IntoIterator<Item = String>,
    ) -> anyhow::Result<Vec<Watermarks>> {
        watermarks::of(&self.asking, topics).await
    }

    /// Reads partitions one after the other, in this order, and hands on what stands there. Ends early when the receiver is
    /// dropped: its consumer ends with it.
    pub(super) fn read(&self, partitions: Vec<Partition>) -> mpsc::Receiver<anyhow::Result<Vec<Record>>> {
        let (pieces, received) = mpsc::channel(PIECES);
        let (kafka, idle) = (self.kafka.clone(), Arc::clone(&self.idle));
        tokio::task::spawn_blocking(move || {
            let taken = idle.lock().unwrap_or_else(PoisonError::into_inner).take();
            let read = || {
                let consumer = taken.map_or_else(|| consumer(&kafka), Ok)?;
                for group in groups(&partitions) {
                    let stalled = read_group(&consumer, group, &pieces)?;
                    // Other partitions can be read all the same.
                    if !stalled.partitions.is_empty() {
                        pieces.blocking_send(Err(stalled.into())).context("handing records on")?;
                    }
                }
                anyhow::Ok(consumer)
            };
            match read() {
                Ok(consumer) => *idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(consumer),
                Err(error) => drop(pieces.blocking_send(Err(error))),
            }
        });
        received
    }
}

/// A consumer that belongs to no group.
fn consumer(kafka: &KafkaConfig) -> anyhow::Result<BaseConsumer> {
    client(kafka).create().context("a Kafka consumer")
}

fn client(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = ClientConfig::from_iter(kafka.client_properties());
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
    config
}

/// A partition's full topic name, what it is, and what of it is read.
pub(super) type Partition = (String, (Topic, i32), Range);

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
) -> anyhow::Result<Stalled> {
    let mut missing: BTreeMap<(Topic, i32), &Partition> = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in group.iter().filter(|(.., range)| range.high > range.low) {
        assignment.add_partition_offset(&partition.0, partition.1.1, Offset::Offset(partition.2.low))?;
        missing.insert(partition.1, partition);
    }
    if missing.is_empty() {
        return Ok(Stalled { partitions: Vec::new() });
    }
    let names: BTreeMap<&str, Topic> =
        group.iter().map(|(name, (topic, _), _)| (name.as_str(), *topic)).collect();
    consumer.assign(&assignment).context("assigning partitions")?;
    let (mut piece, mut progress) = (Vec::with_capacity(PIECE), Instant::now());
    while !missing.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let Some(topic) = names.get(message.topic()) else { continue };
                let at = (*topic, message.partition());
                // What comes to a partition that is read is no progress of the others.
                let Some((.., range)) = missing.get(&at) else { continue };
                progress = Instant::now();
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
        if progress.elapsed() > STALL_TIMEOUT || pieces.is_closed() {
            break;
        }
        // A partition that is read alone is in order.
        if group.len() == 1 && piece.len() == PIECE {
            hand_on(pieces, std::mem::take(&mut piece))?;
        }
    }
    // Partitions arrive interleaved; within each, the order is that of the offsets.
    piece.sort_by_key(|record| (record.place.topic.suffix(), record.place.partition));
    consumer.unassign().context("giving partitions up")?;
    hand_on(pieces, piece)?;
    Ok(Stalled { partitions: missing.into_keys().collect() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_trusts_the_authorities_that_services_trust() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["ca.crt", "ca-2026-01-01T00-00-00Z.crt"] {
            std::fs::write(directory.path().join(name), name).unwrap();
        }
        let location = directory.path().display().to_string();
        let mut kafka = KafkaConfig::new("127.0.0.1:9092");
        kafka.properties.insert("ssl.ca.location".to_owned(), location);
        let client = client(&kafka);
        assert_eq!(client.get("ssl.ca.location"), None);
        let trusted = client.get("ssl.ca.pem").unwrap_or_default();
        assert_eq!(trusted.lines().collect::<Vec<_>>(), ["ca-2026-01-01T00-00-00Z.crt", "ca.crt"]);
    }
}
