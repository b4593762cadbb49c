//! The leader: reads, hands rows to their topics' lanes, and finishes what the broker acknowledged, on one session.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, OptionFuture};
use messaging::Bus;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::held::{Admission, Held, Limit, Room, Scope};
use super::listener::listen;
use super::table::{self, Pruned, Stop};
use crate::relay::config::RelayConfig;
use crate::relay::lane::{Input, Lane, Outcome};
use crate::relay::probe::{Probe, Step};
use crate::relay::row::Row;

/// Outcomes that lanes may report before the leader has taken them.
const OUTCOMES: usize = 64;
/// Rows looked at in one pruning statement.
const PRUNE_ROWS: i64 = 1_000;
/// Sweeps walk over the index entries of finished rows, which a transaction that stays open keeps alive. They may take one
/// part in so many of the session's time.
const SWEEP_SHARE: u32 = 10;

/// What a leader works with.
pub(super) struct Lead {
    pub(super) options: Arc<PgConnectOptions>,
    pub(super) wake: Arc<Notify>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) probe: Arc<dyn Probe>,
    pub(super) config: RelayConfig,
}

/// A relay in office. Dropping it purges its producers and ends its session.
pub(super) struct Leader {
    relay: Lead,
    held: Held,
    lanes: HashMap<String, mpsc::Sender<Input>>,
    tasks: JoinSet<()>,
    report_to: mpsc::Sender<Outcome>,
    outcomes: mpsc::Receiver<Outcome>,
    /// Acknowledged and not yet finished.
    acknowledged: Vec<i64>,
    stops: Vec<Stop>,
    /// There may be new rows.
    read_wanted: bool,
    /// There may be rows that appeared late, with low ids, or on a topic not known so far.
    sweep_wanted: bool,
    sweep_at: Instant,
    prune_at: Instant,
    prune_after_id: i64,
    /// Set by the shutdown: until when what is in flight may be finished.
    until: Option<Instant>,
}

/// What the session does next, in this order.
#[derive(Debug)]
struct Work {
    finish: Vec<i64>,
    stops: Vec<Stop>,
    read: Option<ReadPlan>,
    prune_after_id: Option<i64>,
}

/// What a read may bring.
#[derive(Debug)]
struct ReadPlan {
    scope: Scope,
    rooms: Vec<Room>,
    known_topics: Vec<String>,
    limit: Limit,
    held: Vec<i64>,
}

/// What came of it.
struct Done {
    work: Work,
    rows: Vec<Row>,
    read_took: Duration,
    pruned: Option<Pruned>,
}

type Session = (PgConnection, Result<Done, sqlx::Error>);

impl Leader {
    pub(super) fn new(relay: Lead, topics: &[String]) -> Self {
        let (report_to, outcomes) = mpsc::channel(OUTCOMES);
        let limit = Limit { rows: relay.config.buffer_rows, bytes: relay.config.buffer_bytes };
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(Arc::clone(&relay.options), Arc::clone(&relay.wake), relay.config.clone()));
        let mut leader = Self {
            relay,
            held: Held::new(limit),
            lanes: HashMap::new(),
            tasks,
            report_to,
            outcomes,
            acknowledged: Vec::new(),
            stops: Vec::new(),
            read_wanted: false,
            sweep_wanted: true,
            sweep_at: Instant::now(),
            prune_at: Instant::now(),
            prune_after_id: 0,
            until: None,
        };
        for topic in topics {
            leader.lane(topic);
        }
        leader
    }

    /// Publishes until `shutdown`; an error when the session is lost, and with it the lead.
    pub(super) async fn run(
        mut self,
        conn: PgConnection,
        shutdown: &CancellationToken,
    ) -> Result<(), sqlx::Error> {
        let wake = Arc::clone(&self.relay.wake);
        let mut tick = interval(self.relay.config.poll_interval());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle = Some(conn);
        let mut session: OptionFuture<BoxFuture<'static, Session>> = None.into();
        loop {
            if let Some(conn) = idle.take() {
                if let Some(work) = self.next_work() {
                    let bound = self.relay.config.statement_timeout() * 2;
                    session = Some(perform(conn, work, bound, self.relay.config.retention_s).boxed()).into();
                } else if self.until.is_some() && self.held.is_empty() {
                    return super::close(conn, self.relay.config.grace()).await;
                } else {
                    idle = Some(conn);
                }
            }
            let until = self.until;
            tokio::select! {
                Some((conn, done)) = &mut session => {
                    session = None.into();
                    self.complete(done?)?;
                    idle = Some(conn);
                }
                Some(outcome) = self.outcomes.recv() => self.note(outcome),
                () = wake.notified(), if until.is_none() => self.read_wanted = true,
                _ = tick.tick(), if until.is_none() => self.sweep_wanted = true,
                () = sleep_until(self.sweep_at), if self.sweep_wanted && idle.is_some() => {}
                Some(_) = self.tasks.join_next() => {
                    return Err(sqlx::Error::WorkerCrashed);
                }
                () = shutdown.cancelled(), if until.is_none() => {
                    // One last read: what was committed before the shutdown is drained within the grace period.
                    (self.sweep_wanted, self.sweep_at) = (true, Instant::now());
                    self.until = Some(Instant::now() + self.relay.config.grace());
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    tracing::warn!("outbox: not everything was published within the grace period; it will be later");
                    return Ok(());
                }
            }
        }
    }

    /// What the session has to do now, if anything.
    fn next_work(&mut self) -> Option<Work> {
        let now = Instant::now();
        let working = self.until.is_none();
        let scope = if self.sweep_wanted && now >= self.sweep_at {
            self.sweep_wanted = false;
            Some(Scope::Sweep)
        } else if self.read_wanted || (working && self.held.wants_more()) {
            Some(Scope::Ahead)
        } else {
            None
        };
        let read = scope.map(|scope| {
            self.read_wanted = false;
            ReadPlan {
                scope,
                rooms: self.held.rooms(scope),
                known_topics: self.held.known_topics(),
                limit: self.held.limit(),
                held: self.held.ids(),
            }
        });
        let work = Work {
            finish: std::mem::take(&mut self.acknowledged),
            stops: std::mem::take(&mut self.stops),
            read,
            prune_after_id: (working && now >= self.prune_at).then_some(self.prune_after_id),
        };
        let something = !work.finish.is_empty()
            || !work.stops.is_empty()
            || work.read.is_some()
            || work.prune_after_id.is_some();
        something.then_some(work)
    }

    /// Takes note of what the session did.
    fn complete(&mut self, done: Done) -> Result<(), sqlx::Error> {
        if !done.work.finish.is_empty() {
            self.held.release(&done.work.finish);
            self.relay.probe.reached(Step::Finished);
        }
        for stop in &done.work.stops {
            self.held.release(&stop.ids);
            if let Some(lane) = self.lanes.get(&stop.topic) {
                // A full or closed lane is one that will be replaced together with this leader.
                let _ = lane.try_send(Input::StopRecorded(stop.key.clone()));
            }
        }
        if let Some(plan) = &done.work.read {
            self.note_read(plan, &done.rows, done.read_took);
            self.hand_out(plan.scope, done.rows)?;
        }
        // After the rows. A person may have deleted a stop before the read, which then shows the key's later rows without
        // those that were still held: that is no gap, and a sweep brings them all.
        for stop in &done.work.stops {
            self.held.stop_recorded(&stop.topic, &stop.key);
        }
        if let Some(pruned) = done.pruned {
            self.note_pruned(&pruned);
        }
        Ok(())
    }

    /// Notes what a read says of the next one.
    fn note_read(&mut self, plan: &ReadPlan, rows: &[Row], took: Duration) {
        match plan.scope {
            // Sweeps are also the leader's sign of life: they must not be further apart than its session lasts.
            Scope::Sweep => {
                let pause = (took * SWEEP_SHARE).min(self.relay.config.session_timeout() / 4);
                self.sweep_at = Instant::now() + pause;
            }
            // Woken for nothing: what was committed may have a low id, or a topic of its own.
            Scope::Ahead => self.sweep_wanted |= rows.is_empty(),
        }
        let mut read: HashMap<&str, (usize, usize)> = HashMap::new();
        for row in rows {
            let size = read.entry(&row.topic).or_default();
            *size = (size.0 + 1, size.1 + row.value.len());
        }
        for room in &plan.rooms {
            let (rows, bytes) = read.get(room.topic.as_str()).copied().unwrap_or_default();
            self.held.note_more(&room.topic, rows >= room.rows || bytes >= room.bytes);
        }
    }

    /// Gives rows to their topics' lanes, each key's in sequence.
    fn hand_out(&mut self, scope: Scope, rows: Vec<Row>) -> Result<(), sqlx::Error> {
        if rows.is_empty() {
            return Ok(());
        }
        self.relay.probe.reached(Step::Read);
        let mut by_topic: HashMap<String, Vec<Row>> = HashMap::new();
        for row in rows {
            match self.held.admit(&row, scope) {
                Admission::Admitted => by_topic.entry(row.topic.clone()).or_default().push(row),
                Admission::Stopping => {}
                Admission::NeedsSweep => self.sweep_wanted = true,
                Admission::Gap => self.stops.push(gap(&row)),
            }
        }
        for (topic, rows) in by_topic {
            // The lane has room for one message per row that is held, so this can't be full; closed means that it
            // has panicked.
            self.lane(&topic).try_send(Input::Rows(rows)).map_err(|_| sqlx::Error::WorkerCrashed)?;
        }
        Ok(())
    }

    fn lane(&mut self, topic: &str) -> mpsc::Sender<Input> {
        if let Some(lane) = self.lanes.get(topic) {
            return lane.clone();
        }
        let (inputs, received) = mpsc::channel(self.relay.config.buffer_rows * 2);
        let lane = Lane::new(
            topic.to_owned(),
            Arc::clone(&self.relay.bus),
            Arc::clone(&self.relay.probe),
            received,
            self.report_to.clone(),
            &self.relay.config,
        );
        self.tasks.spawn(lane.run());
        self.lanes.insert(topic.to_owned(), inputs.clone());
        inputs
    }

    fn note(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Acknowledged(ids) => {
                self.relay.probe.reached(Step::Acknowledged);
                self.acknowledged.extend(ids);
            }
            Outcome::Dropped(ids) => self.held.release(&ids),
            Outcome::Stopped { topic, key, stopped, reason } => {
                self.held.stop(&topic, &key);
                self.stops.push(alarm(Stop {
                    topic,
                    key,
                    id: stopped.id,
                    sequence: stopped.sequence,
                    kind: "refused",
                    reason,
                    ids: stopped.ids,
                }));
            }
        }
    }

    fn note_pruned(&mut self, pruned: &Pruned) {
        metrics::counter!("outbox_pruned_rows_total").increment(pruned.deleted.unsigned_abs());
        match pruned.last_id {
            Some(last_id) if pruned.reached_young != Some(true) => self.prune_after_id = last_id,
            _ => {
                self.prune_after_id = 0;
                self.prune_at = Instant::now() + self.relay.config.prune_interval();
            }
        }
    }
}

/// Works on the session. The connection comes back with the result; dropping this closes it.
async fn perform(mut conn: PgConnection, work: Work, bound: Duration, retention_s: u64) -> Session {
    let done = timeout(bound, perform_on(&mut conn, work, retention_s)).await;
    (conn, done.unwrap_or(Err(sqlx::Error::PoolTimedOut)))
}

async fn perform_on(conn: &mut PgConnection, mut work: Work, retention_s: u64) -> Result<Done, sqlx::Error> {
    if !work.finish.is_empty() {
        table::finish(conn, &work.finish).await?;
    }
    for stop in &work.stops {
        table::record_stop(conn, stop).await?;
    }
    let started = Instant::now();
    let rows = match &mut work.read {
        Some(plan) => read(conn, plan).await?,
        None => Vec::new(),
    };
    let read_took = started.elapsed();
    let pruned = match work.prune_after_id {
        Some(after_id) => Some(table::prune(conn, after_id, PRUNE_ROWS, retention_s).await?),
        None => None,
    };
    Ok(Done { work, rows, read_took, pruned })
}

/// Reads, and before a sweep looks for topics that are new. A topic's rows are of one snapshot; the look for topics need
/// not be of the same.
async fn read(conn: &mut PgConnection, plan: &mut ReadPlan) -> Result<Vec<Row>, sqlx::Error> {
    if plan.scope == Scope::Sweep {
        let Limit { rows, bytes } = plan.limit;
        let topics = table::topics(conn).await?;
        let new = topics.into_iter().filter(|topic| !plan.known_topics.contains(topic));
        plan.rooms.extend(new.map(|topic| Room { topic, above_id: 0, rows, bytes }));
    }
    if plan.rooms.is_empty() {
        return Ok(Vec::new());
    }
    table::read(conn, &plan.rooms, &plan.held).await
}

fn gap(row: &Row) -> Stop {
    alarm(Stop {
        topic: row.topic.clone(),
        key: row.key.clone(),
        id: row.id,
        sequence: row.sequence,
        kind: "gap",
        reason: match row.predecessor_finished {
            None => format!("there is no sequence {}", row.sequence - 1),
            Some(_) => {
                format!("sequence {} is there, and does not come before it in id order", row.sequence - 1)
            }
        },
        ids: Vec::new(),
    })
}

fn alarm(stop: Stop) -> Stop {
    metrics::counter!("outbox_keys_stopped_total", "kind" => stop.kind).increment(1);
    tracing::error!(
        topic = stop.topic,
        key = stop.key,
        message_id = stop.id,
        sequence = stop.sequence,
        kind = stop.kind,
        reason = stop.reason,
        "outbox: key stopped; its events wait until its row in outbox.stopped_keys is deleted"
    );
    stop
}
