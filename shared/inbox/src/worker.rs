//! The worker of one assigned partition: reads batches, applies them, backs off while the world is at fault.

use std::sync::Arc;
use std::time::Duration;

use messaging::{Batch, Bus, Partition, TopicPartition};
use metrics::{counter, histogram};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::batch::{Applier, Outcome, Tally};
use crate::config::ConsumerConfig;
use crate::decoding::Item;
use crate::error_policy::{HandlerError, Rejection};
use crate::metrics::{OUT_OF_RANGE, OUTCOMES};
use crate::positions;
use crate::resume::Resumed;
use crate::spans::BatchSpans;
use crate::status::{ConsumerStatus, PartitionState, WorkerStatus};

/// How often a stopped partition looks whether an operator has fixed its position.
const STOPPED_PAUSE: Duration = Duration::from_secs(10);

/// A batch's records, decoded, and the spans under which they are worked on.
type Work = (Vec<Item>, BatchSpans);

/// What all workers of a service share.
pub(crate) struct Shared {
    pub(crate) applier: Applier,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) config: ConsumerConfig,
    pub(crate) status: ConsumerStatus,
    pub(crate) on_commit: Arc<dyn Fn() + Send + Sync>,
}

/// Why a worker turns to its loop's head again, or ends.
enum Turn {
    /// Read on where the handle stands.
    Continue,
    /// Ask the database where to read on.
    Reposition,
    /// The partition was revoked, or the service stops.
    End,
}

/// Runs until the partition is revoked or `shutdown`. A batch in hand is finished first.
pub(crate) async fn run(shared: Arc<Shared>, mut partition: Box<dyn Partition>, shutdown: CancellationToken) {
    let id = partition.id().clone();
    let status = shared.status.begin(&id);
    let mut turn = Turn::Reposition;
    loop {
        turn = match turn {
            Turn::Continue => shared.next(&id, &status, &mut *partition, &shutdown).await,
            Turn::Reposition => shared.reposition(&id, &status, &mut *partition, &shutdown).await,
            Turn::End => break,
        };
    }
}

impl Shared {
    /// Goes to where the database says that we stand.
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
                Err(error) => error.to_string(),
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
            Some(Err(error)) => {
                counter!("inbox_partitions_stopped_total", "topic" => self.label(id), "reason" => OUT_OF_RANGE).increment(1);
                tracing::error!(topic = id.topic, partition = id.partition, %error, "partition stopped: records are missing; see docs/guarantees.md");
                status.set(PartitionState::Stopped { error: error.to_string() });
                if wait(STOPPED_PAUSE, shutdown).await { Turn::Reposition } else { Turn::End }
            }
        }
    }

    /// Never gives up while the world is at fault: order within the partition is kept by waiting.
    async fn until_applied(
        &self,
        id: &TopicPartition,
        status: &WorkerStatus,
        partition: &mut dyn Partition,
        batch: &Batch,
        shutdown: &CancellationToken,
    ) -> Turn {
        let mut attempts = 0;
        let mut work = None;
        loop {
            let applied = self.decode_and_apply(id, batch, &mut work).await;
            let span = work.as_ref().map_or_else(Span::none, |(_, spans)| spans.batch().clone());
            match applied {
                Ok(Outcome::Applied(_)) => {
                    partition.commit(batch.to);
                    status.set(PartitionState::Running { next_offset: batch.to });
                    return Turn::Continue;
                }
                Ok(Outcome::Moved { next_offset }) => {
                    tracing::info!(
                        topic = id.topic,
                        partition = id.partition,
                        found = batch.from,
                        next_offset,
                        "another consumer was here"
                    );
                    return Turn::Reposition;
                }
                Err(error) => {
                    attempts += 1;
                    let error = error.to_string();
                    if !self.back_off(id, status, attempts, &error, shutdown).instrument(span).await {
                        return Turn::End;
                    }
                }
            }
        }
    }

    /// Decodes the batch unless `work` holds it from the last try, so that all tries are one span, and applies it.
    async fn decode_and_apply(
        &self,
        id: &TopicPartition,
        batch: &Batch,
        work: &mut Option<Work>,
    ) -> Result<Outcome, HandlerError> {
        let (items, spans) = match work {
            Some(work) => work,
            None => {
                let mut items = self.applier.decode(id, batch).await?;
                let spans = BatchSpans::begin(&self.applier.group, id, batch, &mut items);
                work.insert((items, spans))
            }
        };
        self.apply(id, batch, items, spans).instrument(spans.batch().clone()).await
    }

    /// Applies the batch as a whole or, when the database refuses some event's data, record by record.
    async fn apply(
        &self,
        id: &TopicPartition,
        batch: &Batch,
        items: &[Item],
        spans: &BatchSpans,
    ) -> Result<Outcome, HandlerError> {
        let began = Instant::now();
        let outcome = match self.applier.apply(id, batch, items, spans).await {
            Err(HandlerError::Data(error)) => {
                tracing::warn!(topic = id.topic, partition = id.partition, %error, "a batch's data is refused: applying its records one by one");
                self.one_by_one(id, batch, items, spans).await
            }
            other => other,
        };
        if let Ok(Outcome::Applied(tally)) = &outcome {
            self.count(id, *tally, began.elapsed());
        }
        if let Ok(Outcome::Applied(_)) = &outcome {
            (self.on_commit)();
            self.applier.effect.committed();
        }
        outcome
    }

    async fn one_by_one(
        &self,
        id: &TopicPartition,
        batch: &Batch,
        items: &[Item],
        spans: &BatchSpans,
    ) -> Result<Outcome, HandlerError> {
        let mut total = Tally::default();
        let mut from = batch.from;
        for (index, (record, item)) in batch.records.iter().zip(items).enumerate() {
            let item = std::slice::from_ref(item);
            let is_last = index + 1 == batch.records.len();
            let to = if is_last { batch.to } else { record.offset + 1 };
            let single = Batch { from, to, records: vec![record.clone()] };
            let outcome = match self.applier.apply(id, &single, item, spans).await {
                Err(HandlerError::Data(error)) => {
                    let rejection = Rejection::new("data_error", error.to_string());
                    self.applier.reject_all(id, &single, item, spans, &rejection).await?
                }
                other => other?,
            };
            match outcome {
                Outcome::Applied(tally) => total = total.plus(tally),
                moved @ Outcome::Moved { .. } => return Ok(moved),
            }
            from = to;
        }
        Ok(Outcome::Applied(total))
    }

    /// Waits before the next try; `false` when the service stops meanwhile.
    async fn back_off(
        &self,
        id: &TopicPartition,
        status: &WorkerStatus,
        attempts: u32,
        error: &str,
        shutdown: &CancellationToken,
    ) -> bool {
        counter!("inbox_retries_total", "topic" => self.label(id)).increment(1);
        if attempts.is_power_of_two() {
            tracing::warn!(
                topic = id.topic,
                partition = id.partition,
                attempts,
                error,
                "batch failed, will be retried"
            );
        }
        status.set(PartitionState::Retrying { attempts, error: error.to_owned() });
        wait(self.config.pause(attempts, rand::random()), shutdown).await
    }

    fn count(&self, id: &TopicPartition, tally: Tally, took: Duration) {
        let topic = self.label(id);
        let counts = [tally.applied, tally.duplicate, tally.skipped, tally.dead_lettered];
        for (outcome, events) in OUTCOMES.into_iter().zip(counts) {
            if events > 0 {
                counter!("inbox_records_total", "topic" => topic, "outcome" => outcome).increment(events);
            }
        }
        histogram!("inbox_batch_duration_seconds", "topic" => topic).record(took.as_secs_f64());
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

    pub(crate) fn label(&self, id: &TopicPartition) -> &'static str {
        positions::label(self.applier.codec.topics(), &id.topic)
    }
}

/// Waits; `false` when the service stops meanwhile.
async fn wait(pause: Duration, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
    }
}
