//! The vocabulary of these tests: a database, facts, workers, and the provider's ledger afterwards.

use std::sync::Arc;
use std::time::Duration;

use backoff::Backoff;
use contracts::clock::{new_id, now};
use contracts::order::{CancellationReason, OrderCancelled, OrderLine, OrderPlaced};
use contracts::reservation::{ReservedLine, StockReserved};
use contracts::{AnyEvent, Codec, Envelope, Event, Topics, TraceContext};
use database::{Bounds, Database};
use events::Publisher;
use events::Subscribe as _;
use inbox::{Context, Received, Subscriptions, UnitOfWork};
use payment::adapters::postgres::batch::{Batch, BatchDeps};
use payment::adapters::postgres::saga::SagaStore;
use payment::adapters::postgres::{migrator, reads::find};
use payment::adapters::provider::{BuiltInProvider, Delays, migrate};
use payment::application::perform_steps::SagaSteps;
use payment::application::provider::Provider;
use payment::application::saga_job::{LeasePolicy, SagaJob};
use payment::domain::{OrderId, Payment, State};
use payment::handlers;
use service::leases::{COOL_DOWN, LeaseWorker, LeasedWork, Reservations, Settings};
use service::{Progress, Worker};
use sqlx::PgPool;
use testkit::postgres::TestDatabase;
use testkit::wait::eventually;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const AMOUNT_MINOR: i64 = 4_200;
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A lease that ends only when a test ends it.
pub(crate) const POLICY: LeasePolicy = LeasePolicy {
    lease: Duration::from_hours(1),
    backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(4)),
};

pub(crate) const SETTINGS: Settings = Settings {
    concurrency: 8,
    call_timeout: Duration::from_secs(5),
    poll_interval: Duration::from_millis(5),
    record_timeout: Duration::from_secs(5),
    cool_down: COOL_DOWN,
};

pub(crate) const DELAYS: Delays =
    Delays { slow: Duration::from_millis(50), too_late: Duration::from_secs(30) };

pub(crate) struct Stack {
    pub(crate) database: TestDatabase,
    pub(crate) wake: Arc<Notify>,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let database = TestDatabase::create("payment", async |pool: &PgPool| {
            outbox::migrate(&mut *pool.acquire().await?).await?;
            migrator().run(pool).await?;
            let options = pool.connect_options().as_ref().clone();
            Ok(migrate(&Database::new(options, 1, Bounds::default())).await?)
        })
        .await;
        Self { database, wake: Arc::new(Notify::new()) }
    }

    pub(crate) fn database(&self) -> &Database {
        self.database.database()
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    pub(crate) fn provider(&self) -> Arc<dyn Provider> {
        self.provider_with(DELAYS)
    }

    pub(crate) fn provider_with(&self, delays: Delays) -> Arc<dyn Provider> {
        Arc::new(BuiltInProvider::new(self.database.another(), delays))
    }

    pub(crate) fn store(&self) -> SagaStore {
        SagaStore::new(self.database.another(), outbox(), POLICY)
    }

    pub(crate) fn steps(&self, provider: Arc<dyn Provider>, settings: Settings) -> SagaSteps {
        SagaSteps { store: self.store(), provider, call_timeout: settings.call_timeout }
    }

    /// A worker of its own, as another process would be. It lives as long as the value.
    pub(crate) fn worker(&self) -> RunningWorker {
        self.worker_of(self.steps(self.provider(), SETTINGS), SETTINGS)
    }

    pub(crate) fn worker_of(&self, work: impl LeasedWork, settings: Settings) -> RunningWorker {
        RunningWorker::start(LeaseWorker::new(work, Arc::clone(&self.wake), settings))
    }

    pub(crate) async fn apply(&self, events: &[AnyEvent]) {
        apply(self.database(), events).await;
        self.wake.notify_one();
    }

    pub(crate) async fn entry(&self, order_id: Uuid) -> SagaJob {
        find(self.database(), order_id).await.expect("reading").expect("a payment")
    }

    /// A row in this state, whatever led to it.
    pub(crate) async fn write_state(&self, order_id: Uuid, state: State) {
        let deps = deps();
        let received = received(placed(order_id, "tok_visa"));
        let mut tx = self.pool().begin().await.expect("beginning");
        let mut batch = Batch::load(&deps, &mut tx, std::slice::from_ref(&received)).await.expect("loading");
        let context = Context { envelope: &received.envelope, now: now() };
        let put = |payment: &mut Payment| {
            payment.state = state;
            Ok(())
        };
        batch.change(OrderId(order_id), context, put).expect("changing");
        batch.store(&deps, &mut tx).await.expect("storing");
        tx.commit().await.expect("committing");
    }

    /// Lets the time of all leases pass.
    pub(crate) async fn end_leases(&self) {
        sqlx::query("UPDATE payments SET due_at = now() - interval '1 second' WHERE lease_id IS NOT NULL")
            .execute(self.pool())
            .await
            .expect("ending leases");
        self.wake.notify_one();
    }

    /// Waits until no payment has a step due.
    pub(crate) async fn rest(&self) {
        eventually("all payments rest", WAIT_TIMEOUT, async || {
            let busy: Vec<(Uuid, String, i32)> = sqlx::query_as(
                "SELECT order_id, state, attempts FROM payments WHERE due_at IS NOT NULL LIMIT 5",
            )
            .fetch_all(self.pool())
            .await
            .expect("reading");
            if busy.is_empty() { Ok(()) } else { Err(busy) }
        })
        .await;
    }

    pub(crate) async fn money(&self, order_id: Uuid) -> Money {
        money(self.pool(), order_id).await
    }

    /// The types of the events published for this order, in sequence.
    pub(crate) async fn published(&self, order_id: Uuid) -> Vec<String> {
        sqlx::query_scalar("SELECT event_type FROM outbox.messages WHERE subject = $1 ORDER BY id")
            .bind(order_id.to_string())
            .fetch_all(self.pool())
            .await
            .expect("reading the outbox")
    }
}

pub(crate) struct RunningWorker {
    shutdown: CancellationToken,
    task: JoinSet<anyhow::Result<()>>,
}

impl RunningWorker {
    pub(crate) fn start(mut worker: LeaseWorker<impl LeasedWork>) -> Self {
        let (shutdown, mut task) = (CancellationToken::new(), JoinSet::new());
        let stop = shutdown.clone();
        task.spawn(async move { worker.run(Progress::new("saga"), stop).await });
        Self { shutdown, task }
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let ended =
            tokio::time::timeout(WAIT_TIMEOUT, self.task.join_next()).await.expect("stopping in time");
        ended.expect("a worker").expect("no panic").expect("no error");
    }

    /// Ends it as `kill -9` would: nothing more is stored.
    pub(crate) async fn kill(mut self) {
        self.task.shutdown().await;
    }
}

pub(crate) fn outbox() -> Publisher {
    Publisher::new(Codec::offline(Topics::default()), "payment", 1_000_000)
}

pub(crate) fn subscriptions() -> Subscriptions<Batch> {
    Subscriptions::new()
        .on::<OrderPlaced>(handlers::order_placed)
        .on::<StockReserved>(handlers::stock_reserved)
        .on::<OrderCancelled>(handlers::order_cancelled)
}

/// Those of a process whose worker takes nothing.
pub(crate) fn deps() -> BatchDeps {
    BatchDeps { wake: Arc::new(Notify::new()), places: Reservations::none(), policy: POLICY }
}

/// What the inbox does with a batch, in a transaction of its own.
pub(crate) async fn apply(database: &Database, events: &[AnyEvent]) {
    apply_with(&deps(), database, events).await;
}

pub(crate) async fn apply_with(deps: &BatchDeps, database: &Database, events: &[AnyEvent]) {
    let events = events.iter().map(|event| (envelope(event), event.clone())).collect();
    inbox::testing::apply(database, &subscriptions(), deps, events).await.expect("possible facts");
}

pub(crate) fn received(event: AnyEvent) -> Received<AnyEvent> {
    Received { topic: "test".to_owned(), partition: 0, offset: 0, envelope: envelope(&event), event }
}

fn envelope(event: &AnyEvent) -> Envelope {
    Envelope {
        event_id: event.event_id(),
        event_type: event.event_type().to_owned(),
        source: "test".to_owned(),
        occurred_at: event.occurred_at(),
        subject: event.key(),
        sequence: event.sequence(),
        correlation_id: new_id(),
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    }
}

pub(crate) fn placed(order_id: Uuid, payment_method: &str) -> AnyEvent {
    OrderPlaced {
        event_id: new_id(),
        occurred_at: now(),
        order_id,
        sequence: 1,
        customer_id: "somebody".to_owned(),
        lines: vec![OrderLine { sku: "A".to_owned(), quantity: 1, unit_price_minor: AMOUNT_MINOR }],
        total_minor: AMOUNT_MINOR,
        payment_method: payment_method.to_owned(),
        recipient: None,
        currency: "GBP".to_owned(),
    }
    .into_any()
}

pub(crate) fn reserved(order_id: Uuid) -> AnyEvent {
    StockReserved {
        event_id: new_id(),
        occurred_at: now(),
        order_id,
        sequence: 1,
        reservation_id: new_id(),
        lines: vec![ReservedLine { sku: "A".to_owned(), quantity: 1 }],
    }
    .into_any()
}

pub(crate) fn cancelled(order_id: Uuid) -> AnyEvent {
    OrderCancelled {
        event_id: new_id(),
        occurred_at: now(),
        order_id,
        sequence: 2,
        reason: CancellationReason::CustomerRequest,
        detail: None,
    }
    .into_any()
}

/// The money of a payment by the provider's own ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Money {
    pub(crate) captured_minor: i64,
    pub(crate) refunded_minor: i64,
    /// An authorization that was neither captured nor voided.
    pub(crate) still_held: bool,
}

pub(crate) const NOTHING: Money = Money { captured_minor: 0, refunded_minor: 0, still_held: false };
pub(crate) const TAKEN: Money = Money { captured_minor: AMOUNT_MINOR, ..NOTHING };
pub(crate) const GIVEN_BACK: Money = Money { refunded_minor: AMOUNT_MINOR, ..TAKEN };

pub(crate) async fn money(pool: &PgPool, order_id: Uuid) -> Money {
    let (captured_minor, refunded_minor, still_held) = sqlx::query_as(
        "SELECT COALESCE(SUM(ledger.amount_minor) FILTER (WHERE step = 'capture' AND approved), 0)::bigint,
                COALESCE(SUM(ledger.amount_minor) FILTER (WHERE step = 'refund' AND approved), 0)::bigint,
                COALESCE(BOOL_OR(step = 'authorize' AND approved), false)
                    AND NOT COALESCE(BOOL_OR(step IN ('capture', 'void') AND approved), false)
         FROM payments JOIN provider.ledger AS ledger USING (payment_id) WHERE order_id = $1",
    )
    .bind(order_id)
    .fetch_one(pool)
    .await
    .expect("reading the ledger");
    Money { captured_minor, refunded_minor, still_held }
}

/// Whether the payment rests in a state where the money may stay, or in one where none was taken or all given back.
pub(crate) fn keeps_money(state: &State) -> bool {
    match state {
        State::Completed { .. } => true,
        State::Declined { .. } | State::Voided { .. } | State::Refunded { .. } | State::Cancelled => false,
        State::Unknown | State::AwaitingStock { .. } | State::AwaitingOrder | State::InProgress { .. } => {
            panic!("no end: {state:?}")
        }
    }
}
