//! What waits and what stands still, asked at a bounded interval: lag, dead letters, the partitions' states.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use contracts::topics::PARTITIONS;
use contracts::{Topics, ambient};
use database::{Database, Operation, Verdict};
use futures::future::join_all;
use messaging::{Bus, TopicPartition, ends};
use metrics::{counter, gauge};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dead_letters::{self, BEHIND};
use crate::metrics::{ANOTHER_LOG, ASSIGNED, LETTER_REFUSED, OUT_OF_RANGE, OUTCOMES, REVOKED, STATES};
use crate::positions;
use crate::standing::{self, Applied};
use crate::status::{ConsumerStatus, PartitionState};
use crate::watchdog::Watchdog;
use crate::worker::Shared;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(5);

/// How far behind a partition is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lag {
    /// Which partition.
    pub partition: TopicPartition,
    /// The first offset that is not applied yet.
    pub next_offset: i64,
    /// Records on it that are not applied yet.
    pub records: i64,
}

/// How far behind this service is on the partitions of these topics, whichever replica reads them, and even if none does:
/// the positions are the database's. A partition whose end the broker does not tell is left out.
///
/// # Errors
/// When the database does not tell the positions.
pub async fn lag(database: &Database, bus: &dyn Bus, topics: &[String]) -> Result<Vec<Lag>, sqlx::Error> {
    // Positions first: what is applied meanwhile makes the lag look longer by a moment, never shorter.
    let reading =
        database.connection(Operation::Sample, |mut conn| async move { standing::applied(&mut conn).await });
    let applied = reading.await?;
    let of_topics = topics.iter().map(|topic| lag_of(bus, &applied, topic));
    Ok(join_all(of_topics).await.into_iter().flatten().collect())
}

/// Compares a topic's partitions with the count by which keys were placed so far.
#[derive(Default)]
struct Counts {
    told: BTreeMap<String, i32>,
}

impl Counts {
    async fn compare(&mut self, bus: &dyn Bus, topics: &Topics, names: &[String]) {
        for name in names {
            // Without an answer the last one stands; that the broker is away is told elsewhere.
            let Ok(found) = bus.partitions(name).await else { continue };
            let found = i32::try_from(found.len()).unwrap_or(i32::MAX);
            let unexpected = found - PARTITIONS;
            gauge!("inbox_topic_partitions_unexpected", "topic" => positions::label(topics, name))
                .set(unexpected);
            let told = self.told.insert(name.clone(), unexpected).unwrap_or_default();
            if unexpected != told && unexpected != 0 {
                tracing::error!(
                    topic = name,
                    expected = PARTITIONS,
                    found,
                    "another partition count: a key's later events may lie on another partition than its earlier ones; see \
                     docs/operations.md"
                );
            }
        }
    }
}

async fn lag_of(bus: &dyn Bus, applied: &[Applied], topic: &str) -> Vec<Lag> {
    let partitions = match ends::partitions(bus, topic).await {
        Ok(partitions) => partitions,
        Err(error) => {
            tracing::debug!(topic, %error, "the lag is not known");
            return Vec::new();
        }
    };
    let mut lags = Vec::with_capacity(partitions.len());
    for (partition, answer) in ends::watermarks(bus, partitions).await {
        match answer {
            Ok(marks) => {
                let position = applied.iter().find(|applied| applied.partition == partition);
                let next_offset = position.map_or(marks.low, |applied| applied.next_offset);
                lags.push(Lag { partition, next_offset, records: (marks.high - next_offset).max(0) });
            }
            Err(error) => tracing::debug!(topic, %error, "the lag of a partition is not known"),
        }
    }
    lags
}

/// Begins the series whose absence would hide an alert.
pub(crate) fn begin(topics: &[&'static str]) {
    for &topic in topics {
        for outcome in OUTCOMES {
            counter!("inbox_records_total", "topic" => topic, "outcome" => outcome).increment(0);
        }
        for verdict in Verdict::ALL {
            counter!("inbox_retries_total", "topic" => topic, "reason" => verdict.label()).increment(0);
        }
        // Nothing was read yet: from now on it counts.
        (0..PARTITIONS).for_each(|partition| show_read(topic, partition));
        gauge!("inbox_topic_partitions_unexpected", "topic" => topic).set(0.0);
        for reason in [OUT_OF_RANGE, ANOTHER_LOG, LETTER_REFUSED] {
            counter!("inbox_partitions_stopped_total", "topic" => topic, "reason" => reason).increment(0);
        }
    }
    for change in [ASSIGNED, REVOKED] {
        counter!("inbox_rebalances_total", "change" => change).increment(0);
    }
}

/// Asks until `shutdown`.
pub(crate) async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    let applier = &shared.applier;
    let topics = applier.codec.topics();
    let subscribed = applier.effect.topics();
    let labels: Vec<&'static str> = subscribed.iter().map(|topic| topic.suffix()).collect();
    let names: Vec<String> = subscribed.iter().map(|topic| topics.name(*topic)).collect();
    begin(&labels);
    let mut dead_letters = DeadLetters::new(&labels);
    let (mut counts, mut watchdog) = (Counts::default(), Watchdog::default());
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let asking = async {
        loop {
            ticks.tick().await;
            show_states(&shared.status);
            match dead_letters.count(&applier.database, topics).await {
                Ok(()) => {}
                Err(error) => tracing::debug!(%error, "dead letters are not counted"),
            }
            counts.compare(&*shared.bus, topics, &names).await;
            let lags = lag(&applier.database, &*shared.bus, &names).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "the lag is not known");
                Vec::new()
            });
            show_lags(&lags, topics);
            let assigned = shared.status.partitions();
            let stalled = watchdog.stalled(&assigned, &lags, shared.config.stalled_after(), Instant::now());
            shared.status.set_stalled(&stalled, ambient::now());
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = asking => {}
    }
}

/// The gauges of dead letters. One that is redriven goes back to 0, so what was shown is remembered.
struct DeadLetters {
    shown: BTreeSet<(&'static str, String)>,
}

impl DeadLetters {
    fn new(topics: &[&'static str]) -> Self {
        Self { shown: topics.iter().map(|topic| (*topic, BEHIND.to_owned())).collect() }
    }

    async fn count(&mut self, database: &Database, topics: &Topics) -> Result<(), sqlx::Error> {
        let counting = database
            .connection(Operation::Sample, |mut conn| async move { dead_letters::count(&mut conn).await });
        let counts = counting.await?;
        let mut gone = std::mem::take(&mut self.shown);
        for (topic, reason, events) in counts {
            let topic = positions::label(topics, &topic);
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            gauge!("inbox_dead_letters", "topic" => topic, "reason" => reason.clone()).set(events as f64);
            gone.remove(&(topic, reason.clone()));
            self.shown.insert((topic, reason));
        }
        for (topic, reason) in gone {
            gauge!("inbox_dead_letters", "topic" => topic, "reason" => reason.clone()).set(0.0);
            self.shown.insert((topic, reason));
        }
        Ok(())
    }
}

/// Shows what is known; a partition whose lag is not known keeps its last one, and the time of it.
fn show_lags(lags: &[Lag], topics: &Topics) {
    for Lag { partition, records, .. } in lags {
        let topic = positions::label(topics, &partition.topic);
        let number = partition.partition.to_string();
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        gauge!("inbox_lag_records", "topic" => topic, "partition" => number).set(*records as f64);
        show_read(topic, partition.partition);
    }
}

fn show_read(topic: &'static str, partition: i32) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    gauge!("inbox_lag_read_timestamp_seconds", "topic" => topic, "partition" => partition.to_string())
        .set(ambient::now().timestamp_millis() as f64 / 1_000.0);
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
