//! The partitions assigned to a member, and the changes that it has not taken yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::partition_assignment::PartitionAssignment;
use super::poll_waker::PollWaker;
use crate::bus::TopicPartition;

/// Changes that the member has not taken yet. Bounded by the partitions: a change of a partition replaces an older one.
#[derive(Default)]
struct PendingChanges {
    revoked: BTreeSet<TopicPartition>,
    assigned: BTreeMap<TopicPartition, Arc<PartitionAssignment>>,
    failed: Option<String>,
    closed: bool,
}

/// Given to the member, in this order.
pub(crate) enum Change {
    Revoked(Vec<TopicPartition>),
    Assigned(Vec<Arc<PartitionAssignment>>),
    Failed(String),
    Closed,
}

/// All assignments of one member.
#[derive(Default)]
pub(crate) struct Assignment {
    partitions: Mutex<BTreeMap<String, BTreeMap<i32, Arc<PartitionAssignment>>>>,
    pending: Mutex<PendingChanges>,
    changed: Notify,
    waker: Arc<PollWaker>,
}

impl Assignment {
    /// Wakes the polling thread; readers request through it.
    pub(crate) const fn waker(&self) -> &Arc<PollWaker> {
        &self.waker
    }

    pub(crate) fn find(&self, topic: &str, partition: i32) -> Option<Arc<PartitionAssignment>> {
        lock(&self.partitions).get(topic)?.get(&partition).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<PartitionAssignment>> {
        lock(&self.partitions).values().flat_map(BTreeMap::values).cloned().collect()
    }

    pub(crate) fn assign(&self, ids: Vec<TopicPartition>) {
        let mut partitions = lock(&self.partitions);
        let mut pending = lock(&self.pending);
        for id in ids {
            let assigned = Arc::new(PartitionAssignment::new(id.clone(), Arc::clone(&self.waker)));
            partitions.entry(id.topic.clone()).or_default().insert(id.partition, Arc::clone(&assigned));
            pending.assigned.insert(id, assigned);
        }
        drop((partitions, pending));
        self.changed.notify_one();
    }

    pub(crate) fn revoke(&self, ids: Vec<TopicPartition>) {
        let mut partitions = lock(&self.partitions);
        let mut pending = lock(&self.pending);
        for id in ids {
            let assigned = partitions.get_mut(&id.topic).and_then(|topic| topic.remove(&id.partition));
            let Some(assigned) = assigned else { continue };
            assigned.end();
            if pending.assigned.remove(&id).is_none() {
                pending.revoked.insert(id);
            }
        }
        drop((partitions, pending));
        self.changed.notify_one();
    }

    /// Ends every handle, and gives the member the reason, if there is one.
    pub(crate) fn close(&self, failure: Option<String>) {
        for topic in std::mem::take(&mut *lock(&self.partitions)).into_values() {
            topic.into_values().for_each(|assigned| assigned.end());
        }
        let mut pending = lock(&self.pending);
        pending.assigned.clear();
        pending.closed = true;
        if pending.failed.is_none() {
            pending.failed = failure;
        }
        drop(pending);
        self.changed.notify_one();
    }

    fn try_change(&self) -> Option<Change> {
        let mut pending = lock(&self.pending);
        if !pending.revoked.is_empty() {
            return Some(Change::Revoked(std::mem::take(&mut pending.revoked).into_iter().collect()));
        }
        if !pending.assigned.is_empty() {
            return Some(Change::Assigned(std::mem::take(&mut pending.assigned).into_values().collect()));
        }
        if let Some(failure) = pending.failed.take() {
            return Some(Change::Failed(failure));
        }
        pending.closed.then_some(Change::Closed)
    }

    /// The next change; one caller at a time. Cancel-safe: what is taken is returned at once.
    pub(crate) async fn next_change(&self) -> Change {
        loop {
            if let Some(change) = self.try_change() {
                return change;
            }
            self.changed.notified().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_comes_back_is_another_one() {
        let assignment = Assignment::default();
        let id = TopicPartition { topic: "t".into(), partition: 0 };
        assignment.assign(vec![id.clone()]);
        let before = assignment.find("t", 0).unwrap();
        assignment.revoke(vec![id.clone()]);
        assignment.assign(vec![id]);
        let after = assignment.find("t", 0).unwrap();
        assert!(before.lock().ended && !after.lock().ended);
        // The member never got the first one, so its end is no change.
        assert!(
            matches!(assignment.try_change(), Some(Change::Assigned(partitions)) if partitions.len() == 1)
        );
        assert!(assignment.try_change().is_none());
    }
}
