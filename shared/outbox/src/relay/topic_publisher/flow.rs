//! What is under way to one partition: its keys' rows, its clock, its back-off. Nothing of it is shared with the others of
//! its topic but the producer, so that a partition that takes nothing holds up only its own rows.

use std::time::Duration;

use tokio::time::Instant;

use crate::relay::backoff::Backoff;
use crate::relay::key_queues::{BlockedKey, KeyQueues};
use crate::relay::row::{QueueKey, Row};

/// The rows of one partition.
#[derive(Debug)]
pub(super) struct Flow {
    queues: KeyQueues,
    /// Since when the partition has had rows to take, and has taken none.
    waiting_since: Option<Instant>,
    stalled: bool,
    backoff: Backoff,
    /// Until when it is left alone after a failure.
    resume_at: Option<Instant>,
}

impl Flow {
    /// At most `window` of its rows will be in flight.
    pub(super) fn new(window: usize, backoff_max: Duration) -> Self {
        Self {
            queues: KeyQueues::new(window),
            waiting_since: None,
            stalled: false,
            backoff: Backoff::new(backoff_max),
            resume_at: None,
        }
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.queues.in_flight()
    }

    pub(super) const fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Takes a row behind its key's others; gives its id when the key is blocked.
    pub(super) fn push(&mut self, row: Box<Row>) -> Result<(), i64> {
        self.queues.push(row)
    }

    /// Takes the row that its key is blocked with, to be tried again.
    pub(super) fn retry(&mut self, row: Box<Row>) -> Result<(), i64> {
        self.queues.retry(row)
    }

    fn resumes(&mut self, now: Instant) -> bool {
        let waits = self.resume_at.is_some_and(|resume_at| now < resume_at);
        if !waits {
            self.resume_at = None;
        }
        !waits
    }

    /// Whether a row could be sent alone now, and whether there is one that was never refused.
    pub(super) fn can_probe(&self, now: Instant) -> Option<bool> {
        let waits = self.resume_at.is_some_and(|resume_at| now < resume_at);
        (!waits && self.queues.can_probe()).then(|| self.queues.has_unrefused())
    }

    /// One row alone, to see whether the topic takes it.
    pub(super) fn send_probe(&mut self, now: Instant, random: usize) -> Option<(QueueKey, &Row)> {
        let next = self.queues.send_probe(random)?;
        self.waiting_since.get_or_insert(now);
        Some(next)
    }

    /// The next row to send, now in flight.
    pub(super) fn send_next(&mut self, now: Instant) -> Option<(QueueKey, &Row)> {
        if !self.resumes(now) {
            return None;
        }
        let next = self.queues.send_next()?;
        self.waiting_since.get_or_insert(now);
        Some(next)
    }

    pub(super) fn acknowledged(&mut self, key: &QueueKey, now: Instant) -> Option<Box<Row>> {
        self.backoff.reset();
        let row = self.queues.acknowledged(key);
        self.answered(now);
        row
    }

    fn answered(&mut self, now: Instant) {
        self.stalled = false;
        self.waiting_since = (self.queues.in_flight() > 0).then_some(now);
    }

    /// The row is sent again after a while.
    pub(super) fn unacknowledged(&mut self, key: &QueueKey, now: Instant) {
        self.queues.unacknowledged(key);
        // What fails together waits once.
        if self.resume_at.is_none_or(|resume_at| resume_at <= now) {
            self.resume_at = Some(now + self.backoff.next());
        }
    }

    /// Whether a refusal of the key's row is one of that row.
    pub(super) fn is_isolated(&self, key: &QueueKey) -> bool {
        self.queues.is_isolated(key)
    }

    /// Whether the key's row was refused before it came here.
    pub(super) fn is_retry(&self, key: &QueueKey) -> bool {
        self.queues.is_retry(key)
    }

    pub(super) fn refused(&mut self, key: &QueueKey, block: bool, now: Instant) -> Option<BlockedKey> {
        let blocked = self.queues.refused(key, block);
        self.answered(now);
        blocked
    }

    pub(super) fn forget_blocked(&mut self, key: &QueueKey) {
        self.queues.forget_blocked(key);
    }

    /// Its producer is gone.
    pub(super) fn abandon(&mut self) {
        self.queues.abandon();
    }

    /// When something is to be done for it, if no answer comes before.
    pub(super) fn due_at(&self, timeout: Duration) -> Option<Instant> {
        let stalls_at = self.waiting_since.filter(|_| !self.stalled).map(|since| since + timeout);
        [self.resume_at, stalls_at].into_iter().flatten().min()
    }

    /// Whether it has just become stalled.
    pub(super) fn stalls(&mut self, now: Instant, timeout: Duration) -> bool {
        let stalls = !self.stalled && self.waiting_since.is_some_and(|since| now >= since + timeout);
        self.stalled |= stalls;
        stalls
    }
}
