//! What the consumers are doing, for health checks: whether we are in our group, which partitions are ours, and what each one
//! waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use messaging::TopicPartition;
use serde::Serialize;

/// The state of one assigned partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PartitionState {
    /// Reads and applies.
    Running {
        /// The offset that has to come next.
        next_offset: i64,
    },
    /// A transient error: the same batch is tried again until it works.
    Retrying {
        /// How often it failed so far.
        attempts: u32,
        /// What went wrong last.
        error: String,
    },
    /// There is work, and nothing has moved for a while.
    Stalled {
        /// Since when that is known.
        since: DateTime<Utc>,
        /// The error of its last attempt.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The position is outside the range that the topic holds, records are missing, or all events of a type fail. Only an
    /// operator can fix that.
    Stopped {
        /// What is wrong.
        error: String,
    },
}

/// A member that is not in its consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfGroup {
    /// The group.
    pub group: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// The last error of the broker's client, if any.
    pub error: Option<String>,
}

impl fmt::Display for OutOfGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since.to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(f, "not in group {} since {since}", self.group)?;
        self.error.iter().try_for_each(|error| write!(f, ": {error}"))
    }
}

/// Shared between the consumers and the health checks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ConsumerStatus {
    shared: Arc<Mutex<Workers>>,
}

#[derive(Debug, Default)]
struct Workers {
    begun: u64,
    out_of_group: Option<OutOfGroup>,
    /// The newest worker of each partition, by number, and its state once it has one.
    partitions: BTreeMap<TopicPartition, (u64, Option<PartitionState>)>,
    /// Those that the watchdog found stalled, and since when.
    stalled: BTreeMap<TopicPartition, DateTime<Utc>>,
}

/// One worker's state of its partition. It has no effect once another worker has begun there, and is removed when the worker
/// ends.
#[derive(Debug)]
pub(crate) struct WorkerStatus {
    status: ConsumerStatus,
    partition: TopicPartition,
    number: u64,
}

impl ConsumerStatus {
    /// Every assigned partition and its state.
    #[must_use]
    pub fn partitions(&self) -> BTreeMap<TopicPartition, PartitionState> {
        let workers = self.lock();
        let states = workers.partitions.iter();
        let state = |partition, state: &PartitionState| match (workers.stalled.get(partition), state) {
            (Some(since), PartitionState::Running { .. }) => {
                PartitionState::Stalled { since: *since, error: None }
            }
            (Some(since), PartitionState::Retrying { error, .. }) => {
                PartitionState::Stalled { since: *since, error: Some(error.clone()) }
            }
            (_, state) => state.clone(),
        };
        states
            .filter_map(|(partition, (_, last))| Some((partition.clone(), state(partition, last.as_ref()?))))
            .collect()
    }

    /// The partitions that have workers, with a state or without one yet.
    pub(crate) fn assigned(&self) -> BTreeSet<TopicPartition> {
        self.lock().partitions.keys().cloned().collect()
    }

    /// Those of them that stand still.
    pub(crate) fn stalled(&self) -> BTreeSet<TopicPartition> {
        let workers = self.lock();
        workers.stalled.keys().filter(|id| workers.partitions.contains_key(*id)).cloned().collect()
    }

    /// What the watchdog has found. Each partition that begins to stand still is an error in the log.
    pub(crate) fn set_stalled(&self, stalled: &[TopicPartition], now: DateTime<Utc>) {
        let mut workers = self.lock();
        workers.stalled.retain(|partition, _| stalled.contains(partition));
        for partition in stalled {
            workers.stalled.entry(partition.clone()).or_insert_with(|| {
                tracing::error!(
                    topic = partition.topic,
                    partition = partition.partition,
                    "partition stalled: it has records and does not move"
                );
                now
            });
        }
    }

    /// Why nothing is read, unless we are in our group.
    #[must_use]
    pub fn out_of_group(&self) -> Option<OutOfGroup> {
        self.lock().out_of_group.clone()
    }

    pub(crate) fn joined(&self) {
        self.lock().out_of_group = None;
    }

    /// It is not in the group, from now on if it was until now. An error replaces the last one.
    pub(crate) fn left(&self, group: &str, now: DateTime<Utc>, error: Option<String>) {
        let mut workers = self.lock();
        let begins = || OutOfGroup { group: group.to_owned(), since: now, error: None };
        let out_of_group = workers.out_of_group.get_or_insert_with(begins);
        out_of_group.error = error.or(out_of_group.error.take());
    }

    pub(crate) fn begin(&self, partition: &TopicPartition) -> WorkerStatus {
        let mut workers = self.lock();
        workers.begun += 1;
        let number = workers.begun;
        workers.partitions.insert(partition.clone(), (number, None));
        WorkerStatus { status: self.clone(), partition: partition.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Workers> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorkerStatus {
    pub(crate) fn set(&self, state: PartitionState) {
        if let Some((number, last)) = self.status.lock().partitions.get_mut(&self.partition)
            && *number == self.number
        {
            *last = Some(state);
        }
    }
}

impl Drop for WorkerStatus {
    fn drop(&mut self) {
        let mut workers = self.status.lock();
        if workers.partitions.get(&self.partition).is_some_and(|(number, _)| *number == self.number) {
            workers.partitions.remove(&self.partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_out_of_reach_since_it_was_first_with_the_last_error() {
        let status = ConsumerStatus::default();
        assert_eq!(status.out_of_group(), None);
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        status.left("g", at(1), None);
        status.left("g", at(2), Some("no coordinator".to_owned()));
        status.left("g", at(3), None);
        let expected =
            OutOfGroup { group: "g".to_owned(), since: at(1), error: Some("no coordinator".to_owned()) };
        assert_eq!(status.out_of_group(), Some(expected));
        status.joined();
        assert_eq!(status.out_of_group(), None);
        status.left("g", at(4), None);
        assert_eq!(status.out_of_group().unwrap().since, at(4));
    }

    #[test]
    fn a_revoked_worker_does_not_touch_its_successors_state() {
        let (status, partition) =
            (ConsumerStatus::default(), TopicPartition { topic: "example.parcels".to_owned(), partition: 3 });
        let state = |next_offset| PartitionState::Running { next_offset };
        let first = status.begin(&partition);
        first.set(state(1));
        let second = status.begin(&partition);
        second.set(state(2));
        first.set(state(1));
        drop(first);
        assert_eq!(status.partitions(), BTreeMap::from([(partition, state(2))]));
        drop(second);
        assert!(status.partitions().is_empty());
    }
}
