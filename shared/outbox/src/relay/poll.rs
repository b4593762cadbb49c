//! The polling relay: portable, the default. One replica leads and publishes, the others stand by and wake it.
//!
//! The leader holds an advisory lock of PostgreSQL, which ends with its session: at once where the process dies, after
//! `idle_session_timeout_ms` where it is frozen. The lock saves work and does not protect the order, because a frozen leader
//! does not notice that it has lost it:
//!
//! ```text
//! A      send a1 ── frozen ································ thawed: a1 acknowledged, send a2 ── session lost
//! B                    lock free, lead: send a1, a2, a3
//! topic  a1                                  a1, a2, a3                                a2
//! ```
//!
//! A's a2 is a repetition: by the rule of `key_queues.rs` it follows an a1 that is on the topic, whoever leads.

use std::sync::Arc;

use database::{Database, Operation};
use messaging::Bus;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::RelayError;
use super::backoff::Backoff;
use super::config::{RelayConfig, RelayKind};
use super::failpoint::{Failpoints, NoFailpoints};
use super::hand_over::{HandOver, HandOverTimes, KeepsOff, View};
use super::status::{RelayState, RelayStatus};
use crate::append::Outbox;

mod buffer;
mod deferred;
mod leader;
mod listener;
mod pages;
mod partitions;
mod pending;
mod reports;
mod session_error;
mod table;

use super::wal::slot::{self, Reads};
use leader::{Leader, LeaderDeps};
use reports::SessionState;
use session_error::SessionError;

/// After so many refusals in succession to read the slot it is made anew: its publication may be gone from the log's history.
const MOST_REFUSALS: u32 = 3;

/// Why a leader's work has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It was asked to stop.
    Stopped,
    /// Another relay can do more.
    GaveUp,
}

/// Publishes the unpublished messages of one database, on the connection that holds the leader lock.
#[derive(Debug)]
pub struct Relay {
    database: Database,
    wake: Arc<Notify>,
    content_type: Arc<str>,
    bus: Arc<dyn Bus>,
    config: RelayConfig,
    failpoints: Arc<dyn Failpoints>,
    reads_whole_pages: bool,
    status: RelayStatus,
    topics: Vec<String>,
    times: HandOverTimes,
    /// What it reaches of the broker, and what others do; none while that is unknown.
    view: watch::Sender<Option<View>>,
    session_state: watch::Sender<SessionState>,
}

impl Relay {
    /// A relay of `outbox` in `database`. It takes connections of its own.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn try_new(
        database: Database,
        outbox: &Outbox,
        bus: Arc<dyn Bus>,
        config: RelayConfig,
    ) -> Result<Self, RelayError> {
        config.validate()?;
        let (failpoints, status) = (Arc::new(NoFailpoints), RelayStatus::default());
        let (wake, content_type) = (outbox.wakes(), outbox.content_type());
        let (topics, times) = (Vec::new(), HandOverTimes::default());
        let (view, session_state) = (watch::Sender::new(None), watch::Sender::new(SessionState::NoSession));
        Ok(Self {
            database,
            wake,
            content_type,
            bus,
            config,
            failpoints,
            reads_whole_pages: true,
            status,
            topics,
            times,
            view,
            session_state,
        })
    }

    /// Calls `failpoints` at every step, so that a test can crash the relay there.
    #[doc(hidden)]
    #[must_use]
    pub fn with_failpoints(mut self, failpoints: Arc<dyn Failpoints>) -> Self {
        self.failpoints = failpoints;
        self
    }

    /// Chooses by ids what it reads, also where it would read whole pages, so that a test sees both ways.
    #[doc(hidden)]
    #[must_use]
    pub const fn with_reads_by_id(mut self) -> Self {
        self.reads_whole_pages = false;
        self
    }

    /// Opens the producers of these topics as soon as it leads. The broker takes half a second to number an idempotent
    /// producer, which a topic's first row would wait for. It also reports which partitions of these topics it reaches, and gives
    /// the lead up to a relay that reaches more.
    #[must_use]
    pub fn with_topics(mut self, topics: Vec<String>) -> Self {
        self.topics = topics;
        self
    }

    /// With other times, so that a test sees a hand-over soon.
    #[doc(hidden)]
    #[must_use]
    pub const fn with_hand_over_times(mut self, times: HandOverTimes) -> Self {
        self.times = times;
        self
    }

    /// For health checks.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        self.status.clone()
    }

    /// Publishes until `shutdown`, then finishes what is in flight within `shutdown_grace_ms`. Failures of the database and the
    /// broker are retried for as long as they last.
    ///
    /// # Errors
    /// When the set-up is wrong: a right is missing, or a setting of the database contradicts the order of ids.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RelayError> {
        // Boxed, so that the caller's future stays small.
        Box::pin(self.run_until(shutdown)).await
    }

    async fn run_until(self, shutdown: CancellationToken) -> Result<(), RelayError> {
        self.status.set(RelayState::Starting);
        for reason in crate::metrics::REASONS {
            metrics::counter!("outbox_keys_blocked_total", "reason" => reason).increment(0);
        }
        metrics::counter!("outbox_leads_given_up_total").increment(0);
        self.check(&shutdown).await?;
        tokio::select! {
            () = self.publish(&shutdown) => {}
            () = self.keep_table_partitions() => {}
            () = self.report() => {}
        }
        self.status.set(RelayState::Stopped);
        Ok(())
    }

    /// Waits for the database, then checks what correctness needs of it.
    async fn check(&self, shutdown: &CancellationToken) -> Result<(), RelayError> {
        let mut backoff = Backoff::new(self.config.backoff_max());
        let kind = self.config.relay;
        loop {
            let checked = self
                .database
                .connection(Operation::Maintenance, |mut conn| async move {
                    match (table::check(&mut conn).await?, kind) {
                        (Ok(()), RelayKind::Wal) => slot::check(&mut conn).await,
                        (verdict, _) => Ok(verdict),
                    }
                })
                .await;
            match checked {
                Ok(verdict) => return verdict,
                Err(error) => {
                    self.retrying("outbox: the check of the database failed, will be retried", &error);
                }
            }
            if wait(&mut backoff, shutdown).await.is_break() {
                return Ok(());
            }
        }
    }

    async fn connect(&self) -> Result<PgConnection, SessionError> {
        let connecting = async {
            let mut conn = self.database.session().await?;
            table::prepare(&mut conn, &self.config).await?;
            Ok(conn)
        };
        self.bounded(connecting).await
    }

    /// Stands by on this session until it leads, then leads until `shutdown`, or until it gives the lead up.
    async fn serve(
        &self,
        mut conn: PgConnection,
        hand_over: &mut HandOver,
        refusals: &mut u32,
        shutdown: &CancellationToken,
    ) -> Result<(), SessionError> {
        loop {
            let keeps_off = hand_over.keeps_off(Instant::now(), self.view.borrow().as_ref());
            self.session_state.send_replace(match keeps_off {
                Some(KeepsOff::CoolingDown) => SessionState::CoolingDown,
                Some(KeepsOff::Surpassed) | None => SessionState::MayLead,
            });
            if let Some(why) = keeps_off {
                self.keep_off(why);
                // A silent session would be ended.
                self.bounded(conn.ping()).await?;
            } else if self.bounded(table::try_lead(&mut conn)).await? {
                self.bounded(table::check_ids(&mut conn)).await??;
                let slot = self.bounded(slot::of_database(&mut conn)).await?;
                let reads = match self.config.relay {
                    RelayKind::Poll => Reads::Table,
                    RelayKind::Wal if *refusals >= MOST_REFUSALS => Reads::NewSlot,
                    RelayKind::Wal => Reads::Log,
                };
                let begin = self.bounded(slot::begin(&mut conn, &slot, reads)).await?;
                tracing::info!("outbox: this relay leads");
                let relay = LeaderDeps {
                    options: Arc::new(self.database.options().clone()),
                    wake: Arc::clone(&self.wake),
                    content_type: Arc::clone(&self.content_type),
                    bus: Arc::clone(&self.bus),
                    failpoints: Arc::clone(&self.failpoints),
                    reads_whole_pages: self.reads_whole_pages,
                    config: self.config.clone(),
                    view: self.view.subscribe(),
                    status: self.status.clone(),
                    database: self.database.clone(),
                };
                self.status.set(RelayState::Leading);
                let mut leader = Leader::new(relay, &self.topics, Some(slot), &begin);
                let ended = leader.run(conn, hand_over, shutdown).await;
                let refused = matches!(&ended, Err(SessionError::Log(error)) if error.is_refusal());
                *refusals = if refused && !leader.has_stored() { *refusals + 1 } else { 0 };
                drop(leader);
                let ended = ended?;
                if ended == Ended::GaveUp {
                    self.session_state.send_replace(SessionState::CoolingDown);
                    self.keep_off(KeepsOff::CoolingDown);
                }
                return Ok(());
            } else {
                self.status.set(RelayState::StandingBy);
            }
            let standing_by = sleep(self.config.takeover_interval());
            tokio::pin!(standing_by);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(close(conn, self.config.shutdown_grace()).await?),
                    () = &mut standing_by => break,
                    () = self.wake.notified() => self.bounded(table::notify(&mut conn)).await?,
                }
            }
        }
    }

    fn keep_off(&self, why: KeepsOff) {
        let state = RelayState::Retrying { error: why.to_string() };
        if self.status.state() != state {
            tracing::warn!("outbox: this relay {why}");
            self.status.set(state);
        }
    }

    fn retrying(&self, what: &str, error: &(dyn std::error::Error + 'static)) {
        self.session_state.send_replace(SessionState::NoSession);
        self.status.set(RelayState::Retrying { error: error.to_string() });
        tracing::warn!(error, "{what}");
    }

    /// The server bounds every statement; this bound is for a server that does not answer.
    async fn bounded<T>(
        &self,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, SessionError> {
        let bound = self.config.answer_timeout();
        Ok(timeout(bound, statement).await.map_err(|_| SessionError::NoAnswer(bound))??)
    }

    /// Leads or stands by until `shutdown`.
    async fn publish(&self, shutdown: &CancellationToken) {
        let mut backoff = Backoff::new(self.config.backoff_max());
        let (mut hand_over, mut refusals) = (HandOver::new(self.times), 0);
        while !shutdown.is_cancelled() {
            let connected = tokio::select! {
                () = shutdown.cancelled() => break,
                connected = self.connect() => connected,
            };
            let served = match connected {
                Ok(conn) => {
                    let began = Instant::now();
                    let served = self.serve(conn, &mut hand_over, &mut refusals, shutdown).await;
                    if began.elapsed() > self.config.backoff_max() {
                        backoff.reset();
                    }
                    served
                }
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                self.retrying("outbox: relay session lost; unpublished messages will be read again", &error);
                if wait(&mut backoff, shutdown).await.is_break() {
                    break;
                }
            }
        }
    }

    /// Makes table partitions ahead of time, also while another replica leads. Never ends.
    async fn keep_table_partitions(&self) {
        let mut ticks = interval(self.config.maintenance_interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let adding = self.database.connection(Operation::Maintenance, |mut conn| async move {
                table::add_table_partitions(&mut conn).await
            });
            match adding.await {
                Ok(partitions) => metrics::gauge!("outbox_table_partitions").set(f64::from(partitions)),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "outbox: creating a table partition failed, will be retried"
                    );
                    let counting = self.database.connection(Operation::Maintenance, |mut conn| async move {
                        table::table_partitions(&mut conn).await
                    });
                    if let Ok(left) = counting.await {
                        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                        metrics::gauge!("outbox_table_partitions").set(left as f64);
                    }
                }
            }
        }
    }
}

/// Waits before the next attempt; breaks when there will be none.
async fn wait(backoff: &mut Backoff, shutdown: &CancellationToken) -> std::ops::ControlFlow<()> {
    tokio::select! {
        () = shutdown.cancelled() => std::ops::ControlFlow::Break(()),
        () = sleep(backoff.next()) => std::ops::ControlFlow::Continue(()),
    }
}

/// Ends the session, and with it the lock.
async fn close(conn: PgConnection, grace: std::time::Duration) -> Result<(), sqlx::Error> {
    // Past the grace period the dropped socket ends the session.
    timeout(grace, conn.close()).await.unwrap_or(Ok(()))
}
