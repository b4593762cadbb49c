//! An order service on a database of its own and an in-memory bus, in the words that the tests use.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use chrono::TimeDelta;
use contracts::topics::{PARTITIONS, Topic};
use contracts::{AnyEvent, Codec, Topics, clock};
use database::{Database, Operation};
use events::Publisher;
use messaging::{Bus, InMemoryBus, TopicSpec};
use order::adapters::http::{OrderApi, routes};
use order::adapters::postgres::BatchDeps;
use order::adapters::postgres::{OrderStore, migrator};
use order::adapters::watch::{WatchPoller, Watcher};
use order::application::expire_orders::expire_orders;
use order::config::Config;
use order::domain::OrderId;
use serde_json::{Value, json};
use service::config::HttpConfig;
use service::health::Health;
use service::http::edge;
use service::{Progress, Worker};
use sqlx::PgPool;
use telemetry::metrics::Metrics;
use testkit::postgres::TestDatabase;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use utoipa::OpenApi;
use uuid::Uuid;

use crate::events::apply;

pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// How a service is set up.
pub(crate) struct Settings {
    pub(crate) order: Config,
    pub(crate) http: HttpConfig,
    /// What the broker takes at most.
    pub(crate) max_message_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { order: Config::default(), http: HttpConfig::default(), max_message_bytes: 1_000_000 }
    }
}

pub(crate) struct Stack {
    pub(crate) database: TestDatabase,
    pub(crate) bus: Arc<InMemoryBus>,
    pub(crate) codec: Arc<Codec>,
    pub(crate) replica: Replica,
}

/// One process of the service, without its consumer.
pub(crate) struct Replica {
    pub(crate) outbox: Publisher,
    pub(crate) store: OrderStore,
    pub(crate) watcher: Watcher,
    pub(crate) shutdown: CancellationToken,
    /// The handlers at work.
    pub(crate) requests: TaskTracker,
    router: Router,
    _tasks: JoinSet<()>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn order_id(&self) -> OrderId {
        OrderId(self.json()["order_id"].as_str().unwrap().parse().unwrap())
    }

    /// The stable part of the problem's type.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        problem["type"].as_str().unwrap().strip_prefix("urn:tidings:problem:").unwrap().to_owned()
    }
}

pub(crate) async fn migrated() -> TestDatabase {
    TestDatabase::create("order", async |pool| {
        outbox::migrate(&mut *pool.acquire().await?).await?;
        inbox::migrate(&mut *pool.acquire().await?).await?;
        migrator().run(pool).await?;
        Ok(())
    })
    .await
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::start_with(&Settings::default()).await
    }

    pub(crate) async fn start_with(settings: &Settings) -> Self {
        let database = migrated().await;
        let bus = Arc::new(InMemoryBus::new());
        let codec = Codec::offline(Topics::default());
        let topics: Vec<TopicSpec> = Topic::ALL
            .into_iter()
            .map(|topic| TopicSpec {
                name: codec.topics().name(topic),
                partitions: PARTITIONS,
                replication_factor: 1,
            })
            .collect();
        bus.create_topics(&topics).await.unwrap();
        let replica = Replica::start(database.database().clone(), &bus, &codec, settings);
        Self { database, bus, codec, replica }
    }

    /// A second process on the same database.
    pub(crate) fn another_replica(&self) -> Replica {
        Replica::start(self.database.another(), &self.bus, &self.codec, &Settings::default())
    }

    pub(crate) fn database(&self) -> &Database {
        self.database.database()
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    pub(crate) async fn place(&self) -> OrderId {
        self.place_many(1).await[0]
    }

    pub(crate) async fn place_many(&self, count: usize) -> Vec<OrderId> {
        let mut order_ids = Vec::with_capacity(count);
        for _ in 0..count {
            let key = clock::new_id().to_string();
            let answered = self.replica.post_order(&key, &valid_order()).await;
            assert_eq!(answered.status, StatusCode::ACCEPTED, "{answered:?}");
            order_ids.push(answered.order_id());
        }
        order_ids
    }

    /// Makes the deadlines of these orders pass, without waiting for it. They were published long before.
    pub(crate) async fn let_deadlines_pass(&self, order_ids: &[OrderId]) {
        self.publish_before(order_ids, TimeDelta::days(1)).await;
        self.let_unpublished_deadlines_pass(order_ids).await;
    }

    /// Says that these orders were published so long ago.
    pub(crate) async fn publish_before(&self, order_ids: &[OrderId], ago: TimeDelta) {
        let published = sqlx::query("UPDATE outbox.messages SET finished_at = $2 WHERE subject = ANY($1)")
            .bind(order_ids.iter().map(ToString::to_string).collect::<Vec<String>>())
            .bind(clock::now() - ago)
            .execute(self.pool())
            .await
            .unwrap();
        assert!(published.rows_affected() >= order_ids.len() as u64);
    }

    pub(crate) async fn let_unpublished_deadlines_pass(&self, order_ids: &[OrderId]) {
        let ids: Vec<Uuid> = order_ids.iter().map(|id| id.0).collect();
        let past = clock::now() - TimeDelta::seconds(1);
        sqlx::query("UPDATE orders SET due_at = $2 WHERE order_id = ANY($1) AND status = 'placed'")
            .bind(&ids)
            .bind(past)
            .execute(self.pool())
            .await
            .unwrap();
        sqlx::query("UPDATE deadlines SET deadline_at = $2, look_at = $2 WHERE order_id = ANY($1)")
            .bind(&ids)
            .bind(past)
            .execute(self.pool())
            .await
            .unwrap();
    }

    /// Applies these events as one batch, as the inbox would.
    pub(crate) async fn apply(&self, events: Vec<AnyEvent>) {
        apply(self.database(), self.replica.batch_deps(), events).await;
    }

    /// Status and reason of an order, from the head of its stream.
    pub(crate) async fn end_of(&self, order_id: OrderId) -> (String, Option<String>) {
        sqlx::query_as("SELECT status, reason FROM orders WHERE order_id = $1")
            .bind(order_id.0)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    /// What the outbox holds for an order: type and sequence, in the order of its ids.
    pub(crate) async fn published(&self, order_id: OrderId) -> Vec<(String, i64)> {
        sqlx::query_as("SELECT event_type, sequence FROM outbox.messages WHERE subject = $1 ORDER BY id")
            .bind(order_id.to_string())
            .fetch_all(self.pool())
            .await
            .unwrap()
    }

    /// Checks of every order what must hold after anything: contiguous counters, at most one end, a read model and a
    /// head that say what the stream says, a deadline for open orders only. Tells how many orders there were.
    pub(crate) async fn check_invariants(&self) -> usize {
        self.check_invariants_of(None).await;
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(self.pool()).await.unwrap();
        usize::try_from(count).unwrap()
    }

    /// The same of one order.
    pub(crate) async fn check_invariants_of(&self, order_id: impl Into<Option<OrderId>>) {
        let broken: Vec<String> = sqlx::query_scalar(
            "SELECT format('%s: %s', o.order_id, to_jsonb(o) - 'detail')
             FROM orders o
             LEFT JOIN order_views v USING (order_id)
             LEFT JOIN deadlines t USING (order_id)
             CROSS JOIN LATERAL (
                 SELECT count(*) AS events, min(version) AS first, max(version) AS last,
                        count(*) FILTER (WHERE type IN ('OrderConfirmed', 'OrderCancelled')) AS ends
                 FROM order_events e WHERE e.order_id = o.order_id
             ) e
             CROSS JOIN LATERAL (
                 SELECT count(*) AS messages, min(sequence) AS first, max(sequence) AS last
                 FROM outbox.messages m WHERE m.topic = 'tidings.orders' AND m.subject = o.order_id::text
             ) m
             WHERE ($1::uuid IS NULL OR o.order_id = $1) AND NOT (
                 (e.events, e.first, e.last) = (o.version, 1, o.version)
                 AND e.ends = (o.status <> 'placed')::int
                 AND (m.messages, m.first, m.last) = (o.last_sequence, 1, o.last_sequence)
                 AND o.last_sequence = 1 + e.ends
                 AND (t.order_id IS NOT NULL) = (o.status = 'placed')
                 AND (v.version, v.status, v.updated_at) = (o.version, o.status, o.updated_at)
                 AND v.reason IS NOT DISTINCT FROM o.reason
                 AND v.ended_at IS NOT DISTINCT FROM o.ended_at
             )
             LIMIT 10",
        )
        .bind(order_id.into().map(|id| id.0))
        .fetch_all(self.pool())
        .await
        .unwrap();
        assert!(broken.is_empty(), "{broken:#?}");
    }
}

impl Replica {
    pub(crate) fn start(
        database: Database,
        bus: &Arc<InMemoryBus>,
        codec: &Arc<Codec>,
        settings: &Settings,
    ) -> Self {
        static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::install().unwrap());
        let config = &settings.order;
        let outbox = Publisher::new(Arc::clone(codec), "order", settings.max_message_bytes);
        let store = OrderStore::new(database.clone(), outbox.clone());
        let shutdown = CancellationToken::new();
        let watcher = Watcher::new(config, shutdown.clone());
        let mut poller = WatchPoller::new(watcher.clone(), store.clone());
        let mut tasks = JoinSet::new();
        let stop = shutdown.clone();
        tasks.spawn(async move { poller.run(Progress::new("watch"), stop).await.unwrap() });
        let health = Health::new("order", database, Arc::clone(bus) as Arc<dyn Bus>, shutdown.clone());
        let routes = routes(store.clone(), watcher.clone(), config);
        let requests = TaskTracker::new();
        let router =
            edge(routes, OrderApi::openapi(), &settings.http, health, METRICS.clone(), requests.clone());
        Self { outbox, store, watcher, shutdown, requests, router, _tasks: tasks }
    }

    pub(crate) fn batch_deps(&self) -> BatchDeps {
        BatchDeps { outbox: self.outbox.clone(), watcher: self.watcher.clone() }
    }

    /// The answer as it comes: its body is still to be read.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> axum::response::Response {
        request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Answered {
        let (parts, body) = self.send(request).await.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answered { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.ask(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post_order(&self, key: &str, order: &Value) -> Answered {
        self.ask(post_order(key, order, &[])).await
    }

    pub(crate) async fn cancel(&self, order_id: OrderId) -> Answered {
        self.ask(Request::post(format!("/orders/{order_id}/cancellation")).body(Body::empty()).unwrap()).await
    }
}

/// Lets the deadlines of these orders act, as if everything before them was consumed; says how many were answered.
pub(crate) async fn expire(store: &OrderStore, order_ids: &[OrderId], grace: TimeDelta) -> usize {
    let use_case = |transaction| expire_orders(transaction, order_ids, clock::now(), grace);
    store.transaction(Operation::Worker, use_case).await.unwrap()
}

/// `POST /orders` with this key and further headers.
pub(crate) fn post_order(key: &str, order: &Value, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("/orders")
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(order.to_string())).unwrap()
}

pub(crate) fn valid_order() -> Value {
    json!({
        "customer_id": "17850",
        "currency": "GBP",
        "lines": [
            { "sku": "85123A", "quantity": 6, "unit_price_minor": 255 },
            { "sku": "85123A", "quantity": 1, "unit_price_minor": 0 },
        ],
        "payment_method": "tok_visa",
        "recipient": {
            "name": "Ada Lovelace",
            "email": "ada@example.org",
            "address": { "street": "12 St James's Square", "city": "London", "postal_code": "SW1Y 4JH", "country": "United Kingdom" },
        },
    })
}
