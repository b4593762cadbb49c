//! Reads partitions from their beginning, beside the live consumer and in a group of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use messaging::{Batch, Bus, Consumer, Membership, Partition, Subscription, TopicPartition};

const MAX_BATCH_RECORDS: usize = 500;
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How long joining the group, and each read, may take.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// A member of the rebuild's group that holds every partition.
pub(super) struct Reader {
    consumer: Box<dyn Consumer>,
    partitions: BTreeMap<TopicPartition, Box<dyn Partition>>,
}

impl Reader {
    /// Joins `group` and waits until it holds all of `wanted`.
    pub(super) async fn join(bus: &dyn Bus, group: &str, wanted: &[TopicPartition]) -> anyhow::Result<Self> {
        let mut topics: Vec<String> = wanted.iter().map(|partition| partition.topic.clone()).collect();
        topics.dedup();
        let consumer = bus.subscribe(group, &Subscription::Topics(topics)).await?;
        let mut reader = Self { consumer, partitions: BTreeMap::new() };
        let assigned = tokio::time::timeout(WAIT_TIMEOUT, reader.wait_for(wanted)).await;
        assigned.with_context(|| {
            format!("group {group} did not assign all partitions within {WAIT_TIMEOUT:?}")
        })??;
        Ok(reader)
    }

    async fn wait_for(&mut self, wanted: &[TopicPartition]) -> anyhow::Result<()> {
        while !wanted.iter().all(|partition| self.partitions.contains_key(partition)) {
            match self.consumer.next().await? {
                Membership::Assigned(partitions) => {
                    self.partitions
                        .extend(partitions.into_iter().map(|partition| (partition.id().clone(), partition)));
                }
                Membership::Revoked(partitions) => {
                    self.partitions.retain(|id, _| !partitions.contains(id));
                }
            }
        }
        Ok(())
    }

    /// The records of `partition` from `from` on, up to and without `to`, or as many of them as one batch holds.
    pub(super) async fn read(
        &mut self,
        partition: &TopicPartition,
        from: i64,
        to: i64,
    ) -> anyhow::Result<Batch> {
        let Some(handle) = self.partitions.get_mut(partition) else {
            bail!("partition {partition:?} is not assigned to the rebuild");
        };
        handle.seek(from).await?;
        let read =
            tokio::time::timeout(WAIT_TIMEOUT, handle.next_batch(MAX_BATCH_RECORDS, MAX_BATCH_BYTES)).await;
        let batch =
            read.with_context(|| format!("no record of {partition:?} from {from} within {WAIT_TIMEOUT:?}"))?;
        let Some(batch) = batch else { bail!("partition {partition:?} was revoked from the rebuild") };
        let mut batch = batch?;
        batch.records.retain(|record| record.offset < to);
        batch.to = batch.to.min(to);
        Ok(batch)
    }

    /// Leaves the group.
    pub(super) async fn close(self) {
        drop(self.partitions);
        self.consumer.close(Duration::from_secs(10)).await;
    }
}
