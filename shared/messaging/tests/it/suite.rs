//! What every bus promises.

use std::sync::Arc;
use std::time::{Duration, Instant};

use messaging::{Bus, Membership, Record, Subscription, TopicSpec};
use testkit::broker::unique;

use crate::harness::Harness;

const PARTITIONS: i32 = 6;

pub(crate) async fn topic(bus: &Arc<dyn Bus>) -> String {
    let name = unique("suite");
    let spec = TopicSpec { name: name.clone(), partitions: PARTITIONS, replication_factor: 1 };
    bus.create_topics(&[spec]).await.unwrap();
    name
}

pub(crate) async fn a_record_arrives_as_it_was_sent(harness: &impl Harness) {
    let bus = harness.bus();
    let start = Instant::now();
    let topic = topic(&bus).await;
    eprintln!("created {:?}", start.elapsed());
    let producer = bus.producer().await.unwrap();
    let sent = producer
        .send(Record {
            topic: topic.clone(),
            key: "k".into(),
            value: b"v".to_vec(),
            headers: vec![("a".into(), b"1".to_vec()), ("b".into(), vec![])],
        })
        .await
        .unwrap();
    eprintln!("acknowledged {:?} {sent:?}", start.elapsed());
    let mut consumer = bus.subscribe(&unique("g"), &Subscription::Topics(vec![topic.clone()])).await.unwrap();
    let mut partitions = match consumer.next().await.unwrap() {
        Membership::Assigned(partitions) => partitions,
        Membership::Revoked(ids) => panic!("revoked {ids:?}"),
    };
    eprintln!("assigned {:?} {}", start.elapsed(), partitions.len());
    for partition in &mut partitions {
        partition.seek(0).await.unwrap();
    }
    let partition = partitions.iter_mut().find(|p| p.id().partition == sent.partition).unwrap();
    let batch = partition.next_batch(10, 1000).await.unwrap().unwrap();
    eprintln!("read {:?} {batch:?}", start.elapsed());
    let mut times = vec![];
    for n in 1..200 {
        let start = Instant::now();
        let _receipt =
            producer.send(Record { topic: topic.clone(), key: "k".into(), value: vec![1], headers: vec![] });
        let batch = partition.next_batch(10, 1000).await.unwrap().unwrap();
        assert_eq!(batch.from, n);
        times.push(start.elapsed());
    }
    times.sort();
    eprintln!("latency p50 {:?} p99 {:?}", times[100], times[197]);
    let start = Instant::now();
    consumer.close(Duration::from_secs(10)).await;
    eprintln!("closed {:?}", start.elapsed());
}
