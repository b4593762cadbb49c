//! A transaction of a consumer, and what follows from its commit: counts, and whoever waits for it.

use std::time::Duration;

use messaging::{TopicPartition, label};
use metrics::{counter, histogram};
use tokio::time::Instant;

use crate::batch::Outcome;
use crate::decoded::Part;
use crate::error_policy::HandlerError;
use crate::metrics::OUTCOMES;
use crate::plan::Tally;
use crate::positions::LockedRow;
use crate::shared::Shared;

impl Shared {
    /// Applies these parts, which are of different partitions and sorted by them, and gives the outcome of each.
    pub(crate) async fn apply(
        &self,
        parts: &[Part],
        locked_row: LockedRow,
    ) -> Result<Vec<Outcome>, HandlerError> {
        let began = Instant::now();
        let outcomes = self.applier.apply(parts, locked_row).await?;
        let mut has_happened = false;
        for (part, outcome) in parts.iter().zip(&outcomes) {
            // Markers of transactions only: the position passes them, and nothing has happened.
            if let Outcome::Applied(tally) = outcome
                && !part.records().is_empty()
            {
                count(part.partition(), *tally, began.elapsed());
                has_happened = true;
            }
        }
        if has_happened {
            (self.on_commit)();
            self.applier.effect.committed();
        }
        Ok(outcomes)
    }
}

fn count(id: &TopicPartition, tally: Tally, took: Duration) {
    let topic = label(&id.topic);
    let counts = [tally.applied, tally.duplicate, tally.skipped, tally.dead_lettered];
    for (outcome, events) in OUTCOMES.into_iter().zip(counts) {
        if events > 0 {
            counter!("inbox_records_total", "topic" => topic.clone(), "outcome" => outcome).increment(events);
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
