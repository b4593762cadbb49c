//! What the session does next, and when.

use std::time::Duration;

use tokio::time::Instant;

use super::Leader;
use super::session::{ReadPlan, Work};
use crate::relay::poll::partitions::Scope;
use crate::relay::poll::table::Dropped;

/// Intervals between two attempts to drop a table partition.
const DROP_RETRY: u32 = 10;
/// Full scans walk over the index entries of finished rows, which a transaction that stays open keeps alive. They take at
/// most this part of the session's time: one in so many.
const FULL_SCAN_SHARE: u32 = 10;

impl Leader {
    /// What the session has to do now, if anything.
    pub(super) fn next_work(&mut self) -> Option<Work> {
        let now = Instant::now();
        let working = self.until.is_none();
        let deferred = if working { self.buffer.take_deferred() } else { Vec::new() };
        let read = match deferred.is_empty() {
            true => self.next_scope(now, working).map(|scope| self.plan(scope)),
            false => None,
        };
        let log = self.log_work(now, read.as_ref().map(|plan| plan.scope));
        // What is read next is read another way.
        let (read, deferred) = if log.take_over.is_some() { (None, Vec::new()) } else { (read, deferred) };
        // What was read is handed out first: a drop may take a second.
        let no_read = read.is_none() && deferred.is_empty();
        let work = Work {
            from: self.log.phase,
            finish: std::mem::take(&mut self.acknowledged),
            blocks: std::mem::take(&mut self.blocks),
            retry_now: std::mem::take(&mut self.retry_now),
            read,
            deferred,
            drop_table_partition: working && now >= self.drop_at && no_read,
            log,
        };
        let something = !work.finish.is_empty()
            || !work.blocks.is_empty()
            || !work.retry_now.is_empty()
            || !no_read
            || work.log.is_something()
            || work.drop_table_partition;
        something.then_some(work)
    }

    /// A full scan is under way, or to come.
    pub(super) fn is_in_full_scan(&self) -> bool {
        self.full_scan_wanted || self.buffer.is_in_full_scan()
    }

    /// New messages and what was left in the table take turns.
    fn next_scope(&self, now: Instant, working: bool) -> Option<Scope> {
        let backlog = working && self.buffer.wants_more();
        if self.is_in_full_scan() && now >= self.full_scan_at {
            Some(Scope::FullScan)
        } else if self.read_wanted && !(backlog && self.backlog_is_next) {
            Some(Scope::Newest)
        } else if backlog {
            Some(Scope::Backlog)
        } else {
            None
        }
    }

    fn plan(&mut self, scope: Scope) -> ReadPlan {
        let (mut known_topics, mut unlearned) = (None, Vec::new());
        match scope {
            Scope::FullScan if !self.buffer.is_in_full_scan() => {
                self.full_scan_wanted = false;
                self.buffer.begin_full_scan();
                known_topics = Some(self.publishers.keys().cloned().collect());
                unlearned.extend(self.publishers.keys().filter(|topic| !self.buffer.knows(topic)).cloned());
            }
            Scope::FullScan => {}
            Scope::Newest => (self.read_wanted, self.backlog_is_next) = (false, true),
            Scope::Backlog => self.backlog_is_next = false,
        }
        ReadPlan {
            scope,
            pages: self.buffer.pages(scope),
            known_topics,
            unlearned,
            limit: self.buffer.limit(),
            whole_pages: self.relay.reads_whole_pages,
            buffered: self.buffer.ids(),
        }
    }

    /// Notes what follows from a read for the next one.
    pub(super) fn note_read(&mut self, plan: &ReadPlan, is_empty: bool, took: Duration) {
        match plan.scope {
            // Full scans are also the leader's sign of life: they must not be further apart than its session lasts.
            Scope::FullScan => {
                let pause = (took * FULL_SCAN_SHARE).min(self.relay.config.idle_session_timeout() / 4);
                self.full_scan_at = Instant::now() + pause;
            }
            // Woken for nothing: what was committed may have a low id, or a topic of its own.
            Scope::Newest => {
                let deferred = plan.pages.iter().any(|page| !page.key_rooms.deferred().is_empty());
                self.full_scan_wanted |= is_empty && !deferred;
            }
            Scope::Backlog => {}
        }
        for page in &plan.pages {
            self.buffer.note(page, plan.scope);
        }
    }

    pub(super) fn note_dropped(&mut self, dropped: Dropped) {
        let pause = match dropped {
            Dropped::One => {
                metrics::counter!("outbox_table_partitions_dropped_total").increment(1);
                Duration::ZERO
            }
            Dropped::None => self.relay.config.maintenance_interval(),
            Dropped::Busy => self.relay.config.maintenance_interval() * DROP_RETRY,
        };
        self.drop_at = Instant::now() + pause;
    }
}
