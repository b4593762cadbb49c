//! The offsets that topics hold: a partition that does not answer leaves the others' answers.

use std::collections::BTreeSet;

use crate::bus::{Bus, BusError, PartitionState, TopicPartition, Watermarks};

/// All partitions of a topic, whether they have leaders or not.
///
/// # Errors
/// When the broker does not answer, or has no such topic.
pub async fn partitions(bus: &dyn Bus, topic: &str) -> Result<Vec<TopicPartition>, BusError> {
    let named =
        |state: PartitionState| TopicPartition { topic: topic.to_owned(), partition: state.partition };
    Ok(bus.partitions(topic).await?.into_iter().map(named).collect())
}

/// The offsets that each of these partitions holds now, or why that is not known, in their order.
pub async fn watermarks(
    bus: &dyn Bus,
    partitions: Vec<TopicPartition>,
) -> Vec<(TopicPartition, Result<Watermarks, BusError>)> {
    let answers = bus.all_watermarks(&partitions).await;
    partitions.into_iter().zip(answers).collect()
}

/// The partitions of these topics whose leaders do not answer.
///
/// # Errors
/// When the broker does not even name the partitions of one of them.
pub async fn unreached(bus: &dyn Bus, topics: &[String]) -> Result<BTreeSet<TopicPartition>, BusError> {
    let mut all = Vec::new();
    for topic in topics {
        all.extend(partitions(bus, topic).await?);
    }
    let answers = watermarks(bus, all).await.into_iter();
    Ok(answers.filter_map(|(partition, answer)| answer.is_err().then_some(partition)).collect())
}
