//! What the session does for the log.

use database::Lsn;
use sqlx::PgConnection;

use crate::relay::poll::pending::{self, Look, Seen};
use crate::relay::wal::slot::{self, Prepared, Slot, Snapshot};

/// Where the leader finds what to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// All that is not finished.
    Table,
    /// What the frozen snapshot does not show: it is made pending, and published from there.
    Frozen,
    /// What the log brings, and what is pending.
    Log,
}

/// What the session does for the log.
#[derive(Debug, Default)]
pub(super) struct LogWork {
    pub(super) slot: Option<Slot>,
    /// Messages that become pending.
    pub(super) spills: Vec<(i64, String)>,
    pub(super) move_unpublished: bool,
    pub(super) take_over: Option<Prepared>,
    pub(super) mark: bool,
    pub(super) look: Vec<Look>,
    pub(super) take_snapshot: bool,
    pub(super) store: Option<Snapshot>,
    pub(super) lag: bool,
    pub(super) topics: Vec<String>,
}

impl LogWork {
    pub(super) fn is_something(&self) -> bool {
        !self.spills.is_empty()
            || self.take_over.is_some()
            || self.mark
            || !self.look.is_empty()
            || self.take_snapshot
            || self.store.is_some()
            || self.lag
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct LogDone {
    /// Up to where the log may have what was polled.
    pub(super) taken_over: Option<Lsn>,
    pub(super) marked: bool,
    pub(super) looked: Vec<(i64, Seen)>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) lag: Option<f64>,
}

/// What is pending by then is read afterwards; a snapshot is stored behind it.
pub(super) async fn perform_log(conn: &mut PgConnection, work: &LogWork) -> Result<LogDone, sqlx::Error> {
    let mut done = LogDone::default();
    if work.move_unpublished {
        slot::move_unpublished(conn).await?;
    }
    let Some(slot) = &work.slot else { return Ok(done) };
    if let Some(prepared) = &work.take_over {
        done.taken_over = slot::take_over(conn, slot, prepared, &work.topics).await?;
    }
    if work.mark {
        done.marked = slot::mark(conn).await?;
    }
    if !work.look.is_empty() {
        done.looked = pending::look(conn, &work.look).await?;
    }
    if let Some(stored) = &work.store {
        slot::store(conn, slot, stored, &work.topics).await?;
    }
    if work.take_snapshot {
        done.snapshot = Some(slot::snapshot(conn).await?);
    }
    if work.lag {
        done.lag = slot::lag(conn, slot).await?;
    }
    Ok(done)
}
