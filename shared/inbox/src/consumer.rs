//! A service's membership in its consumer group: one worker for each assigned partition, and the inbox's maintenance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloudevents::clock;
use database::Database;
use messaging::{Bus, BusError, Membership, Subscription, TopicPartition};
use metrics::counter;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::batch::Applier;
use crate::breaker::Breaker;
use crate::config::ConsumerConfig;
use crate::decode::Decode;
use crate::effect::EffectOf;
use crate::hand_over;
use crate::metrics::{ASSIGNED, REVOKED};
use crate::offers::Offers;
use crate::provisional::Provisional;
use crate::redrive::{Redrive, releases};
use crate::shared::{Cause, Shared};
use crate::status::ConsumerStatus;
use crate::subscriptions::Subscriptions;
use crate::times::HandOverTimes;
use crate::unit_of_work::UnitOfWork;
use crate::worker;
use crate::{joint, maintenance, monitor};

/// How long leaving the group may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// So many batches that fill a transaction are applied at the same time, beside the joint one.
const ALONE: usize = 2;
/// How often the member is asked whether it is in its group.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a consumer is made of.
pub struct Parts<D, W: UnitOfWork> {
    /// The service's database, migrated.
    pub database: Database,
    /// Where events come from.
    pub bus: Arc<dyn Bus>,
    /// The full names of the topics that carry them.
    pub topics: Vec<String>,
    /// How many partitions each of these topics has. Another count is logged and measured: keys would change their partitions.
    pub partitions: i32,
    /// Decodes them.
    pub decoder: D,
    /// What is done with them.
    pub subscriptions: Subscriptions<W>,
    /// What the unit of work needs.
    pub deps: W::Deps,
    /// The consumer group.
    pub group: String,
    /// Bounds.
    pub config: ConsumerConfig,
    /// Called after each commit: wakes an outbox relay.
    pub on_commit: Arc<dyn Fn() + Send + Sync>,
}

/// Applies the events of a service's subscriptions until its shutdown.
pub struct Consumer {
    shared: Arc<Shared>,
    group: String,
    times: HandOverTimes,
}

/// Why a consumer ended before its shutdown.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The broker client refuses to work at all.
    #[error("joining consumer group {group}")]
    Bus {
        /// The group.
        group: String,
        /// The error of the bus.
        #[source]
        source: BusError,
    },
    /// The role may not do what keeps the inbox going.
    #[error("consumer group {group}: a right is missing; {statement} TO the service's role")]
    Setup {
        /// The group.
        group: String,
        /// What gives it.
        statement: &'static str,
    },
    /// A worker panicked outside decoding, handling, loading and storing: a bug. Its batch is repeated after a restart.
    #[error("a worker of consumer group {group} panicked")]
    Panicked {
        /// The group.
        group: String,
    },
}

impl Consumer {
    /// A consumer of these parts.
    #[must_use]
    pub fn new<D: Decode, W: UnitOfWork<Event = D::Event>>(parts: Parts<D, W>) -> Self {
        let applier = Applier {
            group: parts.group.clone(),
            database: parts.database,
            effect: Box::new(EffectOf {
                decoder: parts.decoder,
                subscriptions: parts.subscriptions,
                deps: parts.deps,
            }),
            provisional: Provisional::default(),
            breaker: Breaker::default(),
        };
        let shared = Shared {
            applier,
            topics: parts.topics,
            partitions: parts.partitions,
            bus: parts.bus,
            config: parts.config,
            status: ConsumerStatus::default(),
            offers: Offers::default(),
            alone: Semaphore::new(ALONE),
            on_commit: parts.on_commit,
            member: clock::new_id(),
            given_up: watch::Sender::default(),
        };
        Self { shared: Arc::new(shared), group: parts.group, times: HandOverTimes::default() }
    }

    /// The same with other times of the hand-over to another member: tests do not wait for minutes.
    #[doc(hidden)]
    #[must_use]
    pub const fn with_times(mut self, times: HandOverTimes) -> Self {
        self.times = times;
        self
    }

    /// What health checks ask.
    #[must_use]
    pub fn status(&self) -> ConsumerStatus {
        self.shared.status.clone()
    }

    /// What applies dead letters again.
    #[must_use]
    pub fn redrive(&self) -> Redrive {
        Redrive::of(Arc::clone(&self.shared))
    }

    /// Joins the group and applies events until `shutdown`; then finishes the batches in hand and leaves the group.
    ///
    /// # Errors
    /// When the bus refuses its configuration, a right is missing, or a worker panicked.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ConsumerError> {
        self.check(&shutdown).await?;
        let workers_stop = shutdown.child_token();
        let mut tasks = JoinSet::new();
        tasks.spawn(joint::run(Arc::clone(&self.shared), workers_stop.clone()));
        tasks.spawn(maintenance::run(Arc::clone(&self.shared), workers_stop.clone()));
        tasks.spawn(monitor::run(Arc::clone(&self.shared), self.times.look_every, workers_stop.clone()));
        tasks.spawn(hand_over::run(Arc::clone(&self.shared), self.times, workers_stop.clone()));
        tasks.spawn(releases::run(Arc::clone(&self.shared), workers_stop.clone()));
        let result = self.follow(&shutdown, &workers_stop, &mut tasks).await;
        workers_stop.cancel();
        let mut panicked = false;
        while let Some(ended) = tasks.join_next().await {
            panicked |= ended.is_err_and(|error| error.is_panic());
        }
        match result {
            Ok(()) if panicked => Err(ConsumerError::Panicked { group: self.group }),
            other => other,
        }
    }

    /// Waits for the database, then checks the rights.
    async fn check(&self, shutdown: &CancellationToken) -> Result<(), ConsumerError> {
        let Shared { applier, config, .. } = &*self.shared;
        let mut attempts = 0;
        loop {
            match maintenance::missing_right(&applier.database, config.deduplication_days).await {
                Ok(None) => return Ok(()),
                Ok(Some(statement)) => {
                    return Err(ConsumerError::Setup { group: self.group.clone(), statement });
                }
                Err(error) => {
                    attempts += 1;
                    tracing::warn!(group = self.group, attempts, %error, "the check of the database's rights failed, will be retried");
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(config.pause(attempts, rand::random())) => {}
            }
        }
    }

    /// Follows the group's assignments; subscribes anew when the membership is lost.
    async fn follow(
        &self,
        shutdown: &CancellationToken,
        workers_stop: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), ConsumerError> {
        let subscription = Subscription::Topics(self.shared.topics.clone());
        self.left(None);
        let mut attempts = 0;
        while !shutdown.is_cancelled() {
            let given_up = *self.shared.given_up.borrow();
            if given_up.is_some() {
                self.stay_away(shutdown).await;
                continue;
            }
            match self.shared.bus.subscribe(&self.group, &subscription).await {
                Ok(member) => {
                    attempts = 0;
                    self.follow_member(member, shutdown, workers_stop, tasks).await?;
                }
                Err(source @ (BusError::Configuration(_) | BusError::PartitionCount { .. })) => {
                    return Err(ConsumerError::Bus { group: self.group.clone(), source });
                }
                Err(error) => {
                    attempts += 1;
                    self.left(Some(&error));
                    tracing::warn!(group = self.group, attempts, %error, "joining the consumer group failed, will be retried");
                }
            }
            let pause = self.shared.config.pause(attempts.max(1), rand::random());
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }

    /// Outside the group, until the hand-over lets this member join again.
    async fn stay_away(&self, shutdown: &CancellationToken) {
        let mut given_up = self.shared.given_up.subscribe();
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = given_up.wait_for(Option::is_none) => {}
        }
    }

    fn gave_up(&self, cause: Cause) {
        counter!("inbox_memberships_given_up_total", "cause" => cause.label()).increment(1);
        tracing::warn!(group = self.group, cause = cause.label(), "left the group: {cause}");
        self.shared.status.left(&self.group, clock::now(), Some(format!("left the group: {cause}")));
    }

    fn left(&self, error: Option<&BusError>) {
        self.shared.status.left(&self.group, clock::now(), error.map(ToString::to_string));
    }

    async fn follow_member(
        &self,
        mut member: Box<dyn messaging::Consumer>,
        shutdown: &CancellationToken,
        workers_stop: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), ConsumerError> {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut given_up = self.shared.given_up.subscribe();
        let mut workers: BTreeMap<TopicPartition, CancellationToken> = BTreeMap::new();
        let outcome = loop {
            tokio::select! {
                _ = looks.tick() => if member.is_in_group() { self.shared.status.joined() } else { self.left(None) },
                () = shutdown.cancelled() => break Ok(()),
                cause = hand_over::given_up(&mut given_up) => {
                    self.gave_up(cause);
                    break Ok(());
                }
                Some(ended) = tasks.join_next() => if ended.is_err_and(|error| error.is_panic()) {
                    break Err(ConsumerError::Panicked { group: self.group.clone() });
                },
                change = member.next() => match change {
                    Ok(Membership::Assigned(partitions)) => {
                      counter!("inbox_rebalances_total", "change" => ASSIGNED).increment(1);
                      for partition in partitions {
                        tracing::debug!(group = self.group, partition = ?partition.id(), "assigned");
                        let stop = workers_stop.child_token();
                        workers.insert(partition.id().clone(), stop.clone());
                        tasks.spawn(worker::run(Arc::clone(&self.shared), partition, stop));
                      }
                    }
                    Ok(Membership::Revoked(partitions)) => {
                        counter!("inbox_rebalances_total", "change" => REVOKED).increment(1);
                        tracing::debug!(group = self.group, ?partitions, "revoked");
                        // One that retries does not look at its handle.
                        partitions.iter().filter_map(|id| workers.remove(id)).for_each(|stop| stop.cancel());
                    }
                    Err(error) => {
                        self.left(Some(&error));
                        tracing::warn!(group = self.group, %error, "membership lost, joining again");
                        break Ok(());
                    }
                },
            }
        };
        // The batches in hand are finished before the group is left, so that no other member repeats them in vain.
        if shutdown.is_cancelled() {
            while tasks.join_next().await.is_some() {}
        }
        workers.into_values().for_each(|stop| stop.cancel());
        member.close(CLOSE_TIMEOUT).await;
        outcome
    }
}
