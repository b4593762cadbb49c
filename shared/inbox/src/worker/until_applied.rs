//! A decoded batch, part by part, until all of it is behind the position.

use std::sync::Arc;

use messaging::{Partition, label};
use metrics::counter;

use super::{STOPPED_PAUSE, Turn, Worker};
use crate::batch::Outcome;
use crate::breaker::Open;
use crate::decoded::{DecodedBatch, Part};
use crate::error_policy::HandlerError;
use crate::metrics::{LETTER_REFUSED, REPEATED_FAILURE};
use crate::offers::Answer;
use crate::parts::{Next, Parts};
use crate::positions::LockedRow;
use crate::status::PartitionState;

/// What became of a part.
enum Tried {
    /// The outcome of its first records.
    Of(Part, Outcome),
    Failed(HandlerError),
    /// Nothing was applied, by whichever partition's fault: it is tried in isolation.
    Again,
    /// The partition was revoked, or the service stops.
    End,
}

impl Tried {
    /// What became of a part that was applied by itself.
    fn sole(part: Part, outcome: Result<Vec<Outcome>, HandlerError>) -> Self {
        match outcome.map(|mut outcomes| outcomes.pop()) {
            Ok(Some(outcome)) => Self::Of(part, outcome),
            Ok(None) => Self::Failed(HandlerError::Retry("a part without an outcome".into())),
            Err(error) => Self::Failed(error),
        }
    }
}

impl Worker {
    pub(super) async fn until_parts_applied(
        &mut self,
        partition: &mut dyn Partition,
        batch: &Arc<DecodedBatch>,
    ) -> Turn {
        let (mut parts, mut attempts, mut blamed) = (Parts::new(batch.items.len()), 0, None);
        loop {
            let part = Part::new(Arc::clone(batch), parts.range(), blamed.clone());
            let (found, is_whole) = (part.from(), part.is_whole());
            let error = match self.apply(partition, part).await {
                Tried::End => return Turn::End,
                Tried::Again => continue,
                Tried::Of(part, Outcome::Applied(_)) => {
                    (attempts, blamed) = (0, None);
                    self.status.set(PartitionState::Running { next_offset: part.to() });
                    if parts.applied(part.records().len()) {
                        self.isolation.applied();
                        return Turn::Continue;
                    }
                    // What was applied is behind the position: the rest is the next owner's.
                    if self.shutdown.is_cancelled() {
                        return Turn::End;
                    }
                    continue;
                }
                Tried::Of(_, Outcome::Moved { next_offset }) => {
                    let id = &self.id;
                    tracing::info!(
                        topic = id.topic,
                        partition = id.partition,
                        found,
                        next_offset,
                        "partition position moved by another consumer; repositioning"
                    );
                    return Turn::Reposition;
                }
                Tried::Of(_, Outcome::Open { records, open }) => {
                    blamed = None;
                    self.isolation.at_fault();
                    if records > 0 {
                        parts.cut(records);
                    } else if !self.stop_at_failures(&open).await {
                        return Turn::End;
                    }
                    continue;
                }
                Tried::Of(_, Outcome::Rejected) => {
                    self.isolation.at_fault();
                    continue;
                }
                Tried::Of(_, Outcome::Locked) => continue,
                Tried::Failed(error) => error,
            };
            attempts += 1;
            let rejection = error.rejection();
            if blamed.is_some() && rejection.is_some() {
                self.stop_at_letter(&error);
                if self.wait(STOPPED_PAUSE).await {
                    continue;
                }
                return Turn::End;
            }
            match parts.failed(error.verdict()) {
                Next::AtOnce if is_whole => {
                    let id = &self.id;
                    tracing::warn!(topic = id.topic, partition = id.partition, %error, "batch failed; splitting it to isolate the record");
                }
                Next::AtOnce => {}
                Next::DeadLetter => {
                    self.isolation.at_fault();
                    blamed = rejection;
                }
                Next::Later => {
                    if !self.back_off(attempts, &error).await {
                        return Turn::End;
                    }
                }
            }
        }
    }

    /// Applies a part: with those of other partitions, by itself if it fills a transaction, or in isolation.
    async fn apply(&mut self, partition: &mut dyn Partition, part: Part) -> Tried {
        if self.isolation.is_isolated() {
            let outcome = self.shared.apply(std::slice::from_ref(&part), LockedRow::Wait).await;
            return Tried::sole(part, outcome);
        }
        let config = &self.shared.config;
        if part.fills(config.max_batch_records, config.max_batch_bytes) {
            return self.apply_full(partition, part).await;
        }
        let (shared, stop) = (Arc::clone(&self.shared), self.shutdown.clone());
        let answer = tokio::select! {
            biased;
            answer = shared.offers.offer(part, &stop) => answer,
            never = self.look_ahead(partition) => match never {},
        };
        let tried = match answer {
            Some(Answer::Of(part, outcome @ Outcome::Applied(_))) => return Tried::Of(part, outcome),
            Some(Answer::Of(part, outcome)) => Tried::Of(part, outcome),
            Some(Answer::FailedAlone(error)) => Tried::Failed(error),
            Some(Answer::Failed(verdict)) => {
                self.count_retry(verdict);
                Tried::Again
            }
            None => Tried::End,
        };
        self.isolation.isolate();
        tried
    }

    /// Applies what fills a transaction: other partitions would only take their shares of it. A batch that has no place yet is
    /// withdrawn by a revocation; one that has begun is finished.
    async fn apply_full(&mut self, partition: &mut dyn Partition, part: Part) -> Tried {
        let (shared, stop) = (Arc::clone(&self.shared), self.shutdown.clone());
        let config = &shared.config;
        let (records, _) = part.fitting(config.max_batch_records, config.max_batch_bytes);
        let part = part.first(records);
        let applying = async {
            let _place = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                place = shared.alone.acquire() => place.ok()?,
            };
            // Whoever waits for a foreign lock has no place.
            Some(shared.apply(std::slice::from_ref(&part), LockedRow::Skip).await)
        };
        let outcome = tokio::select! {
            biased;
            outcome = applying => outcome,
            never = self.look_ahead(partition) => match never {},
        };
        let Some(outcome) = outcome else { return Tried::End };
        let tried = Tried::sole(part, outcome);
        if !matches!(tried, Tried::Of(_, Outcome::Applied(_))) {
            self.isolation.isolate();
        }
        tried
    }

    /// The record can be neither applied nor kept as a dead letter, so nothing behind it can be applied.
    fn stop_at_letter(&self, error: &HandlerError) {
        let id = &self.id;
        counter!("inbox_partitions_stopped_total", "topic" => label(&id.topic), "reason" => LETTER_REFUSED)
            .increment(1);
        tracing::error!(topic = id.topic, partition = id.partition, %error, "partition stopped: the database refuses a dead letter");
        self.status.set(PartitionState::Stopped { error: format!("a dead letter is refused: {error}") });
    }

    /// The events of a type fail in succession: the next one is tried after a pause. `false` when the service stops meanwhile.
    async fn stop_at_failures(&self, open: &Open) -> bool {
        let id = &self.id;
        counter!("inbox_partitions_stopped_total", "topic" => label(&id.topic), "reason" => REPEATED_FAILURE)
            .increment(1);
        tracing::error!(topic = id.topic, partition = id.partition, reason = %open, "partition stopped: events fail in succession");
        self.status.set(PartitionState::Stopped { error: open.to_string() });
        let has_passed = self.wait(open.pause(rand::random())).await;
        if has_passed {
            self.shared.applier.breaker.permit(id);
        }
        has_passed
    }
}
