//! What a service does with records and events, the types of both forgotten: the consumer around it is compiled once, in this
//! crate, and not again in every service.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use cloudevents::clock;
use messaging::Delivered;
use sqlx::PgConnection;

use crate::decode::{BoxError, Decode, Decoded, Undecodable};
use crate::error_policy::HandlerError;
use crate::subscriptions::Subscriptions;
use crate::unit_of_work::{AfterCommit, Context, Received, UnitOfWork};

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

    /// Lock and load, handle in offset order, store.
    async fn of(
        &self,
        conn: &mut PgConnection,
        events: &[Received<Erased>],
    ) -> Result<AfterCommit, HandlerError>;

    /// Called after each commit.
    fn committed(&self);
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

    async fn of(
        &self,
        conn: &mut PgConnection,
        events: &[Received<Erased>],
    ) -> Result<AfterCommit, HandlerError> {
        if events.is_empty() {
            return Ok(Box::new(|| {}));
        }
        let events: Option<Vec<Received<D::Event>>> = events.iter().map(known).collect();
        let events = events.ok_or_else(|| HandlerError::Retry("an event of another decoder".into()))?;
        apply_to(conn, &self.subscriptions, &self.deps, &events).await
    }

    fn committed(&self) {
        W::committed(&self.deps);
    }
}

/// Loads the unit of work, passes it each event in order, and stores it. Gives what is to be done after the commit.
pub(crate) async fn apply_to<W: UnitOfWork>(
    conn: &mut PgConnection,
    subscriptions: &Subscriptions<W>,
    deps: &W::Deps,
    events: &[Received<W::Event>],
) -> Result<AfterCommit, HandlerError> {
    let mut work = W::load(deps, conn, events).await?;
    let now = clock::now();
    for received in events {
        let context = Context { envelope: &received.envelope, now };
        subscriptions.handle(&mut work, &received.event, context).map_err(|rejection| {
            HandlerError::Rejected { event_id: received.envelope.event_id, rejection }
        })?;
    }
    let after_commit = work.after_commit();
    work.store(deps, conn).await?;
    Ok(after_commit)
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
