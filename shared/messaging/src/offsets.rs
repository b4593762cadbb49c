//! The offsets that topics hold, asked partition by partition: one that does not answer leaves the others' answers.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};

use crate::bus::{Bus, BusError, PartitionState, TopicPartition, Watermarks};

/// So many questions are open at once; each is bounded by the bus.
const AT_ONCE: usize = 8;

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
    let ask = async |partition: TopicPartition| {
        let answer = bus.watermarks(&partition).await;
        (partition, answer)
    };
    stream::iter(partitions).map(ask).buffered(AT_ONCE).collect().await
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
