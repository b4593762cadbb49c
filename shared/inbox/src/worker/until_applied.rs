//! A decoded batch, part by part, until all of it is behind the position.

use std::sync::Arc;

use messaging::label;
use metrics::counter;

use super::{STOPPED_PAUSE, Turn, Worker};
use crate::batch::Outcome;
use crate::breaker::Open;
use crate::decoded::{DecodedBatch, Part};
use crate::error_policy::HandlerError;
use crate::metrics::{LETTER_REFUSED, REPEATED_FAILURE};
use crate::parts::{Next, Parts};
use crate::status::PartitionState;

impl Worker {
    pub(super) async fn until_parts_applied(&self, batch: &Arc<DecodedBatch>) -> Turn {
        let id = &self.id;
        let (mut parts, mut attempts, mut blamed) = (Parts::new(batch.items.len()), 0, None);
        loop {
            let part = Part::new(Arc::clone(batch), parts.range(), blamed.clone());
            let error = match self.apply(&part).await {
                Ok(Outcome::Applied(_)) => {
                    (attempts, blamed) = (0, None);
                    self.status.set(PartitionState::Running { next_offset: part.to() });
                    if parts.applied() {
                        return Turn::Continue;
                    }
                    // What was applied is behind the position: the rest is the next owner's.
                    if self.shutdown.is_cancelled() {
                        return Turn::End;
                    }
                    continue;
                }
                Ok(Outcome::Moved { next_offset }) => {
                    tracing::info!(
                        topic = id.topic,
                        partition = id.partition,
                        found = part.from(),
                        next_offset,
                        "partition position moved by another consumer; repositioning"
                    );
                    return Turn::Reposition;
                }
                Ok(Outcome::Open { records, open }) => {
                    blamed = None;
                    if records > 0 {
                        parts.cut(records);
                    } else if !self.stop_at_failures(&open).await {
                        return Turn::End;
                    }
                    continue;
                }
                Err(error) => error,
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
                Next::AtOnce if part.is_whole() => {
                    tracing::warn!(topic = id.topic, partition = id.partition, %error, "batch failed; splitting it to isolate the record");
                }
                Next::AtOnce => {}
                Next::DeadLetter => blamed = rejection,
                Next::Later => {
                    if !self.back_off(attempts, &error).await {
                        return Turn::End;
                    }
                }
            }
        }
    }

    async fn apply(&self, part: &Part) -> Result<Outcome, HandlerError> {
        let outcomes = self.shared.apply(std::slice::from_ref(part)).await?;
        outcomes.into_iter().next().ok_or_else(|| HandlerError::Retry("a part without an outcome".into()))
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
