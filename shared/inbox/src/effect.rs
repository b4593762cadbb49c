//! What a service does with a batch of events, its unit of work's type forgotten: the consumer around it is compiled once,
//! in this crate, and not again in every service.

use async_trait::async_trait;
use contracts::ambient;
use contracts::topics::Topic;
use sqlx::PgConnection;

use crate::error_policy::HandlerError;
use crate::subscriptions::Subscriptions;
use crate::unit_of_work::{AfterCommit, Context, Received, UnitOfWork};

/// The effect of events on one service.
#[async_trait]
pub(crate) trait Effect: Send + Sync {
    /// The topics that carry the subscribed events.
    fn topics(&self) -> Vec<Topic>;

    /// Whether events of this type have a reaction.
    fn handles(&self, event_type: &str) -> bool;

    /// Lock and load, react in offset order, store.
    async fn of(&self, conn: &mut PgConnection, events: &[Received]) -> Result<AfterCommit, HandlerError>;

    /// Called after each commit.
    fn committed(&self);
}

/// The effect that subscriptions have through their unit of work.
pub(crate) struct EffectOf<W: UnitOfWork> {
    pub(crate) subscriptions: Subscriptions<W>,
    pub(crate) deps: W::Deps,
}

#[async_trait]
impl<W: UnitOfWork> Effect for EffectOf<W> {
    fn topics(&self) -> Vec<Topic> {
        self.subscriptions.topics().collect()
    }

    fn handles(&self, event_type: &str) -> bool {
        self.subscriptions.handles(event_type)
    }

    async fn of(&self, conn: &mut PgConnection, events: &[Received]) -> Result<AfterCommit, HandlerError> {
        if events.is_empty() {
            return Ok(Box::new(|| {}));
        }
        let mut work = W::load(&self.deps, conn, events).await?;
        let now = ambient::now();
        for received in events {
            let context = Context { envelope: &received.envelope, now };
            self.subscriptions.react(&mut work, &received.event, context).map_err(|rejection| {
                HandlerError::Rejected { event_id: received.envelope.event_id, rejection }
            })?;
        }
        let after_commit = work.after_commit();
        work.store(&self.deps, conn).await?;
        Ok(after_commit)
    }

    fn committed(&self) {
        W::committed(&self.deps);
    }
}
