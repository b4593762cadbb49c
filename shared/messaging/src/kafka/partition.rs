//! Reading one assigned partition from its bounded buffer.

use std::sync::Arc;

use async_trait::async_trait;

use super::buffer::BufferLimits;
use super::metadata::MetadataClient;
use super::partition_assignment::PartitionAssignment;
use crate::bus::{Batch, BusError, Partition, PositionError, ReadError, TopicPartition};

/// A reader of one assignment.
pub(crate) struct KafkaPartition {
    assignment: Arc<PartitionAssignment>,
    metadata: MetadataClient,
    limits: BufferLimits,
}

/// What the buffer gives to a read.
enum BufferRead {
    Revoked,
    Batch(Batch),
    /// It is empty, and the position may be outside the range.
    MaybeOutOfRange(i64),
    Empty,
}

impl KafkaPartition {
    pub(crate) fn new(
        assignment: Arc<PartitionAssignment>,
        metadata: MetadataClient,
        limits: BufferLimits,
    ) -> Self {
        Self { assignment, metadata, limits }
    }

    fn read_buffer(&self, max_records: usize, max_bytes: usize) -> BufferRead {
        let mut state = self.assignment.lock();
        if state.ended {
            return BufferRead::Revoked;
        }
        if let Some(batch) = state.take(max_records, max_bytes) {
            let resume = state.paused && self.limits.has_room(&state);
            drop(state);
            if resume {
                self.assignment.request(|state| state.wanted_resume = true);
            }
            return BufferRead::Batch(batch);
        }
        if state.maybe_out_of_range && state.wanted_seek.is_none() {
            BufferRead::MaybeOutOfRange(state.taken)
        } else {
            BufferRead::Empty
        }
    }

    /// Compares the position with what the topic holds. Inside the range it may be a position in another log, which its reader can
    /// compare and this one can't. No answer while the broker does not answer: compare again later, at the same position.
    async fn verify(&self, position: i64) -> Option<ReadError> {
        let id = &self.assignment.id;
        let Ok(range) = self.metadata.watermarks(id).await else {
            tokio::time::sleep(MetadataClient::retry_pause()).await;
            return None;
        };
        if position < range.low || position > range.high {
            tracing::error!(
                topic = id.topic,
                partition = id.partition,
                position,
                low = range.low,
                high = range.high,
                "position out of range, partition stopped"
            );
            let outside = PositionError {
                topic: id.topic.clone(),
                partition: id.partition,
                offset: position,
                low: range.low,
                high: range.high,
            };
            return Some(outside.into());
        }
        self.assignment.lock().reset();
        Some(ReadError::Reset { topic: id.topic.clone(), partition: id.partition, offset: position })
    }
}

#[async_trait]
impl Partition for KafkaPartition {
    fn id(&self) -> &TopicPartition {
        &self.assignment.id
    }

    async fn seek(&mut self, offset: i64) -> Result<(), BusError> {
        let mut ended = false;
        self.assignment.request(|state| {
            ended = state.ended;
            state.seek(offset);
        });
        if ended { Err(BusError::Closed) } else { Ok(()) }
    }

    async fn next_batch(&mut self, max_records: usize, max_bytes: usize) -> Option<Result<Batch, ReadError>> {
        loop {
            match self.read_buffer(max_records, max_bytes) {
                BufferRead::Revoked => return None,
                BufferRead::Batch(batch) => return Some(Ok(batch)),
                BufferRead::MaybeOutOfRange(position) => {
                    if let Some(error) = self.verify(position).await {
                        return Some(Err(error));
                    }
                }
                BufferRead::Empty => self.assignment.changed.notified().await,
            }
        }
    }

    fn commit(&self, offset: i64) {
        self.assignment.lock().wanted_commit = Some(offset);
    }
}

impl std::fmt::Debug for KafkaPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaPartition").field("id", &self.assignment.id).finish_non_exhaustive()
    }
}
