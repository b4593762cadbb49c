//! A batch of events as a unit of work: the payments of its orders, locked.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contracts::AnyEvent;
use contracts::clock::{new_id, now};
use inbox::{AfterCommit, Context, HandlerError, Locked, Received, Rejection, UnitOfWork};
use outbox::Numbered;
use service::leases::{Reservation, Reservations};
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;

use super::payments::{insert_or_lock, update};
use crate::application::saga_job::{LeasePolicy, Leased, SagaJob};
use crate::domain::{OrderId, Payment, Refusal};

#[derive(Clone, Debug)]
pub struct Batch {
    jobs: Locked<OrderId, SagaJob>,
    /// What is due once this is committed. Clones share it.
    due: Arc<Mutex<Due>>,
}

#[derive(Debug)]
pub struct BatchDeps {
    /// Wakes the saga's worker.
    pub wake: Arc<Notify>,
    /// Places of that worker.
    pub places: Reservations<Leased>,
    pub policy: LeasePolicy,
}

/// The steps that a batch makes due.
#[derive(Debug, Default)]
struct Due {
    /// Leased by the batch for the worker of this process. The places are free again if the batch is rolled back.
    leased: Vec<(Reservation<Leased>, Leased)>,
    /// Left to whichever worker takes them: this process's is woken.
    left: Option<Arc<Notify>>,
}

impl Due {
    /// Leases those steps that find a place.
    fn of(jobs: &mut [SagaJob], deps: &BatchDeps) -> Self {
        let (now, lease_id, mut due) = (now(), new_id(), Self::default());
        for job in jobs.iter_mut().filter(|job| job.due_at.is_some()) {
            let place = if job.lease_id.is_none() { deps.places.reserve(&job.holders()) } else { None };
            match place.and_then(|place| Some((place, job.lease_next(lease_id, now, deps.policy)?))) {
                Some(leased) => due.leased.push(leased),
                None => due.left = Some(Arc::clone(&deps.wake)),
            }
        }
        due
    }

    fn hand_over(self) {
        self.leased.into_iter().for_each(|(place, leased)| place.hand_over(leased));
        self.left.iter().for_each(|wake| wake.notify_one());
    }
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
        Ok(Self { jobs: jobs.with_inserted(inserted.into_iter().map(OrderId)), due: Arc::default() })
    }

    /// Publishes nothing: what follows from these events, the saga's worker publishes.
    async fn store(self, deps: &BatchDeps, conn: &mut PgConnection) -> Result<(), HandlerError> {
        let unused: Vec<Uuid> = self.jobs.unused().map(|order_id| order_id.0).collect();
        if !unused.is_empty() {
            let delete = sqlx::query("DELETE FROM payments WHERE order_id = ANY($1)");
            delete.bind(unused).execute(&mut *conn).await?;
        }
        let mut jobs: Vec<SagaJob> = self.jobs.changed().map(|(_, job)| job.clone()).collect();
        *lock(&self.due) = Due::of(&mut jobs, deps);
        Ok(update(conn, jobs.iter(), &Numbered::default()).await?)
    }

    fn after_commit(&self) -> AfterCommit {
        let due = Arc::clone(&self.due);
        Box::new(move || take(&mut *lock(&due)).hand_over())
    }
}

fn lock(due: &Mutex<Due>) -> MutexGuard<'_, Due> {
    due.lock().unwrap_or_else(PoisonError::into_inner)
}
