//! What every bus promises, and the helpers of the suite.

pub(crate) mod groups;
pub(crate) mod holes;
pub(crate) mod publishing;
pub(crate) mod reading;
pub(crate) mod topics;

use std::sync::Arc;

use futures::future::try_join_all;
use messaging::{
    Acknowledged, Batch, Bus, Consumer, Membership, Partition, Producer, Record, Subscription,
    TopicPartition, TopicSpec,
};
use testkit::broker::unique;
use testkit::wait::eventually;
use tokio::time::timeout;

use crate::member::LONG;

pub(crate) const PARTITIONS: i32 = 6;

pub(crate) fn spec(name: &str) -> TopicSpec {
    TopicSpec { name: name.to_owned(), partitions: PARTITIONS, replication_factor: 1 }
}

/// A new topic.
pub(crate) async fn topic(bus: &Arc<dyn Bus>) -> String {
    let name = unique("suite");
    // A busy machine may not answer within the client's own time-out.
    eventually("the topic is created", LONG, async || bus.create_topics(&[spec(&name)]).await).await;
    name
}

pub(crate) fn record(topic: &str, key: &str, value: &str) -> Record {
    Record { topic: topic.to_owned(), key: Some(key.into()), value: Some(value.into()), headers: vec![] }
}

/// Sends all of them without waiting in between; all must be acknowledged.
pub(crate) async fn publish(producer: &dyn Producer, records: Vec<Record>) -> Vec<Acknowledged> {
    let receipts: Vec<_> = records.into_iter().map(|record| producer.send(record)).collect();
    timeout(LONG, try_join_all(receipts)).await.expect("acknowledgements in time").unwrap()
}

/// A member of a group of its own that was given all partitions, in order.
pub(crate) async fn reader(bus: &Arc<dyn Bus>, topic: &str) -> (Box<dyn Consumer>, Vec<Box<dyn Partition>>) {
    let subscription = Subscription::Topics(vec![topic.to_owned()]);
    let mut consumer = bus.subscribe(&unique("group"), &subscription).await.unwrap();
    let mut partitions = Vec::new();
    while partitions.len() < PARTITIONS as usize {
        match timeout(LONG, consumer.next()).await.expect("an assignment in time").unwrap() {
            Membership::Assigned(more) => partitions.extend(more),
            Membership::Revoked(ids) => panic!("no other member is in the group, but {ids:?} are revoked"),
        }
    }
    partitions.sort_by_key(|partition| partition.id().clone());
    (consumer, partitions)
}

/// The same, but one partition only.
pub(crate) async fn reader_of(
    bus: &Arc<dyn Bus>,
    id: &TopicPartition,
) -> (Box<dyn Consumer>, Box<dyn Partition>) {
    let (consumer, partitions) = reader(bus, &id.topic).await;
    let found = partitions.into_iter().find(|partition| partition.id() == id);
    (consumer, found.unwrap())
}

/// The next batch, in time and without an error.
pub(crate) async fn next(partition: &mut Box<dyn Partition>, max_records: usize) -> Batch {
    let batch = timeout(LONG, partition.next_batch(max_records, 1 << 20)).await;
    batch.unwrap_or_else(|_| panic!("{partition:?} gives records in time")).unwrap().unwrap()
}

/// Reads on until so many records are there.
pub(crate) async fn read(partition: &mut Box<dyn Partition>, count: usize) -> Vec<messaging::Delivered> {
    let mut records = Vec::new();
    while records.len() < count {
        records.extend(next(partition, count - records.len()).await.records);
    }
    records
}
