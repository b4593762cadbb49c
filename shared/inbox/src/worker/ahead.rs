//! The batch behind the one that is being applied: read and decoded meanwhile.

use std::convert::Infallible;

use messaging::{Batch, Partition, ReadError};

use super::Worker;
use crate::decoding::Item;

/// The bytes of a batch read ahead, as a share of those of a transaction: it is memory beside the batch in hand and what the bus
/// buffers.
const SHARE: usize = 4;

/// What the partition gave, and, once decoded, what its records are.
pub(super) struct Ahead {
    pub(super) read: Option<Result<Batch, ReadError>>,
    pub(super) items: Option<Vec<Item>>,
}

impl Worker {
    /// Reads and decodes one batch ahead, until this is dropped: what was read stays. What can't be decoded yet is tried again
    /// when its turn has come.
    pub(super) async fn look_ahead(&mut self, partition: &mut dyn Partition) -> Infallible {
        if self.ahead.is_none() {
            let config = &self.shared.config;
            let max_bytes = config.max_batch_bytes / SHARE;
            let read = partition.next_batch(config.max_batch_records, max_bytes).await;
            self.ahead = Some(Ahead { read, items: None });
        }
        if let Some(Ahead { read: Some(Ok(batch)), items: items @ None }) = &mut self.ahead {
            *items = self.shared.applier.decode(&self.id, batch).await.ok();
        }
        std::future::pending().await
    }
}
