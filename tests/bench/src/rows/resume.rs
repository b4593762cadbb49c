//! From the resumption of a paused partition to its first record, after rest.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use debezium::topic;
use messaging::{
    Bus as _, Consumer, KafkaBus, KafkaConfig, Membership, Partition, Record, Subscription, partition_for_key,
};
use tokio::time::{sleep, timeout};

use super::{Measured, Setting};
use crate::figures::{Figure, Goal};
use crate::latencies::Latencies;
use crate::servers::Servers;

pub(super) const NAME: &str = "resume";
pub(super) const MEASURES: &str = "A member of a group with six partitions, each of which is paused once its buffer of one record is full. \
    After a rest the reader takes the record: from there, which resumes the partition, to the next record, which came meanwhile and \
    waits on the broker. The other five partitions have nothing, so that a fetch for them may be in flight.";
pub(super) const BESIDE: &str =
    "nothing; a fetch in flight waits for up to kafka.fetch_wait_max_ms (500 ms).";

const PARTITIONS: i32 = 6;
const TRIALS: usize = 60;
const REST: Duration = Duration::from_secs(1);
const RECORD_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn run(setting: &Setting, servers: &Servers) -> anyhow::Result<Measured> {
    let trials = if setting.quick { PARTITIONS as usize } else { TRIALS };
    let brokers = &servers.kafka.addresses.bootstrap_servers;
    let name = format!("bench-resume-{}", contracts::clock::new_id().simple());
    topic::create(brokers, &name, PARTITIONS).await?;
    let bus = KafkaBus::try_new(KafkaConfig { buffer_records: 1, ..KafkaConfig::new(brokers) })?;
    let producer = bus.producer().await?;
    let mut member = bus.subscribe(&name, &Subscription::Topics(vec![name.clone()])).await?;
    let mut partitions = assigned(&mut *member).await?;
    let mut us = Vec::new();
    for number in 0..trials {
        let count = partitions.len();
        let partition = &mut partitions[number % count];
        let key = key_of(partition.id().partition);
        // The first fills the buffer, which pauses the partition; the second comes while it is paused, and stays on the broker.
        for _ in 0..2 {
            let record = Record {
                topic: name.clone(),
                key: Some(key.clone().into_bytes()),
                value: Some(b"record".to_vec()),
                headers: Vec::new(),
            };
            producer.send(record).await.context("producing a record")?;
            sleep(REST).await;
        }
        next(&mut **partition).await?;
        let resumed_at = Instant::now();
        next(&mut **partition).await?;
        us.push(u64::try_from(resumed_at.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    drop(partitions);
    member.close(RECORD_TIMEOUT).await;
    let latencies = Latencies::new(us);
    let figures = vec![
        Figure::new("resumed to first record, p99", "ms", latencies.p99_ms()).goal(Goal::ValueAtMost(600.0)),
        Figure::new("resumed to first record, p50", "ms", latencies.p50_ms()),
    ];
    Ok(Measured { figures, notes: vec![format!("{trials} resumptions.")] })
}

/// All partitions, each at its begin.
async fn assigned(member: &mut dyn Consumer) -> anyhow::Result<Vec<Box<dyn Partition>>> {
    let mut all: Vec<Box<dyn Partition>> = Vec::new();
    while all.len() < PARTITIONS as usize {
        match timeout(RECORD_TIMEOUT, member.next()).await.context("waiting for an assignment")?? {
            Membership::Assigned(partitions) => all.extend(partitions),
            Membership::Revoked(partitions) => bail!("{} partitions were revoked", partitions.len()),
        }
    }
    for partition in &mut all {
        partition.seek(0).await?;
    }
    Ok(all)
}

/// Waits for one record.
async fn next(partition: &mut dyn Partition) -> anyhow::Result<()> {
    loop {
        let batch = timeout(RECORD_TIMEOUT, partition.next_batch(1, usize::MAX)).await;
        let batch = batch.context("waiting for a record")?.context("the partition was revoked")??;
        if !batch.records.is_empty() {
            return Ok(());
        }
    }
}

/// A key whose records lie on this partition.
fn key_of(partition: i32) -> String {
    let lies_there = |key: &String| partition_for_key(key.as_bytes(), PARTITIONS) == partition;
    (0_u32..).map(|number| number.to_string()).find(lies_there).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_a_key() {
        for partition in 0..PARTITIONS {
            assert_eq!(partition_for_key(key_of(partition).as_bytes(), PARTITIONS), partition);
        }
    }
}
