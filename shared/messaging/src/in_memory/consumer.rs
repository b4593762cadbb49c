//! Reading from the bus in memory: partitions are read straight from the log, so that nothing needs a buffer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::Shared;
use super::group::{Assignment, Change};
use super::log::Topic;
use crate::bus::{Batch, BusError, Consumer, Membership, Partition, ReadError, TopicPartition};

pub(crate) struct InMemoryConsumer {
    shared: Arc<Shared>,
    group: String,
    member: u64,
}

impl InMemoryConsumer {
    pub(crate) fn new(shared: Arc<Shared>, group: String, member: u64) -> Self {
        Self { shared, group, member }
    }

    fn next_change(&self) -> Option<Change> {
        let mut state = self.shared.lock();
        if state.unavailable {
            return None;
        }
        state.groups.get_mut(&self.group)?.next_change(self.member)
    }

    fn handle(&self, id: TopicPartition, assignment: Assignment) -> Box<dyn Partition> {
        let (shared, group) = (Arc::clone(&self.shared), self.group.clone());
        Box::new(InMemoryPartition { shared, group, id, assignment, position: None, recreated: 0 })
    }
}

#[async_trait]
impl Consumer for InMemoryConsumer {
    async fn next(&mut self) -> Result<Membership, BusError> {
        let mut changes = self.shared.version.subscribe();
        loop {
            match self.next_change() {
                Some(Change::Revoked(ids)) => return Ok(Membership::Revoked(ids)),
                Some(Change::Assigned(assignments)) => {
                    let handles = assignments.into_iter().map(|(id, assignment)| self.handle(id, assignment));
                    return Ok(Membership::Assigned(handles.collect()));
                }
                None => wait(&mut changes).await,
            }
        }
    }

    fn is_in_group(&self) -> bool {
        !self.shared.lock().unavailable
    }

    async fn close(self: Box<Self>, _timeout: Duration) {
        // Leaving happens on drop, and takes no time.
    }
}

impl Drop for InMemoryConsumer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(group) = state.groups.get_mut(&self.group) {
            group.leave(self.member);
        }
        state.rebalance_all();
        drop(state);
        self.shared.changed();
    }
}

struct InMemoryPartition {
    shared: Arc<Shared>,
    group: String,
    id: TopicPartition,
    assignment: Assignment,
    position: Option<i64>,
    /// How often the topic had been made anew at the last seek.
    recreated: u64,
}

impl InMemoryPartition {
    /// What is there now: the end, a batch, an error, or nothing yet.
    fn try_next(&mut self, max_records: usize, max_bytes: usize) -> Option<Answer> {
        if self.assignment.has_ended() {
            return Some(None);
        }
        let position = self.position?;
        let state = self.shared.lock();
        if state.unavailable || !state.has_leader(&self.id.topic, self.id.partition) {
            return None;
        }
        let topic = state.topics.get(&self.id.topic)?;
        match topic.log(self.id.partition)?.read(&self.id, position, max_records, max_bytes) {
            Err(outside) => Some(Some(Err(outside.into()))),
            // A fetch has met the new log while it was empty.
            Ok(_) if topic.recreated() != self.recreated && position > 0 => {
                self.position = None;
                let TopicPartition { topic, partition } = self.id.clone();
                Some(Some(Err(ReadError::Reset { topic, partition, offset: position })))
            }
            Ok((_, to)) if to == position => None,
            Ok((records, to)) => {
                self.position = Some(to);
                Some(Some(Ok(Batch { from: position, to, records })))
            }
        }
    }
}

type Answer = Option<Result<Batch, ReadError>>;

#[async_trait]
impl Partition for InMemoryPartition {
    fn id(&self) -> &TopicPartition {
        &self.id
    }

    async fn seek(&mut self, offset: i64) -> Result<(), BusError> {
        if self.assignment.has_ended() {
            return Err(BusError::Closed);
        }
        self.position = Some(offset);
        let state = self.shared.lock();
        self.recreated = state.topics.get(&self.id.topic).map_or(0, Topic::recreated);
        Ok(())
    }

    async fn next_batch(&mut self, max_records: usize, max_bytes: usize) -> Answer {
        let mut changes = self.shared.version.subscribe();
        loop {
            if let Some(answer) = self.try_next(max_records, max_bytes) {
                return answer;
            }
            wait(&mut changes).await;
        }
    }

    fn commit(&self, offset: i64) {
        if self.assignment.has_ended() {
            return;
        }
        if let Some(group) = self.shared.lock().groups.get_mut(&self.group) {
            group.committed.insert(self.id.clone(), offset);
        }
    }
}

impl std::fmt::Debug for InMemoryPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InMemoryPartition")
            .field("id", &self.id)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

async fn wait(changes: &mut watch::Receiver<u64>) {
    // The sender lives in `Shared`, which the caller holds: an error is impossible and would mean "read again".
    let _ = changes.changed().await;
}
