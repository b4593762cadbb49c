//! What is under way to one partition: its keys' rows, its clock, its back-off. Nothing of it is shared with the others of
//! its topic but the producer, so that a partition that takes nothing holds up only its own rows.

use std::time::Duration;

use tokio::time::Instant;

use crate::relay::backoff::Backoff;
use crate::relay::chains::{BlockedKey, Chains};
use crate::relay::row::{ChainKey, Row};

/// The rows of one partition.
#[derive(Debug)]
pub(super) struct Flow {
    chains: Chains,
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
            chains: Chains::new(window),
            waiting_since: None,
            stalled: false,
            backoff: Backoff::new(backoff_max),
            resume_at: None,
        }
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.chains.in_flight()
    }

    pub(super) const fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Takes a row behind its key's others; gives its id when the key is blocked.
    pub(super) fn push(&mut self, row: Row) -> Result<(), i64> {
        self.chains.push(row)
    }

    /// Takes the row that its key is blocked with, to be tried again.
    pub(super) fn retry(&mut self, row: Row) -> Result<(), i64> {
        self.chains.retry(row)
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
        (!waits && self.chains.can_probe()).then(|| self.chains.has_unrefused())
    }

    /// One row alone, to see whether the topic takes it.
    pub(super) fn send_probe(&mut self, now: Instant, random: usize) -> Option<(ChainKey, &Row)> {
        let next = self.chains.send_probe(random)?;
        self.waiting_since.get_or_insert(now);
        Some(next)
    }

    /// The next row to send, now in flight.
    pub(super) fn send_next(&mut self, now: Instant) -> Option<(ChainKey, &Row)> {
        if !self.resumes(now) {
            return None;
        }
        let next = self.chains.send_next()?;
        self.waiting_since.get_or_insert(now);
        Some(next)
    }

    pub(super) fn acknowledged(&mut self, key: &ChainKey, now: Instant) -> Option<Row> {
        self.backoff.reset();
        let row = self.chains.acknowledged(key);
        self.answered(now);
        row
    }

    /// The partition answers.
    fn answered(&mut self, now: Instant) {
        self.stalled = false;
        self.waiting_since = (self.chains.in_flight() > 0).then_some(now);
    }

    /// The row is sent again after a while.
    pub(super) fn unacknowledged(&mut self, key: &ChainKey, now: Instant) {
        self.chains.unacknowledged(key);
        // What fails together waits once.
        if self.resume_at.is_none_or(|resume_at| resume_at <= now) {
            self.resume_at = Some(now + self.backoff.next());
        }
    }

    /// Whether a refusal of the key's row is one of that row.
    pub(super) fn is_alone(&self, key: &ChainKey) -> bool {
        self.chains.is_alone(key)
    }

    /// Whether the key's row was refused before it came here.
    pub(super) fn is_retry(&self, key: &ChainKey) -> bool {
        self.chains.is_retry(key)
    }

    pub(super) fn refused(&mut self, key: &ChainKey, block: bool, now: Instant) -> Option<BlockedKey> {
        let blocked = self.chains.refused(key, block);
        self.answered(now);
        blocked
    }

    pub(super) fn forget_blocked(&mut self, key: &ChainKey) {
        self.chains.forget_blocked(key);
    }

    /// Its producer is gone.
    pub(super) fn abandon_flights(&mut self) {
        self.chains.abandon_flights();
    }

    /// When something is to be done for it, if nothing is heard before.
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
