//! A batch of events as a unit of work: the payments of its orders, locked.

use std::collections::BTreeMap;
use std::sync::Arc;

use contracts::AnyEvent;
use contracts::clock::new_id;
use inbox::{Context, HandlerError, Locked, Received, Rejection, UnitOfWork};
use outbox::Numbered;
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;

use super::payments::{insert_or_lock, update};
use crate::application::saga_job::SagaJob;
use crate::domain::{OrderId, Payment, Refusal};

#[derive(Clone, Debug)]
pub struct Batch {
    jobs: Locked<OrderId, SagaJob>,
}

#[derive(Debug)]
pub struct BatchDeps {
    /// Wakes the saga's worker.
    pub wake: Arc<Notify>,
}

impl Batch {
    /// Lets an event change the order's payment.
    pub fn change(
        &mut self,
        order_id: OrderId,
        context: Context<'_>,
        event: impl FnOnce(&mut Payment) -> Result<(), Refusal>,
    ) -> Result<(), Rejection> {
        self.jobs.change(&order_id, |job| job.apply(context.cause(), context.now, event))?;
        Ok(())
    }
}

impl UnitOfWork for Batch {
    type Event = AnyEvent;
    type Deps = BatchDeps;

    async fn load(
        _: &BatchDeps,
        conn: &mut PgConnection,
        events: &[Received<AnyEvent>],
    ) -> Result<Self, HandlerError> {
        // A row per order, with the id that its payment will have if this transaction is the one that inserts it.
        let missing: BTreeMap<Uuid, Uuid> = events
            .iter()
            .filter_map(|received| received.event.order_id())
            .map(|order_id| (order_id, new_id()))
            .collect();
        let (order_ids, payment_ids): (Vec<Uuid>, Vec<Uuid>) = missing.into_iter().unzip();
        let (jobs, inserted) = insert_or_lock(conn, &order_ids, &payment_ids).await?;
        let jobs = jobs.into_iter().collect::<Result<Vec<SagaJob>, _>>().map_err(sqlx::Error::from)?;
        let jobs = Locked::new(jobs.into_iter().map(|job| (job.payment.order_id, job)));
        Ok(Self { jobs: jobs.with_inserted(inserted.into_iter().map(OrderId)) })
    }

    /// Publishes nothing: what follows from these events, the saga's worker publishes.
    async fn store(self, _: &BatchDeps, conn: &mut PgConnection) -> Result<(), HandlerError> {
        let unused: Vec<Uuid> = self.jobs.unused().map(|order_id| order_id.0).collect();
        if !unused.is_empty() {
            let delete = sqlx::query("DELETE FROM payments WHERE order_id = ANY($1)");
            delete.bind(unused).execute(&mut *conn).await?;
        }
        Ok(update(conn, self.jobs.changed().map(|(_, job)| job), &Numbered::default()).await?)
    }

    fn committed(deps: &BatchDeps) {
        deps.wake.notify_one();
    }
}
