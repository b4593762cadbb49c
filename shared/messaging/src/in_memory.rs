//! A bus within one process: the same promises as Kafka, for tests that need no broker, with faults by name.

mod consumer;
mod faults;
mod group;
mod log;
mod producer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::bus::{
    Bus, BusError, Consumer, Delivered, PartitionState, Subscription, TopicPartition, TopicSpec, Watermarks,
};
use crate::publishing::Producer;

pub use faults::{Fault, FaultRule};

use consumer::InMemoryConsumer;
use faults::Late;
use group::{Group, Matcher};
use log::Topic;
use producer::{InMemoryProducer, Waiting};

/// A broker in memory. Clones share it; it lives until the last handle is gone.
#[derive(Clone)]
pub struct InMemoryBus {
    shared: Arc<Shared>,
}

/// What all handles of one bus share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Bumped after every change; waiters subscribe before they look.
    version: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct State {
    topics: BTreeMap<String, Topic>,
    groups: BTreeMap<String, Group>,
    rules: Vec<FaultRule>,
    late: Vec<Late>,
    waiting: Vec<Waiting>,
    unavailable: bool,
    leaderless: BTreeSet<TopicPartition>,
    next_id: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panicking test must not turn every other handle's error into a poisoning.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}

impl State {
    fn draw_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn has_leader(&self, topic: &str, partition: i32) -> bool {
        !self.leaderless.iter().any(|id| id.topic == topic && id.partition == partition)
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        let of = |(name, topic): (&String, &Topic)| {
            let name = name.clone();
            (0..topic.partitions()).map(move |partition| TopicPartition { topic: name.clone(), partition })
        };
        self.topics.iter().flat_map(of).collect()
    }

    fn rebalance_all(&mut self) {
        let partitions = self.partitions();
        for group in self.groups.values_mut() {
            group.rebalance(&partitions);
        }
    }
}

impl InMemoryBus {
    /// An empty bus without faults.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::default(), version: watch::Sender::new(0) }) }
    }

    /// Adds a fault behind those that are there; the first rule that matches a record decides.
    pub fn inject(&self, rule: FaultRule) {
        self.shared.lock().rules.push(rule);
    }

    /// Ends all faults of single records.
    pub fn heal(&self) {
        self.shared.lock().rules.clear();
    }

    /// While unavailable, records wait unacknowledged in their producers, nothing is delivered, and questions fail.
    /// When available again, what waits is appended, in the order in which it was sent.
    pub fn set_available(&self, available: bool) {
        let mut state = self.shared.lock();
        state.unavailable = !available;
        if available {
            producer::append_waiting(&mut state);
        }
        drop(state);
        self.shared.changed();
    }

    /// While a partition has no leader, records for it wait unacknowledged in their producers, nothing of it is delivered, and
    /// questions about it fail.
    pub fn set_leader(&self, topic: &str, partition: i32, present: bool) {
        let mut state = self.shared.lock();
        let id = TopicPartition { topic: topic.to_owned(), partition };
        if present {
            state.leaderless.remove(&id);
            producer::append_waiting(&mut state);
        } else {
            state.leaderless.insert(id);
        }
        drop(state);
        self.shared.changed();
    }

    /// A topic has so many partitions from now on; none is taken away.
    pub fn set_partitions(&self, topic: &str, partitions: i32) {
        let mut state = self.shared.lock();
        if let Some(topic) = state.topics.get_mut(topic) {
            topic.grow(partitions);
        }
        state.rebalance_all();
        drop(state);
        self.shared.changed();
    }

    /// A topic is deleted and made anew, empty, under its name.
    pub fn recreate_topic(&self, topic: &str) {
        let mut state = self.shared.lock();
        if let Some(topic) = state.topics.get_mut(topic) {
            topic.recreate();
        }
        drop(state);
        self.shared.changed();
    }

    /// Everything that a partition holds, oldest first.
    #[must_use]
    pub fn records(&self, topic: &str, partition: i32) -> Vec<Delivered> {
        let state = self.shared.lock();
        let log = state.topics.get(topic).and_then(|topic| topic.log(partition));
        log.map(|log| log.records.iter().cloned().collect()).unwrap_or_default()
    }

    /// Appends to one partition what our own producers can't: no key, no value, any bytes.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn append_raw(&self, topic: &str, partition: i32, record: Delivered) -> Result<i64, BusError> {
        let mut state = self.shared.lock();
        let log = state.topics.get_mut(topic).and_then(|topic| topic.log_mut(partition));
        let offset = log.ok_or_else(|| no_such_topic(topic))?.append(record);
        drop(state);
        self.shared.changed();
        Ok(offset)
    }

    /// Appends what no reader is given: the marker with which another program's transaction ends.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn append_control_record(&self, topic: &str, partition: i32) -> Result<i64, BusError> {
        let mut state = self.shared.lock();
        let log = state.topics.get_mut(topic).and_then(|topic| topic.log_mut(partition));
        let offset = log.ok_or_else(|| no_such_topic(topic))?.append_control_record();
        drop(state);
        self.shared.changed();
        Ok(offset)
    }

    /// Forgets the records below `low`, as retention does.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn expire(&self, topic: &str, partition: i32, low: i64) -> Result<(), BusError> {
        let mut state = self.shared.lock();
        let log = state.topics.get_mut(topic).and_then(|topic| topic.log_mut(partition));
        log.ok_or_else(|| no_such_topic(topic))?.expire(low);
        drop(state);
        self.shared.changed();
        Ok(())
    }
}

impl Default for InMemoryBus {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for InMemoryBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InMemoryBus").finish_non_exhaustive()
    }
}

#[async_trait]
impl Bus for InMemoryBus {
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        let mut state = self.shared.lock();
        available(&state, "create topics")?;
        for spec in topics {
            let topic = state.topics.entry(spec.name.clone()).or_insert_with(|| Topic::new(spec.partitions));
            if topic.partitions() != spec.partitions {
                return Err(BusError::PartitionCount {
                    topic: spec.name.clone(),
                    expected: spec.partitions,
                    found: topic.partitions(),
                });
            }
        }
        state.rebalance_all();
        drop(state);
        self.shared.changed();
        Ok(())
    }

    async fn producer(&self) -> Result<Box<dyn Producer>, BusError> {
        let id = self.shared.lock().draw_id();
        Ok(Box::new(InMemoryProducer::new(Arc::clone(&self.shared), id)))
    }

    async fn subscribe(
        &self,
        group: &str,
        subscription: &Subscription,
    ) -> Result<Box<dyn Consumer>, BusError> {
        let matcher = Matcher::try_new(subscription)?;
        let mut state = self.shared.lock();
        let member = state.draw_id();
        state.groups.entry(group.to_owned()).or_default().join(member, matcher);
        state.rebalance_all();
        drop(state);
        self.shared.changed();
        Ok(Box::new(InMemoryConsumer::new(Arc::clone(&self.shared), group.to_owned(), member)))
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<PartitionState>, BusError> {
        let state = self.shared.lock();
        available(&state, "list partitions")?;
        let partitions = state.topics.get(topic).ok_or_else(|| no_such_topic(topic))?.partitions();
        let states = (0..partitions)
            .map(|partition| PartitionState { partition, has_leader: state.has_leader(topic, partition) });
        Ok(states.collect())
    }

    async fn watermarks(&self, id: &TopicPartition) -> Result<Watermarks, BusError> {
        let state = self.shared.lock();
        available(&state, "return watermarks")?;
        let log = state.topics.get(&id.topic).and_then(|topic| topic.log(id.partition));
        let log = log.ok_or_else(|| no_such_topic(&id.topic))?;
        if !state.has_leader(&id.topic, id.partition) {
            let detail = format!("{}/{} has no leader", id.topic, id.partition);
            return Err(unavailable("return watermarks", &detail));
        }
        Ok(log.watermarks(id.partition))
    }

    async fn committed_offsets(
        &self,
        group: &str,
        topics: &[String],
    ) -> Result<BTreeMap<TopicPartition, i64>, BusError> {
        let state = self.shared.lock();
        available(&state, "return committed offsets")?;
        let committed = state.groups.get(group).into_iter().flat_map(|group| &group.committed);
        let asked = committed.filter(|(id, _)| topics.contains(&id.topic));
        Ok(asked.map(|(id, offset)| (id.clone(), *offset)).collect())
    }

    async fn ping(&self, _timeout: Duration) -> Result<(), BusError> {
        available(&self.shared.lock(), "answer a ping")
    }
}

fn available(state: &State, action: &str) -> Result<(), BusError> {
    if state.unavailable { Err(unavailable(action, "it is unavailable")) } else { Ok(()) }
}

fn no_such_topic(topic: &str) -> BusError {
    unavailable("find the topic", &format!("{topic} does not exist"))
}

fn unavailable(action: &str, detail: &str) -> BusError {
    BusError::Unavailable {
        broker: "in memory".to_owned(),
        action: action.to_owned(),
        detail: detail.to_owned(),
    }
}
