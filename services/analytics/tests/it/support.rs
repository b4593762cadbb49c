//! The vocabulary of these tests: a database, facts, and the counters afterwards.

use std::collections::BTreeMap;

use analytics::adapters::postgres::{self, Batch, BestSeller, Generation, ReadModelStore, StandingAlert};
use analytics::domain::{Revenue, Stage};
use analytics::handlers;
use chrono::{DateTime, TimeDelta, Utc};
use contracts::order::{CancellationReason, OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced};
use contracts::payment::PaymentCompleted;
use contracts::reservation::StockReserved;
use contracts::stock::{StockLevelLow, StockLevelRestored, StockReplenished};
use contracts::{AnyEvent, Cause, Envelope, Event, TraceContext, clock};
use database::{Database, Operation, Transaction};
use events::Subscribe as _;
use inbox::{Context, HandlerError, Received, Subscriptions, UnitOfWork as _};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use testkit::postgres::TestDatabase;
use uuid::Uuid;

/// Analytics without its processes.
pub(crate) struct Analytics {
    pub(crate) database: TestDatabase,
}

/// Everything that readers see, for comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) funnel: BTreeMap<&'static str, i64>,
    pub(crate) revenue: BTreeMap<String, Revenue>,
    /// By units, one currency after the other.
    pub(crate) best_sellers: Vec<BestSeller>,
    pub(crate) times: Vec<(i64, i64)>,
    pub(crate) alerts: Vec<StandingAlert>,
}

impl Analytics {
    pub(crate) async fn start() -> Self {
        let database = TestDatabase::create("analytics", async |pool: &PgPool| {
            inbox::migrate(&mut *pool.acquire().await?).await?;
            outbox::migrate(&mut *pool.acquire().await?).await?;
            postgres::migrator().run(pool).await?;
            Ok(())
        })
        .await;
        Self { database }
    }

    pub(crate) fn database(&self) -> &Database {
        self.database.database()
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        self.database.url().parse().unwrap()
    }

    /// One transaction, as the runtime runs it: a rejection rolls everything back.
    pub(crate) async fn apply(&self, events: &[AnyEvent]) -> Result<(), HandlerError> {
        apply_through(self.database(), Generation::Live, events).await
    }

    pub(crate) async fn seen(&self) -> Seen {
        let store = ReadModelStore::new(self.database().clone());
        let funnel = store.funnel().await.unwrap();
        let reached = funnel.into_iter().filter(|(_, orders)| *orders > 0);
        let times = store.time_to_confirm().await.unwrap();
        let revenue = store.revenue().await.unwrap();
        let mut best_sellers = Vec::new();
        for currency in revenue.keys() {
            best_sellers.extend(store.best_sellers_by_units(currency, 100).await.unwrap());
        }
        Seen {
            funnel: reached.map(|(stage, orders): (Stage, i64)| (stage.name(), orders)).collect(),
            revenue,
            best_sellers,
            times: times.into_iter().map(|(bound, orders)| (bound.0, orders)).collect(),
            alerts: store.standing_alerts(100).await.unwrap(),
        }
    }
}

/// As `main.rs` has them.
pub(crate) fn subscriptions() -> Subscriptions<Batch> {
    Subscriptions::new()
        .on::<OrderPlaced>(handlers::order_placed)
        .on::<StockReserved>(handlers::stock_reserved)
        .on::<PaymentCompleted>(handlers::payment_completed)
        .on::<OrderConfirmed>(handlers::order_confirmed)
        .on::<OrderCancelled>(handlers::order_cancelled)
        .on::<StockLevelLow>(handlers::stock_level_low)
        .on::<StockLevelRestored>(handlers::stock_level_restored)
        .on::<StockReplenished>(handlers::stock_replenished)
}

pub(crate) async fn apply_through(
    database: &Database,
    generation: Generation,
    events: &[AnyEvent],
) -> Result<(), HandlerError> {
    inbox::testing::apply(database, &subscriptions(), &generation, events.iter().map(enveloped).collect())
        .await
}

/// These events, as if they stood on a partition of the topic of orders.
pub(crate) fn received_at(partition: i32, events: &[AnyEvent]) -> Vec<Received<AnyEvent>> {
    let one = |(offset, event)| {
        let (envelope, event) = enveloped(event);
        Received { topic: "tidings.orders".to_owned(), partition, offset, envelope, event }
    };
    (0..).zip(events).map(one).collect()
}

/// As `apply_through`, of one partition.
pub(crate) async fn apply_at(
    database: &Database,
    generation: Generation,
    partition: i32,
    events: &[AnyEvent],
) -> Result<(), HandlerError> {
    let received = received_at(partition, events);
    let applying = async |mut tx: Transaction| {
        let mut batch = Batch::load(&generation, &mut tx, &received).await?;
        let subscriptions = subscriptions();
        for one in &received {
            let context = Context { envelope: &one.envelope, now: clock::now() };
            subscriptions
                .handle(&mut batch, &one.event, context)
                .map_err(|rejection| HandlerError::Rejected { event_id: one.envelope.event_id, rejection })?;
        }
        batch.store(&generation, &mut tx).await?;
        tx.commit().await?;
        Ok(())
    };
    database.transaction(Operation::Batch, applying).await
}

fn enveloped(event: &AnyEvent) -> (Envelope, AnyEvent) {
    let cause = Cause {
        correlation_id: clock::new_id(),
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    };
    (Envelope::of(event, "order", &cause), event.clone())
}

/// A moment, in seconds since another one.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_790_000_000 + seconds)
}

/// An order of these lines (SKU, quantity, unit price), placed at second 0.
pub(crate) fn placed(order_id: Uuid, currency: &str, lines: &[(&str, i64, i64)]) -> AnyEvent {
    let line = |(sku, quantity, unit_price_minor): &(&str, i64, i64)| OrderLine {
        sku: (*sku).to_owned(),
        quantity: *quantity,
        unit_price_minor: *unit_price_minor,
    };
    OrderPlaced {
        event_id: clock::new_id(),
        occurred_at: at(0),
        order_id,
        sequence: 1,
        customer_id: "c-1".to_owned(),
        lines: lines.iter().map(line).collect(),
        total_minor: lines.iter().map(|(_, quantity, price)| quantity * price).sum(),
        payment_method: "tok_visa".to_owned(),
        recipient: None,
        currency: currency.to_owned(),
    }
    .into_any()
}

/// Confirmed two seconds after it was placed.
pub(crate) fn confirmed(order_id: Uuid) -> AnyEvent {
    let (event_id, payment_id) = (clock::new_id(), clock::new_id());
    OrderConfirmed { event_id, occurred_at: at(2), order_id, sequence: 2, payment_id }.into_any()
}

pub(crate) fn cancelled(order_id: Uuid) -> AnyEvent {
    OrderCancelled {
        event_id: clock::new_id(),
        occurred_at: at(2),
        order_id,
        sequence: 2,
        reason: CancellationReason::OutOfStock,
        detail: None,
    }
    .into_any()
}

pub(crate) fn reserved(order_id: Uuid) -> AnyEvent {
    StockReserved {
        event_id: clock::new_id(),
        occurred_at: at(1),
        order_id,
        sequence: 1,
        reservation_id: clock::new_id(),
        lines: Vec::new(),
    }
    .into_any()
}

pub(crate) fn paid(order_id: Uuid) -> AnyEvent {
    PaymentCompleted {
        event_id: clock::new_id(),
        occurred_at: at(1),
        order_id,
        sequence: 1,
        payment_id: clock::new_id(),
        amount_minor: 1,
        currency: "GBP".to_owned(),
        transaction_id: "t-1".to_owned(),
    }
    .into_any()
}

pub(crate) fn replenished(sku: &str, sequence: i64, available: i64) -> AnyEvent {
    StockReplenished {
        event_id: clock::new_id(),
        occurred_at: at(sequence),
        sku: sku.to_owned(),
        sequence,
        quantity: 1,
        available,
        threshold: 10,
    }
    .into_any()
}

pub(crate) fn fell_low(sku: &str, sequence: i64, available: i64) -> AnyEvent {
    StockLevelLow {
        event_id: clock::new_id(),
        occurred_at: at(sequence),
        sku: sku.to_owned(),
        sequence,
        available,
        threshold: 10,
    }
    .into_any()
}

pub(crate) fn restored(sku: &str, sequence: i64, available: i64) -> AnyEvent {
    StockLevelRestored {
        event_id: clock::new_id(),
        occurred_at: at(sequence),
        sku: sku.to_owned(),
        sequence,
        available,
        threshold: 10,
    }
    .into_any()
}
