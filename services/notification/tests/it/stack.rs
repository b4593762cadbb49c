//! The vocabulary of these tests: a database, facts, a mailer, and what is in the mail rows afterwards.

use std::sync::Arc;
use std::time::Duration;

use backoff::Backoff;
use contracts::clock::{new_id, now};
use contracts::order::{
    Address, CancellationReason, OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced, Recipient,
};
use contracts::payment::PaymentRefunded;
use contracts::{AnyEvent, Envelope, Event, TraceContext};
use database::Database;
use events::Subscribe as _;
use inbox::{HandlerError, Subscriptions};
use notification::adapters::postgres::batch::{Batch, BatchDeps};
use notification::adapters::postgres::mails::{MailStore, RetryPolicy};
use notification::adapters::postgres::migrator;
use notification::adapters::rendering::Renderer;
use notification::adapters::smtp::mailer;
use notification::application::deliver_mails::MailDelivery;
use notification::application::mailer::Mailer;
use notification::handlers;
use service::leases::{COOL_DOWN, LeaseWorker, LeasedWork, Settings};
use service::{Progress, Worker};
use sqlx::PgPool;
use testkit::postgres::TestDatabase;
use testkit::wait::eventually;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A lease that ends only when a test ends it.
pub(crate) const POLICY: RetryPolicy = RetryPolicy {
    lease: Duration::from_hours(1),
    backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(4)),
    max_attempts: 4,
};

pub(crate) const SETTINGS: Settings = Settings {
    concurrency: 8,
    call_timeout: WAIT_TIMEOUT,
    poll_interval: Duration::from_millis(5),
    record_timeout: Duration::from_secs(5),
    cool_down: COOL_DOWN,
};

pub(crate) struct Stack {
    pub(crate) database: TestDatabase,
    pub(crate) wake: Arc<Notify>,
}

#[derive(Debug, PartialEq, Eq, sqlx_macros::FromRow)]
pub(crate) struct MailRow {
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) transport: Option<String>,
    pub(crate) last_error: Option<String>,
    pub(crate) attempts: i32,
    pub(crate) recipient_email: String,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        let database =
            TestDatabase::create("notification", async |pool: &PgPool| Ok(migrator().run(pool).await?)).await;
        Self { database, wake: Arc::new(Notify::new()) }
    }

    pub(crate) fn database(&self) -> &Database {
        self.database.database()
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    pub(crate) fn store(&self) -> MailStore {
        MailStore::new(self.database.another(), POLICY)
    }

    fn delivery_by(&self, mailer: Arc<dyn Mailer>, settings: Settings) -> MailDelivery {
        MailDelivery { store: self.store(), mailer, send_timeout: settings.call_timeout }
    }

    /// Delivery to `url`, or nowhere if that is empty.
    pub(crate) fn delivery(&self, url: &str, settings: Settings) -> MailDelivery {
        let mailer = mailer(url, "Tidings <orders@tidings.example>", WAIT_TIMEOUT).expect("a mailer");
        self.delivery_by(mailer, settings)
    }

    /// A worker of its own that sends to `url`, or nowhere if that is empty.
    pub(crate) fn worker(&self, url: &str) -> RunningWorker {
        self.worker_of(self.delivery(url, SETTINGS), SETTINGS)
    }

    pub(crate) fn worker_with(&self, mailer: Arc<dyn Mailer>) -> RunningWorker {
        self.worker_of(self.delivery_by(mailer, SETTINGS), SETTINGS)
    }

    pub(crate) fn worker_of(&self, work: impl LeasedWork, settings: Settings) -> RunningWorker {
        let mut worker = LeaseWorker::new(work, Arc::clone(&self.wake), settings);
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        let stop = shutdown.clone();
        task.spawn(async move { worker.run(Progress::new("mailer"), stop).await });
        RunningWorker { shutdown, task }
    }

    pub(crate) async fn apply(&self, events: &[AnyEvent]) {
        apply(self.database(), events).await;
        self.wake.notify_one();
    }

    pub(crate) async fn mails(&self, order_id: Uuid) -> Vec<MailRow> {
        sqlx::query_as(
            "SELECT kind, state, transport, last_error, attempts, recipient_email
             FROM mails WHERE order_id = $1 ORDER BY kind",
        )
        .bind(order_id)
        .fetch_all(self.pool())
        .await
        .expect("reading mails")
    }

    pub(crate) async fn kinds(&self, order_id: Uuid) -> Vec<String> {
        self.mails(order_id).await.into_iter().map(|mail| mail.kind).collect()
    }

    /// Lets the time of all leases pass.
    pub(crate) async fn end_leases(&self) {
        sqlx::query("UPDATE mails SET due_at = now() - interval '1 second' WHERE lease_id IS NOT NULL")
            .execute(self.pool())
            .await
            .expect("ending leases");
        self.wake.notify_one();
    }

    /// Waits until no mail is pending.
    pub(crate) async fn rest(&self) {
        eventually("no mail is pending", WAIT_TIMEOUT, async || {
            let pending: Vec<(Uuid, String, i32)> =
                sqlx::query_as("SELECT order_id, kind, attempts FROM mails WHERE state = 'pending' LIMIT 5")
                    .fetch_all(self.pool())
                    .await
                    .expect("reading mails");
            if pending.is_empty() { Ok(()) } else { Err(pending) }
        })
        .await;
    }
}

pub(crate) struct RunningWorker {
    shutdown: CancellationToken,
    task: JoinSet<anyhow::Result<()>>,
}

impl RunningWorker {
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

fn subscriptions() -> Subscriptions<Batch> {
    Subscriptions::new()
        .on::<OrderPlaced>(handlers::order_placed)
        .on::<OrderConfirmed>(handlers::order_confirmed)
        .on::<OrderCancelled>(handlers::order_cancelled)
        .on::<PaymentRefunded>(handlers::payment_refunded)
}

/// What the inbox does with a batch, in a transaction of its own.
pub(crate) async fn apply(database: &Database, events: &[AnyEvent]) {
    try_apply(database, events).await.expect("possible facts");
}

pub(crate) async fn try_apply(database: &Database, events: &[AnyEvent]) -> Result<(), HandlerError> {
    let renderer = Renderer::try_new("tidings.example").expect("templates");
    let deps = BatchDeps { renderer, wake: Arc::new(Notify::new()) };
    let events = events.iter().map(|event| (envelope(event), event.clone())).collect();
    inbox::testing::apply(database, &subscriptions(), &deps, events).await
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

pub(crate) fn placed(order_id: Uuid) -> AnyEvent {
    let recipient = Recipient {
        name: "Ève Müller".to_owned(),
        email: "eve@example.org".to_owned(),
        address: Address {
            street: "High Street 1".to_owned(),
            city: "York".to_owned(),
            postal_code: "YO1".to_owned(),
            country: "GB".to_owned(),
        },
    };
    placed_by(order_id, Some(recipient))
}

pub(crate) fn placed_by(order_id: Uuid, recipient: Option<Recipient>) -> AnyEvent {
    OrderPlaced {
        event_id: new_id(),
        occurred_at: now(),
        order_id,
        sequence: 1,
        customer_id: "somebody".to_owned(),
        lines: vec![OrderLine { sku: "A".to_owned(), quantity: 2, unit_price_minor: 2_100 }],
        total_minor: 4_200,
        payment_method: "tok_visa".to_owned(),
        recipient,
        currency: "GBP".to_owned(),
    }
    .into_any()
}

pub(crate) fn confirmed(order_id: Uuid) -> AnyEvent {
    OrderConfirmed { event_id: new_id(), occurred_at: now(), order_id, sequence: 2, payment_id: new_id() }
        .into_any()
}

pub(crate) fn cancelled(order_id: Uuid) -> AnyEvent {
    OrderCancelled {
        event_id: new_id(),
        occurred_at: now(),
        order_id,
        sequence: 2,
        reason: CancellationReason::OutOfStock,
        detail: None,
    }
    .into_any()
}

pub(crate) fn refunded(order_id: Uuid) -> AnyEvent {
    PaymentRefunded {
        event_id: new_id(),
        occurred_at: now(),
        order_id,
        sequence: 2,
        payment_id: new_id(),
        refund_id: new_id(),
        amount_minor: 4_200,
        currency: "GBP".to_owned(),
    }
    .into_any()
}
