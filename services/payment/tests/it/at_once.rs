//! The batch that makes a step due leases it for the worker of its own process, which performs it without a look for it.

use std::sync::Arc;
use std::time::Duration;

use contracts::AnyEvent;
use contracts::clock::{new_id, now};
use inbox::{Context, UnitOfWork as _};
use payment::adapters::postgres::batch::{Batch, BatchDeps};
use payment::domain::{Call, NextStep, State};
use service::leases::{LeaseWorker, Reservations, Settings};
use testkit::wait::eventually;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::stack::{
    GIVEN_BACK, NOTHING, POLICY, RunningWorker, SETTINGS, Stack, TAKEN, WAIT_TIMEOUT, apply_with, cancelled,
    placed, received, reserved, subscriptions,
};

/// A worker that looks for nothing within a test, once it has looked for the first time.
const BLIND: Settings = Settings { poll_interval: Duration::from_hours(1), ..SETTINGS };

impl Stack {
    /// A worker whose places can be reserved, and what a batch of its process has. Nothing wakes it.
    async fn blind_worker(&self) -> (RunningWorker, BatchDeps) {
        let worker = LeaseWorker::new(self.steps(self.provider(), BLIND), Arc::new(Notify::new()), BLIND);
        let places = worker.reservations();
        let running = RunningWorker::start(worker);
        eventually("the worker has begun", WAIT_TIMEOUT, async || {
            places.reserve(&[]).map(drop).ok_or("no place")
        })
        .await;
        (running, BatchDeps { wake: Arc::new(Notify::new()), places, policy: POLICY })
    }

    /// A batch that dies: once it is committed, or before.
    async fn batch_that_dies(&self, deps: &BatchDeps, events: &[AnyEvent], is_committed: bool) {
        let all: Vec<_> = events.iter().cloned().map(received).collect();
        let mut tx = self.pool().begin().await.expect("beginning");
        let mut batch = Batch::load(deps, &mut tx, &all).await.expect("loading");
        for received in &all {
            let context = Context { envelope: &received.envelope, now: now() };
            subscriptions().handle(&mut batch, &received.event, context).expect("a possible fact");
        }
        batch.store(deps, &mut tx).await.expect("storing");
        if is_committed {
            tx.commit().await.expect("committing");
        } else {
            tx.rollback().await.expect("rolling back");
        }
    }

    async fn has_begun(&self, order_id: Uuid) -> bool {
        let state = self.entry(order_id).await.payment.state;
        matches!(state, State::InProgress { next: NextStep::Authorize, call: Call::InDoubt, .. })
    }
}

/// How many places can be reserved at once.
fn free(places: &Reservations<payment::application::saga_job::Leased>) -> usize {
    let all: Vec<_> = std::iter::from_fn(|| places.reserve(&[])).take(100).collect();
    all.len()
}

#[tokio::test]
async fn a_saga_is_performed_by_the_process_whose_batch_begins_it_without_a_look_for_it() {
    let stack = Stack::start().await;
    let (worker, deps) = stack.blind_worker().await;
    let order_id = new_id();
    apply_with(&deps, stack.database(), &[placed(order_id, "tok_visa"), reserved(order_id)]).await;
    stack.rest().await;
    assert_eq!(stack.money(order_id).await, TAKEN);
    // So is what undoes it.
    apply_with(&deps, stack.database(), &[cancelled(order_id)]).await;
    stack.rest().await;
    assert_eq!(stack.money(order_id).await, GIVEN_BACK);
    worker.stop().await;
}

#[tokio::test]
async fn a_batch_that_dies_after_its_commit_leaves_a_lease_that_ends_and_charges_once() {
    for is_cancelled in [false, true] {
        let stack = Stack::start().await;
        let (worker, deps) = stack.blind_worker().await;
        let order_id = new_id();
        stack.batch_that_dies(&deps, &[placed(order_id, "tok_visa"), reserved(order_id)], true).await;
        worker.kill().await;
        assert!(stack.has_begun(order_id).await, "in doubt before anybody can have called the provider");
        if is_cancelled {
            stack.apply(&[cancelled(order_id)]).await;
        }
        let other = stack.store();
        assert_eq!(other.lease(10).await.expect("leasing"), [], "nobody else has it while the lease lasts");
        stack.end_leases().await;
        let another = stack.worker();
        stack.rest().await;
        another.stop().await;
        let (money, events): (_, &[&str]) =
            if is_cancelled { (NOTHING, &[]) } else { (TAKEN, &["tidings.payment.PaymentCompleted"]) };
        assert_eq!(stack.money(order_id).await, money);
        assert_eq!(stack.published(order_id).await, events);
    }
}

#[tokio::test]
async fn a_batch_that_is_rolled_back_performs_nothing_and_holds_no_place() {
    let stack = Stack::start().await;
    let (worker, deps) = stack.blind_worker().await;
    assert_eq!(free(&deps.places), BLIND.concurrency);
    let order_id = new_id();
    stack.batch_that_dies(&deps, &[placed(order_id, "tok_visa"), reserved(order_id)], false).await;
    assert_eq!(free(&deps.places), BLIND.concurrency);
    // The batch is repeated.
    apply_with(&deps, stack.database(), &[placed(order_id, "tok_visa"), reserved(order_id)]).await;
    stack.rest().await;
    assert_eq!(stack.money(order_id).await, TAKEN);
    worker.stop().await;
    // The row that was rolled back had another payment id.
    let accounts: i64 = sqlx::query_scalar("SELECT count(*) FROM provider.accounts")
        .fetch_one(stack.pool())
        .await
        .expect("reading the ledger");
    assert_eq!(accounts, 1, "nothing was performed for the batch that was rolled back");
}

#[tokio::test]
async fn steps_that_find_no_place_are_left_due_and_their_worker_is_woken() {
    let stack = Stack::start().await;
    let (worker, deps) = stack.blind_worker().await;
    let orders: Vec<Uuid> = (0..BLIND.concurrency).map(|_| new_id()).collect();
    let facts: Vec<_> = orders.iter().flat_map(|id| [placed(*id, "tok_visa"), reserved(*id)]).collect();
    stack.batch_that_dies(&deps, &facts, true).await;
    let mut leased = 0;
    for order_id in &orders {
        leased += usize::from(stack.has_begun(*order_id).await);
    }
    assert_eq!(leased, BLIND.concurrency / 2, "a payment method has half of the places (docs/adr/0036)");
    worker.kill().await;
    stack.end_leases().await;
    let (worker, deps) = stack.blind_worker().await;
    stack.rest().await;
    // One more than half.
    let more: Vec<Uuid> = (0..=BLIND.concurrency / 2).map(|_| new_id()).collect();
    let facts: Vec<_> = more.iter().flat_map(|id| [placed(*id, "tok_visa"), reserved(*id)]).collect();
    apply_with(&deps, stack.database(), &facts).await;
    let woken = tokio::time::timeout(WAIT_TIMEOUT, deps.wake.notified()).await;
    woken.expect("the worker is woken for what is left due");
    worker.stop().await;
}
