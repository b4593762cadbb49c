//! What the leader does with the write-ahead log (docs/adr/0026): what it brings is looked up, handed out, or made pending; and
//! what is settled is confirmed.
//!
//! **Invariant:** with a pending message, all messages of its key before it are published or pending. So what the log has brought
//! of a key becomes pending together, and pages show a key's messages in order.

mod pieces;
mod prepare;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use database::Lsn;
use metrics::gauge;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Leader;
use super::log_work::{LogDone, LogWork, Phase};
use super::session::Work;
use crate::metrics::WhileLeading;
use crate::relay::config::RelayKind;
use crate::relay::failpoint::Failpoint;
use crate::relay::poll::partitions::Scope;
use crate::relay::poll::pending::{Look, Seen};
use crate::relay::poll::session_error::SessionError;
use crate::relay::wal::brought::Brought;
use crate::relay::wal::decode::Appended;
use crate::relay::wal::progress::Progress;
use crate::relay::wal::slot::{self, Begin, Prepared, Slot, Snapshot};
use crate::relay::wal::stream::{self, Batch, Log, Piece};
use pieces::WAIT_FOR_ROOM;
use prepare::prepare;

/// How many pieces of the log wait here at most, about.
const QUEUE: usize = 1_000;
/// After this time a message without an acknowledgement becomes pending, so that it does not hold the log.
const PARK_AFTER: Duration = Duration::from_secs(5);
/// The longest time between an acknowledgement and the snapshot that tells of it.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(500);
/// So much of the log may be held while nothing is appended.
const IDLE_LAG_BYTES: u64 = 1 << 20;
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// The log, as the leader has it.
pub(super) struct LogSide {
    pub(super) phase: Phase,
    slot: Option<Slot>,
    prepared: Option<Prepared>,
    preparing: mpsc::Receiver<Prepared>,
    take_over_at: Instant,
    log: Option<Log>,
    queue: VecDeque<Piece>,
    looked: HashMap<i64, Seen>,
    brought: Brought,
    /// What was appended before this position may have been polled.
    polled_to: Lsn,
    look_at: Instant,
    look_pause: Duration,
    no_room_since: Option<Instant>,
    /// Shares, or topics whose partitions are unknown, for which the log is not waited.
    slow: HashSet<(String, i32)>,
    progress: Progress,
    spills: Vec<(i64, String)>,
    /// Their ids, until they are recorded.
    spilling: HashSet<i64>,
    topics: BTreeSet<String>,
    snapshot: Option<Snapshot>,
    snapshot_at: Instant,
    stored: Lsn,
    /// Something was appended that no stored snapshot shows.
    is_dirty: bool,
    lag: WhileLeading,
    lag_at: Instant,
    /// A snapshot was stored since the log was taken over: the server goes on with it.
    pub(super) has_stored: bool,
    /// The snapshot that is taken at the shutdown is stored.
    is_final: bool,
}

impl LogSide {
    pub(super) fn new(slot: Option<Slot>, begin: &Begin) -> Self {
        let (phase, position) = match begin {
            Begin::Table => (Phase::Table, Lsn(0)),
            Begin::Frozen => (Phase::Frozen, Lsn(0)),
            Begin::Log(position) => (Phase::Log, *position),
        };
        let now = Instant::now();
        Self {
            phase,
            slot,
            prepared: None,
            preparing: mpsc::channel(1).1,
            take_over_at: now,
            log: None,
            queue: VecDeque::new(),
            looked: HashMap::new(),
            brought: Brought::default(),
            polled_to: Lsn(0),
            look_at: now,
            look_pause: Duration::ZERO,
            no_room_since: None,
            slow: HashSet::new(),
            progress: Progress::new(position),
            spills: Vec::new(),
            spilling: HashSet::new(),
            topics: BTreeSet::new(),
            snapshot: None,
            snapshot_at: now,
            stored: position,
            is_dirty: true,
            lag: WhileLeading::new(gauge!("outbox_slot_lag_bytes")),
            lag_at: now,
            has_stored: false,
            is_final: false,
        }
    }

    /// The next batch of the log, while there is room for it, or the slot that was made. Waits otherwise.
    pub(super) async fn next(&mut self) -> Heard {
        match &mut self.log {
            Some(log) if self.queue.len() < QUEUE => match log.batches.recv().await {
                Some(batch) => Heard::Batch(batch),
                None => std::future::pending().await,
            },
            Some(_) => std::future::pending().await,
            None if self.prepared.is_some() => std::future::pending().await,
            None => match self.preparing.recv().await {
                Some(prepared) => Heard::Prepared(prepared),
                None => std::future::pending().await,
            },
        }
    }

    /// When something is to be done, if nothing comes before.
    pub(super) fn due_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Table | Phase::Frozen => self.prepared.as_ref().map(|_| self.take_over_at),
            Phase::Log => {
                let room = self.no_room_since.map(|since| since + WAIT_FOR_ROOM);
                let look = self.needs_look().then_some(self.look_at);
                let snapshot = (self.is_dirty && self.snapshot.is_none()).then_some(self.snapshot_at);
                [room, look, snapshot, Some(self.lag_at)].into_iter().flatten().min()
            }
        }
    }

    fn needs_look(&self) -> bool {
        matches!(self.queue.front(), Some(Piece::Appended(appended)) if !self.looked.contains_key(&appended.row.id))
    }

    /// Whether nothing is left to be settled or stored.
    pub(super) const fn is_finished(&self) -> bool {
        match self.phase {
            Phase::Log => self.is_final,
            Phase::Table | Phase::Frozen => true,
        }
    }
}

/// What comes to the leader of the log.
pub(super) enum Heard {
    Batch(Batch),
    Prepared(Prepared),
}

impl Leader {
    /// Begins to make a slot, or to read one.
    pub(super) fn begin_log(&mut self) {
        let Some(slot) = self.log.slot.clone() else { return };
        let database = self.relay.database.clone();
        if self.log.phase == Phase::Log {
            let (log, reading) = stream::open(database, slot.name, slot::PUBLICATION, self.log.stored);
            self.log.log = Some(log);
            self.tasks.spawn(reading);
        } else if self.reads_log() {
            let (into, preparing) = mpsc::channel(1);
            self.log.preparing = preparing;
            self.tasks.spawn(prepare(database, slot, into, self.relay.config.backoff_max()));
        }
    }

    /// Whether the log is read, now or once there is a slot.
    fn reads_log(&self) -> bool {
        self.relay.config.relay == RelayKind::Wal
    }

    pub(super) fn hear(&mut self, heard: Heard) -> Result<(), SessionError> {
        match heard {
            Heard::Batch(batch) => self.log.queue.extend(batch?),
            Heard::Prepared(prepared) => {
                tracing::info!(position = %prepared.position, "outbox: the replication slot is there");
                self.log.prepared = Some(prepared);
            }
        }
        self.take_pieces();
        Ok(())
    }

    /// What the session does for the log now. `reads`: it reads pages as well.
    pub(super) fn log_work(&mut self, now: Instant, read: Option<Scope>) -> LogWork {
        let mut work = LogWork { slot: self.log.slot.clone(), ..LogWork::default() };
        let working = self.until.is_none();
        match self.log.phase {
            Phase::Table | Phase::Frozen => {
                work.move_unpublished = self.log.phase == Phase::Frozen && read.is_some();
                if working && now >= self.log.take_over_at && self.log.prepared.is_some() {
                    self.log.take_over_at = now + self.relay.config.poll_interval();
                    work.take_over = self.log.prepared.clone();
                    work.topics = self.publishers.keys().cloned().collect();
                } else {
                    work.mark =
                        self.log.phase == Phase::Frozen && !self.reads_log() && working && read.is_none();
                }
            }
            Phase::Log => {
                for id in self.log.progress.overdue(now, PARK_AFTER) {
                    if let Some(topic) = self.buffer.make_one_pending(id) {
                        self.add_spills([id].into_iter(), &topic);
                    }
                }
                // The next snapshot counts for whatever is published, also for what was pending when the log took over.
                if self.publishers.len() > self.log.topics.len() {
                    self.log.topics.extend(self.publishers.keys().cloned());
                    self.log.is_dirty = true;
                }
                work.spills = std::mem::take(&mut self.log.spills);
                if self.log.needs_look() && now >= self.log.look_at {
                    work.look = self.next_looks();
                }
                let settled = self.log.progress.settled();
                let stored = self.log.snapshot.take_if(|snapshot| snapshot.position <= settled);
                if stored.is_some() {
                    work.topics = self.log.topics.iter().cloned().collect();
                }
                work.store = stored;
                if self.log.snapshot.is_none() && self.log.is_dirty && now >= self.log.snapshot_at {
                    work.take_snapshot = true;
                    self.log.is_dirty = false;
                }
                if now >= self.log.lag_at {
                    work.lag = true;
                    self.log.lag_at = now + LAG_INTERVAL;
                }
            }
        }
        work
    }

    fn next_looks(&mut self) -> Vec<Look> {
        let LogSide { queue, looked, brought, polled_to, .. } = &mut self.log;
        let appended = queue.iter().filter_map(|piece| match piece {
            Piece::Appended(appended) if !looked.contains_key(&appended.row.id) => Some(appended),
            Piece::Appended(_) | Piece::Committed(_) | Piece::Position(_) => None,
        });
        appended
            .map(|appended| {
                let row = &appended.row;
                let follows = row.previous_id.is_none_or(|before| brought.contains(before));
                brought.add(row.id);
                let is_next = follows && appended.position > *polled_to;
                Look { id: row.id, transaction_id: appended.transaction_id, is_next }
            })
            .collect()
    }

    /// Takes note of what the session did for the log.
    pub(super) fn complete_log(&mut self, work: &Work, done: LogDone) {
        if let Some(polled_to) = done.taken_over {
            self.log.polled_to = polled_to;
            self.take_over(work);
        }
        if done.marked {
            tracing::info!("outbox: all messages are marked; polling as if the log had never been read");
            self.log.phase = Phase::Table;
            self.full_scan_wanted = true;
        }
        for (id, _) in &work.log.spills {
            self.log.spilling.remove(id);
            self.log.progress.settle(*id);
        }
        self.log.looked.extend(done.looked);
        // What was looked for before these became pending.
        let spilled: HashSet<i64> = work.log.spills.iter().map(|(id, _)| *id).collect();
        for piece in self.log.queue.iter().filter(|_| !spilled.is_empty()) {
            if let Piece::Appended(Appended { row, .. }) = piece
                && row.previous_id.is_some_and(|before| spilled.contains(&before))
                && let Some(Seen::Unpublished { predecessor_published }) = self.log.looked.get_mut(&row.id)
            {
                *predecessor_published = Some(false);
            }
        }
        if let Some(stored) = &work.log.store {
            self.log.stored = stored.position;
            self.log.has_stored = true;
            self.log.is_final |= self.until.is_some() && !self.log.is_dirty && self.log.snapshot.is_none();
            if let Some(log) = &self.log.log {
                log.confirmed.send_replace(stored.position);
            }
            self.relay.failpoints.reached(Failpoint::Finished);
        }
        if done.snapshot.is_some() {
            self.log.snapshot = done.snapshot;
            self.log.snapshot_at = Instant::now() + SNAPSHOT_INTERVAL.min(self.relay.config.poll_interval());
        }
        if let Some(lag) = done.lag {
            self.log.lag.set(lag);
            let settled = self.log.progress.settled();
            self.log.is_dirty |= settled.0 > self.log.stored.0 + IDLE_LAG_BYTES;
        }
        self.take_pieces();
    }

    fn take_over(&mut self, work: &Work) {
        let Some(prepared) = self.log.prepared.take() else { return };
        tracing::info!(position = %prepared.position, "outbox: publishing from the write-ahead log");
        self.log.phase = Phase::Log;
        self.log.topics = work.log.topics.iter().cloned().collect();
        (self.log.progress, self.log.stored) = (Progress::new(prepared.position), prepared.position);
        self.log.is_dirty = true;
        self.full_scan_wanted = true;
        self.begin_log();
    }

    /// Whether something of this key, or after it, is to be known at the end: a last snapshot.
    pub(super) fn finish_log(&mut self) {
        self.log.is_dirty = true;
        self.log.snapshot = None;
        self.log.snapshot_at = Instant::now();
    }
}
