//! What waits and what stands still, asked at a bounded interval: lag, dead letters, the partitions' states.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cloudevents::clock;
use database::{Database, Operation, Verdict};
use messaging::label;
use metrics::{counter, gauge};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dead_letters::{self, BEHIND};
use crate::lag::{Lag, Look};
use crate::members::{self, Reach};
use crate::metrics::{
    ANOTHER_LOG, ASSIGNED, LETTER_REFUSED, OUT_OF_RANGE, OUTCOMES, REPEATED_FAILURE, REVOKED, STATES,
};
use crate::shared::{Cause, Shared};
use crate::status::{ConsumerStatus, PartitionState};
use crate::watchdog::Watchdog;

/// Compares a topic's partitions with the count by which keys were placed so far.
#[derive(Default)]
struct Counts {
    last: BTreeMap<String, i32>,
}

impl Counts {
    /// `found` has the counts of these topics, as far as they are known.
    fn compare(&mut self, found: &[Option<usize>], expected: i32, names: &[String]) {
        for (name, found) in names.iter().zip(found) {
            // Without an answer the last one stands; an unreachable broker is reported elsewhere.
            let Some(found) = *found else { continue };
            let found = i32::try_from(found).unwrap_or(i32::MAX);
            let unexpected = found - expected;
            gauge!("inbox_topic_partitions_unexpected", "topic" => label(name)).set(unexpected);
            let last = self.last.insert(name.clone(), unexpected).unwrap_or_default();
            if unexpected != last && unexpected != 0 {
                tracing::error!(
                    topic = name,
                    expected,
                    found,
                    "another partition count: a key's later events may lie on another partition than its earlier ones; see \
                     docs/operations.md"
                );
            }
        }
    }
}

/// Begins the series whose absence would hide an alert.
pub(crate) fn begin(topics: &[String], partitions: i32) {
    for topic in topics {
        for outcome in OUTCOMES {
            counter!("inbox_records_total", "topic" => topic.clone(), "outcome" => outcome).increment(0);
        }
        for verdict in Verdict::ALL {
            counter!("inbox_retries_total", "topic" => topic.clone(), "reason" => verdict.label())
                .increment(0);
        }
        // Nothing was read yet: from now on it counts.
        (0..partitions).for_each(|partition| show_read(topic, partition));
        gauge!("inbox_topic_partitions_unexpected", "topic" => topic.clone()).set(0.0);
        for reason in [OUT_OF_RANGE, ANOTHER_LOG, LETTER_REFUSED, REPEATED_FAILURE] {
            counter!("inbox_partitions_stopped_total", "topic" => topic.clone(), "reason" => reason)
                .increment(0);
        }
    }
    for change in [ASSIGNED, REVOKED] {
        counter!("inbox_rebalances_total", "change" => change).increment(0);
    }
    for cause in Cause::ALL {
        counter!("inbox_memberships_given_up_total", "cause" => cause.label()).increment(0);
    }
}

/// Asks until `shutdown`.
pub(crate) async fn run(shared: Arc<Shared>, every: Duration, shutdown: CancellationToken) {
    let applier = &shared.applier;
    let names = &shared.topics;
    let labels: Vec<String> = names.iter().map(|name| label(name)).collect();
    begin(&labels, shared.partitions);
    let mut dead_letters = DeadLetters::new(&labels);
    let (mut counts, mut watchdog) = (Counts::default(), Watchdog::default());
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let asking = async {
        loop {
            ticks.tick().await;
            show_states(&shared.status);
            // Side by side: one system that does not answer makes a look no longer than its own bound.
            let (counted, look) =
                tokio::join!(dead_letters.count(&applier.database), Look::at(&shared, names));
            counts.compare(&look.counts, shared.partitions, names);
            if let Err(error) = counted {
                tracing::debug!(%error, "cannot count dead letters");
            }
            show_lags(&look.lags);
            let assigned = shared.status.partitions();
            let stalled = watchdog.stalled(&assigned, &look, shared.config.stalled_after(), Instant::now());
            shared.status.set_stalled(&stalled, clock::now());
            if let Some(reach) = look.reach
                && let Err(error) = shared.report(&reach).await
            {
                tracing::debug!(%error, "the report to the other members failed");
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = asking => {}
    }
}

impl Shared {
    async fn report(&self, reach: &Reach) -> Result<(), sqlx::Error> {
        let in_group = self.status.out_of_group().is_none() && self.given_up.borrow().is_none();
        members::report(&self.applier.database, self.member, in_group, &reach.unreached).await
    }
}

/// The gauges of dead letters. One that is redriven goes back to 0, so what was shown is remembered.
struct DeadLetters {
    shown: BTreeSet<(String, String)>,
}

impl DeadLetters {
    fn new(topics: &[String]) -> Self {
        Self { shown: topics.iter().map(|topic| (topic.clone(), BEHIND.to_owned())).collect() }
    }

    async fn count(&mut self, database: &Database) -> Result<(), sqlx::Error> {
        let counting = database
            .connection(Operation::Sample, |mut conn| async move { dead_letters::count(&mut conn).await });
        let counts = counting.await?;
        let mut gone = std::mem::take(&mut self.shown);
        for (topic, reason, events) in counts {
            let topic = label(&topic);
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            gauge!("inbox_dead_letters", "topic" => topic.clone(), "reason" => reason.clone())
                .set(events as f64);
            let shown = (topic, reason);
            gone.remove(&shown);
            self.shown.insert(shown);
        }
        for (topic, reason) in gone {
            gauge!("inbox_dead_letters", "topic" => topic.clone(), "reason" => reason.clone()).set(0.0);
            self.shown.insert((topic, reason));
        }
        Ok(())
    }
}

/// Shows what is known; a partition whose lag is not known keeps its last one, and the time of it.
#[expect(clippy::cast_precision_loss, reason = "gauges")]
fn show_lags(lags: &[Lag]) {
    for Lag { partition, next_offset, records } in lags {
        let topic = label(&partition.topic);
        let number = partition.partition.to_string();
        gauge!("inbox_lag_records", "topic" => topic.clone(), "partition" => number.clone())
            .set(*records as f64);
        gauge!("inbox_next_offset", "topic" => topic.clone(), "partition" => number).set(*next_offset as f64);
        show_read(&topic, partition.partition);
    }
}

fn show_read(topic: &str, partition: i32) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    gauge!("inbox_lag_read_timestamp_seconds", "topic" => topic.to_owned(), "partition" => partition.to_string())
        .set(clock::now().timestamp_millis() as f64 / 1_000.0);
}

fn show_states(status: &ConsumerStatus) {
    let mut counts = [0.0; STATES.len()];
    for state in status.partitions().into_values() {
        counts[match state {
            PartitionState::Running { .. } => 0,
            PartitionState::Retrying { .. } => 1,
            PartitionState::Stopped { .. } => 2,
            PartitionState::Stalled { .. } => 3,
        }] += 1.0;
    }
    for (state, count) in STATES.into_iter().zip(counts) {
        gauge!("inbox_partitions", "state" => state).set(count);
    }
}
