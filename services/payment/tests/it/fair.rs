//! Fairness: payments whose provider does not answer delay no other payment, however many they are.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use contracts::clock::new_id;
use payment::adapters::provider::BuiltInProvider;
use payment::application::provider::{CallError, LedgerEntry};
use payment::application::provider::{CallResult, Provider};
use payment::domain::{Answer, Charge, PaymentId, Step, TransactionId};
use service::leases::{Room, Settings};
use testkit::wait::eventually;
use uuid::Uuid;

use crate::stack::{DELAYS, SETTINGS, Stack, TAKEN, WAIT_TIMEOUT, placed, reserved};

/// Longer than any wait of these tests.
const NEVER: Duration = Duration::from_hours(1);

/// Many more than a worker has places.
const MANY: usize = 520;

/// A provider that never answers charges by `tok_silent`, and loses the connection of those by `tok_lost`.
#[derive(Debug)]
struct Silent(BuiltInProvider);

#[async_trait]
impl Provider for Silent {
    async fn prepare(&self) -> anyhow::Result<()> {
        self.0.prepare().await
    }

    async fn authorize(&self, id: PaymentId, charge: &Charge) -> CallResult {
        match charge.method.token() {
            "tok_silent" => std::future::pending().await,
            "tok_lost" => Err(CallError::Unknown("the connection ended".to_owned())),
            _ => self.0.authorize(id, charge).await,
        }
    }

    async fn check_fraud(&self, id: PaymentId, charge: &Charge, held: &TransactionId) -> CallResult {
        self.0.check_fraud(id, charge, held).await
    }

    async fn capture(&self, id: PaymentId, charge: &Charge, held: &TransactionId) -> CallResult {
        self.0.capture(id, charge, held).await
    }

    async fn void(&self, id: PaymentId, charge: &Charge, held: Option<&TransactionId>) -> CallResult {
        self.0.void(id, charge, held).await
    }

    async fn refund(&self, id: PaymentId, charge: &Charge, capture: &TransactionId) -> CallResult {
        self.0.refund(id, charge, capture).await
    }

    async fn look_up(&self, id: PaymentId, step: Step) -> Result<Option<Answer>, CallError> {
        self.0.look_up(id, step).await
    }

    async fn ledger(&self, id: PaymentId) -> Result<Vec<LedgerEntry>, CallError> {
        self.0.ledger(id).await
    }
}

impl Stack {
    fn silent_provider(&self) -> Arc<dyn Provider> {
        Arc::new(Silent(BuiltInProvider::new(self.database.another(), DELAYS)))
    }

    /// So many orders with this payment method, whose steps are due.
    async fn charge_many(&self, count: usize, method: &str) -> Vec<Uuid> {
        let orders: Vec<Uuid> = (0..count).map(|_| new_id()).collect();
        for some in orders.chunks(100) {
            let facts: Vec<_> = some.iter().flat_map(|id| [placed(*id, method), reserved(*id)]).collect();
            self.apply(&facts).await;
        }
        orders
    }

    /// Waits until so many steps have been called for without an answer.
    async fn until_tried(&self, what: &str, at_least: i64) {
        eventually(what, WAIT_TIMEOUT, async || {
            let tried: i64 = sqlx::query_scalar("SELECT count(*) FROM payments WHERE attempts > 0")
                .fetch_one(self.pool())
                .await
                .expect("counting");
            if tried >= at_least { Ok(()) } else { Err(tried) }
        })
        .await;
    }

    /// Waits until this order is paid, which none of the other steps has to end for.
    async fn until_paid(&self, order_id: Uuid) {
        eventually("the other order is paid", WAIT_TIMEOUT, async || {
            let money = self.money(order_id).await;
            if money == TAKEN { Ok(()) } else { Err(money) }
        })
        .await;
    }
}

#[tokio::test]
async fn orders_whose_provider_never_answers_take_no_more_than_their_share_of_a_workers_places() {
    let stack = Stack::start().await;
    stack.charge_many(MANY, "tok_silent").await;
    // No call ends within the test: whoever waits for a place that they hold waits for ever.
    let settings = Settings { call_timeout: NEVER, ..SETTINGS };
    let worker = stack.worker_of(stack.steps(stack.silent_provider(), settings), settings);
    stack.until_tried("they have taken their places", 1).await;
    let other = stack.charge_many(1, "tok_visa").await[0];
    stack.until_paid(other).await;
    worker.kill().await;
}

#[tokio::test]
async fn orders_that_time_out_pause_no_other_payment() {
    let stack = Stack::start().await;
    stack.charge_many(MANY, "tok_lost").await;
    // Nothing is tried a second time within the test by a worker that is paused for everybody.
    let settings = Settings { call_timeout: NEVER, cool_down: NEVER, ..SETTINGS };
    let worker = stack.worker_of(stack.steps(stack.silent_provider(), settings), settings);
    stack.until_tried("calls have had no answer", 8).await;
    for _ in 0..3 {
        let other = stack.charge_many(1, "tok_visa").await[0];
        stack.until_paid(other).await;
    }
    worker.kill().await;
}

/// The orders of which a worker with eight free places leases the steps.
async fn leased(stack: &Stack) -> Vec<Uuid> {
    let mut room = Room::shared(8, 8, [].into_iter());
    let leased = stack.store().lease_within(&mut room).await.expect("leasing");
    leased.iter().map(|leased| leased.payment.order_id.0).collect()
}

/// How many of the first ones are among the others.
fn among(orders: &[Uuid], leased: &[Uuid]) -> usize {
    orders.iter().filter(|order_id| leased.contains(order_id)).count()
}

/// Orders with a payment method each.
async fn charge_each(stack: &Stack, count: usize) -> Vec<Uuid> {
    let mut orders = Vec::new();
    for _ in 0..count {
        orders.extend(stack.charge_many(1, &format!("tok_{}", new_id().simple())).await);
    }
    orders
}

async fn update(stack: &Stack, change: &'static str, orders: &[Uuid]) {
    sqlx::query(change).bind(orders).execute(stack.pool()).await.expect("updating");
}

const OF_ONE_CUSTOMER: &str = "UPDATE payments SET user_id = 'customer-1' WHERE order_id = ANY($1)";
const RETRIED: &str = "UPDATE payments SET attempts = 1 WHERE order_id = ANY($1)";

#[tokio::test]
async fn a_customer_takes_half_of_the_places_whatever_it_pays_with() {
    let stack = Stack::start().await;
    let mine = charge_each(&stack, 40).await;
    update(&stack, OF_ONE_CUSTOMER, &mine).await;
    let theirs = charge_each(&stack, 3).await;
    let leased = leased(&stack).await;
    assert_eq!((among(&mine, &leased), among(&theirs, &leased)), (4, 3));
}

#[tokio::test]
async fn retries_take_half_of_the_places_whosever_they_are() {
    let stack = Stack::start().await;
    let retried = charge_each(&stack, 40).await;
    update(&stack, RETRIED, &retried).await;
    let new = charge_each(&stack, 3).await;
    let leased = leased(&stack).await;
    assert_eq!((among(&retried, &leased), among(&new, &leased)), (4, 3));
}

#[tokio::test]
async fn retries_of_one_customer_leave_places_to_retries_of_others() {
    let stack = Stack::start().await;
    let mine = charge_each(&stack, 40).await;
    update(&stack, OF_ONE_CUSTOMER, &mine).await;
    let theirs = charge_each(&stack, 3).await;
    for orders in [&mine, &theirs] {
        update(&stack, RETRIED, orders).await;
    }
    let leased = leased(&stack).await;
    assert_eq!((among(&mine, &leased), among(&theirs, &leased)), (2, 2));
}
