//! Publishes three records of one key, and reads them in their order: `cargo run --example parcels`. The broker is one
//! inside this process; for a real one take `KafkaBus::try_new(KafkaConfig::new("host:9092"))`.

use std::time::Duration;

use embedded::broker::EmbeddedBroker;
use messaging::{Bus, Membership, Partition, Record, Subscription, TopicSpec, partition_for_key};

const TOPIC: &str = "parcels";
const PARTITIONS: i32 = 3;
const KEY: &[u8] = b"parcel-1";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let broker = EmbeddedBroker::start()?;
    let bus = broker.bus()?;
    let topic = TopicSpec { name: TOPIC.to_owned(), partitions: PARTITIONS, replication_factor: 1 };
    bus.create_topics(&[topic]).await?;
    publish(&*bus, &["packed", "dispatched", "delivered"]).await?;
    read(&*bus, 3).await
}

/// Sends all of them at once: equal keys keep the order of the calls.
async fn publish(bus: &dyn Bus, values: &[&str]) -> anyhow::Result<()> {
    let producer = bus.producer().await?;
    let record = |value: &&str| Record {
        topic: TOPIC.to_owned(),
        key: Some(KEY.to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: Vec::new(),
    };
    let receipts: Vec<_> = values.iter().map(|value| producer.send(record(value))).collect();
    for receipt in receipts {
        println!("acknowledged: {:?}", receipt.await?);
    }
    Ok(())
}

/// Joins a group and reads so many records of the key's partition, from its beginning: positions are the reader's to keep.
async fn read(bus: &dyn Bus, mut missing: usize) -> anyhow::Result<()> {
    let mut member = bus.subscribe("tracking", &Subscription::Topics(vec![TOPIC.to_owned()])).await?;
    let mut assigned: Vec<Box<dyn Partition>> = Vec::new();
    let wanted = partition_for_key(KEY, PARTITIONS);
    while !assigned.iter().any(|partition| partition.id().partition == wanted) {
        if let Membership::Assigned(partitions) = member.next().await? {
            assigned.extend(partitions);
        }
    }
    for mut partition in assigned.into_iter().filter(|partition| partition.id().partition == wanted) {
        partition.seek(0).await?;
        while missing > 0 {
            let Some(batch) = partition.next_batch(100, 1 << 20).await else { break };
            let batch = batch?;
            for record in &batch.records {
                println!(
                    "{}: {}",
                    record.offset,
                    String::from_utf8_lossy(record.value.as_deref().unwrap_or_default())
                );
            }
            missing = missing.saturating_sub(batch.records.len());
            partition.commit(batch.to);
        }
    }
    member.close(Duration::from_secs(5)).await;
    Ok(())
}
