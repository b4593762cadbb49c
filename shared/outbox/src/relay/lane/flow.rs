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

    /// The next row to send, now in flight.
    pub(super) fn send_next(&mut self, now: Instant) -> Option<(ChainKey, &Row)> {
        if self.resume_at.is_some_and(|resume_at| now < resume_at) {
            return None;
        }
        self.resume_at = None;
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

    pub(super) fn refused(&mut self, key: &ChainKey, now: Instant) -> Option<BlockedKey> {
        let blocked = self.chains.refused(key);
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
