//! What waits and what stands still, asked at a bounded interval: lag, dead letters, the partitions' states.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use contracts::topics::PARTITIONS;
use contracts::{Topics, ambient};
use database::{Database, Operation, Verdict};
use futures::future::join_all;
use messaging::{Bus, BusError, TopicPartition, Watermarks, ends};
use metrics::{counter, gauge};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dead_letters::{self, BEHIND};
use crate::hand_over::Cause;
use crate::members::{self, Reach};
use crate::metrics::{ANOTHER_LOG, ASSIGNED, LETTER_REFUSED, OUT_OF_RANGE, OUTCOMES, REVOKED, STATES};
use crate::positions;
use crate::standing::{self, Applied};
use crate::status::{ConsumerStatus, PartitionState};
use crate::watchdog::Watchdog;
use crate::worker::Shared;

/// What each partition of a topic holds, as far as its leader tells.
pub(crate) type Ends = Vec<(TopicPartition, Result<Watermarks, BusError>)>;

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
    let applied = applied(database).await?;
    Ok(lags(&applied, &ends_of(bus, topics).await))
}

async fn applied(database: &Database) -> Result<Vec<Applied>, sqlx::Error> {
    let reading =
        database.connection(Operation::Sample, |mut conn| async move { standing::applied(&mut conn).await });
    reading.await
}

/// What the topics hold; none for one whose partitions the broker does not name.
pub(crate) async fn ends_of(bus: &dyn Bus, topics: &[String]) -> Vec<Option<Ends>> {
    let of_topic = async |topic: &String| match ends::partitions(bus, topic).await {
        Ok(partitions) => Some(ends::watermarks(bus, partitions).await),
        Err(error) => {
            tracing::debug!(topic, %error, "the lag is not known");
            None
        }
    };
    join_all(topics.iter().map(of_topic)).await
}

fn lags(applied: &[Applied], ends: &[Option<Ends>]) -> Vec<Lag> {
    let mut lags = Vec::new();
    for (partition, answer) in ends.iter().flatten().flatten() {
        match answer {
            Ok(marks) => {
                let position = applied.iter().find(|applied| applied.partition == *partition);
                let next_offset = position.map_or(marks.low, |applied| applied.next_offset);
                let records = (marks.high - next_offset).max(0);
                lags.push(Lag { partition: partition.clone(), next_offset, records });
            }
            Err(error) => tracing::debug!(?partition, %error, "the lag of a partition is not known"),
        }
    }
    lags
}

/// What one look at the partitions finds.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Positions, unless the database does not answer.
    pub(crate) applied: Vec<Applied>,
    /// Those that are known.
    pub(crate) lags: Vec<Lag>,
    /// Unless the broker does not name all partitions.
    pub(crate) reach: Option<Reach>,
}

impl Look {
    async fn at(shared: &Shared, topics: &[String]) -> Self {
        let applied = applied(&shared.applier.database).await;
        let ends = ends_of(&*shared.bus, topics).await;
        let reach = Reach::of(&ends);
        match applied {
            Ok(applied) => Self { lags: lags(&applied, &ends), applied, reach },
            Err(error) => {
                tracing::debug!(%error, "the lag is not known");
                Self { reach, ..Self::default() }
            }
        }
    }
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
    for cause in Cause::ALL {
        counter!("inbox_memberships_given_up_total", "cause" => cause.label()).increment(0);
    }
}

/// Asks until `shutdown`.
pub(crate) async fn run(shared: Arc<Shared>, every: Duration, shutdown: CancellationToken) {
    let applier = &shared.applier;
    let topics = applier.codec.topics();
    let subscribed = applier.effect.topics();
    let labels: Vec<&'static str> = subscribed.iter().map(|topic| topic.suffix()).collect();
    let names: Vec<String> = subscribed.iter().map(|topic| topics.name(*topic)).collect();
    begin(&labels);
    let mut dead_letters = DeadLetters::new(&labels);
    let (mut counts, mut watchdog) = (Counts::default(), Watchdog::default());
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let asking = async {
        loop {
            ticks.tick().await;
            show_states(&shared.status);
            // Side by side: one system that does not answer makes a look no longer than its own bound.
            let (counted, (), look) = tokio::join!(
                dead_letters.count(&applier.database, topics),
                counts.compare(&*shared.bus, topics, &names),
                Look::at(&shared, &names),
            );
            if let Err(error) = counted {
                tracing::debug!(%error, "dead letters are not counted");
            }
            show_lags(&look.lags, topics);
            let assigned = shared.status.partitions();
            let stalled = watchdog.stalled(&assigned, &look, shared.config.stalled_after(), Instant::now());
            shared.status.set_stalled(&stalled, ambient::now());
            if let Some(reach) = look.reach
                && let Err(error) = shared.tell(&reach).await
            {
                tracing::debug!(%error, "other members are not told what this one reaches");
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = asking => {}
    }
}

impl Shared {
    async fn tell(&self, reach: &Reach) -> Result<(), sqlx::Error> {
        let in_group = self.status.out_of_group().is_none() && self.given_up.borrow().is_none();
        members::tell(&self.applier.database, self.member, in_group, &reach.unreached).await
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
