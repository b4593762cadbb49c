//! Reading one assigned partition from its bounded buffer.

use std::sync::Arc;

use async_trait::async_trait;

use super::buffer::BufferLimits;
use super::metadata::MetadataClient;
use super::tenure::Tenure;
use crate::bus::{Batch, BusError, Partition, PositionError, TopicPartition};

/// A reader of one assignment.
pub(crate) struct KafkaPartition {
    tenure: Arc<Tenure>,
    metadata: MetadataClient,
    limits: BufferLimits,
}

/// What a look at the buffer gives.
enum Look {
    Ended,
    Batch(Batch),
    /// Nothing is there, and the position may be outside the range.
    Suspect(i64),
    Nothing,
}

impl KafkaPartition {
    pub(crate) fn new(tenure: Arc<Tenure>, metadata: MetadataClient, limits: BufferLimits) -> Self {
        Self { tenure, metadata, limits }
    }

    fn look(&self, max_records: usize, max_bytes: usize) -> Look {
        let mut state = self.tenure.lock();
        if state.ended {
            return Look::Ended;
        }
        if let Some(batch) = state.take(max_records, max_bytes) {
            let resume = state.paused && self.limits.has_room(&state);
            drop(state);
            if resume {
                self.tenure.request(|state| state.wanted_resume = true);
            }
            return Look::Batch(batch);
        }
        if state.suspect && state.wanted_seek.is_none() { Look::Suspect(state.taken) } else { Look::Nothing }
    }

    /// Compares the position with what the topic holds. When it is inside, reading continues there.
    async fn verify(&self, position: i64) -> Result<(), PositionError> {
        let id = &self.tenure.id;
        let Ok(range) = self.metadata.watermarks(id).await else {
            // The broker is away; the suspicion stays, and so does the position.
            tokio::time::sleep(MetadataClient::retry_pause()).await;
            return Ok(());
        };
        if position < range.low || position > range.high {
            tracing::error!(
                topic = id.topic,
                partition = id.partition,
                position,
                low = range.low,
                high = range.high,
                "the position is outside what the topic holds: the partition stops here"
            );
            return Err(PositionError {
                topic: id.topic.clone(),
                partition: id.partition,
                offset: position,
                low: range.low,
                high: range.high,
            });
        }
        self.tenure.request(|state| {
            state.suspect = false;
            // Unless the reader has moved on meanwhile.
            if state.taken == position && state.buffer.is_empty() && state.wanted_seek.is_none() {
                state.wanted_seek = Some(position);
            }
        });
        Ok(())
    }
}

#[async_trait]
impl Partition for KafkaPartition {
    fn id(&self) -> &TopicPartition {
        &self.tenure.id
    }

    async fn seek(&mut self, offset: i64) -> Result<(), BusError> {
        let mut ended = false;
        self.tenure.request(|state| {
            ended = state.ended;
            state.seek(offset);
        });
        if ended { Err(BusError::Closed) } else { Ok(()) }
    }

    async fn next_batch(
        &mut self,
        max_records: usize,
        max_bytes: usize,
    ) -> Option<Result<Batch, PositionError>> {
        loop {
            match self.look(max_records, max_bytes) {
                Look::Ended => return None,
                Look::Batch(batch) => return Some(Ok(batch)),
                Look::Suspect(position) => {
                    if let Err(outside) = self.verify(position).await {
                        return Some(Err(outside));
                    }
                }
                Look::Nothing => self.tenure.changed.notified().await,
            }
        }
    }

    fn commit(&self, offset: i64) {
        self.tenure.lock().wanted_commit = Some(offset);
    }
}

impl std::fmt::Debug for KafkaPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaPartition").field("id", &self.tenure.id).finish_non_exhaustive()
    }
}
