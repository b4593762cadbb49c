//! The order database: each transaction locks, decides by the application's use cases, and stores set-based.

mod deadlines;
mod heads;
mod idempotency;
mod reads;
mod rows;
mod writes;

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use contracts::{Cause, Topic, TraceContext, ambient};
use database::{Database, Operation, Transaction};
use events::{PublishError, Publisher};
use outbox::{AppendError, Message, Numbered};
use sqlx::PgConnection;

pub use deadlines::{Due, Position};
pub use idempotency::{Answer, CustomerKey, PlaceOutcome};
pub use reads::{ListQuery, Listed, Watched};

use super::contract::translate;
use super::metrics::Counts;
use crate::application::publisher::Publication;
use crate::application::work::Outcome;
use crate::application::{Stream, Work, WorkError, cancel_order, expire_orders, place_order};
use crate::domain::{ImpossibleTransition, OrderId, OrderView, Placement, Refusal};

/// The tables of this service.
#[must_use]
pub fn migrator() -> sqlx::migrate::Migrator {
    sqlx_macros::migrate!("./migrations")
}

/// Why the database could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The domain refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A row holds what no code of ours can have written.
    #[error("order {order_id} is corrupt: {detail}")]
    Corrupt {
        /// Which order.
        order_id: OrderId,
        /// What is wrong with it.
        detail: String,
    },
    /// The event that announces the change can't be published.
    #[error(transparent)]
    Append(PublishError),
    /// The database refused or did not answer.
    #[error("the order database: {0}")]
    Database(#[from] sqlx::Error),
}

impl StoreError {
    fn corrupt(order_id: OrderId, detail: impl std::fmt::Display) -> Self {
        Self::Corrupt { order_id, detail: detail.to_string() }
    }

    fn of(order_id: OrderId, error: WorkError) -> Self {
        match error {
            WorkError::Refused(refusal) => Self::Refused(refusal),
            WorkError::Corrupt(impossible) => Self::corrupt(order_id, impossible),
        }
    }
}

impl From<AppendError> for StoreError {
    fn from(error: AppendError) -> Self {
        PublishError::from(error).into()
    }
}

impl From<PublishError> for StoreError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Database(error) => Self::Database(error),
            PublishError::Append(_) | PublishError::Encode { .. } => Self::Append(error),
        }
    }
}

/// The order database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OrderStore {
    database: Database,
    outbox: Publisher,
}

/// An order, decided and encoded, ready to be written.
#[derive(Debug)]
pub struct Placing {
    /// As people will see it once it is committed.
    pub view: OrderView,
    outcome: Outcome,
    messages: Vec<Message>,
}

impl OrderStore {
    /// The order database, publishing through this outbox.
    #[must_use]
    pub const fn new(database: Database, outbox: Publisher) -> Self {
        Self { database, outbox }
    }

    /// Decides about a new order and checks that its event can be published; writes nothing.
    ///
    /// # Errors
    /// When the domain refuses, or the event would be larger than the broker takes.
    pub fn prepare(
        &self,
        placement: Placement,
        deadline: TimeDelta,
        cause: &Cause,
        now: DateTime<Utc>,
    ) -> Result<Placing, StoreError> {
        let order_id = OrderId(ambient::new_id());
        let outcome =
            place_order::place_order(order_id, placement, deadline, cause, now, translate, ambient::new_id)
                .map_err(|error| StoreError::of(order_id, error))?
                .finish();
        let messages = encode(&self.outbox, &outcome)?;
        let view = view_of(order_id, &outcome).map_err(|error| StoreError::corrupt(order_id, error))?;
        Ok(Placing { view, outcome, messages })
    }

    /// Writes a new order and the answer to its request, unless this key has placed one before.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn place(
        &self,
        placing: Placing,
        key: CustomerKey,
        answer: Answer,
    ) -> Result<PlaceOutcome, StoreError> {
        let placing = async |mut tx: Transaction| {
            let order_id = placing.view.order_id;
            if !idempotency::insert(&mut tx, &key, order_id, &answer).await? {
                return idempotency::stored(&mut tx, &key).await;
            }
            let numbered = self.outbox.number(&mut tx, placing.messages).await?;
            writes::insert(&mut tx, &placing.outcome, &numbered).await?;
            self.outbox.append(&mut tx, &numbered).await?;
            tx.commit().await?;
            Counts::of(&placing.outcome.dispatched.journal).add();
            self.outbox.wake();
            Ok(PlaceOutcome::Placed)
        };
        self.database.transaction(Operation::Request, placing).await
    }

    /// Cancels an order for its customer.
    ///
    /// # Errors
    /// When there is no such order, it was confirmed, or the database refuses or does not answer.
    pub async fn cancel(
        &self,
        order_id: OrderId,
        trace: TraceContext,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let cancelling = async |mut tx: Transaction| {
            let mut work = lock(&mut tx, &[order_id]).await?;
            cancel_order::cancel_order(&mut work, order_id, trace, now)
                .map_err(|error| StoreError::of(order_id, error))?;
            let counts = Counts::of(work.journal());
            store(&mut tx, work.finish(), &self.outbox).await?;
            tx.commit().await?;
            counts.add();
            self.outbox.wake();
            Ok(())
        };
        self.database.transaction(Operation::Request, cancelling).await
    }

    /// Cancels those of these orders that are open, whose deadline had passed at `now`, and which were published by `grace` before;
    /// says how many deadlines were answered. The caller knows that everything on the topics about them by then was heard. Several replicas may do this at
    /// once: the locked heads decide.
    ///
    /// # Errors
    /// When the database refuses or does not answer.
    pub async fn expire(
        &self,
        order_ids: &[OrderId],
        now: DateTime<Utc>,
        grace: TimeDelta,
    ) -> Result<usize, StoreError> {
        self.database.transaction(Operation::Worker, |tx| self.expire_in(tx, order_ids, now, grace)).await
    }

    async fn expire_in(
        &self,
        mut tx: Transaction,
        order_ids: &[OrderId],
        now: DateTime<Utc>,
        grace: TimeDelta,
    ) -> Result<usize, StoreError> {
        let mut work = lock(&mut tx, order_ids).await?;
        let due = deadlines::still_due(&mut tx, order_ids, now, grace).await?;
        if let (Err(error), Some(first)) = (expire_orders::expire_orders(&mut work, &due, now), due.first()) {
            return Err(StoreError::of(*first, error));
        }
        let counts = Counts::of(work.journal());
        let outcome = work.finish();
        let expired: BTreeSet<OrderId> = outcome.heads.iter().map(|head| head.order_id).collect();
        store(&mut tx, outcome, &self.outbox).await?;
        // An order that ended while its head was waited for has no deadline any more; whatever is left goes now.
        let left: Vec<OrderId> = due.iter().copied().filter(|order_id| !expired.contains(order_id)).collect();
        if !left.is_empty() {
            deadlines::clear(&mut tx, &left).await?;
        }
        tx.commit().await?;
        counts.add();
        if !due.is_empty() {
            self.outbox.wake();
        }
        Ok(due.len())
    }
}

/// Locks the heads of these orders in one sorted statement, and loads their state. Unknown orders are left out.
///
/// # Errors
/// When the database refuses or a row is corrupt.
pub async fn lock(conn: &mut PgConnection, order_ids: &[OrderId]) -> Result<Work, StoreError> {
    let streams = heads::lock(conn, order_ids).await?;
    Ok(Work::new(streams, translate, ambient::new_id))
}

/// Stores what was decided about locked orders: heads, events, read model, deadlines, outbox.
///
/// # Errors
/// When an event can't be published, or the database refuses.
pub async fn store(conn: &mut PgConnection, outcome: Outcome, outbox: &Publisher) -> Result<(), StoreError> {
    if outcome.heads.is_empty() {
        return Ok(());
    }
    let numbered = outbox.number(&mut *conn, encode(outbox, &outcome)?).await?;
    writes::update(&mut *conn, &outcome, &numbered).await?;
    outbox.append(conn, &numbered).await?;
    Ok(())
}

fn encode(outbox: &Publisher, outcome: &Outcome) -> Result<Vec<Message>, PublishError> {
    let published = &outcome.dispatched.publisher.published;
    let encoded = |publication: &Publication| {
        outbox.encode(&publication.event, &publication.cause, publication.last_message_id)
    };
    published.iter().map(encoded).collect()
}

/// The message that the order's head names from now on.
fn last_message_id(head: &Stream, numbered: &Numbered) -> Option<i64> {
    numbered.last_message_id(Topic::Orders.suffix(), &head.order_id.0.to_string()).or(head.last_message_id)
}

fn view_of(order_id: OrderId, outcome: &Outcome) -> Result<OrderView, ImpossibleTransition> {
    let journal = outcome.dispatched.journal.iter();
    let stream = journal.map(|recorded| (&recorded.event, recorded.occurred_at));
    let views = crate::domain::replay(order_id, stream)?;
    views.into_iter().next_back().ok_or(ImpossibleTransition { state: "unplaced", event: "nothing" })
}
