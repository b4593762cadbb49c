//! The worker of one assigned partition: reads batches, applies them, backs off on transient errors.

use std::sync::Arc;
use std::time::Duration;

use messaging::{Batch, Partition, ReadError, TopicPartition, label};
use metrics::{counter, histogram};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::batch::{Outcome, Tally};
use crate::breaker::Open;
use crate::decoding::Item;
use crate::error_policy::{HandlerError, Rejection};
use crate::metrics::{LETTER_REFUSED, OUT_OF_RANGE, OUTCOMES, REPEATED_FAILURE};
use crate::parts::{Next, Parts};
use crate::resume::Resumed;
use crate::shared::Shared;
use crate::spans::BatchSpans;
use crate::status::{PartitionState, WorkerStatus};

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

/// Runs until the partition is revoked or `stop`. A batch in hand is finished first.
pub(crate) async fn run(shared: Arc<Shared>, mut partition: Box<dyn Partition>, stop: CancellationToken) {
    let id = partition.id().clone();
    let status = shared.status.begin(&id);
    let mut turn = Turn::Reposition;
    loop {
        turn = match turn {
            Turn::Continue => shared.next(&id, &status, &mut *partition, &stop).await,
            Turn::Reposition => shared.reposition(&id, &status, &mut *partition, &stop).await,
            Turn::End => break,
        };
    }
}

impl Shared {
    /// Seeks to the position in the database.
    async fn reposition(
        &self,
        id: &TopicPartition,
        status: &WorkerStatus,
        partition: &mut dyn Partition,
        shutdown: &CancellationToken,
    ) -> Turn {
        let mut attempts = 0;
        loop {
            let resumed = tokio::select! {
                () = shutdown.cancelled() => return Turn::End,
                resumed = self.resume(id, partition) => resumed,
            };
            let failure = match resumed {
                Ok(Resumed::At(next_offset)) => {
                    status.set(PartitionState::Running { next_offset });
                    return Turn::Continue;
                }
                Ok(Resumed::Stopped(error)) => {
                    status.set(PartitionState::Stopped { error });
                    if wait(STOPPED_PAUSE, shutdown).await {
                        continue;
                    }
                    return Turn::End;
                }
                Ok(Resumed::Revoked) => return Turn::End,
                Err(error) => error,
            };
            attempts += 1;
            if !self.back_off(id, status, attempts, &failure, shutdown).await {
                return Turn::End;
            }
        }
    }

    async fn next(
        &self,
        id: &TopicPartition,
        status: &WorkerStatus,
        partition: &mut dyn Partition,
        shutdown: &CancellationToken,
    ) -> Turn {
        let next = partition.next_batch(self.config.max_batch_records, self.config.max_batch_bytes);
        let batch = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Turn::End,
            next = next => next,
        };
        match batch {
            None => Turn::End,
            Some(Ok(batch)) => self.until_applied(id, status, partition, &batch, shutdown).await,
            Some(Err(error @ ReadError::Reset { .. })) => {
                tracing::info!(topic = id.topic, partition = id.partition, %error, "the partition's log is compared");
                Turn::Reposition
            }
            Some(Err(ReadError::OutOfRange(error))) => {
                counter!("inbox_partitions_stopped_total", "topic" => label(&id.topic), "reason" => OUT_OF_RANGE).increment(1);
                tracing::error!(topic = id.topic, partition = id.partition, %error, "partition stopped: records are missing; see docs/guarantees.md");
                status.set(PartitionState::Stopped { error: error.to_string() });
                if wait(STOPPED_PAUSE, shutdown).await { Turn::Reposition } else { Turn::End }
            }
        }
    }

    /// Never gives up on a transient error: order within the partition is kept by waiting.
    async fn until_applied(
        &self,
        id: &TopicPartition,
        status: &WorkerStatus,
        partition: &mut dyn Partition,
        batch: &Batch,
        shutdown: &CancellationToken,
    ) -> Turn {
        let Some((items, spans)) = self.until_decoded(id, status, batch, shutdown).await else {
            return Turn::End;
        };
        let work = self.until_parts_applied(id, status, batch, (&items, &spans), shutdown);
        let turn = work.instrument(spans.batch().clone()).await;
        if matches!(turn, Turn::Continue) {
            partition.commit(batch.to);
        }
        turn
    }

    /// Decoded once, so that all tries are one span; none when the service stops meanwhile.
    async fn until_decoded(
        &self,
        id: &TopicPartition,
        status: &WorkerStatus,
        batch: &Batch,
        shutdown: &CancellationToken,
    ) -> Option<(Vec<Item>, BatchSpans)> {
        let mut attempts = 0;
        loop {
            match self.applier.decode(id, batch).await {
                Ok(mut items) => {
                    let spans = BatchSpans::begin(&self.applier.group, id, batch, &mut items);
                    return Some((items, spans));
                }
                Err(error) => {
                    attempts += 1;
                    if !self.back_off(id, status, attempts, &error, shutdown).await {
                        return None;
                    }
                }
            }
        }
    }

    async fn until_parts_applied(
        &self,
        id: &TopicPartition,
        status: &WorkerStatus,
        batch: &Batch,
        (items, spans): (&[Item], &BatchSpans),
        shutdown: &CancellationToken,
    ) -> Turn {
        let (mut parts, mut attempts, mut blamed) = (Parts::new(items.len()), 0, None);
        loop {
            let part = parts.of(batch);
            let items = &items[parts.range()];
            let error = match self.apply(id, &part, items, spans, blamed.as_ref()).await {
                Ok(Outcome::Applied(_)) => {
                    (attempts, blamed) = (0, None);
                    status.set(PartitionState::Running { next_offset: part.to });
                    if parts.applied() {
                        return Turn::Continue;
                    }
                    // What was applied is behind the position: the rest is the next owner's.
                    if shutdown.is_cancelled() {
                        return Turn::End;
                    }
                    continue;
                }
                Ok(Outcome::Moved { next_offset }) => {
                    tracing::info!(
                        topic = id.topic,
                        partition = id.partition,
                        found = part.from,
                        next_offset,
                        "partition position moved by another consumer; repositioning"
                    );
                    return Turn::Reposition;
                }
                Ok(Outcome::Open { records, open }) => {
                    blamed = None;
                    if records > 0 {
                        parts.cut(records);
                    } else if !self.stop_at_failures(id, status, &open, shutdown).await {
                        return Turn::End;
                    }
                    continue;
                }
                Err(error) => error,
            };
            attempts += 1;
            let rejection = error.rejection();
            if blamed.is_some() && rejection.is_some() {
                self.stop_at_letter(id, status, &error);
                if wait(STOPPED_PAUSE, shutdown).await {
                    continue;
                }
                return Turn::End;
            }
            match parts.failed(error.verdict()) {
                Next::AtOnce if part.records.len() == batch.records.len() => {
                    tracing::warn!(topic = id.topic, partition = id.partition, %error, "batch failed; splitting it to isolate the record");
                }
                Next::AtOnce => {}
                Next::DeadLetter => blamed = rejection,
                Next::Later => {
                    if !self.back_off(id, status, attempts, &error, shutdown).await {
                        return Turn::End;
                    }
                }
            }
        }
    }

    /// The record can be neither applied nor kept as a dead letter, so nothing behind it can be applied.
    fn stop_at_letter(&self, id: &TopicPartition, status: &WorkerStatus, error: &HandlerError) {
        counter!("inbox_partitions_stopped_total", "topic" => label(&id.topic), "reason" => LETTER_REFUSED)
            .increment(1);
        tracing::error!(topic = id.topic, partition = id.partition, %error, "partition stopped: the database refuses a dead letter");
        status.set(PartitionState::Stopped { error: format!("a dead letter is refused: {error}") });
    }

    /// The events of a type fail in succession: the next one is tried after a pause. `false` when the service stops meanwhile.
    async fn stop_at_failures(
        &self,
        id: &TopicPartition,
        status: &WorkerStatus,
        open: &Open,
        shutdown: &CancellationToken,
    ) -> bool {
        counter!("inbox_partitions_stopped_total", "topic" => label(&id.topic), "reason" => REPEATED_FAILURE)
            .increment(1);
        tracing::error!(topic = id.topic, partition = id.partition, reason = %open, "partition stopped: events fail in succession");
        status.set(PartitionState::Stopped { error: open.to_string() });
        let has_passed = wait(open.pause(rand::random()), shutdown).await;
        if has_passed {
            self.applier.breaker.permit(id);
        }
        has_passed
    }

    /// Applies a part of a batch; or dead-letters it, for this reason.
    async fn apply(
        &self,
        id: &TopicPartition,
        part: &Batch,
        items: &[Item],
        spans: &BatchSpans,
        blamed: Option<&Rejection>,
    ) -> Result<Outcome, HandlerError> {
        let began = Instant::now();
        let outcome = match blamed {
            None => self.applier.apply(id, part, items, spans).await?,
            Some(rejection) => self.applier.reject_all(id, part, items, spans, rejection).await?,
        };
        // Markers of transactions only: the position passes them, and nothing has happened.
        if part.records.is_empty() {
            return Ok(outcome);
        }
        if let Outcome::Applied(tally) = outcome {
            self.count(id, tally, began.elapsed());
            (self.on_commit)();
            self.applier.effect.committed();
        }
        Ok(outcome)
    }

    /// Waits before the next try; `false` when the service stops meanwhile.
    async fn back_off(
        &self,
        id: &TopicPartition,
        status: &WorkerStatus,
        attempts: u32,
        error: &HandlerError,
        shutdown: &CancellationToken,
    ) -> bool {
        let verdict = error.verdict();
        counter!("inbox_retries_total", "topic" => label(&id.topic), "reason" => verdict.label())
            .increment(1);
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
        status.set(PartitionState::Retrying { attempts, error: error.to_string() });
        wait(self.config.pause(attempts, rand::random()), shutdown).await
    }

    fn count(&self, id: &TopicPartition, tally: Tally, took: Duration) {
        let topic = label(&id.topic);
        let counts = [tally.applied, tally.duplicate, tally.skipped, tally.dead_lettered];
        for (outcome, events) in OUTCOMES.into_iter().zip(counts) {
            if events > 0 {
                counter!("inbox_records_total", "topic" => topic.clone(), "outcome" => outcome)
                    .increment(events);
            }
        }
        histogram!("inbox_batch_duration_seconds", "topic" => topic.clone()).record(took.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a histogram")]
        histogram!("inbox_batch_records", "topic" => topic).record(counts.into_iter().sum::<u64>() as f64);
        if tally.dead_lettered > 0 {
            tracing::error!(
                topic = id.topic,
                partition = id.partition,
                events = tally.dead_lettered,
                "events dead-lettered; see inbox.dead_letters"
            );
        }
    }
}

/// Waits; `false` when the service stops meanwhile.
async fn wait(pause: Duration, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
    }
}
