//! The offsets that partitions hold, asked for at once: a partition that can't be read holds up no other one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
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

/// The offsets of all partitions of these topics: two answers' time at most.
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
    let mut asking = JoinSet::new();
    while let Some(listed) = listing.join_next().await {
        let (topic, partitions) = listed??;
        for (partition, has_leader) in partitions {
            let (consumer, topic) = (Arc::clone(consumer), topic.clone());
            asking.spawn_blocking(move || {
                let offsets = match has_leader {
                    true => consumer.fetch_watermarks(&topic, partition, ANSWER_TIMEOUT),
                    false => {
                        return Watermarks { topic, partition, offsets: Err("it has no leader".to_owned()) };
                    }
                };
                Watermarks { topic, partition, offsets: offsets.map_err(|error| error.to_string()) }
            });
        }
    }
    let mut found = asking.join_all().await;
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

/// The partitions of a topic, each with whether it has a leader.
fn partitions(consumer: &BaseConsumer, topic: String) -> anyhow::Result<(String, Vec<(i32, bool)>)> {
    let metadata = consumer
        .fetch_metadata(Some(&topic), ANSWER_TIMEOUT)
        .with_context(|| format!("asking the broker about {topic}"))?;
    let partitions: Vec<(i32, bool)> = metadata
        .topics()
        .iter()
        .flat_map(rdkafka::metadata::MetadataTopic::partitions)
        .map(|partition| (partition.id(), partition.leader() >= 0))
        .collect();
    if partitions.is_empty() {
        bail!("topic {topic} does not exist");
    }
    Ok((topic, partitions))
}
