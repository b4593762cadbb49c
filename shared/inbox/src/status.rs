//! What the consumers are doing, for health checks: which partitions are ours, and what each one waits for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// The world is at fault: the same batch is tried again until it works.
    Retrying {
        /// How often it failed so far.
        attempts: u32,
        /// What went wrong last.
        error: String,
    },
    /// The position is outside the range that the topic holds: records are missing. Nobody but an operator fixes that.
    Stopped {
        /// What is wrong.
        error: String,
    },
}

/// Shared between the consumers and whoever asks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ConsumerStatus {
    partitions: Arc<Mutex<BTreeMap<TopicPartition, PartitionState>>>,
}

impl ConsumerStatus {
    /// Every assigned partition and its state.
    #[must_use]
    pub fn partitions(&self) -> BTreeMap<TopicPartition, PartitionState> {
        self.lock().clone()
    }

    pub(crate) fn set(&self, partition: &TopicPartition, state: PartitionState) {
        self.lock().insert(partition.clone(), state);
    }

    pub(crate) fn forget(&self, partition: &TopicPartition) {
        self.lock().remove(partition);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TopicPartition, PartitionState>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
