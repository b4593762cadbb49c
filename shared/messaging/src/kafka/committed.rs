//! What a group has committed, asked by a client that names the group and does not join it.

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::config::KafkaConfig;
use super::errors::{configuration, unavailable};
use super::metadata::Quiet;
use crate::bus::{BusError, TopicPartition};

type Offsets = BTreeMap<TopicPartition, i64>;

/// The offsets of those of `partitions` that have one.
pub(crate) async fn committed(
    config: &KafkaConfig,
    client_id: &str,
    group: &str,
    partitions: Vec<TopicPartition>,
) -> Result<Offsets, BusError> {
    let client: BaseConsumer<Quiet> = config
        .of_group(client_id, group)
        .create_with_context(Quiet::new(client_id))
        .map_err(|error| configuration(config, &error))?;
    let (timeout, (answer, answered)) = (config.request_timeout(), oneshot::channel());
    let ask = move || {
        let offsets_read =
            client.committed_offsets(list(&partitions), timeout).and_then(|list| offsets(&list));
        // Closing it may take time, and is not waited for.
        let _ = answer.send(offsets_read);
    };
    std::thread::Builder::new()
        .name(client_id.to_owned())
        .spawn(ask)
        .map_err(|error| BusError::Configuration(format!("no thread for a question: {error}")))?;
    let action = format!("return the committed offsets of {group}");
    let offsets_read = answered.await.map_err(|_| BusError::Closed)?;
    offsets_read.map_err(|error| unavailable(&config.bootstrap_servers, &action, &error))
}

fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for TopicPartition { topic, partition } in partitions {
        list.add_partition(topic, *partition);
    }
    list
}

/// One partition's error is the answer's: left out, it would look like a partition without a commit.
fn offsets(list: &TopicPartitionList) -> KafkaResult<Offsets> {
    let mut offsets = Offsets::new();
    for element in list.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            let id = TopicPartition { topic: element.topic().to_owned(), partition: element.partition() };
            offsets.insert(id, offset);
        }
    }
    Ok(offsets)
}
