//! Rebuilds the read models from the topics beside the live ones, then swaps (docs/adr/0010).
//!
//! Invariant: a generation that becomes live has counted exactly what the one before has: every record before the live
//! positions but the dead letters. The swap holds those positions, reads what is left, and flips in one transaction.
//! Records that are on a topic twice count once, because each order's row knows what was counted.

mod error_policy;
mod reader;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use contracts::{DecodeError, Envelope, Topic, clock};
use database::{Operation, Transaction, Verdict};
use inbox::progress::{self, Applied};
use inbox::{Context, Received, Rejection, Subscriptions, UnitOfWork};
use messaging::{Batch, TopicPartition, ends};
use service::{Deps, Progress, Worker};
use sqlx::PgConnection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::reader::Reader;
use super::postgres::{self, Generation, rebuilds};

/// How often a replica looks for a requested generation; a request at this replica wakes it at once.
const POLL: Duration = Duration::from_secs(5);

/// How long the leader's session may take for a statement.
const LEADER_TIMEOUT: Duration = Duration::from_secs(12);

/// The most records that may be left for the swap, for which live batches wait.
const MOST_LEFT_FOR_SWAP: i64 = 500;

/// Why a generation can't be made.
#[derive(Debug, thiserror::Error)]
enum Impossible {
    #[error("the beginning of {topic}/{partition} is gone: it starts at {low}")]
    BeginningGone { topic: String, partition: i32, low: i64 },
    #[error("{topic}/{partition} at {offset} was applied before and is rejected now: {rejection}")]
    Rejected { topic: String, partition: i32, offset: i64, rejection: Rejection },
    /// A dead letter that was left out has been redriven or discarded since.
    #[error("event {event_id} was redriven during the rebuild: request the rebuild again")]
    Redriven { event_id: Uuid },
    #[error("generation {generation} was given up on request")]
    GivenUp { generation: i32 },
}

const NAME: &str = "rebuilder";

/// Makes the generations that are requested.
pub struct Rebuilder {
    deps: Deps,
    wake: Arc<Notify>,
    subscriptions: Subscriptions<postgres::Batch>,
    progress: Progress,
    /// Whether rows of generations that are no longer read may be left.
    may_forget: AtomicBool,
}

impl Rebuilder {
    /// Counts as `subscriptions` do, which are those of the live consumer. `wake` wakes it.
    pub fn new(deps: &Deps, subscriptions: Subscriptions<postgres::Batch>, wake: Arc<Notify>) -> Self {
        Self {
            deps: deps.clone(),
            wake,
            subscriptions,
            progress: Progress::new(NAME),
            may_forget: AtomicBool::new(true),
        }
    }

    /// Makes the requested generation, if there is one and no other replica makes it.
    ///
    /// # Errors
    /// When the database, the broker or the registry fails. Progress is kept; the next call goes on.
    pub async fn make_next(&self) -> anyhow::Result<()> {
        let Some(rebuild) = rebuilds::building(&self.deps.database).await? else {
            if self.may_forget.load(Ordering::Relaxed) {
                let forgotten = rebuilds::forget(&self.deps.database).await?;
                self.may_forget.store(forgotten > 0, Ordering::Relaxed);
            }
            self.progress.idle();
            return Ok(());
        };
        // Also where another replica ends it.
        self.may_forget.store(true, Ordering::Relaxed);
        // A session of its own: the lock ends with it whatever happens.
        let mut leader = self.deps.database.session().await?;
        if !bounded(rebuilds::lead(&mut leader)).await? {
            self.progress.idle();
            return Ok(());
        }
        let outcome = self.make_or_give_up(rebuild.generation, &mut leader).await;
        let resigned = bounded(rebuilds::resign(leader)).await;
        outcome?;
        resigned
    }

    async fn make_or_give_up(&self, generation: i32, leader: &mut PgConnection) -> anyhow::Result<()> {
        tracing::info!(generation, "rebuilding the read models from the topics");
        let Err(error) = self.make(generation, leader).await else {
            tracing::info!(generation, "the rebuilt read models are live");
            return Ok(());
        };
        if let Some(Impossible::GivenUp { .. }) = error.downcast_ref() {
            tracing::info!(generation, "the rebuild was given up on request");
            return Ok(());
        }
        if self.deps.shutdown.is_cancelled() {
            return Err(error);
        }
        let (verdict, reason) = (error_policy::verdict(&error), error_policy::described(&error));
        if verdict != Verdict::Data && !self.has_met_too_many(generation, verdict, &reason).await {
            // Tried again from the stored positions.
            return Err(error);
        }
        tracing::error!(generation, reason, "the rebuild has failed");
        Ok(rebuilds::fail(&self.deps.database, generation, &reason).await?)
    }

    /// Stores the error for those who ask. Whether it is of unknown kind and has been met too often.
    async fn has_met_too_many(&self, generation: i32, verdict: Verdict, reason: &str) -> bool {
        let is_unknown = verdict == Verdict::Unknown;
        match rebuilds::record_error(&self.deps.database, generation, reason, is_unknown).await {
            Ok(unknown_errors) => is_unknown && unknown_errors >= error_policy::UNKNOWN_TRIES,
            Err(error) => {
                tracing::warn!(generation, %error, reason, "the error of the rebuild can't be stored");
                false
            }
        }
    }

    async fn make(&self, generation: i32, leader: &mut PgConnection) -> anyhow::Result<()> {
        let applied = self.applied().await?;
        let partitions: Vec<TopicPartition> = applied.into_iter().map(|applied| applied.partition).collect();
        self.expect_whole_topics(&partitions).await?;
        let orders = self.deps.codec.topics().name(Topic::Orders);
        let prefix = orders.strip_suffix(Topic::Orders.suffix()).unwrap_or_default();
        let group = format!("{prefix}{}.rebuild-{generation}", self.deps.name);
        let mut reader = Reader::join(self.deps.bus.as_ref(), &group, &partitions).await?;
        let outcome = self.fill_and_swap(generation, leader, &mut reader).await;
        reader.close().await;
        outcome
    }

    /// The positions of the live generation.
    async fn applied(&self) -> Result<Vec<Applied>, sqlx::Error> {
        let database = &self.deps.database;
        database
            .connection(Operation::Worker, |mut conn| async move { progress::applied(&mut conn).await })
            .await
    }

    /// A topic whose beginning is gone can't be counted again.
    async fn expect_whole_topics(&self, partitions: &[TopicPartition]) -> anyhow::Result<()> {
        for (id, marks) in ends::watermarks(&*self.deps.bus, partitions.to_vec()).await {
            let (TopicPartition { topic, partition }, low) = (id, marks?.low);
            ensure!(low == 0, Impossible::BeginningGone { topic, partition, low });
        }
        Ok(())
    }

    async fn fill_and_swap(
        &self,
        generation: i32,
        leader: &mut PgConnection,
        reader: &mut Reader,
    ) -> anyhow::Result<()> {
        loop {
            let targets = self.applied().await?;
            let mut read = 0;
            for target in &targets {
                read += self.catch_up(generation, leader, reader, target).await?;
            }
            if read <= MOST_LEFT_FOR_SWAP && self.swap(generation, reader).await? {
                return Ok(());
            }
        }
    }

    /// Reads up to the position of the live generation, one transaction per batch. Returns the number of records.
    async fn catch_up(
        &self,
        generation: i32,
        leader: &mut PgConnection,
        reader: &mut Reader,
        target: &Applied,
    ) -> anyhow::Result<i64> {
        let (database, partition) = (&self.deps.database, &target.partition);
        let began = database
            .connection(Operation::Worker, |mut conn| async move {
                rebuilds::position(&mut conn, generation, partition).await
            })
            .await?
            .unwrap_or(0);
        let mut from = began;
        while from < target.next_offset {
            ensure!(!self.deps.shutdown.is_cancelled(), "the service is stopping");
            bounded(rebuilds::still_leads(leader)).await?;
            // Outside the transaction, which waits for the database only.
            let batch = reader.read(partition, from, target.next_offset).await?;
            self.learn(&batch).await?;
            let applying = async |mut transaction: Transaction| -> anyhow::Result<i64> {
                // The lock's session may have gone since, and another replica be at work.
                let position =
                    rebuilds::position(&mut transaction, generation, partition).await?.unwrap_or(0);
                ensure!(position == from, "another replica rebuilds generation {generation}");
                let is_building = rebuilds::hold_building(&mut transaction, generation).await?;
                ensure!(is_building, Impossible::GivenUp { generation });
                self.apply(&mut transaction, generation, partition, &batch).await?;
                transaction.commit().await?;
                Ok(batch.to)
            };
            from = database.transaction(Operation::Worker, applying).await?;
            self.progress.moved();
        }
        Ok(from - began)
    }

    /// Fetches the schemas of these records. What the registry does not know stays unknown.
    async fn learn(&self, batch: &Batch) -> anyhow::Result<()> {
        let wanted = batch.records.iter().filter(|record| !self.skips(&record.headers));
        self.deps.codec.learn(wanted.filter_map(|record| record.value.as_deref())).await?;
        Ok(())
    }

    /// Whether the header names a type that nobody here subscribes to.
    fn skips(&self, headers: &[(String, Vec<u8>)]) -> bool {
        Envelope::event_type_of(headers).is_some_and(|name| !self.subscriptions.handles(name))
    }

    async fn apply(
        &self,
        conn: &mut PgConnection,
        generation: i32,
        partition: &TopicPartition,
        batch: &Batch,
    ) -> anyhow::Result<()> {
        // A record that could not be decoded then may be decoded now; its id was made from its position.
        let made: Vec<(Uuid, i64)> = batch
            .records
            .iter()
            .map(|record| (progress::made_id(partition, record), record.offset))
            .collect();
        let mut left_out = progress::without_effect_at(&mut *conn, partition, &made).await?;
        let mut events = Vec::new();
        for (record, made) in batch.records.iter().zip(made) {
            if self.skips(&record.headers) || left_out.contains(&made) {
                continue;
            }
            let event = self.deps.codec.decode_known(&partition.topic, record.value.as_deref())?;
            if self.subscriptions.handles(event.event_type()) {
                events.push(Received {
                    topic: partition.topic.clone(),
                    partition: partition.partition,
                    offset: record.offset,
                    envelope: Envelope::from_delivered(&record.headers, &event),
                    event,
                });
            }
        }
        let ids: Vec<(Uuid, i64)> =
            events.iter().map(|received| (received.envelope.event_id, received.offset)).collect();
        let dead_letters = progress::without_effect_at(&mut *conn, partition, &ids).await?;
        events.retain(|received| !dead_letters.contains(&(received.envelope.event_id, received.offset)));
        left_out.extend(dead_letters);
        let left_out = left_out.into_iter().map(|(event_id, _)| event_id).collect();
        let building = Generation::Building(generation);
        let mut unit = postgres::Batch::load(&building, &mut *conn, &events).await?;
        let now = clock::now();
        for received in &events {
            let context = Context { envelope: &received.envelope, now };
            self.subscriptions.handle(&mut unit, &received.event, context).map_err(|rejection| {
                let TopicPartition { topic, partition } = partition.clone();
                Impossible::Rejected { topic, partition, offset: received.offset, rejection }
            })?;
        }
        unit.store(&building, &mut *conn).await?;
        rebuilds::advance(conn, generation, partition, batch.to, &left_out).await?;
        Ok(())
    }

    /// Swaps the generation in. `false` when the last records bring a schema that is not known yet: the registry is not asked
    /// under the locks, but when these records are caught up with.
    async fn swap(&self, generation: i32, reader: &mut Reader) -> anyhow::Result<bool> {
        let swapping = async |mut transaction: Transaction| -> anyhow::Result<()> {
            progress::hold(&mut transaction).await?;
            rebuilds::hold_live(&mut transaction).await?;
            let is_building = rebuilds::hold_building(&mut transaction, generation).await?;
            ensure!(is_building, Impossible::GivenUp { generation });
            // Read under the locks: a partition's first position was not there to be locked.
            for Applied { partition, next_offset } in progress::applied(&mut transaction).await? {
                let position = rebuilds::position(&mut transaction, generation, &partition).await?;
                let mut from = position.unwrap_or(0);
                while from < next_offset {
                    // The one wait for a broker within a transaction: few records are left, and live batches wait for it.
                    let batch = reader.read(&partition, from, next_offset).await?;
                    self.apply(&mut transaction, generation, &partition, &batch).await?;
                    from = batch.to;
                }
            }
            let left_out = rebuilds::dead_letters(&mut transaction, generation).await?;
            let still = progress::without_effect(&mut transaction, &left_out).await?;
            if let Some(event_id) = left_out.into_iter().find(|event_id| !still.contains(event_id)) {
                return Err(Impossible::Redriven { event_id }.into());
            }
            rebuilds::swap(&mut transaction, generation, clock::now()).await?;
            Ok(transaction.commit().await?)
        };
        let swapped = self.deps.database.transaction(Operation::Worker, swapping).await;
        match swapped {
            Err(error) if matches!(error.downcast_ref(), Some(DecodeError::UnknownSchema { .. })) => {
                Ok(false)
            }
            swapped => swapped.map(|()| true),
        }
    }
}

/// Each statement of the leader's session has this bound.
async fn bounded<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> anyhow::Result<T> {
    Ok(tokio::time::timeout(LEADER_TIMEOUT, statement)
        .await
        .context("the leader's session does not answer")??)
}

#[async_trait]
impl Worker for Rebuilder {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(&mut self, progress: Progress, shutdown: CancellationToken) -> anyhow::Result<()> {
        self.progress = progress;
        loop {
            if let Err(error) = self.make_next().await {
                // Stopped half-way it goes on from its positions after the next start.
                return if shutdown.is_cancelled() { Ok(()) } else { Err(error) };
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}
