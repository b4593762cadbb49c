//! A position that the broker reported outside its range is compared by its reader, also when it is inside again.

use messaging::{Partition, ReadError, TopicPartition};
use testkit::broker::EmbeddedBroker;
use tokio::time::timeout;

use crate::member::LONG;
use crate::suite::{next, publish, read, reader, record, topic};

/// Asserts that the reader gets no batch, but this position as one to compare.
async fn assert_reset(partition: &mut Box<dyn Partition>, offset: i64) {
    let answer = timeout(LONG, partition.next_batch(10, 1 << 20)).await.expect("an answer in time");
    let TopicPartition { topic, partition } = partition.id().clone();
    assert_eq!(answer, Some(Err(ReadError::Reset { topic, partition, offset })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_is_inside_again_is_not_read_on_before_a_seek() {
    let broker = EmbeddedBroker::start().unwrap();
    let bus = broker.bus().unwrap();
    let topic = topic(&bus).await;
    let producer = bus.producer().await.unwrap();
    let at = publish(&*producer, vec![record(&topic, "key", "0")]).await[0];
    let (_consumer, mut partitions) = reader(&bus, &topic).await;
    let mut reset = partitions.remove(usize::try_from(at.partition).unwrap());
    assert_eq!(reset.id(), &TopicPartition { topic: topic.clone(), partition: at.partition });
    let mut other = partitions.remove(0);

    // librdkafka does not name the partition, so another one shows when it has reported this one.
    other.seek(0).await.unwrap();
    reset.seek(5).await.unwrap();
    assert_reset(&mut other, 0).await;

    let records = (1..8).map(|n: i32| record(&topic, "key", &n.to_string()));
    publish(&*producer, records.collect()).await;
    assert_reset(&mut reset, 5).await;
    reset.seek(4).await.unwrap();
    assert_eq!(next(&mut reset, 1).await.from, 4);
    assert_eq!(read(&mut reset, 3).await.last().unwrap().offset, 7);
}
