//! What a service does with records and events, the types of both forgotten: the consumer around it is compiled once, in this
//! crate, and not again in every service.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use messaging::Delivered;
use sqlx::PgConnection;

use crate::decode::{BoxError, Decode, Decoded, Undecodable};
use crate::error_policy::HandlerError;
use crate::handling::{Decided, handle_all};
use crate::subscriptions::Subscriptions;
use crate::unit_of_work::{AfterCommit, Received, UnitOfWork};

/// An event of the decoder's type, which only [`EffectOf`] knows.
pub(crate) type Erased = Arc<dyn Any + Send + Sync>;

/// The effect of events on one service.
#[async_trait]
pub(crate) trait Effect: Send + Sync {
    /// Whether events of this type have a handler.
    fn handles(&self, event_type: &str) -> bool;

    /// As [`Decode::is_of_another_release`].
    fn is_of_another_release(&self, event_type: &str) -> bool;

    /// As [`Decode::known_types`].
    fn known_types(&self) -> Vec<String>;

    /// As [`Decode::decode`].
    async fn decode(
        &self,
        topic: &str,
        records: &[&Delivered],
    ) -> Result<Vec<Result<Decoded<Erased>, Undecodable>>, BoxError>;

    /// Locks and loads, and handles the events in this order, each with the key of its record.
    async fn handle<'a>(
        &'a self,
        conn: &mut PgConnection,
        events: &[Received<Erased>],
        keys: &[Option<&[u8]>],
    ) -> Result<Box<dyn Handled + 'a>, HandlerError>;

    /// Called after each commit.
    fn committed(&self);
}

/// What handlers have made of events, in memory.
#[async_trait]
pub(crate) trait Handled: Send {
    /// Which were accepted, and which rejected: nothing is left of the latter.
    fn decided(&self) -> &Decided;

    /// Stores what follows from the others. Gives what is to be done after the commit.
    async fn store(self: Box<Self>, conn: &mut PgConnection) -> Result<AfterCommit, HandlerError>;
}

/// The effect that subscriptions have through their unit of work.
pub(crate) struct EffectOf<D, W: UnitOfWork> {
    pub(crate) decoder: D,
    pub(crate) subscriptions: Subscriptions<W>,
    pub(crate) deps: W::Deps,
}

#[async_trait]
impl<D: Decode, W: UnitOfWork<Event = D::Event>> Effect for EffectOf<D, W> {
    fn handles(&self, event_type: &str) -> bool {
        self.subscriptions.handles(event_type)
    }

    fn is_of_another_release(&self, event_type: &str) -> bool {
        self.decoder.is_of_another_release(event_type)
    }

    fn known_types(&self) -> Vec<String> {
        self.decoder.known_types()
    }

    async fn decode(
        &self,
        topic: &str,
        records: &[&Delivered],
    ) -> Result<Vec<Result<Decoded<Erased>, Undecodable>>, BoxError> {
        let decoded = self.decoder.decode(topic, records).await?;
        Ok(decoded.into_iter().map(|one| one.map(erase)).collect())
    }

    async fn handle<'a>(
        &'a self,
        conn: &mut PgConnection,
        events: &[Received<Erased>],
        keys: &[Option<&[u8]>],
    ) -> Result<Box<dyn Handled + 'a>, HandlerError> {
        if events.is_empty() {
            return Ok(Box::new(Nothing(Decided { rejected: Vec::new(), accepted: 0 })));
        }
        let events: Option<Vec<Received<D::Event>>> = events.iter().map(known).collect();
        let events = events.ok_or_else(|| HandlerError::Retry("an event of another decoder".into()))?;
        Ok(Box::new(HandledBy::try_new(conn, &self.subscriptions, &self.deps, &events, keys).await?))
    }

    fn committed(&self) {
        W::committed(&self.deps);
    }
}

/// No event.
struct Nothing(Decided);

#[async_trait]
impl Handled for Nothing {
    fn decided(&self) -> &Decided {
        &self.0
    }

    async fn store(self: Box<Self>, _: &mut PgConnection) -> Result<AfterCommit, HandlerError> {
        Ok(Box::new(|| {}))
    }
}

/// A unit of work whose events were handled.
pub(crate) struct HandledBy<'a, W: UnitOfWork> {
    work: W,
    decided: Decided,
    deps: &'a W::Deps,
}

impl<'a, W: UnitOfWork> HandledBy<'a, W> {
    /// Loads the unit of work of these events, and handles them.
    pub(crate) async fn try_new(
        conn: &mut PgConnection,
        subscriptions: &Subscriptions<W>,
        deps: &'a W::Deps,
        events: &[Received<W::Event>],
        keys: &[Option<&[u8]>],
    ) -> Result<Self, HandlerError> {
        let work = W::load(deps, conn, events).await?;
        let (work, decided) = handle_all(work, subscriptions, events, keys)?;
        Ok(Self { work, decided, deps })
    }
}

#[async_trait]
impl<W: UnitOfWork> Handled for HandledBy<'_, W> {
    fn decided(&self) -> &Decided {
        &self.decided
    }

    async fn store(self: Box<Self>, conn: &mut PgConnection) -> Result<AfterCommit, HandlerError> {
        let Self { work, deps, .. } = *self;
        let after_commit = work.after_commit();
        work.store(deps, conn).await?;
        Ok(after_commit)
    }
}

fn erase<E: Send + Sync + 'static>(decoded: Decoded<E>) -> Decoded<Erased> {
    match decoded {
        Decoded::Event { envelope, event } => Decoded::Event { envelope, event: Arc::new(event) },
        Decoded::OfAnotherRelease(event_type) => Decoded::OfAnotherRelease(event_type),
    }
}

/// The event as this decoder made it.
fn known<E: Clone + 'static>(received: &Received<Erased>) -> Option<Received<E>> {
    let event = received.event.downcast_ref::<E>()?.clone();
    let Received { topic, partition, offset, envelope, event: _ } = received;
    let (topic, envelope) = (topic.clone(), envelope.clone());
    Some(Received { topic, partition: *partition, offset: *offset, envelope, event })
}
