//! What a service does with a batch of new events: lock and load, handle in memory, store.

use std::future::Future;

use chrono::{DateTime, Utc};
use cloudevents::{Cause, Envelope};
use sqlx::PgConnection;

use crate::error_policy::HandlerError;

/// One event, new to this service, with what travelled beside it.
#[derive(Clone, Debug)]
pub struct Received<E> {
    /// Full topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Offset within the partition.
    pub offset: i64,
    /// Identity, causality, trace.
    pub envelope: Envelope,
    /// The fact.
    pub event: E,
}

/// What a handler may know besides its state and the event. Time is an argument.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The envelope of the event reacted to.
    pub envelope: &'a Envelope,
    /// When the batch is processed.
    pub now: DateTime<Utc>,
}

impl Context<'_> {
    /// The event reacted to as the cause of what follows from it.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.envelope.as_cause()
    }
}

/// What is done after a commit, and only then.
pub type AfterCommit = Box<dyn FnOnce() + Send>;

/// The state of all aggregates that a batch concerns. One value lives for one transaction.
///
/// The runtime calls `load`, then the subscribed handlers one by one in offset order, then `store`, then commits. When a
/// handler rejects its event, or panics, the runtime goes on with a copy of the state from before the event: a rejection
/// changes nothing else by construction, and costs no transaction. When `store` answers [`HandlerError::Rejected`], the
/// whole transaction is rolled back and the batch begins anew without that event. A rejected event becomes a dead letter.
pub trait UnitOfWork: Clone + Send + 'static {
    /// What the consumer's decoder makes of records.
    type Event: Send + Sync + 'static;
    /// What `load` and `store` need from outside: the outbox, settings.
    type Deps: Send + Sync + 'static;

    /// Inserts the rows of aggregates not yet known, locks all rows of the batch in one sorted statement, and loads
    /// their state. `events` holds only events with a subscribed handler.
    fn load(
        deps: &Self::Deps,
        conn: &mut PgConnection,
        events: &[Received<Self::Event>],
    ) -> impl Future<Output = Result<Self, HandlerError>> + Send;

    /// Stores all states and appends to the outbox, set-based. Deletes the rows that `load` inserted and that concern no
    /// accepted event ([`Locked::unused`](crate::Locked::unused)).
    fn store(
        self,
        deps: &Self::Deps,
        conn: &mut PgConnection,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// What is to be counted once the batch is committed, taken after the handlers and before `store`: whatever is
    /// counted earlier is counted again when the batch is repeated.
    fn after_commit(&self) -> AfterCommit {
        Box::new(|| {})
    }

    /// Called after the commit: wakes the tasks of this process that wait for what was stored. A crash may lose the
    /// wake-up, so that they also poll.
    fn committed(deps: &Self::Deps) {
        let _ = deps;
    }
}
