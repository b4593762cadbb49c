//! The worker of one assigned partition: reads batches, has them applied, backs off on transient errors.

mod ahead;
mod until_applied;

use std::sync::Arc;
use std::time::Duration;

use database::Verdict;
use messaging::{Batch, Partition, ReadError, TopicPartition, label};
use metrics::counter;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::decoded::DecodedBatch;
use crate::decoding::Item;
use crate::error_policy::HandlerError;
use crate::isolation::Isolation;
use crate::metrics::OUT_OF_RANGE;
use crate::resume::Resumed;
use crate::shared::Shared;
use crate::spans::BatchSpans;
use crate::status::{PartitionState, WorkerStatus};
use ahead::Ahead;

/// How often a stopped partition looks whether an operator has fixed its position.
const STOPPED_PAUSE: Duration = Duration::from_secs(10);

/// Why a worker turns to its loop's head again, or ends.
enum Turn {
    /// Read on where the handle stands.
    Continue,
    /// Ask the database where to read on.
    Reposition,
    /// The partition was revoked, or the service stops.
    End,
}

struct Worker {
    shared: Arc<Shared>,
    id: TopicPartition,
    status: WorkerStatus,
    shutdown: CancellationToken,
    /// The log that is read.
    log: i32,
    isolation: Isolation,
    /// What comes behind the batch in hand.
    ahead: Option<Ahead>,
}

/// Runs until the partition is revoked or `stop`. A batch in hand is finished first.
pub(crate) async fn run(shared: Arc<Shared>, mut partition: Box<dyn Partition>, stop: CancellationToken) {
    let id = partition.id().clone();
    let status = shared.status.begin(&id);
    let isolation = Isolation::begin();
    let mut worker = Worker { shared, id, status, shutdown: stop, log: 0, isolation, ahead: None };
    let mut turn = Turn::Reposition;
    loop {
        turn = match turn {
            Turn::Continue => worker.next(&mut *partition).await,
            Turn::Reposition => worker.reposition(&mut *partition).await,
            Turn::End => break,
        };
    }
}

impl Worker {
    /// Seeks to the position in the database.
    async fn reposition(&mut self, partition: &mut dyn Partition) -> Turn {
        self.ahead = None;
        let mut attempts = 0;
        loop {
            let resumed = tokio::select! {
                () = self.shutdown.cancelled() => return Turn::End,
                resumed = self.shared.resume(&self.id, partition) => resumed,
            };
            let failure = match resumed {
                Ok(Resumed::At { next_offset, log }) => {
                    self.log = log;
                    self.status.set(PartitionState::Running { next_offset });
                    return Turn::Continue;
                }
                Ok(Resumed::Stopped(error)) => {
                    self.status.set(PartitionState::Stopped { error });
                    if self.wait(STOPPED_PAUSE).await {
                        continue;
                    }
                    return Turn::End;
                }
                Ok(Resumed::Revoked) => return Turn::End,
                Err(error) => error,
            };
            attempts += 1;
            if !self.back_off(attempts, &failure).await {
                return Turn::End;
            }
        }
    }

    async fn next(&mut self, partition: &mut dyn Partition) -> Turn {
        let config = &self.shared.config;
        let next = partition.next_batch(config.max_batch_records, config.max_batch_bytes);
        let ahead = self.ahead.take();
        let ahead = async {
            match ahead {
                Some(ahead) => ahead,
                None => Ahead { read: next.await, items: None },
            }
        };
        let Ahead { read, items } = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return Turn::End,
            ahead = ahead => ahead,
        };
        let id = &self.id;
        match read {
            None => Turn::End,
            Some(Ok(batch)) => self.until_applied(partition, batch, items).await,
            Some(Err(error @ ReadError::Reset { .. })) => {
                tracing::info!(topic = id.topic, partition = id.partition, %error, "the partition's log is compared");
                Turn::Reposition
            }
            Some(Err(ReadError::OutOfRange(error))) => {
                counter!("inbox_partitions_stopped_total", "topic" => label(&id.topic), "reason" => OUT_OF_RANGE).increment(1);
                tracing::error!(topic = id.topic, partition = id.partition, %error, "partition stopped: records are missing; see docs/guarantees.md");
                self.status.set(PartitionState::Stopped { error: error.to_string() });
                if self.wait(STOPPED_PAUSE).await { Turn::Reposition } else { Turn::End }
            }
        }
    }

    /// Never gives up on a transient error: order within the partition is kept by waiting.
    async fn until_applied(
        &mut self,
        partition: &mut dyn Partition,
        batch: Batch,
        items: Option<Vec<Item>>,
    ) -> Turn {
        let to = batch.to;
        let Some(decoded) = self.until_decoded(batch, items).await else {
            return Turn::End;
        };
        let span = decoded.spans.batch().clone();
        let turn = self.until_parts_applied(partition, &Arc::new(decoded)).instrument(span).await;
        if matches!(turn, Turn::Continue) {
            partition.commit(to);
        }
        turn
    }

    /// Decoded once, so that all tries are one span; none when the service stops meanwhile.
    async fn until_decoded(&self, batch: Batch, mut ahead: Option<Vec<Item>>) -> Option<DecodedBatch> {
        let (partition, applier) = (self.id.clone(), &self.shared.applier);
        let mut attempts = 0;
        loop {
            let decoded = match ahead.take() {
                Some(items) => Ok(items),
                None => applier.decode(&partition, &batch).await,
            };
            match decoded {
                Ok(mut items) => {
                    let spans = BatchSpans::begin(&applier.group, &partition, &batch, &mut items);
                    return Some(DecodedBatch { partition, log: self.log, batch, items, spans });
                }
                Err(error) => {
                    attempts += 1;
                    if !self.back_off(attempts, &error).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits before the next try; `false` when the service stops meanwhile.
    async fn back_off(&self, attempts: u32, error: &HandlerError) -> bool {
        let (id, verdict) = (&self.id, error.verdict());
        self.count_retry(verdict);
        if attempts.is_power_of_two() {
            tracing::warn!(
                topic = id.topic,
                partition = id.partition,
                attempts,
                reason = verdict.label(),
                %error,
                "batch failed, will be retried"
            );
        }
        self.status.set(PartitionState::Retrying { attempts, error: error.to_string() });
        self.wait(self.shared.config.pause(attempts, rand::random())).await
    }

    fn count_retry(&self, verdict: Verdict) {
        counter!("inbox_retries_total", "topic" => label(&self.id.topic), "reason" => verdict.label())
            .increment(1);
    }

    /// Waits; `false` when the service stops meanwhile.
    async fn wait(&self, pause: Duration) -> bool {
        tokio::select! {
            () = self.shutdown.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}
