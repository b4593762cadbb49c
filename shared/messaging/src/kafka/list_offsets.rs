//! The ends of many partitions: one request per broker that leads some of them, and per end.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};

use crate::bus::{TopicPartition, Watermarks};

/// What the broker that leads these partitions says of them. An error is one of the request, or of any partition: then it is not known
/// of which.
pub(super) fn watermarks<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    partitions: &[TopicPartition],
    timeout: Duration,
) -> KafkaResult<Vec<Watermarks>> {
    let (lows, highs) = (
        offsets(client, partitions, Offset::Beginning, timeout)?,
        offsets(client, partitions, Offset::End, timeout)?,
    );
    let found = |id: &TopicPartition| {
        let offset = |of: &BTreeMap<TopicPartition, i64>| of.get(id).copied().ok_or(KafkaError::Canceled);
        Ok(Watermarks { partition: id.partition, low: offset(&lows)?, high: offset(&highs)? })
    };
    partitions.iter().map(found).collect()
}

/// The same end of each partition. librdkafka takes it for a time: the protocol's request for the offset of a time has the ends as
/// negative ones.
fn offsets<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    partitions: &[TopicPartition],
    end: Offset,
    timeout: Duration,
) -> KafkaResult<BTreeMap<TopicPartition, i64>> {
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for TopicPartition { topic, partition } in partitions {
        asked.add_partition_offset(topic, *partition, end)?;
    }
    let found = client.offsets_for_times(asked, timeout)?;
    let mut offsets = BTreeMap::new();
    for element in found.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            let id = TopicPartition { topic: element.topic().to_owned(), partition: element.partition() };
            offsets.insert(id, offset);
        }
    }
    Ok(offsets)
}
