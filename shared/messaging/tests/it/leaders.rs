//! One partition without a leader: the others are none the worse. A real broker loses one with its last replica.

use std::time::Duration;

use messaging::{BusError, KafkaConfig, TopicPartition, ends, partition_for_key};
use testkit::broker::EmbeddedBroker;
use tokio::time::timeout;

use crate::member::LONG;
use crate::suite::{PARTITIONS, next, publish, reader, record, spec, topic};

const WITHOUT_LEADER: i32 = 0;

/// A key of a partition that has a leader.
fn key() -> String {
    let keys = (0..).map(|number: u32| number.to_string());
    let is_led = |key: &String| partition_for_key(key.as_bytes(), PARTITIONS) != WITHOUT_LEADER;
    keys.into_iter().find(is_led).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_there_although_a_partition_has_no_leader() {
    let broker = EmbeddedBroker::start().unwrap();
    let topic = topic(&broker.bus().unwrap()).await;
    broker.set_leader(&topic, WITHOUT_LEADER, false).unwrap();
    let bus = broker.bus().unwrap();
    let checked = timeout(Duration::from_secs(15), bus.create_topics(&[spec(&topic)])).await;
    checked.expect("a count needs no leader").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_partitions_are_read_while_one_has_no_leader() {
    let broker = EmbeddedBroker::start().unwrap();
    let bus = broker.bus().unwrap();
    let topic = topic(&bus).await;
    let (key, producer) = (key(), bus.producer().await.unwrap());
    let at = publish(&*producer, vec![record(&topic, &key, "before")]).await[0];
    broker.set_leader(&topic, WITHOUT_LEADER, false).unwrap();

    let (_consumer, mut partitions) = reader(&bus, &topic).await;
    for partition in &mut partitions {
        partition.seek(0).await.unwrap();
    }
    let led = &mut partitions[usize::try_from(at.partition).unwrap()];
    assert_eq!(led.id(), &TopicPartition { topic: topic.clone(), partition: at.partition });
    assert_eq!(next(led, 10).await.records[0].value.as_deref(), Some(b"before".as_slice()));
    publish(&*producer, vec![record(&topic, &key, "while")]).await;
    assert_eq!(next(led, 10).await.records[0].value.as_deref(), Some(b"while".as_slice()));

    broker.set_leader(&topic, WITHOUT_LEADER, true).unwrap();
    let keys = (0..).map(|number: u32| number.to_string());
    let unled = keys.into_iter().find(|key| partition_for_key(key.as_bytes(), PARTITIONS) == WITHOUT_LEADER);
    publish(&*producer, vec![record(&topic, &unled.unwrap(), "after")]).await;
    let batch = timeout(LONG, partitions[0].next_batch(10, 1 << 20)).await.expect("it is led again");
    assert_eq!(batch.unwrap().unwrap().records[0].value.as_deref(), Some(b"after".as_slice()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_other_partitions_hold_is_told_while_one_has_no_leader() {
    let broker = EmbeddedBroker::start().unwrap();
    let bus = broker.bus_with(KafkaConfig { request_timeout_ms: 3_000, ..broker.config() }).unwrap();
    let topic = topic(&bus).await;
    let at = publish(&*bus.producer().await.unwrap(), vec![record(&topic, &key(), "value")]).await[0];
    broker.set_leader(&topic, WITHOUT_LEADER, false).unwrap();

    let answers = timeout(LONG, async {
        let partitions = ends::partitions(&*bus, &topic).await.unwrap();
        assert_eq!(partitions.len(), PARTITIONS as usize);
        ends::watermarks(&*bus, partitions).await
    });
    for (id, answer) in answers.await.expect("an answer of each in time") {
        let known = answer.map(|marks| marks.high);
        match id.partition {
            WITHOUT_LEADER => assert!(matches!(known, Err(BusError::Unavailable { .. })), "{known:?}"),
            partition => assert_eq!(known.unwrap(), i64::from(partition == at.partition), "{partition}"),
        }
    }
}
