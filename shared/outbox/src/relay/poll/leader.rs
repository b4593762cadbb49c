//! The leader: reads, hands rows to their topics' publishers, and finishes what the broker acknowledged, on one session.

mod blocks;
mod log;
mod log_work;
mod schedule;
mod session;
mod stalls;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use database::Database;
use futures::future::{BoxFuture, FutureExt as _, OptionFuture};
use messaging::Bus;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Ended;
use super::buffer::{Buffer, RowDecision};
use super::listener::listen;
use super::partitions::{Limit, Page, Scope};
use super::session_error::SessionError;
use super::table::{Block, Retry};
use crate::metrics::REJECTED;
use crate::relay::config::RelayConfig;
use crate::relay::failpoint::{Failpoint, Failpoints};
use crate::relay::hand_over::{HandOver, View};
use crate::relay::key_queues::BlockedKey;
use crate::relay::row::Row;
use crate::relay::status::RelayStatus;
use crate::relay::topic_publisher::{Input, Outcome, TopicPublisher};
use crate::relay::wal::slot::{Begin, Slot};
use blocks::{alarm, gap};
use log::LogSide;
use session::{Done, Session, perform};
use stalls::Stalls;

/// Outcomes that publishers may report before the leader has taken them.
const OUTCOMES: usize = 64;

pub(super) struct LeaderDeps {
    pub(super) options: Arc<PgConnectOptions>,
    pub(super) wake: Arc<Notify>,
    pub(super) content_type: Arc<str>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) failpoints: Arc<dyn Failpoints>,
    /// Where nearly all of a page will be taken.
    pub(super) reads_whole_pages: bool,
    pub(super) config: RelayConfig,
    /// What it reaches of the broker, and what others do.
    pub(super) view: watch::Receiver<Option<View>>,
    pub(super) status: RelayStatus,
    pub(super) database: Database,
}

/// The leader. Dropping it purges its producers and ends its session.
pub(super) struct Leader {
    relay: LeaderDeps,
    buffer: Buffer,
    publishers: HashMap<String, mpsc::Sender<Input>>,
    tasks: JoinSet<()>,
    report_to: mpsc::Sender<Outcome>,
    outcomes: mpsc::Receiver<Outcome>,
    /// Acknowledged and not yet finished.
    acknowledged: Vec<i64>,
    blocks: Vec<Block>,
    /// Topics that take records again, after they had refused everything.
    retry_now: Vec<String>,
    /// There may be new rows.
    read_wanted: bool,
    /// There may be rows that appeared late, with low ids, or on a topic not known so far.
    full_scan_wanted: bool,
    /// What was read last was new; what was left in the table comes next.
    backlog_is_next: bool,
    /// Topics that have messages to publish, whose partitions are unknown.
    due_unlearned: Vec<String>,
    stalls: Stalls,
    log: LogSide,
    full_scan_at: Instant,
    drop_at: Instant,
    /// Set by the shutdown: until when what is in flight may be finished.
    until: Option<Instant>,
}

impl Leader {
    pub(super) fn new(relay: LeaderDeps, topics: &[String], slot: Option<Slot>, begin: &Begin) -> Self {
        let (report_to, outcomes) = mpsc::channel(OUTCOMES);
        let limit = Limit { rows: relay.config.buffer_messages, bytes: relay.config.buffer_bytes };
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(Arc::clone(&relay.options), Arc::clone(&relay.wake), relay.config.clone()));
        let log = LogSide::new(slot, begin);
        let mut leader = Self {
            relay,
            buffer: Buffer::new(limit),
            publishers: HashMap::new(),
            tasks,
            report_to,
            outcomes,
            acknowledged: Vec::new(),
            blocks: Vec::new(),
            retry_now: Vec::new(),
            read_wanted: false,
            full_scan_wanted: true,
            backlog_is_next: false,
            due_unlearned: Vec::new(),
            stalls: Stalls::default(),
            log,
            full_scan_at: Instant::now(),
            drop_at: Instant::now(),
            until: None,
        };
        for topic in topics {
            leader.publisher(topic);
        }
        leader.begin_log();
        leader
    }

    /// The server goes on with the slot.
    pub(super) const fn has_stored(&self) -> bool {
        self.log.has_stored
    }

    /// Publishes until `shutdown`, or until it gives the lead up; an error when the session is lost, and with it the lead.
    pub(super) async fn run(
        &mut self,
        conn: PgConnection,
        hand_over: &mut HandOver,
        shutdown: &CancellationToken,
    ) -> Result<Ended, SessionError> {
        let wake = Arc::clone(&self.relay.wake);
        hand_over.leads(Instant::now());
        let mut tick = interval(self.relay.config.poll_interval());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(hand_over.times().look_interval);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle = Some(conn);
        let mut session: OptionFuture<BoxFuture<'static, Session>> = None.into();
        loop {
            if let Some(conn) = idle.take() {
                if let Some(work) = self.next_work() {
                    let config = self.relay.config.clone();
                    session = Some(perform(conn, work, config).boxed()).into();
                } else if self.until.is_some()
                    && self.buffer.is_empty()
                    && !self.is_in_full_scan()
                    && self.log.is_finished()
                {
                    super::close(conn, self.relay.config.shutdown_grace()).await?;
                    return Ok(Ended::Stopped);
                } else {
                    idle = Some(conn);
                }
            }
            let until = self.until;
            let log_due_at = self.log.due_at();
            tokio::select! {
                Some((conn, done)) = &mut session => {
                    session = None.into();
                    self.complete(done?)?;
                    idle = Some(conn);
                }
                Some(outcome) = self.outcomes.recv() => {
                    self.note(outcome);
                    self.take_pieces();
                }
                heard = self.log.next() => self.hear(heard)?,
                () = sleep_until(log_due_at.unwrap_or_else(Instant::now)), if log_due_at.is_some() && idle.is_some() => {
                    self.take_pieces();
                }
                () = wake.notified(), if until.is_none() => self.read_wanted = true,
                _ = tick.tick(), if until.is_none() => self.full_scan_wanted = true,
                _ = look.tick(), if until.is_none() => {
                    if self.gives_up(hand_over, Instant::now()) {
                        self.let_go(idle, session).await;
                        return Ok(Ended::GaveUp);
                    }
                }
                () = sleep_until(self.full_scan_at), if self.is_in_full_scan() && idle.is_some() => {}
                Some(_) = self.tasks.join_next() => {
                    return Err(SessionError::PublisherStopped);
                }
                () = shutdown.cancelled(), if until.is_none() => {
                    // One last read: what was committed before the shutdown is drained within the grace period.
                    (self.full_scan_wanted, self.full_scan_at) = (true, Instant::now());
                    self.finish_log();
                    self.until = Some(Instant::now() + self.relay.config.shutdown_grace());
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    tracing::warn!("outbox: grace period over; what is unpublished will be published after the restart");
                    return Ok(Ended::Stopped);
                }
            }
        }
    }

    /// Takes note of what the session did.
    fn complete(&mut self, done: Done) -> Result<(), SessionError> {
        if !done.work.finish.is_empty() {
            // The rows behind one that was tried again are shown from now on.
            self.full_scan_wanted |= self.buffer.any_is_retry(&done.work.finish);
            self.buffer.release(&done.work.finish);
            self.relay.failpoints.reached(Failpoint::Finished);
        }
        for block in &done.work.blocks {
            self.buffer.release(&block.ids);
            if let Some(publisher) = self.publishers.get(&block.topic) {
                // A full or closed publisher is one that will be replaced together with this leader.
                let _ = publisher.try_send(Input::BlockRecorded(block.key.clone()));
            }
        }
        if let Some(plan) = &done.work.read {
            self.note_read(plan, done.rows.is_empty(), done.read_took);
            if let Some(due_unlearned) = done.due_unlearned {
                self.due_unlearned = due_unlearned;
            }
            for topic in done.new_topics {
                // It is read once its publisher knows its partitions.
                self.publisher(&topic);
            }
            let from_lowest = |page: &&Page| plan.scope == Scope::FullScan && page.above_id == 0;
            let from_lowest = plan.pages.iter().filter(from_lowest).map(|page| page.topic.as_str()).collect();
            self.hand_out(&from_lowest, done.rows)?;
            self.hand_out_again(done.due)?;
        } else {
            self.hand_out(&HashSet::new(), done.rows)?;
        }
        // After the rows. A person may have deleted a block before the read, which then shows the key's later rows without
        // those that were still buffered: that is no gap, and a full scan brings them all.
        for block in &done.work.blocks {
            self.buffer.block_recorded(&block.topic, &block.key);
        }
        if let Some(dropped) = done.dropped {
            self.note_dropped(dropped);
        }
        self.complete_log(&done.work, done.log);
        Ok(())
    }

    /// Gives rows to their topics' publishers, each key's in sequence. `from_lowest` are the topics of which the read saw
    /// whatever comes before these rows.
    fn hand_out(
        &mut self,
        from_lowest: &HashSet<&str>,
        rows: Vec<(i32, Box<Row>)>,
    ) -> Result<(), SessionError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.relay.failpoints.reached(Failpoint::Read);
        let mut by_topic: HashMap<String, Vec<(i32, Box<Row>)>> = HashMap::new();
        for (partition, row) in rows {
            match self.buffer.admit(&row, partition, from_lowest.contains(row.topic.as_str())) {
                RowDecision::Admitted => match by_topic.get_mut(&row.topic) {
                    Some(rows) => rows.push((partition, row)),
                    None => drop(by_topic.insert(row.topic.clone(), vec![(partition, row)])),
                },
                RowDecision::Blocking => {}
                RowDecision::NeedsFullScan => self.full_scan_wanted = true,
                RowDecision::Gap => self.blocks.push(gap(&row)),
            }
        }
        for (topic, rows) in by_topic {
            // The publisher has room for one message per row that is buffered, so this can't be full; closed means that it
            // has panicked.
            self.publisher(&topic).try_send(Input::Rows(rows)).map_err(|_| SessionError::PublisherStopped)?;
        }
        Ok(())
    }

    /// Gives rows of a topic to its publisher, which has room for one message per row that is buffered; one that is closed has
    /// panicked, and ends the leader.
    fn hand_over_rows(&mut self, topic: &str, rows: Vec<(i32, Box<Row>)>) {
        let _ = self.publisher(topic).try_send(Input::Rows(rows));
    }

    /// Gives refused messages to their publishers, to be tried again.
    #[expect(clippy::vec_box, reason = "a row moves on as a pointer")]
    fn hand_out_again(&mut self, due: Vec<Box<Row>>) -> Result<(), SessionError> {
        for row in due {
            if let Some(partition) = self.buffer.admit_retry(&row) {
                let publisher = self.publisher(&row.topic);
                publisher
                    .try_send(Input::Retry(partition, row))
                    .map_err(|_| SessionError::PublisherStopped)?;
            }
        }
        Ok(())
    }

    fn publisher(&mut self, topic: &str) -> mpsc::Sender<Input> {
        if let Some(publisher) = self.publishers.get(topic) {
            return publisher.clone();
        }
        let (inputs, received) = mpsc::channel(self.relay.config.buffer_messages * 2);
        let publisher = TopicPublisher::new(
            topic.to_owned(),
            Arc::clone(&self.relay.content_type),
            Arc::clone(&self.relay.bus),
            Arc::clone(&self.relay.failpoints),
            received,
            self.report_to.clone(),
            &self.relay.config,
        );
        self.tasks.spawn(publisher.run());
        self.publishers.insert(topic.to_owned(), inputs.clone());
        inputs
    }

    fn note(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Acknowledged(ids) => {
                self.relay.failpoints.reached(Failpoint::Acknowledged);
                self.note_answers(&ids);
                self.settle_acknowledged(ids);
            }
            Outcome::Dropped(ids) => {
                self.leave_to_table(&ids);
                self.buffer.release(&ids);
            }
            Outcome::Partitions { topic, partitions } => {
                self.buffer.add_topic(&topic, partitions, self.relay.config.shares(partitions));
                self.full_scan_wanted = true;
            }
            Outcome::Blocked { topic, key, blocked, refusal, detail } => {
                self.buffer.block(&topic, &key);
                let BlockedKey { id, ids } = blocked;
                self.note_answers(&[id]);
                self.leave_to_table(&ids);
                let retry = if refusal.may_pass() { Retry::Later } else { Retry::Never };
                let block = Block { topic, key, id, reason: REJECTED, detail, retry, ids };
                self.blocks.push(if self.buffer.is_retry(id) { block } else { alarm(block) });
            }
            Outcome::Takes { topic } => {
                self.retry_now.push(topic);
                self.full_scan_wanted = true;
            }
        }
    }
}
