//! The offsets that partitions hold, asked for at once: a partition that can't be read holds up no other one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::JoinSet;

/// How long the broker may take for one answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What one partition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watermarks {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The first offset and the end; or why they can't be read.
    pub(crate) offsets: Result<(i64, i64), String>,
}

/// A topic and the number of a partition.
type Id = (String, i32);

/// The offsets of all partitions of these topics: two answers' time at most. Those that one broker leads are asked for together.
///
/// # Errors
/// When the broker does not answer or lacks a topic.
pub(crate) async fn of(
    consumer: &Arc<BaseConsumer>,
    topics: impl IntoIterator<Item = String>,
) -> anyhow::Result<Vec<Watermarks>> {
    let mut listing = JoinSet::new();
    for topic in topics {
        let consumer = Arc::clone(consumer);
        listing.spawn_blocking(move || partitions(&consumer, topic));
    }
    let (mut by_leader, mut found): (BTreeMap<i32, Vec<Id>>, Vec<Watermarks>) = Default::default();
    while let Some(listed) = listing.join_next().await {
        let (topic, partitions) = listed??;
        for (partition, leader) in partitions {
            if leader < 0 {
                found.push(failed((topic.clone(), partition), "it has no leader"));
            } else {
                by_leader.entry(leader).or_default().push((topic.clone(), partition));
            }
        }
    }
    let mut asking = JoinSet::new();
    for ids in by_leader.into_values() {
        let consumer = Arc::clone(consumer);
        asking.spawn_blocking(move || together(&consumer, ids));
    }
    let mut alone = JoinSet::new();
    for answer in asking.join_all().await {
        match answer {
            Ok(of_broker) => found.extend(of_broker),
            // It is not known of which of them.
            Err(ids) => ids.into_iter().for_each(|(topic, partition)| {
                let consumer = Arc::clone(consumer);
                alone.spawn_blocking(move || {
                    let offsets = consumer.fetch_watermarks(&topic, partition, ANSWER_TIMEOUT);
                    Watermarks { topic, partition, offsets: offsets.map_err(|error| error.to_string()) }
                });
            }),
        }
    }
    found.extend(alone.join_all().await);
    found.sort_by(|one, other| (&one.topic, one.partition).cmp(&(&other.topic, other.partition)));
    match found
        .iter()
        .map(|it| &it.offsets)
        .find(|offsets| offsets.is_ok())
        .or(found.first().map(|it| &it.offsets))
    {
        Some(Err(error)) => bail!("no partition can be read: {error}"),
        _ => Ok(found),
    }
}

/// The partitions of a topic, each with the broker that leads it; below zero if none does.
fn partitions(consumer: &BaseConsumer, topic: String) -> anyhow::Result<(String, Vec<(i32, i32)>)> {
    let metadata = consumer
        .fetch_metadata(Some(&topic), ANSWER_TIMEOUT)
        .with_context(|| format!("asking the broker about {topic}"))?;
    let partitions: Vec<(i32, i32)> = metadata
        .topics()
        .iter()
        .flat_map(rdkafka::metadata::MetadataTopic::partitions)
        .map(|partition| (partition.id(), partition.leader()))
        .collect();
    if partitions.is_empty() {
        bail!("topic {topic} does not exist");
    }
    Ok((topic, partitions))
}

/// What the broker that leads these partitions says of them, by one request for each end. Gives them back if one of them is at
/// fault.
fn together(consumer: &BaseConsumer, ids: Vec<Id>) -> Result<Vec<Watermarks>, Vec<Id>> {
    let ends =
        || KafkaResult::Ok((ends(consumer, &ids, Offset::Beginning)?, ends(consumer, &ids, Offset::End)?));
    match ends() {
        Ok((lows, highs)) => {
            let offsets = |id: &Id| Some((*lows.get(id)?, *highs.get(id)?));
            let found = |id: Id| match offsets(&id) {
                Some(offsets) => Watermarks { topic: id.0, partition: id.1, offsets: Ok(offsets) },
                None => failed(id, "the broker does not name its offsets"),
            };
            Ok(ids.into_iter().map(found).collect())
        }
        Err(error) if is_of_broker(&error) => {
            Ok(ids.into_iter().map(|id| failed(id, &error.to_string())).collect())
        }
        Err(_) => Err(ids),
    }
}

/// The same end of each partition. librdkafka takes it for a time: the protocol's request for the offset of a time has the ends as
/// negative ones.
fn ends(consumer: &BaseConsumer, ids: &[Id], end: Offset) -> KafkaResult<HashMap<Id, i64>> {
    let mut asked = TopicPartitionList::with_capacity(ids.len());
    for (topic, partition) in ids {
        asked.add_partition_offset(topic, *partition, end)?;
    }
    let mut ends = HashMap::new();
    for element in consumer.offsets_for_times(asked, ANSWER_TIMEOUT)?.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            ends.insert((element.topic().to_owned(), element.partition()), offset);
        }
    }
    Ok(ends)
}

/// Whether the broker itself has not answered, so that it would answer for none of its partitions.
fn is_of_broker(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| {
        matches!(code, RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::BrokerTransportFailure)
    })
}

fn failed((topic, partition): Id, error: &str) -> Watermarks {
    Watermarks { topic, partition, offsets: Err(error.to_owned()) }
}
