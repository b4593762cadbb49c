//! The vocabulary of these tests: a database, batches of order facts, and what stands in the tables afterwards.

use contracts::order::{CancellationReason, OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced};
use contracts::{AnyEvent, Cause, Codec, Envelope, Event, Topics, TraceContext, clock};
use database::Database;
use events::Publisher;
use events::Subscribe as _;
use inbox::{HandlerError, Subscriptions};
use inventory::adapters::postgres::{self, Batch, StockStore};
use inventory::application::replenish_stock::{Outcome, ReplenishStock, replenish_stock};
use inventory::domain::Sku;
use inventory::handlers;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use testkit::postgres::TestDatabase;
use uuid::Uuid;

/// The reorder threshold of new SKUs in these tests.
pub(crate) const THRESHOLD: i64 = 10;

/// Inventory without its processes: the database, and an outbox that encodes for real.
pub(crate) struct Inventory {
    database: TestDatabase,
    pub(crate) outbox: Publisher,
    pub(crate) codec: std::sync::Arc<Codec>,
}

/// One SKU's row.
#[derive(Clone, Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub(crate) struct Row {
    pub(crate) available: i64,
    pub(crate) reserved: i64,
    pub(crate) committed: i64,
}

impl Inventory {
    pub(crate) async fn start() -> Self {
        let database = TestDatabase::create("inventory", async |pool: &PgPool| {
            outbox::migrate(&mut *pool.acquire().await?).await?;
            postgres::migrator().run(pool).await?;
            Ok(())
        })
        .await;
        let codec = Codec::offline(Topics::default());
        Self { outbox: Publisher::new(codec.clone(), "inventory", 1_000_000), codec, database }
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
        self.apply_through(self.database(), events).await
    }

    /// The same, as a consumer does it: rejected events are left out. Gives their reasons.
    pub(crate) async fn apply_accepted(&self, events: &[AnyEvent]) -> Vec<&'static str> {
        let enveloped = |event: &AnyEvent| (Envelope::of(event, "order", &cause()), event.clone());
        let events = events.iter().map(enveloped).collect();
        let (subscriptions, outbox) = (subscriptions(), &self.outbox);
        let rejected = inbox::testing::apply_accepted(self.database(), &subscriptions, outbox, events).await;
        rejected.unwrap().into_iter().map(|(_, rejection)| rejection.reason).collect()
    }

    /// The same, on a connection of this database.
    pub(crate) async fn apply_through(
        &self,
        database: &Database,
        events: &[AnyEvent],
    ) -> Result<(), HandlerError> {
        let enveloped = |event: &AnyEvent| (Envelope::of(event, "order", &cause()), event.clone());
        let events = events.iter().map(enveloped).collect();
        inbox::testing::apply(database, &subscriptions(), &self.outbox, events).await
    }

    pub(crate) async fn replenish(&self, sku: &str, quantity: i64, key: &str) -> Outcome {
        let command = ReplenishStock {
            idempotency_key: key.to_owned(),
            sku: Sku::parse(sku).unwrap(),
            quantity,
            reorder_threshold: None,
        };
        self.replenish_through(self.database(), &command).await
    }

    /// The same, on a connection of this database.
    pub(crate) async fn replenish_through(&self, database: &Database, command: &ReplenishStock) -> Outcome {
        let store = StockStore::new(database.clone(), self.outbox.clone());
        let cause = cause();
        let replenishing = store.transaction(|transaction| {
            replenish_stock(transaction, command, THRESHOLD, &cause, clock::now())
        });
        replenishing.await.unwrap()
    }

    /// Available, reserved and committed units.
    pub(crate) async fn stock(&self, sku: &str) -> Row {
        sqlx::query_as("SELECT available, reserved, committed FROM stock WHERE sku = $1")
            .bind(sku)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    pub(crate) async fn state(&self, order_id: Uuid) -> Option<String> {
        sqlx::query_scalar("SELECT state FROM reservations WHERE order_id = $1")
            .bind(order_id)
            .fetch_optional(self.pool())
            .await
            .unwrap()
    }

    /// What was published under this key, in order: type, sequence, event.
    pub(crate) async fn published(&self, key: &str) -> Vec<(String, i64, AnyEvent)> {
        let rows: Vec<(String, String, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT topic, event_type, sequence, value FROM outbox.messages WHERE subject = $1 ORDER BY id",
        )
        .bind(key)
        .fetch_all(self.pool())
        .await
        .unwrap();
        let mut published = Vec::new();
        for (topic, event_type, sequence, value) in rows {
            let event = self.codec.decode(&topic, Some(&value)).await.unwrap();
            let name = event_type.rsplit('.').next().unwrap().to_owned();
            published.push((name, sequence, event));
        }
        published
    }

    /// The types and sequences of what was published under this key.
    pub(crate) async fn sequences(&self, key: &str) -> Vec<(String, i64)> {
        self.published(key).await.into_iter().map(|(name, sequence, _)| (name, sequence)).collect()
    }
}

fn subscriptions() -> Subscriptions<Batch> {
    Subscriptions::new()
        .on::<OrderPlaced>(handlers::order_placed)
        .on::<OrderConfirmed>(handlers::order_confirmed)
        .on::<OrderCancelled>(handlers::order_cancelled)
}

pub(crate) fn cause() -> Cause {
    Cause {
        correlation_id: clock::new_id(),
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    }
}

pub(crate) fn placed(order_id: Uuid, lines: &[(&str, i64)]) -> AnyEvent {
    let line = |(sku, quantity): &(&str, i64)| OrderLine {
        sku: (*sku).to_owned(),
        quantity: *quantity,
        unit_price_minor: 250,
    };
    OrderPlaced {
        event_id: clock::new_id(),
        occurred_at: clock::now(),
        order_id,
        sequence: 1,
        customer_id: "c-1".to_owned(),
        lines: lines.iter().map(line).collect(),
        total_minor: 250 * lines.iter().map(|(_, quantity)| quantity).sum::<i64>(),
        payment_method: "tok_visa".to_owned(),
        recipient: None,
        currency: "GBP".to_owned(),
    }
    .into_any()
}

pub(crate) fn confirmed(order_id: Uuid) -> AnyEvent {
    OrderConfirmed {
        event_id: clock::new_id(),
        occurred_at: clock::now(),
        order_id,
        sequence: 2,
        payment_id: clock::new_id(),
    }
    .into_any()
}

pub(crate) fn cancelled(order_id: Uuid) -> AnyEvent {
    OrderCancelled {
        event_id: clock::new_id(),
        occurred_at: clock::now(),
        order_id,
        sequence: 2,
        reason: CancellationReason::CustomerRequest,
        detail: None,
    }
    .into_any()
}
