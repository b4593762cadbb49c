//! The bus as one member reaches it: the leaders of some partitions do not answer it, while they answer others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use messaging::{
    Batch, Bus, BusError, Consumer, InMemoryBus, Membership, Partition, PartitionState, Producer, ReadError,
    Subscription, TopicPartition, TopicSpec, Watermarks,
};
use tokio::sync::watch;

type Cut = watch::Sender<BTreeSet<TopicPartition>>;

/// The end of a partition that a leader gives which was replaced, and how often it is asked.
type Stale = Mutex<BTreeMap<TopicPartition, (i64, usize)>>;

#[derive(Debug)]
pub(crate) struct Reach {
    bus: Arc<InMemoryBus>,
    cut: Cut,
    stale: Stale,
    /// How often committed offsets were asked for.
    asked: AtomicUsize,
}

impl Reach {
    pub(crate) fn all_of(bus: &Arc<InMemoryBus>) -> Arc<Self> {
        Arc::new(Self {
            bus: Arc::clone(bus),
            cut: watch::Sender::default(),
            stale: Stale::default(),
            asked: AtomicUsize::new(0),
        })
    }

    /// The next so many questions about the partition's end reach a leader that was replaced, and knows of this one.
    pub(crate) fn ask_a_replaced_leader(&self, partition: &TopicPartition, high: i64, times: usize) {
        self.stale.lock().unwrap().insert(partition.clone(), (high, times));
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The leaders of these partitions do not answer, and all others do.
    pub(crate) fn cut_off(&self, partitions: &[TopicPartition]) {
        self.cut.send_replace(partitions.iter().cloned().collect());
    }
}

#[async_trait]
impl Bus for Reach {
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.bus.create_topics(topics).await
    }

    async fn producer(&self) -> Result<Box<dyn Producer>, BusError> {
        self.bus.producer().await
    }

    async fn subscribe(
        &self,
        group: &str,
        subscription: &Subscription,
    ) -> Result<Box<dyn Consumer>, BusError> {
        let consumer = self.bus.subscribe(group, subscription).await?;
        Ok(Box::new(Member { consumer, cut: self.cut.clone() }))
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<PartitionState>, BusError> {
        self.bus.partitions(topic).await
    }

    async fn watermarks(&self, partition: &TopicPartition) -> Result<Watermarks, BusError> {
        if self.cut.borrow().contains(partition) {
            return Err(BusError::Unavailable {
                broker: "in memory".to_owned(),
                action: format!("return watermarks of {}/{}", partition.topic, partition.partition),
                detail: "its leader does not answer this member".to_owned(),
            });
        }
        let current = self.bus.watermarks(partition).await?;
        if let Some((high, times @ 1..)) = self.stale.lock().unwrap().get_mut(partition) {
            *times -= 1;
            return Ok(Watermarks { high: *high, ..current });
        }
        Ok(current)
    }

    async fn committed_offsets(
        &self,
        group: &str,
        topics: &[String],
    ) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.bus.committed_offsets(group, topics).await
    }

    async fn ping(&self, timeout: Duration) -> Result<(), BusError> {
        self.bus.ping(timeout).await
    }
}

struct Member {
    consumer: Box<dyn Consumer>,
    cut: Cut,
}

#[async_trait]
impl Consumer for Member {
    async fn next(&mut self) -> Result<Membership, BusError> {
        Ok(match self.consumer.next().await? {
            Membership::Assigned(partitions) => {
                let reached = |partition| Box::new(Reached { partition, cut: self.cut.clone(), position: 0 });
                Membership::Assigned(
                    partitions
                        .into_iter()
                        .map(|partition| reached(partition) as Box<dyn Partition>)
                        .collect(),
                )
            }
            revoked @ Membership::Revoked(_) => revoked,
        })
    }

    fn is_in_group(&self) -> bool {
        self.consumer.is_in_group()
    }

    async fn close(self: Box<Self>, timeout: Duration) {
        self.consumer.close(timeout).await;
    }
}

#[derive(Debug)]
struct Reached {
    partition: Box<dyn Partition>,
    cut: Cut,
    position: i64,
}

#[async_trait]
impl Partition for Reached {
    fn id(&self) -> &TopicPartition {
        self.partition.id()
    }

    async fn seek(&mut self, offset: i64) -> Result<(), BusError> {
        self.position = offset;
        self.partition.seek(offset).await
    }

    async fn next_batch(&mut self, max_records: usize, max_bytes: usize) -> Option<Result<Batch, ReadError>> {
        let mut cut = self.cut.subscribe();
        loop {
            if !cut.borrow_and_update().contains(self.partition.id()) {
                tokio::select! {
                    _ = cut.changed() => continue,
                    batch = self.partition.next_batch(max_records, max_bytes) => {
                        if let Some(Ok(batch)) = &batch {
                            self.position = batch.to;
                        }
                        return batch;
                    }
                }
            }
            // A handle that was revoked refuses it.
            if self.partition.seek(self.position).await.is_err() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn commit(&self, offset: i64) {
        self.partition.commit(offset);
    }
}
